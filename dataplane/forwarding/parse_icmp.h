// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* ICMP and ICMPv6 messages: their type, and the packet that an error quotes (RFC 792, RFC 4443). */
#pragma once

#include "dataplane/forwarding/packet.h"

/* Errors that quote a packet: destination unreachable, time exceeded, parameter problem (RFC 792),
 * and the four of RFC 4443. Source quench is deprecated (RFC 6633), redirects are not errors. */
WEIR_INLINE bool weir_icmp_quotes(const struct weir_packet* packet) {
    if (packet->family == 4)
        return packet->icmp_type == 3 || packet->icmp_type == 11 || packet->icmp_type == 12;
    return packet->icmp_type >= 1 && packet->icmp_type <= 4;
}

/* Routers' own minimum is 68 (RFC 791), but nothing in use is below 576, and an attacker gains from
 * less. IPv6 links have 1280 (RFC 8200 section 5). */
#define WEIR_LEAST_MTU_V4 576u
#define WEIR_LEAST_MTU_V6 1280u

/* The error tells of an MTU (fragmentation needed, packet too big) that no link has. `header`: the
 * 8 bytes of the ICMP header. */
WEIR_INLINE bool weir_icmp_mtu_implausible(const struct weir_packet* packet,
                                           const uint8_t* header) {
    if (packet->family == 4)
        return packet->icmp_type == 3 && header[1] == 4 &&
               weir_swap16(weir_load16(header + 6)) < WEIR_LEAST_MTU_V4;
    return packet->icmp_type == 2 && weir_swap32(weir_load32(header + 4)) < WEIR_LEAST_MTU_V6;
}

/* The quoted packet becomes the flow, turned round. Quoted are an IP header and at least 8 bytes of
 * what follows (RFC 792), within the error's own IP packet: what the link pads behind it is
 * nobody's port. Checksums are not looked at, the quote may be cut anywhere behind that. What
 * quotes no TCP or UDP packet stays as it is, the kernel's business. */
WEIR_INLINE void weir_take_quoted_ports(const uint8_t* data, const uint8_t* end, uint8_t protocol,
                                        struct weir_packet* packet) {
    const uint8_t* ports = weir_at(data, end, packet->quoted_l4_offset, 8);
    uint32_t past = (uint32_t)packet->l3_offset + packet->l3_length;
    if (!ports || packet->quoted_l4_offset + 8u > past ||
        (protocol != WEIR_IP_TCP && protocol != WEIR_IP_UDP))
        return;
    packet->flags |= WEIR_PACKET_ICMP_ERROR;
    packet->protocol = protocol;
    packet->source_port = weir_load16(ports + 2);
    packet->destination_port = weir_load16(ports);
    packet->flags |= WEIR_PACKET_PORTS;
}

WEIR_INLINE void weir_parse_quoted_v4(const uint8_t* data, const uint8_t* end,
                                      struct weir_packet* packet) {
    const uint8_t* quoted = weir_at(data, end, packet->quoted_offset, WEIR_V4_BYTES);
    if (!quoted || quoted[0] >> 4 != 4 || (quoted[0] & 0x0fu) < 5 ||
        (weir_load16(quoted + 6) & weir_swap16(0x1fff)) != 0)
        return;
    packet->quoted_l4_offset = (uint16_t)(packet->quoted_offset + (quoted[0] & 0x0fu) * 4);
    weir_be32 source = weir_load32(quoted + 12);
    weir_be32 destination = weir_load32(quoted + 16);
    weir_be32 receiver = (weir_be32)(packet->flow.word[0] >> 32);
    weir_take_quoted_ports(data, end, quoted[9], packet);
    if (!(packet->flags & WEIR_PACKET_ICMP_ERROR))
        return;
    if (receiver != source) /* an error goes to whoever sent the packet it quotes */
        weir_note_defect(packet, WEIR_DROP_ICMP_IMPLAUSIBLE);
    weir_flow_set_v4(&packet->flow, destination, source, packet->source_port,
                     packet->destination_port, packet->protocol);
}

WEIR_INLINE void weir_parse_quoted_v6(const uint8_t* data, const uint8_t* end,
                                      struct weir_packet* packet) {
    const uint8_t* quoted = weir_at(data, end, packet->quoted_offset, WEIR_V6_BYTES);
    if (!quoted || quoted[0] >> 4 != 6)
        return;
    packet->quoted_l4_offset = (uint16_t)(packet->quoted_offset + WEIR_V6_BYTES);
    struct weir_address source = {{weir_load64(quoted + 8), weir_load64(quoted + 16)}};
    struct weir_address destination = {{weir_load64(quoted + 24), weir_load64(quoted + 32)}};
    struct weir_address receiver = weir_packet_destination(packet);
    weir_take_quoted_ports(data, end, quoted[6], packet);
    if (!(packet->flags & WEIR_PACKET_ICMP_ERROR))
        return;
    if (!weir_address_equal(&receiver, &source))
        weir_note_defect(packet, WEIR_DROP_ICMP_IMPLAUSIBLE);
    weir_flow_set_v6(&packet->flow, &destination, &source, packet->source_port,
                     packet->destination_port, packet->protocol);
}

WEIR_INLINE enum weir_verdict weir_parse_icmp(const uint8_t* data, const uint8_t* end,
                                              uint32_t room, struct weir_packet* packet) {
    const uint8_t* header = weir_at(data, end, packet->l4_offset, 8);
    if (!header || room < 8)
        return WEIR_DROP_TRUNCATED;
    packet->icmp_type = header[0];
    if ((packet->flags & WEIR_PACKET_FRAGMENT) || !weir_icmp_quotes(packet))
        return WEIR_UNDECIDED;
    if (weir_icmp_mtu_implausible(packet, header))
        weir_note_defect(packet, WEIR_DROP_ICMP_IMPLAUSIBLE);
    packet->quoted_offset = (uint16_t)(packet->l4_offset + 8);
    if (packet->family == 4)
        weir_parse_quoted_v4(data, end, packet);
    else
        weir_parse_quoted_v6(data, end, packet);
    return WEIR_UNDECIDED;
}
