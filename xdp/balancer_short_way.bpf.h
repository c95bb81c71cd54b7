// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The short way of plain packets that leave nothing to decide. Either their flow's hash says where
 * they go, or their connection does, which is complete and goes on. They leave as the stages would
 * have them leave, but in one go and with next to nothing kept of them. What it does not take stays
 * unchanged for the stages.
 *
 *   by hash         to a VIP that records exceptions only, in whose pool no slot changed of late
 *   by connection   all others that have one, and the backends' packets in the NAT modes
 *
 * It is one piece because returns are dear where the kernel guards them (SRSO): a stage costs 10 ns
 * there before it has done anything, and so does a helper. */
#pragma once

#include "dataplane/forwarding/encap.h"
#include "xdp/balancer_connections.bpf.h"
#include "xdp/plain.bpf.h"

/* --- out ----------------------------------------------------------------------------------------
 */

/* Writes the tunnel's header before the packet, and the link header before that. */
WEIR_INLINE enum weir_verdict weir_short_encapsulate(struct xdp_md* context,
                                                     const struct weir_packet* packet,
                                                     const struct weir_outer* outer,
                                                     const struct weir_next_hop_row* hop) {
    if (bpf_xdp_adjust_head(context, -(int)weir_outer_bytes(outer)) != 0)
        return WEIR_DROP_NO_BUFFER;
    uint8_t* data = weir_plain_frame(context, packet->family);
    if (!data)
        return WEIR_DROP_TRUNCATED;
    enum weir_verdict verdict = weir_write_outer(data, WEIR_END(context), packet, outer);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    weir_write_untagged(data, hop, weir_outer_ethertype(outer));
    return WEIR_FORWARDED;
}

/* To work->backend, which is `backend`. `hash`: where the mode has tunnels. `to`: its source, where
 * the mode translates. */
WEIR_INLINE enum weir_verdict weir_short_to_backend(struct xdp_md* context, struct weir_work* work,
                                                    const struct weir_packet* packet,
                                                    const struct weir_vip_row* vip,
                                                    const struct weir_backend_row* backend,
                                                    uint64_t hash, struct weir_translation* to) {
    const struct weir_next_hop_row* hop = weir_next_hop(work->half, backend->next_hop);
    uint8_t* data = weir_plain_frame(context, packet->family);
    if (!hop || !weir_hop_takes(hop, packet->l3_length) || !data)
        return WEIR_UNDECIDED;
    work->out_interface = hop->interface;
    if (weir_forward_encapsulates(vip->forward)) {
        const struct weir_balancer_head* head = weir_head(work->half);
        struct weir_outer outer;
        if (!head || !weir_outer_for(&head->node, vip, backend, hash, &outer) ||
            packet->l3_length > weir_inner_mtu(hop->mtu, &outer))
            return WEIR_UNDECIDED;
        return weir_short_encapsulate(context, packet, &outer, hop);
    }
    if (!weir_forward_is_dsr(vip->forward)) {
        to->destination = backend->address;
        to->destination_port = weir_backend_port(backend, packet->destination_port);
        enum weir_verdict verdict = weir_translate(data, WEIR_END(context), packet, to);
        if (verdict != WEIR_UNDECIDED)
            return verdict;
    }
    weir_write_macs(data, hop->destination_mac, hop->source_mac);
    return WEIR_FORWARDED;
}

/* --- by hash ------------------------------------------------------------------------------------
 */

WEIR_INLINE enum weir_verdict weir_short_by_hash(struct xdp_md* context, struct weir_work* work,
                                                 const struct weir_packet* packet,
                                                 const struct weir_vip_row* vip,
                                                 const struct weir_pool_row* pool, uint64_t hash) {
    if (!weir_has_slots_of_flows(pool) || !weir_says_nothing(packet, vip))
        return WEIR_UNDECIDED;
    work->backend =
        weir_backend_of_slot(work->half, pool, weir_maglev_slot(hash, pool->slot_count));
    const struct weir_backend_row* backend = weir_backend(work->half, work->backend);
    struct weir_translation as_it_is; /* in all modes that go without a record */
    return backend ? weir_short_to_backend(context, work, packet, vip, backend, hash, &as_it_is)
                   : WEIR_UNDECIDED;
}

/* --- by connection ------------------------------------------------------------------------------
 */

/* False: a packet of it may change more than its age. */
WEIR_INLINE bool weir_short_goes_on(struct weir_work* work, const struct weir_vip_row* vip,
                                    struct weir_connection* connection) {
    if (!weir_state_complete(connection->state) ||
        weir_connection_is_old(connection, vip, work->now_s))
        return false;
    if (connection->last_seen_s != work->now_s)
        connection->last_seen_s = work->now_s;
    return true;
}

