// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* ICMP errors of our own, around the packet they are about.
 *
 *   prepend weir_icmp_answer_bytes, cut the frame to weir_icmp_frame_bytes, weir_write_icmp_error
 */
#pragma once

#include "dataplane/forwarding/answer.h"

#define WEIR_ICMP_MOST_V4 576u  /* bytes of the whole IPv4 packet, RFC 1812 4.3.2.3 */
#define WEIR_ICMP_MOST_V6 1280u /* RFC 4443 2.4c: the least MTU */

/* Bytes that go before the quoted packet: an IP header and the ICMP header. */
WEIR_INLINE uint32_t weir_icmp_head_bytes(uint8_t family) {
    return weir_ip_bytes(family) + WEIR_ICMP_BYTES;
}

/* How much of a packet of `available` bytes is quoted. */
WEIR_INLINE uint32_t weir_icmp_quote_bytes(uint8_t family, uint32_t available) {
    uint32_t most =
        (family == 4 ? WEIR_ICMP_MOST_V4 : WEIR_ICMP_MOST_V6) - weir_icmp_head_bytes(family);
    return available < most ? available : most;
}

/* How many bytes the plane prepends. */
WEIR_INLINE uint32_t weir_icmp_answer_bytes(const struct weir_packet* packet) {
    return weir_icmp_head_bytes(packet->family);
}

/* How long the frame is with the answer in it. */
WEIR_INLINE uint32_t weir_icmp_frame_bytes(const struct weir_packet* packet) {
    return packet->l3_offset + weir_icmp_head_bytes(packet->family) +
           weir_icmp_quote_bytes(packet->family, packet->l3_length);
}

struct weir_icmp_message {
    struct weir_address source, destination;
    uint32_t word; /* host order: the MTU, or 0 */
    uint32_t quote_bytes;
    uint8_t family, type, code;
};

/* IP and ICMP header from l3_offset on; the quote stands behind them. False: not all there. */
WEIR_INLINE bool weir_write_icmp_message(uint8_t* data, const uint8_t* end, uint32_t l3_offset,
                                         const struct weir_icmp_message* message) {
    uint8_t protocol = message->family == 4 ? WEIR_IP_ICMP : WEIR_IP_ICMPV6;
    uint32_t bytes = WEIR_ICMP_BYTES + message->quote_bytes;
    uint32_t icmp_offset = l3_offset + weir_ip_bytes(message->family);
    uint8_t* at = weir_at_mutable(data, end, icmp_offset, WEIR_ICMP_BYTES);
    if (!at || !weir_write_answer_ip(data, end, l3_offset, &message->source, &message->destination,
                                     protocol, bytes))
        return false;
    at[0] = message->type;
    at[1] = message->code;
    weir_store16(at + 2, 0);
    weir_store32(at + 4, weir_swap32(message->word));
    uint64_t sum = weir_load32(at) + (uint64_t)weir_load32(at + 4) +
                   weir_sum_bytes(data, end, icmp_offset + WEIR_ICMP_BYTES, message->quote_bytes);
    if (message->family != 4) /* ICMPv6 covers a pseudo header, ICMP does not */
        sum += weir_sum_pseudo_header(&message->source, &message->destination, protocol, bytes);
    weir_store16(at + 2, (uint16_t)~weir_checksum_fold(sum));
    return true;
}

/* The verdict of a packet that would have been answered so, were it one to answer. */
WEIR_INLINE enum weir_verdict weir_unanswered(uint8_t family, uint8_t type, uint8_t code) {
    if (type == (family == 4 ? WEIR_ICMP_TIME_EXCEEDED : WEIR_ICMP6_TIME_EXCEEDED))
        return WEIR_DROP_TTL_EXPIRED;
    bool too_big =
        family == 4 ? type == WEIR_ICMP_UNREACHABLE && code == WEIR_ICMP_CODE_FRAGMENTATION_NEEDED
                    : type == WEIR_ICMP6_TOO_BIG;
    return too_big ? WEIR_DROP_TOO_BIG : WEIR_DROP_NO_BACKEND;
}

/* `data`..`end`: the frame with weir_icmp_answer_bytes prepended and cut to weir_icmp_frame_bytes;
 * `packet`: still as it was parsed. `source`: who speaks, the VIP. `mtu` is that of fragmentation
 * needed or packet too big, 0 for all else. The frame is then ready to go. */
WEIR_INLINE enum weir_verdict weir_write_icmp_error(uint8_t* data, const uint8_t* end,
                                                    const struct weir_packet* packet,
                                                    const struct weir_address* source, uint8_t type,
                                                    uint8_t code, uint32_t mtu) {
    struct weir_link_bytes link; /* where the old one stands the new IP header goes */
    if (!weir_may_answer(packet) ||
        !weir_take_link(data, end, weir_icmp_head_bytes(packet->family), &link) ||
        !weir_at(data, end, weir_icmp_frame_bytes(packet) - 1, 1))
        return weir_unanswered(packet->family, type, code);
    struct weir_icmp_message message;
    message.source = *source;
    message.destination = weir_packet_source(packet);
    message.word = packet->family == 4 && mtu > 0xffff ? 0xffff : mtu;
    message.quote_bytes = weir_icmp_quote_bytes(packet->family, packet->l3_length);
    message.family = packet->family;
    message.type = type;
    message.code = code;
    if (!weir_return_link(data, end, &link, packet->vlan_tci != WEIR_NO_VLAN) ||
        !weir_write_icmp_message(data, end, packet->l3_offset, &message))
        return WEIR_DROP_TRUNCATED;
    return WEIR_UNDECIDED;
}
