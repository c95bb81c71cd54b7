// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* ICMP errors from the path between us and a backend about packets that we encapsulated. The error
 * comes to our tunnel source and quotes our outer header; who has to know is the client, and only
 * of what its own packet was too big for (RFC 2003 section 5.2, RFC 2473 section 8).
 *
 *   weir_parse               knows an ICMP error that quotes no TCP or UDP, or UDP to our GUE port
 *   weir_parse_tunnel_error  finds the client's packet behind the quoted outer header
 *   weir_relayed_mtu         what the client must be told; 0: nothing to tell
 *   cut weir_relayed_head_cut bytes from the head, and the frame to weir_relayed_frame_bytes
 *   weir_write_relayed_too_big, then weir_head_change and weir_write_ethernet as for any packet
 */
#pragma once

#include "dataplane/forwarding/encap.h"
#include "dataplane/forwarding/icmp_answer.h"
#include "dataplane/forwarding/parse.h"

/* The quoted outer header's length, or 0; `protocol` is what it carries. The quoted packet must
 * come from the address that the error was sent to: `mismatch` when it does not. */
WEIR_INLINE uint32_t weir_quoted_outer_bytes(const uint8_t* data, const uint8_t* end,
                                             const struct weir_packet* packet, uint8_t* protocol,
                                             bool* mismatch) {
    uint32_t offset = packet->l4_offset + WEIR_ICMP_BYTES;
    if (packet->family == 4) {
        const uint8_t* ip = weir_at(data, end, packet->l3_offset, WEIR_V4_BYTES);
        const uint8_t* quoted = weir_at(data, end, offset, WEIR_V4_BYTES);
        if (!ip || !quoted || quoted[0] >> 4 != 4 || (quoted[0] & 0x0fu) < 5 ||
            (weir_load16(quoted + 6) & weir_swap16(0x1fff)) != 0)
            return 0;
        *protocol = quoted[9];
        *mismatch = weir_load32(quoted + 12) != weir_load32(ip + 16);
        return (quoted[0] & 0x0fu) * 4;
    }
    const uint8_t* ip = weir_at(data, end, packet->l3_offset, WEIR_V6_BYTES);
    const uint8_t* quoted = weir_at(data, end, offset, WEIR_V6_BYTES);
    if (!ip || !quoted || quoted[0] >> 4 != 6)
        return 0;
    *protocol = quoted[6];
    *mismatch = weir_load64(quoted + 8) != weir_load64(ip + 24) ||
                weir_load64(quoted + 16) != weir_load64(ip + 32);
    return WEIR_V6_BYTES;
}

/* UDP to `gue_port` with the header that weir_write_outer writes: the protocol in it, or 0. */
WEIR_INLINE uint8_t weir_quoted_gue_protocol(const uint8_t* data, const uint8_t* end,
                                             uint32_t offset, weir_be16 gue_port) {
    const uint8_t* udp = weir_at(data, end, offset, WEIR_UDP_BYTES + WEIR_GUE_BYTES);
    if (!udp || weir_load16(udp + 2) != gue_port || udp[8] != 0 || weir_load16(udp + 10) != 0)
        return 0;
    return udp[9];
}

/* The client's packet at `offset` becomes the packet's flow, as the client sent it. A later
 * fragment has no ports and belongs to no flow that could be found by it. */
WEIR_INLINE bool weir_take_inner(const uint8_t* data, const uint8_t* end, uint32_t offset, bool v4,
                                 struct weir_packet* packet) {
    const uint8_t* ip = weir_at(data, end, offset, WEIR_V4_BYTES);
    if (!ip || ip[0] >> 4 != (v4 ? 4 : 6))
        return false;
    uint32_t header_bytes = v4 ? (ip[0] & 0x0fu) * 4u : WEIR_V6_BYTES;
    if (header_bytes < WEIR_V4_BYTES || (v4 && (weir_load16(ip + 6) & weir_swap16(0x1fff)) != 0))
        return false;
    uint8_t protocol = v4 ? ip[9] : ip[6];
    uint32_t past = (uint32_t)packet->l3_offset + packet->l3_length;
    const uint8_t* ports = weir_at(data, end, offset + header_bytes, 8);
    if (!ports || offset + header_bytes + 8 > past ||
        (protocol != WEIR_IP_TCP && protocol != WEIR_IP_UDP))
        return false;
    packet->source_port = weir_load16(ports);
    packet->destination_port = weir_load16(ports + 2);
    packet->protocol = protocol;
    packet->quoted_offset = (uint16_t)offset;
    packet->quoted_l4_offset = (uint16_t)(offset + header_bytes);
    if (v4) {
        packet->family = 4;
        weir_flow_set_v4(&packet->flow, weir_load32(ip + 12), weir_load32(ip + 16),
                         packet->source_port, packet->destination_port, protocol);
        return true;
    }
    const uint8_t* header = weir_at(data, end, offset, WEIR_V6_BYTES);
    if (!header)
        return false;
    packet->family = 6;
    struct weir_address source = {{weir_load64(header + 8), weir_load64(header + 16)}};
    struct weir_address destination = {{weir_load64(header + 24), weir_load64(header + 32)}};
    weir_flow_set_v6(&packet->flow, &source, &destination, packet->source_port,
                     packet->destination_port, protocol);
    return true;
}

/* For a packet that weir_parse took for an ICMP error: true when it is about a packet that we, or
 * somebody who could name our tunnel source, encapsulated. Then `packet` has the flag
 * WEIR_PACKET_TUNNEL_ERROR; flow, ports, protocol and `family` are the client's packet's,
 * `ethertype` stays the error's, quoted_offset and quoted_l4_offset point into the client's packet,
 * l4_offset at the ICMP header. False: the packet is as it was; the quote may be too short to tell.
 */
