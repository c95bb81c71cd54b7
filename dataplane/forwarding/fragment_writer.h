// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* An IPv4 packet that is too long for its way, cut into fragments (RFC 791 section 2.3). IPv6 is
 * cut by its sender alone, and so is IPv4 with DF: whether to cut is the plane's question.
 *
 * The plane makes each piece of three copies: the link header, the whole IP header, its part of the
 * payload; then weir_write_v4_fragment makes the header right. The packet may be a fragment itself:
 * offsets add up, and its last piece is the datagram's last only if it was.
 */
#pragma once

#include "dataplane/forwarding/checksum.h"
#include "dataplane/forwarding/ip_header.h"

struct weir_fragments {
    uint32_t count;         /* 1: it fits; 0: the MTU has no room for 8 bytes of payload */
    uint32_t header_bytes;  /* of the IP header, options included: the same in all pieces */
    uint32_t piece_bytes;   /* of payload in all pieces but the last; a multiple of 8 */
    uint32_t payload_bytes; /* in all */
};

WEIR_INLINE struct weir_fragments weir_fragment_plan(const struct weir_packet* packet,
                                                     uint32_t mtu) {
    struct weir_fragments plan;
    plan.header_bytes = (uint32_t)packet->l4_offset - packet->l3_offset;
    plan.payload_bytes = packet->l3_length - plan.header_bytes;
    plan.piece_bytes = plan.payload_bytes;
    plan.count = 1;
    if (packet->l3_length <= mtu)
        return plan;
    plan.piece_bytes = mtu > plan.header_bytes ? (mtu - plan.header_bytes) & ~7u : 0;
    plan.count = 0;
    if (plan.piece_bytes != 0)
        plan.count = (plan.payload_bytes + plan.piece_bytes - 1) / plan.piece_bytes;
    return plan;
}

/* Where piece `index` begins, in bytes of the payload. */
WEIR_INLINE uint32_t weir_fragment_piece_at(const struct weir_fragments* plan, uint32_t index) {
    return index * plan->piece_bytes;
}

/* How many bytes of the payload it carries. */
WEIR_INLINE uint32_t weir_fragment_piece_bytes(const struct weir_fragments* plan, uint32_t index) {
    uint32_t left = plan->payload_bytes - weir_fragment_piece_at(plan, index);
    return left < plan->piece_bytes ? left : plan->piece_bytes;
}

/* Options without the copied flag stand in the first piece only (RFC 791 section 3.1). In the
 * others they become no-operations instead of being taken out, so that all headers are of one
 * length. */
WEIR_INLINE void weir_blank_v4_options(uint8_t* data, const uint8_t* end, uint32_t offset,
                                       uint32_t bytes) {
    uint32_t left = 0; /* of the option that `i` is in */
    bool blank = false;
    for (uint32_t i = 0; i < 40; i++) {
        if (i >= bytes)
            return;
        uint8_t* at = weir_at_mutable(data, end, offset + i, 1);
        if (!at)
            return;
        if (left == 0) {
            uint8_t type = at[0];
            if (type == 0) /* end of options */
                return;
            if (type == 1) /* no operation */
                continue;
            const uint8_t* length = weir_at(data, end, offset + i + 1, 1);
            if (!length || i + 1 >= bytes || length[0] < 2 || i + length[0] > bytes)
                return;
            left = length[0];
            blank = !(type & 0x80);
        }
        if (blank)
            at[0] = 1;
        left--;
    }
}

WEIR_INLINE uint64_t weir_sum_v4_header(const uint8_t* data, const uint8_t* end, uint32_t offset,
                                        uint32_t bytes) {
    uint64_t sum = 0;
    for (uint32_t i = 0; i < 60; i += 4) {
        if (i >= bytes)
            break;
        const uint8_t* at = weir_at(data, end, offset + i, 4);
        if (!at)
            break;
        sum += weir_load32(at);
    }
    return sum;
}

/* `data`..`end`: the piece, its IP header still as the packet's. `packet` tells of the packet that
 * is cut. */
WEIR_INLINE enum weir_verdict weir_write_v4_fragment(uint8_t* data, const uint8_t* end,
                                                     const struct weir_packet* packet,
                                                     const struct weir_fragments* plan,
                                                     uint32_t index) {
    uint8_t* header = weir_at_mutable(data, end, packet->l3_offset, WEIR_V4_BYTES);
    if (!header || !weir_at(data, end, packet->l3_offset + plan->header_bytes - 1, 1))
        return WEIR_DROP_TRUNCATED;
    bool more = index + 1 < plan->count || (packet->flags & WEIR_PACKET_MORE_FRAGMENTS);
    uint32_t at = packet->fragment_offset + weir_fragment_piece_at(plan, index);
    uint32_t total = plan->header_bytes + weir_fragment_piece_bytes(plan, index);
    if (index != 0)
        weir_blank_v4_options(data, end, packet->l3_offset + WEIR_V4_BYTES,
                              plan->header_bytes - WEIR_V4_BYTES);
    weir_store16(header + 2, weir_swap16((uint16_t)total));
    weir_store16(header + 6,
                 weir_swap16((uint16_t)((at >> 3) | (more ? WEIR_V4_FLAG_MORE_FRAGMENTS : 0))));
    weir_store16(header + 10, 0);
    uint64_t sum = weir_sum_v4_header(data, end, packet->l3_offset, plan->header_bytes);
    weir_store16(header + 10, (uint16_t)~weir_checksum_fold(sum));
    return WEIR_UNDECIDED;
}
