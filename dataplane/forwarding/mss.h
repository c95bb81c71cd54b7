// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The MSS of SYNs that go through a tunnel, lowered to what fits: both ends then send segments that
 * need no fragmentation, whatever becomes of ICMP on the way. */
#pragma once

#include "dataplane/forwarding/checksum.h"
#include "dataplane/forwarding/packet.h"

#define WEIR_TCP_BYTES 20u
#define WEIR_TCP_OPTION_END 0u
#define WEIR_TCP_OPTION_NOP 1u
#define WEIR_TCP_OPTION_MSS 2u

/* What an IP packet of `inner_mtu` leaves for TCP data without options (RFC 6691); 0: nothing. */
WEIR_INLINE uint32_t weir_mss_limit(uint32_t inner_mtu, uint8_t family) {
    uint32_t headers = (family == 4 ? WEIR_V4_BYTES : WEIR_V6_BYTES) + WEIR_TCP_BYTES;
    return inner_mtu > headers ? inner_mtu - headers : 0;
}

/* Where the MSS option stands, in bytes from the TCP header; 0: there is none, or the options do
 * not parse. Of several the last counts, as for the receiver. */
WEIR_INLINE uint32_t weir_find_mss(const uint8_t* data, const uint8_t* end, uint32_t l4_offset) {
    const uint8_t* header = weir_at(data, end, l4_offset, WEIR_TCP_BYTES);
    if (!header)
        return 0;
    uint32_t bytes = (uint32_t)(weir_load8_fresh(header + 12) >> 4) * 4;
    /* 0, but not to the BPF verifier: with it added it no longer knows where in the options the
     * loop is, and follows one round instead of every way to divide 40 bytes. */
    uint32_t nothing = (uint32_t)weir_load8_fresh(header + 12) - weir_load8_fresh(header + 12);
    uint32_t at = WEIR_TCP_BYTES;
    uint32_t found = 0;
    for (int i = 0; i < 40; i++) {
        at = (at + nothing) & 63;
        found = (found + nothing) & 63;
        if (at >= bytes)
            return found;
        const uint8_t* option = weir_at(data, end, l4_offset + (at & 63), 1);
        if (!option)
            return 0;
        uint8_t kind = option[0];
        if (kind == WEIR_TCP_OPTION_END)
            return found;
        if (kind == WEIR_TCP_OPTION_NOP) {
            at = (at + 1) & 63;
            continue;
        }
        const uint8_t* length = weir_at(data, end, l4_offset + ((at + 1) & 63), 1);
        if (!length || at + 1 >= bytes || length[0] < 2 || at + length[0] > bytes)
            return 0;
        if (kind == WEIR_TCP_OPTION_MSS) {
            if (length[0] != 4)
                return 0;
            found = at;
        }
        if (at + length[0] >= bytes)
            return found;
        at += length[0];
    }
    return found;
}

/* For the packet as parsed, before it is encapsulated. Lowers, never raises, never adds the option;
 * options that do not parse leave the packet alone. The checksum moves along, so a wrong one stays
 * wrong. True: it was lowered. */
WEIR_INLINE bool weir_clamp_mss(uint8_t* data, const uint8_t* end, const struct weir_packet* packet,
                                uint32_t limit) {
    if (packet->protocol != WEIR_IP_TCP || !(packet->tcp_flags & WEIR_TCP_SYN) || limit == 0 ||
        (packet->flags & (WEIR_PACKET_ICMP_ERROR | WEIR_PACKET_LATER_FRAGMENT)))
        return false;
    uint32_t at = weir_find_mss(data, end, packet->l4_offset);
    if (at == 0)
        return false;
    uint8_t* header = weir_at_mutable(data, end, packet->l4_offset, WEIR_TCP_BYTES);
    uint8_t* value = weir_at_mutable(data, end, packet->l4_offset + (at & 63) + 2, 2);
    if (!header || !value)
        return false;
    uint16_t from = weir_load16(value);
    if (weir_swap16(from) <= limit)
        return false;
    uint16_t to = weir_swap16((uint16_t)limit);
    /* An option may stand at an odd offset; its bytes then count in each other's place (RFC 1071
     * section 2B). */
    uint64_t delta = (at & 1) ? weir_checksum_delta16(weir_swap16(from), (uint16_t)limit)
                              : weir_checksum_delta16(from, to);
    weir_store16(value, to);
    weir_store16(header + 16, weir_checksum_apply(weir_load16(header + 16), delta));
    return true;
}