WEIR_INLINE bool weir_parse_tunnel_error(const uint8_t* data, const uint8_t* end,
                                         struct weir_packet* packet, weir_be16 gue_port) {
    if (packet->quoted_offset == 0) /* nothing that quotes */
        return false;
    uint8_t protocol = 0;
    bool mismatch = false;
    uint32_t outer_bytes = weir_quoted_outer_bytes(data, end, packet, &protocol, &mismatch);
    if (outer_bytes == 0)
        return false;
    uint32_t offset = packet->l4_offset + WEIR_ICMP_BYTES + outer_bytes;
    if (protocol == WEIR_IP_UDP) {
        protocol = weir_quoted_gue_protocol(data, end, offset, gue_port);
        offset += WEIR_UDP_BYTES + WEIR_GUE_BYTES;
    }
    if (protocol != WEIR_IP_IPIP && protocol != WEIR_IP_IPV6)
        return false;
    if (!weir_take_inner(data, end, offset, protocol == WEIR_IP_IPIP, packet))
        return false;
    packet->flags &= (uint8_t)~WEIR_PACKET_ICMP_ERROR;
    packet->flags |= WEIR_PACKET_TUNNEL_ERROR | WEIR_PACKET_PORTS;
    if (mismatch)
        weir_note_defect(packet, WEIR_DROP_ICMP_IMPLAUSIBLE);
    return true;
}

/* The MTU to tell the client: the reported one less our headers, which are what stands in the quote
 * before the client's packet. IPv6 hosts need not go below 1280 (RFC 8200 section 5). 0: the error
 * is not about size. */
WEIR_INLINE uint32_t weir_relayed_mtu(const uint8_t* data, const uint8_t* end,
                                      const struct weir_packet* packet) {
    const uint8_t* icmp = weir_at(data, end, packet->l4_offset, WEIR_ICMP_BYTES);
    if (!icmp)
        return 0;
    uint32_t reported;
    if (packet->ethertype == WEIR_ETHERTYPE_V4) {
        if (icmp[0] != WEIR_ICMP_UNREACHABLE || icmp[1] != WEIR_ICMP_CODE_FRAGMENTATION_NEEDED)
            return 0;
        reported = weir_swap16(weir_load16(icmp + 6));
    } else {
        if (icmp[0] != WEIR_ICMP6_TOO_BIG)
            return 0;
        reported = weir_swap32(weir_load32(icmp + 4));
    }
    uint32_t least = packet->family == 4 ? 68u : WEIR_LEAST_MTU_V6; /* RFC 791 */
    uint32_t overhead = packet->quoted_offset - (packet->l4_offset + WEIR_ICMP_BYTES);
    return reported > overhead + least ? reported - overhead : least;
}

/* Bytes between the link header and the client's packet that the answer's headers do not need. At
 * least an IPv4, an ICMP and an IPv4 header stand there (48 bytes), at most 48 are needed. */
WEIR_INLINE uint32_t weir_relayed_head_cut(const struct weir_packet* packet) {
    return packet->quoted_offset - (packet->l3_offset + weir_icmp_head_bytes(packet->family));
}

WEIR_INLINE uint32_t weir_relayed_quote_bytes(const struct weir_packet* packet) {
    return weir_icmp_quote_bytes(packet->family, (uint32_t)packet->l3_offset + packet->l3_length -
                                                     packet->quoted_offset);
}

/* How long the frame is then. */
WEIR_INLINE uint32_t weir_relayed_frame_bytes(const struct weir_packet* packet) {
    return packet->l3_offset + weir_icmp_head_bytes(packet->family) +
           weir_relayed_quote_bytes(packet);
}

/* Packet too big or fragmentation needed from the VIP to the client, around the client's own
 * packet. `data`..`end`: head and length already cut; `packet` as weir_parse_tunnel_error left it.
 * On success `packet` tells of the new one; the link header is still to be written. */
WEIR_INLINE enum weir_verdict weir_write_relayed_too_big(uint8_t* data, const uint8_t* end,
                                                         struct weir_packet* packet, uint32_t mtu) {
    bool v4 = packet->family == 4;
    struct weir_icmp_message message;
    message.source = weir_packet_destination(packet);
    message.destination = weir_packet_source(packet);
    if (!weir_address_is_one_host(&message.source, packet->family) ||
        !weir_address_is_one_host(&message.destination, packet->family))
        return WEIR_DROP_ICMP_IMPLAUSIBLE;
    message.word = v4 && mtu > 0xffff ? 0xffff : mtu;
    message.quote_bytes = weir_relayed_quote_bytes(packet);
    message.family = packet->family;
    message.type = v4 ? WEIR_ICMP_UNREACHABLE : WEIR_ICMP6_TOO_BIG;
    message.code = v4 ? WEIR_ICMP_CODE_FRAGMENTATION_NEEDED : 0;
    if (!weir_at(data, end, weir_relayed_frame_bytes(packet) - 1, 1) ||
        !weir_write_icmp_message(data, end, packet->l3_offset, &message))
        return WEIR_DROP_TRUNCATED;
    uint32_t head = weir_icmp_head_bytes(packet->family);
    packet->ethertype = v4 ? WEIR_ETHERTYPE_V4 : WEIR_ETHERTYPE_V6;
    packet->quoted_l4_offset = (uint16_t)(packet->quoted_l4_offset - weir_relayed_head_cut(packet));
    packet->quoted_offset = (uint16_t)(packet->l3_offset + head);
    packet->l4_offset = (uint16_t)(packet->l3_offset + weir_ip_bytes(packet->family));
    packet->l3_length = (uint16_t)(head + message.quote_bytes);
    packet->icmp_type = message.type;
    packet->ttl = WEIR_OWN_TTL;
    return WEIR_UNDECIDED;
}
