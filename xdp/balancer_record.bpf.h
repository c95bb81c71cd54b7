// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Record: remembers what was selected, and gives full-nat connections their source port. */
#pragma once

#include "xdp/balancer_select.bpf.h"

/* Candidates tried for a new connection, from a random one on. With a share u of the ports towards
 * this backend in use, a connection is refused with probability u^64 before ended ones give way. */
#define WEIR_SNAT_TRIES 64u

enum weir_claim { WEIR_CLAIMED, WEIR_TAKEN };

/* Makes `reply` lead to the connection `key`. What holds it gives way when its connection is gone,
 * too old, or ended so that its port may be used again. */
WEIR_INLINE enum weir_claim weir_claim_reply(const struct weir_work* work,
                                             const struct weir_reply_key* reply, bool snat,
                                             bool pressure) {
    struct weir_connection_key own = work->key;
    if (bpf_map_update_elem(&replies, reply, &own, BPF_NOEXIST) == 0)
        return WEIR_CLAIMED;
    const struct weir_connection_key* found = bpf_map_lookup_elem(&replies, reply);
    if (!found)
        return WEIR_TAKEN; /* just gone: another candidate will do */
    struct weir_connection_key holder_key = *found;
    const struct weir_connection* holder = bpf_map_lookup_elem(&connections, &holder_key);
    const struct weir_vip_row* vip = weir_vip(work->half, holder_key.vip);
    if (holder && vip) {
        bool old = weir_connection_is_old(holder, vip, work->now_s);
        if (holder->snat_port == (snat ? reply->local_port : 0)) {
            if (!old && !(snat && weir_snat_port_reusable(holder->state, pressure)))
                return WEIR_TAKEN;
            weir_stage_forget(work->half, &holder_key, holder);
        }
    }
    bpf_map_delete_elem(&replies, reply);
    return bpf_map_update_elem(&replies, reply, &own, BPF_NOEXIST) == 0 ? WEIR_CLAIMED : WEIR_TAKEN;
}

/* `work->packet` to `backend`: proposes source addresses and ports until one's reply is free. Fills
 * the translation and `snat_row`. A global function: the verifier would follow its loop anew from
 * every state of its caller. `pressure`: 0 or 1. */
WEIR_STAGE weir_stage_take_port(struct weir_work* work, uint32_t pressure) {
    if (!work)
        return 0;
    const struct weir_balancer_head* head = weir_head(work->half);
    const struct weir_backend_row* backend = weir_backend(work->half, work->backend);
    if (!head || !backend)
        return 0;
    const uint32_t family = backend->family == 4 ? 0 : 1;
    const uint32_t rows = head->snat_of_family[family];
    if (rows == 0)
        return 0;
    struct weir_reply_key reply;
    reply.backend = backend->address;
    reply.backend_port = weir_backend_port(backend, work->key.service_port);
    reply.protocol = work->packet.protocol;
    const uint32_t start = bpf_get_prandom_u32();
    for (uint32_t i = 0; i < WEIR_SNAT_TRIES; i++) {
        uint64_t at = (start + i) % rows;
        WEIR_OPAQUE(at);
        at &= WEIR_MAX_SNAT_ADDRESSES - 1;
        const uint8_t row = head->snat_rows[family][at];
        const struct weir_snat_row* snat = weir_snat(head, row);
        if (snat->family == 0)
            return 0;
        uint32_t ports = (uint32_t)snat->last_port - snat->first_port + 1;
        uint32_t port = snat->first_port + ((start >> 8) + i / rows) % ports;
        if (i / rows >= ports)
            return 0; /* all of them */
        reply.local = snat->address;
        reply.local_port = weir_swap16((uint16_t)port);
        if (weir_claim_reply(work, &reply, true, pressure != 0) == WEIR_CLAIMED) {
            work->translation.source = snat->address;
            work->translation.source_port = reply.local_port;
            work->snat_row = row;
            return 1;
        }
    }
    return 0;
}

/* Whether the packet is to be remembered (work->state is then not FREE), and may be. */
WEIR_STAGE weir_stage_begin_connection(struct weir_work* work) {
    const struct weir_vip_row* vip = work ? weir_vip(work->half, work->vip) : NULL;
    if (!work || !vip)
        return WEIR_DROP_NO_BACKEND;
    work->forward = vip->forward;
    work->state = WEIR_STATE_FREE; /* forwarded by the hash, not worth remembering */
    if (weir_is_bystander(&work->packet))
        return WEIR_UNDECIDED;
    work->state = weir_initial_state(weir_packet_event_of(&work->packet, WEIR_FROM_CLIENT));
    if (work->state != WEIR_STATE_FREE && vip->max_connections != 0 &&
        weir_active(&vip_active, work->vip) >= vip->max_connections)
        return WEIR_DROP_VIP_QUOTA;
    return WEIR_UNDECIDED;
}

