// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The parser's short way for what most frames are: untagged, IPv4 without options or IPv6 without
 * extension headers, no fragment, TCP or UDP, nothing wrong with it. Each function either gives
 * exactly what weir_parse() gives, or false, and weir_parse() has to be asked; parse_test.cpp and
 * the fuzzer hold the two against each other.
 */
#pragma once

#include "dataplane/forwarding/parse.h"

/* Everything that both families set alike. */
WEIR_INLINE void weir_plain_common(struct weir_packet* packet, uint8_t family, uint8_t protocol,
                                   uint8_t ttl, uint32_t l3_length, const uint8_t* l4) {
    packet->source_port = weir_load16(l4);
    packet->destination_port = weir_load16(l4 + 2);
    packet->l3_offset = WEIR_ETHERNET_BYTES;
    packet->l4_offset =
        (uint16_t)(WEIR_ETHERNET_BYTES + (family == 4 ? WEIR_V4_BYTES : WEIR_V6_BYTES));
    packet->l3_length = (uint16_t)l3_length;
    packet->fragment_offset = 0;
    packet->quoted_offset = 0;
    packet->quoted_l4_offset = 0;
    packet->ethertype = (uint16_t)(family == 4 ? WEIR_ETHERTYPE_V4 : WEIR_ETHERTYPE_V6);
    packet->vlan_tci = WEIR_NO_VLAN;
    packet->family = family;
    packet->protocol = protocol;
    packet->ttl = ttl;
    packet->tcp_flags = protocol == WEIR_IP_TCP ? l4[13] & 0x3f : 0;
    packet->icmp_type = 0;
    packet->defect = WEIR_UNDECIDED;
}

/* A TCP or UDP header that is whole and possible. `room`: bytes that the IP length leaves for it,
 * all of them there. */
WEIR_INLINE bool weir_plain_l4(uint8_t protocol, const uint8_t* l4, uint32_t room) {
    if (protocol == WEIR_IP_TCP) {
        if (room < 20)
            return false;
        uint32_t header_bytes = (l4[12] >> 4) * 4u;
        return header_bytes >= 20 && header_bytes <= room && !weir_tcp_flags_impossible(l4[13]);
    }
    if (protocol != WEIR_IP_UDP || room < 8)
        return false;
    uint32_t length = weir_swap16(weir_load16(l4 + 4));
    return length >= 8 && length <= room;
}

#define WEIR_PLAIN_LEAST_BYTES (WEIR_ETHERNET_BYTES + WEIR_V6_BYTES)

/* Untagged IPv4 without options, and no fragment. */
WEIR_INLINE bool weir_is_plain_v4(const uint8_t* frame) {
    const uint8_t* header = frame + WEIR_ETHERNET_BYTES;
    return weir_load16(frame + 12) == weir_swap16(WEIR_ETHERTYPE_V4) && header[0] == 0x45 &&
           (weir_load16(header + 6) & weir_swap16(0x3fff)) == 0;
}

/* Nothing is wrong with it, given that. `frame_bytes`: at least WEIR_PLAIN_LEAST_BYTES. */
WEIR_INLINE bool weir_plain_v4_is_sound(const uint8_t* frame, uint32_t frame_bytes) {
    const uint8_t* header = frame + WEIR_ETHERNET_BYTES;
    uint32_t total = weir_swap16(weir_load16(header + 2));
    weir_be32 source = weir_load32(header + 12);
    weir_be32 destination = weir_load32(header + 16);
    uint64_t sum = (uint64_t)weir_load32(header) + weir_load32(header + 4) +
                   weir_load32(header + 8) + source + destination;
    const uint8_t* l4 = header + WEIR_V4_BYTES;
    return total >= WEIR_V4_BYTES && WEIR_ETHERNET_BYTES + total <= frame_bytes && header[8] != 0 &&
           weir_checksum_fold(sum) == 0xffff && !weir_v4_source_is_martian(source) &&
           weir_plain_l4(header[9], l4, total - WEIR_V4_BYTES) &&
           (source != destination || weir_load16(l4) != weir_load16(l4 + 2));
}