WEIR_INLINE enum weir_verdict weir_short_of_client(struct xdp_md* context, struct weir_work* work,
                                                   const struct weir_balancer_head* head,
                                                   const struct weir_packet* packet) {
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    const struct weir_pool_row* pool = vip ? weir_pool(work->half, vip->pool) : NULL;
    if (!vip || !pool)
        return WEIR_UNDECIDED;
    const bool settled = weir_is_settled(vip, pool);
    uint64_t hash = 0;
    if (settled || weir_forward_encapsulates(vip->forward))
        hash = weir_siphash13(&head->hash_key, packet->flow.word,
                              packet->family == 4 ? WEIR_FLOW_WORDS_V4 : WEIR_FLOW_WORDS_V6);
    if (settled && !weir_may_be_recorded(hash))
        return weir_short_by_hash(context, work, packet, vip, pool, hash);
    work->key = weir_connection_key_of(work->vip, packet);
    struct weir_connection* connection = bpf_map_lookup_elem(&connections, &work->key);
    const struct weir_backend_row* backend =
        connection ? weir_backend(work->half, connection->backend) : NULL;
    const uint8_t* frame = weir_plain_frame(context, packet->family);
    if (!backend || backend->state != WEIR_BACKEND_UP || !frame)
        return WEIR_UNDECIDED;
    struct weir_translation to;
    to.source = work->key.client;
    to.source_port = work->key.client_port;
    if (vip->forward == WEIR_FORWARD_FULL_NAT) {
        const struct weir_snat_row* snat = weir_snat(head, connection->snat_address);
        if (snat->family == 0)
            return WEIR_UNDECIDED;
        to.source = snat->address;
        to.source_port = connection->snat_port;
    }
    if (!weir_short_goes_on(work, vip, connection))
        return WEIR_UNDECIDED;
    weir_note_last_hop(connection, weir_ethernet_source(frame), WEIR_NO_VLAN, work->in_interface);
    work->backend = connection->backend;
    return weir_short_to_backend(context, work, packet, vip, backend, hash, &to);
}

/* `kind`: what the match said of it, SNAT or BACKEND. */
WEIR_INLINE enum weir_verdict weir_short_of_backend(struct xdp_md* context, struct weir_work* work,
                                                    const struct weir_balancer_head* head,
                                                    const struct weir_packet* packet,
                                                    uint32_t kind) {
    work->reply_key = weir_reply_key_shown_by(packet);
    const struct weir_connection_key* found = bpf_map_lookup_elem(&replies, &work->reply_key);
    if (!found)
        return WEIR_UNDECIDED;
    work->key = *found;
    work->vip = work->key.vip;
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    struct weir_connection* connection = vip ? bpf_map_lookup_elem(&connections, &work->key) : NULL;
    if (!connection)
        return WEIR_UNDECIDED;
    const struct weir_backend_row* backend = weir_backend(work->half, connection->backend);
    const struct weir_interface_row* interface = weir_interface(head, connection->interface);
    uint8_t* data = weir_plain_frame(context, packet->family);
    if (!backend || !interface || !data || connection->vlan_tci != WEIR_NO_VLAN ||
        packet->l3_length > interface->mtu ||
        !weir_is_answered_by(connection, backend, &work->reply_key, kind) ||
        !weir_short_goes_on(work, vip, connection))
        return WEIR_UNDECIDED;
    work->backend = connection->backend;
    work->out_interface = connection->interface;
    struct weir_translation to;
    to.source = vip->address;
    to.source_port = work->key.service_port;
    to.destination = work->key.client;
    to.destination_port = work->key.client_port;
    enum weir_verdict verdict = weir_translate(data, WEIR_END(context), packet, &to);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    weir_write_macs(data, connection->mac, interface->mac);
    return WEIR_REPLIED;
}

/* --- both ---------------------------------------------------------------------------------------
 */

WEIR_INLINE enum weir_verdict weir_short_way_of(struct xdp_md* context, struct weir_work* work,
                                                const struct weir_balancer_head* head,
                                                uint8_t family) {
    const uint8_t* frame = weir_plain_frame(context, family);
    struct weir_packet packet;
    struct weir_match_view table;
    if (!frame || !weir_plain_parse(frame, work->frame_bytes, family, &packet) ||
        !weir_is_quiet(&packet) || packet.ttl <= 1 || !weir_match_block_view(work->half, &table))
        return WEIR_UNDECIDED;
    const struct weir_match match = weir_match_packet(&table, &packet);
    work->vip = match.index;
    if (match.kind == WEIR_MATCH_VIP)
        return weir_short_of_client(context, work, head, &packet);
    if (match.kind == WEIR_MATCH_SNAT || match.kind == WEIR_MATCH_BACKEND)
        return weir_short_of_backend(context, work, head, &packet, match.kind);
    return WEIR_UNDECIDED;
}

/* Apart: the verifier would follow it anew from every outcome of the other. */
WEIR_STAGE weir_stage_short_way_v6(struct xdp_md* context, struct weir_work* work) {
    const struct weir_balancer_head* head = work ? weir_head(work->half) : NULL;
    return work && head ? weir_short_way_of(context, work, head, 6) : WEIR_UNDECIDED;
}

/* WEIR_UNDECIDED: nothing has become of the packet. Else its verdict, with vip, backend and
 * out_interface of `work`, of which the clock, half, frame_bytes and in_interface were set. */
WEIR_INLINE enum weir_verdict weir_short_way(struct xdp_md* context, struct weir_work* work,
                                             const struct weir_balancer_head* head) {
    const uint8_t* frame = weir_plain_frame(context, 4);
    if (frame && weir_is_untagged_v6(frame))
        return weir_stage_short_way_v6(context, work);
    return weir_short_way_of(context, work, head, 4);
}
