// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Connections: two LRU maps that all CPUs share. `connections` is keyed by the client's tuple and
 * has everything; `replies` leads from what a NAT backend's packets show to the key of the first,
 * and its insertion without overwriting is what reserves a SNAT port.
 *
 * An entry that is too old is treated as absent by whoever meets it, so nothing depends on when
 * the table is swept. Two CPUs that work on one connection at once (its packets were spread over
 * them) may lose one of two state changes; the next packet makes up for it. */
#pragma once

#include "xdp/balancer_exceptions.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);
    __type(key, struct weir_connection_key);
    __type(value, struct weir_connection);
} connections SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 1);
    __type(key, struct weir_reply_key);
    __type(value, struct weir_connection_key);
} replies SEC(".maps");

WEIR_INLINE bool weir_connection_is_old(const struct weir_connection* connection,
                                        const struct weir_vip_row* vip, uint32_t now_s) {
    return weir_age(now_s, connection->last_seen_s) >= weir_entry_timeout_s(vip, connection->state);
}

/* An exception on probation: nothing has shown yet that its client is real. */
WEIR_INLINE bool weir_is_half_open_exception(const struct weir_vip_row* vip, uint8_t state) {
    return vip && (vip->flags & WEIR_VIP_EXCEPTIONS) && !weir_state_confirmed(state);
}

/* The key its replies are found by. False for a connection without any: DSR, or rows that are gone.
 */
WEIR_INLINE bool weir_reply_key_of(uint32_t half, const struct weir_connection_key* key,
                                   const struct weir_connection* connection,
                                   struct weir_reply_key* reply) {
    const struct weir_vip_row* vip = weir_vip(half, key->vip);
    const struct weir_backend_row* backend = weir_backend(half, connection->backend);
    const struct weir_balancer_head* head = weir_head(half);
    if (!vip || !backend || !head || weir_forward_is_dsr(vip->forward))
        return false;
    reply->backend = backend->address;
    reply->backend_port = weir_backend_port(backend, key->service_port);
    reply->protocol = vip->protocol;
    reply->local = key->client;
    reply->local_port = key->client_port;
    if (connection->snat_port == 0)
        return true;
    const struct weir_snat_row* snat = weir_snat(head, connection->snat_address);
    if (snat->family == 0)
        return false;
    reply->local = snat->address;
    reply->local_port = connection->snat_port;
    return true;
}

/* Takes a connection out of both maps. `key` lies on the stack or in a map. A global function: it
 * is called in loops. */
WEIR_STAGE weir_stage_forget(uint32_t half, const struct weir_connection_key* key,
                             const struct weir_connection* connection) {
    if (!key || !connection)
        return 0;
    struct weir_connection_key own = *key;
    struct weir_reply_key reply;
    uint32_t backend = connection->backend;
    bool half_open = weir_is_half_open_exception(weir_vip(half, own.vip), connection->state);
    if (weir_reply_key_of(half, &own, connection, &reply))
        bpf_map_delete_elem(&replies, &reply);
    if (bpf_map_delete_elem(&connections, &own) != 0)
        return 0; /* another CPU was first */
    weir_add_active(&vip_active, own.vip, -1);
    weir_add_active(&backend_active, backend, -1);
    if (half_open)
        weir_count_half_open(-1);
    return 0;
}

/* The packet's effect on its connection's state and age. */
WEIR_INLINE void weir_advance(struct weir_work* work, struct weir_connection* connection,
                              uint32_t direction, uint32_t visibility, bool backend_down) {
    if (weir_is_bystander(&work->packet))
        return;
    uint8_t before = connection->state;
    uint8_t after =
        weir_next_state(visibility, before, weir_packet_event_of(&work->packet, direction));
    if (after != before)
        connection->state = after;
    if (weir_state_refreshes(before, after, direction, backend_down) &&
        connection->last_seen_s != work->now_s)
        connection->last_seen_s = work->now_s;
}

/* Where its client's packet came from: MAC address, tag, interface row. */
WEIR_INLINE void weir_note_last_hop(struct weir_connection* connection, const uint8_t* mac,
                                    uint16_t vlan_tci, uint8_t interface) {
    WEIR_STATIC_ASSERT(offsetof(struct weir_connection, vlan_tci) ==
                           offsetof(struct weir_connection, mac) + 6,
                       "MAC address and tag are a word");
    uint64_t* noted = (uint64_t*)(void*)connection->mac;
    const uint64_t now =
        weir_load32(mac) | (uint64_t)weir_load16(mac + 4) << 32 | (uint64_t)vlan_tci << 48;
    if (*noted == now && connection->interface == interface)
        return; /* nearly always: the line stays in every CPU's cache */
    *noted = now;
    connection->interface = interface;
}