/* `packet` as weir_parse() fills it, of a frame that is both. */
WEIR_INLINE void weir_read_plain_v4(const uint8_t* frame, struct weir_packet* packet) {
    const uint8_t* header = frame + WEIR_ETHERNET_BYTES;
    const uint8_t* l4 = header + WEIR_V4_BYTES;
    uint16_t fragment = weir_load16(header + 6);
    weir_plain_common(packet, 4, header[9], header[8], weir_swap16(weir_load16(header + 2)), l4);
    packet->flags =
        (uint8_t)(WEIR_PACKET_PORTS |
                  ((fragment & weir_swap16(0x4000)) != 0 ? WEIR_PACKET_DONT_FRAGMENT : 0));
    packet->fragment_id = weir_load16(header + 4);
    weir_flow_read_v4(&packet->flow, header + 12, l4, packet->protocol);
}

/* REQUIRES: frame_bytes >= WEIR_PLAIN_LEAST_BYTES, which in BPF the caller has compared. */
WEIR_INLINE bool weir_parse_plain_v4(const uint8_t* frame, uint32_t frame_bytes,
                                     struct weir_packet* packet) {
    if (!weir_is_plain_v4(frame) || !weir_plain_v4_is_sound(frame, frame_bytes))
        return false;
    weir_read_plain_v4(frame, packet);
    return true;
}

/* Untagged and said to be IPv6. */
WEIR_INLINE bool weir_is_untagged_v6(const uint8_t* frame) {
    return weir_load16(frame + 12) == weir_swap16(WEIR_ETHERTYPE_V6);
}

/* Nothing is wrong with it, given that. `frame_bytes`: as above. */
WEIR_INLINE bool weir_plain_v6_is_sound(const uint8_t* frame, uint32_t frame_bytes) {
    const uint8_t* header = frame + WEIR_ETHERNET_BYTES;
    uint32_t payload = weir_swap16(weir_load16(header + 4));
    struct weir_address source = {{weir_load64(header + 8), weir_load64(header + 16)}};
    struct weir_address destination = {{weir_load64(header + 24), weir_load64(header + 32)}};
    if (header[0] >> 4 != 6 || WEIR_V6_BYTES + payload > 0xffff ||
        WEIR_ETHERNET_BYTES + WEIR_V6_BYTES + payload > frame_bytes || header[7] == 0 ||
        weir_v6_source_is_martian(&source))
        return false;
    const uint8_t* l4 = header + WEIR_V6_BYTES;
    return weir_plain_l4(header[6], l4, payload) &&
           (!weir_address_equal(&source, &destination) || weir_load16(l4) != weir_load16(l4 + 2));
}

/* `packet` as weir_parse() fills it, of a frame that is both. */
WEIR_INLINE void weir_read_plain_v6(const uint8_t* frame, struct weir_packet* packet) {
    const uint8_t* header = frame + WEIR_ETHERNET_BYTES;
    uint8_t protocol = header[6];
    struct weir_address source = {{weir_load64(header + 8), weir_load64(header + 16)}};
    struct weir_address destination = {{weir_load64(header + 24), weir_load64(header + 32)}};
    weir_plain_common(packet, 6, protocol, header[7],
                      WEIR_V6_BYTES + weir_swap16(weir_load16(header + 4)), header + WEIR_V6_BYTES);
    packet->flags = WEIR_PACKET_PORTS | WEIR_PACKET_DONT_FRAGMENT;
    packet->fragment_id = 0;
    weir_flow_set_v6(&packet->flow, &source, &destination, packet->source_port,
                     packet->destination_port, protocol);
}

/* REQUIRES: frame_bytes >= WEIR_PLAIN_LEAST_BYTES, which in BPF the caller has compared. */
WEIR_INLINE bool weir_parse_plain_v6(const uint8_t* frame, uint32_t frame_bytes,
                                     struct weir_packet* packet) {
    if (!weir_plain_v6_is_sound(frame, frame_bytes))
        return false;
    weir_read_plain_v6(frame, packet);
    return true;
}

/* True: `packet` is filled as weir_parse() fills it, which would say WEIR_UNDECIDED. False:
 * `packet` is not to be used. */
WEIR_INLINE bool weir_parse_plain(const uint8_t* data, const uint8_t* end,
                                  struct weir_packet* packet) {
    uint32_t frame_bytes = (uint32_t)(end - data);
    if (frame_bytes < WEIR_PLAIN_LEAST_BYTES)
        return false;
    uint16_t ethertype = weir_load16(data + 12);
    if (ethertype == weir_swap16(WEIR_ETHERTYPE_V4))
        return weir_parse_plain_v4(data, frame_bytes, packet);
    return ethertype == weir_swap16(WEIR_ETHERTYPE_V6) &&
           weir_parse_plain_v6(data, frame_bytes, packet);
}
