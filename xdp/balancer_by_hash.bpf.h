// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The short way of packets that nothing but their hash decides: plain ones over IPv4 to a VIP of
 * dsr-l2 that records exceptions only, in whose pool no slot has changed of late. They leave as the
 * stages would have them leave, but in one go and without anything being kept of them. What it does
 * not take stays unchanged for the stages. */
#pragma once

#include "dataplane/forwarding/parse_plain.h"
#include "xdp/balancer_connections.bpf.h"

/* The VIP that an IPv4 packet is for, when its pool's slots may decide, or NULL. */
WEIR_INLINE const struct weir_vip_row* weir_vip_by_hash(struct weir_work* work, const uint8_t* l3) {
    struct weir_match_view table;
    if (!weir_match_block_view(work->half, &table))
        return NULL;
    struct weir_address destination = weir_address_from_v4(weir_load32(l3 + 16));
    const struct weir_match_row* row =
        weir_match_find(&table, &destination, l3[9], weir_load16(l3 + WEIR_V4_BYTES + 2));
    if (!row || row->kind != WEIR_MATCH_VIP)
        return NULL;
    work->vip = row->index;
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    return vip && vip->forward == WEIR_FORWARD_DSR_L2 && (vip->flags & WEIR_VIP_EXCEPTIONS) ? vip
                                                                                            : NULL;
}

/* The row of its backend, or WEIR_NO_ROW where more than the hash has a say. */
WEIR_INLINE uint32_t weir_backend_by_hash(const struct weir_work* work, const uint8_t* l3,
                                          const struct weir_vip_row* vip) {
    const struct weir_balancer_head* head = weir_head(work->half);
    const struct weir_pool_row* pool = weir_pool(work->half, vip->pool);
    if (!head || !pool || !weir_is_settled(vip, pool) || pool->scheduler != WEIR_SCHEDULE_MAGLEV ||
        pool->slot_count == 0)
        return WEIR_NO_ROW;
    struct weir_flow flow;
    weir_flow_set_v4(&flow, weir_load32(l3 + 12), weir_load32(l3 + 16),
                     weir_load16(l3 + WEIR_V4_BYTES), weir_load16(l3 + WEIR_V4_BYTES + 2), l3[9]);
    uint64_t hash = weir_siphash13(&head->hash_key, flow.word, WEIR_FLOW_WORDS_V4);
    if (weir_may_be_recorded(hash))
        return WEIR_NO_ROW;
    return weir_backend_of_slot(work->half, pool, weir_maglev_slot(hash, pool->slot_count));
}

/* WEIR_FORWARDED, or WEIR_UNDECIDED. */
WEIR_STAGE weir_stage_by_hash(struct xdp_md* context, struct weir_work* work) {
    uint8_t* data = WEIR_DATA(context);
    const uint8_t* end = WEIR_END(context);
    if (!work || data + WEIR_PLAIN_LEAST_BYTES > end)
        return WEIR_UNDECIDED;
    const uint8_t* l3 = data + WEIR_ETHERNET_BYTES;
    const uint8_t tcp_flags = l3[WEIR_V4_BYTES + 13];
    if (weir_load16(data + 12) != weir_swap16(WEIR_ETHERTYPE_V4) || !weir_is_plain_v4(l3) ||
        !weir_plain_v4_is_sound(l3, work->frame_bytes) ||
        (l3[9] == WEIR_IP_TCP && (tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_FIN | WEIR_TCP_RST))))
        return WEIR_UNDECIDED;
    const struct weir_vip_row* vip = weir_vip_by_hash(work, l3);
    const uint32_t backend_row = vip ? weir_backend_by_hash(work, l3, vip) : WEIR_NO_ROW;
    const struct weir_backend_row* backend = weir_backend(work->half, backend_row);
    const struct weir_next_hop_row* hop =
        backend ? weir_next_hop(work->half, backend->next_hop) : NULL;
    if (!hop || !hop->resolved || hop->vlan_tci != WEIR_NO_VLAN ||
        weir_swap16(weir_load16(l3 + 2)) > hop->mtu) {
        work->vip = WEIR_NO_ROW;
        return WEIR_UNDECIDED;
    }
    work->backend = backend_row;
    work->out_interface = hop->interface;
    weir_write_macs(data, hop->destination_mac, hop->source_mac);
    return WEIR_FORWARDED;
}