WEIR_INLINE void weir_take_last_hop(struct weir_work* work,
                                    const struct weir_connection* connection) {
    for (int i = 0; i < 6; i++)
        work->last_mac[i] = connection->mac[i];
    work->last_vlan_tci = connection->vlan_tci;
    work->last_interface = connection->interface;
}

/* --- find ---------------------------------------------------------------------------------------
 */

/* Its backend is down and so it ends, as if the backend had reset it: a SYN may start it anew at
 * once, and until the entry expires every other packet is answered again. */
WEIR_INLINE void weir_give_up(const struct weir_work* work, struct weir_connection* connection) {
    if (work->packet.protocol != WEIR_IP_TCP || connection->state == WEIR_STATE_RST_BACKEND)
        return;
    connection->state = WEIR_STATE_RST_BACKEND;
    connection->last_seen_s = work->now_s;
}

/* What becomes of a known connection's packet. A SYN opens it anew, unless it is one sent again to
 * a backend that is up. */
WEIR_INLINE enum weir_known_step weir_known_step_of(const struct weir_packet* packet,
                                                    const struct weir_vip_row* vip,
                                                    const struct weir_backend_row* backend,
                                                    uint8_t state) {
    bool half_open = state == WEIR_STATE_SYN_SEEN || state == WEIR_STATE_SYN_ACK_SEEN;
    if (packet->protocol == WEIR_IP_TCP && weir_state_restarts(state, packet->tcp_flags) &&
        !(half_open && backend->state == WEIR_BACKEND_UP))
        return WEIR_KNOWN_RESELECT;
    return weir_admit_known(vip, backend);
}

WEIR_INLINE enum weir_verdict weir_follow_known(struct weir_work* work,
                                                const struct weir_vip_row* vip,
                                                const struct weir_backend_row* backend,
                                                struct weir_connection* connection) {
    const bool bystander = weir_is_bystander(&work->packet);
    enum weir_known_step step = weir_known_step_of(&work->packet, vip, backend, connection->state);
    work->backend = connection->backend;
    if (vip->forward == WEIR_FORWARD_FULL_NAT) {
        const struct weir_balancer_head* head = weir_head(work->half);
        if (!head)
            return WEIR_DROP_NO_CONNECTION;
        const struct weir_snat_row* snat = weir_snat(head, connection->snat_address);
        if (snat->family == 0)
            return WEIR_DROP_NO_CONNECTION;
        work->translation.source = snat->address;
        work->translation.source_port = connection->snat_port;
    }
    if (step == WEIR_KNOWN_DROP || (step == WEIR_KNOWN_RESELECT && bystander)) {
        if (!bystander)
            weir_give_up(work, connection);
        return WEIR_DROP_BACKEND_DOWN;
    }
    if (step == WEIR_KNOWN_RESELECT) {
        weir_stage_forget(work->half, &work->key, connection);
        work->backend = WEIR_NO_ROW;
        weir_translation_of(&work->packet, &work->translation);
        return WEIR_UNDECIDED;
    }
    work->known = 1;
    if (work->packet.flags & WEIR_PACKET_TUNNEL_ERROR) {
        weir_take_last_hop(work, connection);
        return weir_forward_encapsulates(vip->forward) ? WEIR_UNDECIDED
                                                       : WEIR_DROP_ICMP_IMPLAUSIBLE;
    }
    if (bystander) /* comes from a router on the way, not from the client's last hop */
        return WEIR_UNDECIDED;
    bool half_open = weir_is_half_open_exception(vip, connection->state);
    weir_note_last_hop(connection, work->source_mac, work->packet.vlan_tci, work->in_interface);
    weir_advance(work, connection, WEIR_FROM_CLIENT,
                 weir_forward_is_dsr(vip->forward) ? WEIR_CLIENT_ONLY : WEIR_BOTH_SIDES,
                 backend->state == WEIR_BACKEND_DOWN);
    if (half_open && !weir_is_half_open_exception(vip, connection->state))
        weir_count_half_open(-1);
    return WEIR_UNDECIDED;
}

