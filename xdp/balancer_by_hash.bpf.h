// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The short way of packets that nothing but their hash decides: plain ones over IPv4 to a VIP of
 * dsr-l2 that records exceptions only, in whose pool no slot has changed of late. They leave as the
 * stages would have them leave, but in one go and without anything being kept of them. What it does
 * not take stays unchanged for the stages. */
#pragma once

#include "dataplane/forwarding/parse_plain.h"
#include "xdp/balancer_connections.bpf.h"

/* The row of the VIP that the packet is for, or WEIR_NO_ROW. */
WEIR_INLINE uint32_t weir_vip_of_endpoint(uint32_t half, const struct weir_packet* packet) {
    struct weir_match_view table;
    if (!weir_match_block_view(half, &table))
        return WEIR_NO_ROW;
    struct weir_address destination = weir_packet_destination(packet);
    struct weir_match match =
        weir_match_endpoint(&table, &destination, packet->protocol, packet->destination_port);
    return match.kind == WEIR_MATCH_VIP ? match.index : WEIR_NO_ROW;
}

/* The row of its backend, or WEIR_NO_ROW where more than the hash has a say. */
WEIR_INLINE uint32_t weir_backend_by_hash(uint32_t half, const struct weir_packet* packet,
                                          const struct weir_vip_row* vip) {
    const struct weir_balancer_head* head = weir_head(half);
    const struct weir_pool_row* pool = weir_pool(half, vip->pool);
    if (!head || !pool || vip->forward != WEIR_FORWARD_DSR_L2 || !weir_is_settled(vip, pool) ||
        !weir_has_slots_of_flows(pool) || !weir_says_nothing(packet, vip))
        return WEIR_NO_ROW;
    uint64_t hash = weir_siphash13(&head->hash_key, packet->flow.word, WEIR_FLOW_WORDS_V4);
    if (weir_may_be_recorded(hash))
        return WEIR_NO_ROW;
    return weir_backend_of_slot(half, pool, weir_maglev_slot(hash, pool->slot_count));
}

/* WEIR_FORWARDED, or WEIR_UNDECIDED. */
WEIR_STAGE weir_stage_by_hash(struct xdp_md* context, struct weir_work* work) {
    uint8_t* data = WEIR_DATA(context);
    const uint8_t* end = WEIR_END(context);
    struct weir_packet packet;
    if (!work || data + WEIR_PLAIN_LEAST_BYTES > end ||
        !weir_parse_plain_v4(data, work->frame_bytes, &packet))
        return WEIR_UNDECIDED;
    const uint32_t vip_row = weir_vip_of_endpoint(work->half, &packet);
    const struct weir_vip_row* vip = weir_vip(work->half, vip_row);
    const uint32_t backend_row = vip ? weir_backend_by_hash(work->half, &packet, vip) : WEIR_NO_ROW;
    const struct weir_backend_row* backend = weir_backend(work->half, backend_row);
    const struct weir_next_hop_row* hop =
        backend ? weir_next_hop(work->half, backend->next_hop) : NULL;
    if (!hop || !weir_hop_takes(hop, packet.l3_length))
        return WEIR_UNDECIDED;
    work->vip = vip_row;
    work->backend = backend_row;
    work->out_interface = hop->interface;
    weir_write_macs(data, hop->destination_mac, hop->source_mac);
    return WEIR_FORWARDED;
}