/* `nat`: the reply shows the client's own endpoint, which another VIP may have in use. */
WEIR_STAGE weir_stage_claim_nat(struct weir_work* work) {
    const struct weir_backend_row* backend = work ? weir_backend(work->half, work->backend) : NULL;
    if (!work || !backend)
        return WEIR_DROP_NO_BACKEND;
    struct weir_reply_key reply;
    reply.backend = backend->address;
    reply.backend_port = weir_backend_port(backend, work->key.service_port);
    reply.protocol = work->packet.protocol;
    reply.local = work->key.client;
    reply.local_port = work->key.client_port;
    return weir_claim_reply(work, &reply, false, false) == WEIR_CLAIMED ? WEIR_UNDECIDED
                                                                        : WEIR_DROP_NAT_CONFLICT;
}

WEIR_INLINE bool weir_records_exceptions(const struct weir_work* work) {
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    return vip && (vip->flags & WEIR_VIP_EXCEPTIONS);
}

WEIR_STAGE weir_stage_write_connection(struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    struct weir_connection connection;
    __builtin_memset(&connection, 0, sizeof(connection));
    connection.state = work->state;
    connection.backend = work->backend;
    connection.last_seen_s = work->now_s;
    connection.created_s = work->now_s;
    if (work->forward == WEIR_FORWARD_FULL_NAT) {
        connection.snat_port = work->translation.source_port;
        connection.snat_address = work->snat_row;
    }
    weir_note_last_hop(&connection, work->source_mac, work->packet.vlan_tci, work->in_interface);
    struct weir_connection_key key = work->key;
    if (bpf_map_update_elem(&connections, &key, &connection, BPF_ANY) != 0)
        return WEIR_DROP_TABLE_FULL;
    weir_add_active(&vip_active, work->vip, 1);
    weir_add_active(&backend_active, work->backend, 1);
    struct weir_balancer_counts* counts = weir_counts();
    if (counts)
        counts->connections_opened++;
    /* An exception that has not begun just now was counted when it did. */
    if (weir_records_exceptions(work) && work->state == WEIR_STATE_MIDSTREAM)
        weir_count_unrecorded(work->vip, work->backend, -1);
    else
        weir_count_opened(work->vip, work->backend);
    return WEIR_UNDECIDED;
}

/* Remembers what the hash will not: a flow met while its slot has two backends. What cannot be
 * recorded goes where the packets of its flow will go while they are unknown. */
WEIR_STAGE weir_stage_record_exception(struct weir_work* work) {
    const struct weir_vip_row* vip = work ? weir_vip(work->half, work->vip) : NULL;
    if (!work || !vip)
        return WEIR_DROP_NO_BACKEND;
    if (weir_is_bystander(&work->packet))
        return WEIR_UNDECIDED;
    const struct weir_backend_row* oldest = weir_backend(work->half, work->oldest);
    work->state = weir_initial_state(weir_packet_event_of(&work->packet, WEIR_FROM_CLIENT));
    if (oldest && work->state != WEIR_STATE_FREE && !weir_probation_is_full() &&
        weir_stage_write_connection(work) == WEIR_UNDECIDED) {
        weir_count_half_open(1);
        weir_mark_recorded(work->hash);
        return WEIR_UNDECIDED;
    }
    if (oldest && weir_oldest_serves(vip, oldest))
        work->backend = work->oldest;
    weir_stage_note_unrecorded(work);
    return WEIR_UNDECIDED;
}

WEIR_INLINE enum weir_verdict weir_record(struct weir_work* work) {
    if (weir_records_exceptions(work))
        return weir_stage_record_exception(work);
    enum weir_verdict verdict = weir_stage_begin_connection(work);
    if (verdict != WEIR_UNDECIDED || work->state == WEIR_STATE_FREE)
        return verdict;
    if (work->forward == WEIR_FORWARD_FULL_NAT) {
        if (!weir_stage_take_port(work, 0) && !weir_stage_take_port(work, 1))
            return WEIR_DROP_SNAT_EXHAUSTED;
    } else if (work->forward == WEIR_FORWARD_NAT) {
        verdict = weir_stage_claim_nat(work);
        if (verdict != WEIR_UNDECIDED)
            return verdict;
    }
    return weir_stage_write_connection(work);
}