/* The flow has no entry, and so its slot alone decides; for what nearly every packet is. */
WEIR_INLINE enum weir_verdict weir_follow_slot(struct weir_work* work,
                                               const struct weir_vip_row* vip,
                                               const struct weir_pool_row* pool) {
    if (weir_is_bystander(&work->packet) || pool->scheduler != WEIR_SCHEDULE_MAGLEV)
        return WEIR_UNDECIDED;
    work->backend = pool->slot_count == 0
                        ? WEIR_NO_ROW
                        : weir_backend_of_slot(work->half, pool,
                                               weir_maglev_slot(work->hash, pool->slot_count));
    if (work->backend == WEIR_NO_ROW)
        return WEIR_DROP_NO_BACKEND;
    work->known = 1;
    if (!weir_says_nothing(&work->packet, vip))
        weir_stage_note_unrecorded(work);
    return WEIR_UNDECIDED;
}

/* What the packet of a client shows. */
WEIR_INLINE struct weir_connection_key weir_connection_key_of(uint32_t vip,
                                                              const struct weir_packet* packet) {
    struct weir_connection_key key;
    key.client = weir_packet_source(packet);
    key.client_port = packet->source_port;
    key.service_port = packet->destination_port;
    key.vip = vip;
    return key;
}

/* A packet to a VIP: what its connection says, if there is one. */
WEIR_STAGE weir_stage_find_client(struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    work->vip = work->match.index;
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    const struct weir_pool_row* pool = vip ? weir_pool(work->half, vip->pool) : NULL;
    if (!vip || !pool)
        return WEIR_DROP_NO_BACKEND;
    if (weir_is_settled(vip, pool) && !weir_may_be_recorded(work->hash))
        return weir_follow_slot(work, vip, pool);
    struct weir_connection_key key = weir_connection_key_of(work->vip, &work->packet);
    work->key = key;
    struct weir_connection* connection = bpf_map_lookup_elem(&connections, &key);
    if (!connection)
        return WEIR_UNDECIDED;
    if (weir_connection_is_old(connection, vip, work->now_s)) {
        weir_stage_forget(work->half, &key, connection);
        struct weir_balancer_counts* counts = weir_counts();
        if (counts)
            counts->connections_expired++;
        return WEIR_UNDECIDED;
    }
    const struct weir_backend_row* backend = weir_backend(work->half, connection->backend);
    if (!backend)
        return WEIR_DROP_NO_BACKEND;
    return weir_follow_known(work, vip, backend, connection);
}

/* What the packet of a backend shows. */
WEIR_INLINE struct weir_reply_key weir_reply_key_shown_by(const struct weir_packet* packet) {
    struct weir_reply_key reply;
    reply.backend = weir_packet_source(packet);
    reply.local = weir_packet_destination(packet);
    reply.backend_port = packet->source_port;
    reply.local_port = packet->destination_port;
    reply.protocol = packet->protocol;
    return reply;
}

/* Whether the connection that the reply led to is still the one it is of: either map may have let
 * go of an entry that the other still has. `kind`: what the match said of the packet. */
WEIR_INLINE bool weir_is_answered_by(const struct weir_connection* connection,
                                     const struct weir_backend_row* backend,
                                     const struct weir_reply_key* reply, uint32_t kind) {
    return weir_address_equal(&backend->address, &reply->backend) &&
           connection->snat_port == (kind == WEIR_MATCH_SNAT ? reply->local_port : 0);
}

/* A packet of a backend in the NAT modes: to its connection's client. */
WEIR_STAGE weir_stage_find_backend(struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    const enum weir_verdict unknown = (work->packet.flags & WEIR_PACKET_ICMP_ERROR)
                                          ? WEIR_DROP_ICMP_NO_CONNECTION
                                          : WEIR_DROP_NO_CONNECTION;
    const struct weir_reply_key reply = weir_reply_key_shown_by(&work->packet);
    const struct weir_connection_key* found = bpf_map_lookup_elem(&replies, &reply);
    if (!found)
        return unknown;
    struct weir_connection_key key = *found;
    const struct weir_vip_row* vip = weir_vip(work->half, key.vip);
    struct weir_connection* connection = bpf_map_lookup_elem(&connections, &key);
    if (!vip || !connection || weir_connection_is_old(connection, vip, work->now_s))
        return unknown;
    const struct weir_backend_row* backend = weir_backend(work->half, connection->backend);
    if (!backend || !weir_is_answered_by(connection, backend, &reply, work->match.kind))
        return unknown;
    work->key = key;
    work->vip = key.vip;
    work->backend = connection->backend;
    work->translation.source = vip->address;
    work->translation.source_port = key.service_port;
    work->translation.destination = key.client;
    work->translation.destination_port = key.client_port;
    weir_take_last_hop(work, connection);
    work->known = 1;
    weir_advance(work, connection, WEIR_FROM_BACKEND, WEIR_BOTH_SIDES, false);
    return WEIR_UNDECIDED;
}
