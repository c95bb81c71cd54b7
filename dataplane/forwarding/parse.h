// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Ethernet (one optional 802.1Q or 802.1ad tag), IPv4 with options (RFC 791), IPv6 with at most 4
 * extension headers (RFC 8200), TCP, UDP and ICMP types.
 *
 * weir_parse() returns a drop verdict only when the packet cannot be read as what it claims to be.
 * What makes a readable packet unfit for a VIP (source route, impossible TCP flags, an address no
 * client can have) goes into `defect`, because such a packet may still be the kernel's business.
 */
#pragma once

#include "dataplane/forwarding/checksum.h"
#include "dataplane/forwarding/parse_icmp.h"

/* More than 4 extension headers cost the BPF verifier too much: 4 take 17 thousand verified
 * instructions, 8 half a million. */
#define WEIR_MAX_EXTENSION_HEADERS 4

/* 1 or 0. Arithmetic, because the BPF verifier follows each branch to the end of the program: two
 * possible L3 offsets double everything that comes after. */
WEIR_INLINE uint32_t weir_equal16(uint16_t a, uint16_t b) {
    return (((uint32_t)a ^ b) - 1) >> 31;
}

WEIR_INLINE enum weir_verdict weir_parse_ethernet(const uint8_t* data, const uint8_t* end,
                                                  struct weir_packet* packet) {
    const uint8_t* header = weir_at(data, end, 0, WEIR_ETHERNET_BYTES);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    packet->vlan_tci = WEIR_NO_VLAN;
    packet->ethertype = weir_swap16(weir_load16(header + 12));
    uint32_t tagged = weir_equal16(packet->ethertype, WEIR_ETHERTYPE_VLAN) |
                      weir_equal16(packet->ethertype, WEIR_ETHERTYPE_SERVICE_VLAN);
    packet->l3_offset = (uint16_t)(WEIR_ETHERNET_BYTES + tagged * WEIR_VLAN_BYTES);
    if (packet->ethertype != WEIR_ETHERTYPE_VLAN &&
        packet->ethertype != WEIR_ETHERTYPE_SERVICE_VLAN)
        return WEIR_UNDECIDED;
    const uint8_t* tag = weir_at(data, end, packet->l3_offset - WEIR_VLAN_BYTES, WEIR_VLAN_BYTES);
    if (!tag)
        return WEIR_DROP_TRUNCATED;
    uint16_t tci = weir_swap16(weir_load16(tag));
    /* The one TCI that would read as no tag (its VLAN, 4095, is reserved) loses its DEI bit. */
    packet->vlan_tci = (uint16_t)(tci - (weir_equal16(tci, WEIR_NO_VLAN) << 12));
    packet->ethertype = weir_swap16(weir_load16(tag + 2));
    return WEIR_UNDECIDED;
}

/* Loose and strict source routes (RFC 791 types 131 and 137) let a sender pick the path. Gives the
 * defect, or WEIR_UNDECIDED. `header` is the IPv4 header that stands at data + header_offset. */
WEIR_INLINE enum weir_verdict weir_parse_v4_options(const uint8_t* data, const uint8_t* end,
                                                    const uint8_t* header, uint32_t header_offset) {
    uint32_t bytes = (weir_load8_fresh(header) & 0x0fu) * 4 - WEIR_V4_BYTES;
    uint32_t offset = header_offset + WEIR_V4_BYTES;
    uint32_t at = 0;
    for (int i = 0; i < 40; i++) {
        if (at >= bytes)
            return WEIR_UNDECIDED;
        const uint8_t* option = weir_at(data, end, offset + (at & 63), 1);
        if (!option)
            return WEIR_DROP_BAD_IP_OPTIONS;
        uint8_t type = option[0];
        if (type == 0) /* end of options */
            return WEIR_UNDECIDED;
        if (type == 131 || type == 137)
            return WEIR_DROP_SOURCE_ROUTED;
        if (type == 1) { /* no operation */
            at = (at + 1) & 63;
            continue;
        }
        const uint8_t* length = weir_at(data, end, offset + ((at + 1) & 63), 1);
        if (!length || at + 1 >= bytes || length[0] < 2 || at + length[0] > bytes)
            return WEIR_DROP_BAD_IP_OPTIONS;
        at = (at + length[0]) & 63;
    }
    return WEIR_UNDECIDED;
}

WEIR_INLINE bool weir_v4_checksum_holds(const uint8_t* data, const uint8_t* end,
                                        const uint8_t* header, uint32_t header_offset) {
    uint32_t left = (weir_load8_fresh(header) & 0x0fu) * 4 - WEIR_V4_BYTES;
    uint32_t past = header_offset + WEIR_V4_BYTES + left;
    WEIR_OPAQUE(past); /* a changing offset from `data` would be remembered with every exit */
    uint64_t sum = 0;
    for (int i = 0; i < 20; i += 4)
        sum += weir_load32(header + i);
    for (uint32_t i = 0; i < 40 && left != 0; i += 4, left -= 4) {
        const uint8_t* option = weir_at(data, end, past - left, 4);
        if (!option)
            return false;
        sum += weir_load32(option);
    }
    return weir_checksum_fold(sum) == 0xffff;
}

/* Without branches for the same reason as weir_equal16. Neither offset nor more: an atomic fragment
 * (RFC 6946), which is none. Both arguments fit 16 bits. */
WEIR_INLINE uint8_t weir_fragment_flags(uint32_t offset, uint32_t more) {
    uint32_t later = (offset + 0xffffu) >> 16; /* 1 when offset is not 0 */
    uint32_t any = ((offset | more) + 0xffffu) >> 16;
    uint32_t not_last = (more + 0xffffu) >> 16;
    return (uint8_t)(any * WEIR_PACKET_FRAGMENT + later * WEIR_PACKET_LATER_FRAGMENT +
                     not_last * WEIR_PACKET_MORE_FRAGMENTS);
}

/* Addresses that no sender on the wire can have: 0/8, 127/8, multicast and above. */
WEIR_INLINE bool weir_v4_source_is_martian(weir_be32 source) {
    uint32_t first = source & 0xff;
    return first == 0 || first == 127 || first >= 224;
}

/* Unspecified, loopback (::/127 covers both) and multicast; v4-mapped never appears on the wire. */
WEIR_INLINE bool weir_v6_source_is_martian(const struct weir_address* source) {
    bool multicast = (source->word[0] & 0xff) == 0xff;
    bool unspecified_or_loopback =
        source->word[0] == 0 && (source->word[1] & ~((uint64_t)1 << 56)) == 0;
    return multicast || unspecified_or_loopback || weir_address_is_v4(source);
}

WEIR_INLINE enum weir_verdict weir_parse_v4(const uint8_t* data, const uint8_t* end,
                                            uint32_t frame_bytes, struct weir_packet* packet) {
    const uint8_t* header = weir_at(data, end, packet->l3_offset, WEIR_V4_BYTES);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    uint32_t header_bytes = (header[0] & 0x0fu) * 4;
    uint16_t total = weir_swap16(weir_load16(header + 2));
    if (header[0] >> 4 != 4 || header_bytes < WEIR_V4_BYTES || total < header_bytes)
        return WEIR_DROP_BAD_IP_HEADER;
    if (frame_bytes < (uint32_t)packet->l3_offset + total)
        return WEIR_DROP_TRUNCATED;
    if (!weir_v4_checksum_holds(data, end, header, packet->l3_offset))
        return WEIR_DROP_BAD_IP_CHECKSUM;

    packet->family = 4;
    packet->l3_length = total;
    packet->l4_offset = (uint16_t)(packet->l3_offset + header_bytes);
    packet->ttl = header[8];
    packet->protocol = header[9];
    uint16_t fragment = weir_swap16(weir_load16(header + 6));
    packet->flags = weir_fragment_flags(fragment & 0x1fff, fragment & 0x2000) |
                    (uint8_t)((fragment >> 14 & 1) * WEIR_PACKET_DONT_FRAGMENT);
    packet->fragment_offset = (uint16_t)(fragment << 3);
    packet->fragment_id = weir_load16(header + 4);
    weir_be32 source = weir_load32(header + 12);
    weir_be32 destination = weir_load32(header + 16);
    weir_flow_set_v4(&packet->flow, source, destination, 0, 0, packet->protocol);
    if (header_bytes > WEIR_V4_BYTES)
        packet->defect = (uint8_t)weir_parse_v4_options(data, end, header, packet->l3_offset);
    if (weir_v4_source_is_martian(source))
        weir_note_defect(packet, WEIR_DROP_MARTIAN_SOURCE);
    if (packet->ttl == 0)
        weir_note_defect(packet, WEIR_DROP_TTL_EXPIRED);
    return WEIR_UNDECIDED;
}

/* Walks the extension headers; leaves protocol and l4_offset at what follows them. */
WEIR_INLINE enum weir_verdict weir_parse_v6_extensions(const uint8_t* data, const uint8_t* end,
                                                       struct weir_packet* packet) {
    uint32_t offset = packet->l3_offset + WEIR_V6_BYTES;
    uint8_t next = packet->protocol;
    for (int i = 0; i < WEIR_MAX_EXTENSION_HEADERS; i++) {
        bool is_options =
            next == WEIR_IP_DESTINATION_OPTIONS || (next == WEIR_IP_HOP_BY_HOP && i == 0);
        if (!is_options && next != WEIR_IP_ROUTING && next != WEIR_IP_FRAGMENT)
            break;
        const uint8_t* header = weir_at(data, end, offset, 8);
        if (!header)
            return WEIR_DROP_EXTENSION_CHAIN;
        uint32_t bytes = ((uint32_t)header[1] + 1) * 8;
        if (next == WEIR_IP_ROUTING && header[2] == 0) /* deprecated by RFC 5095 */
            weir_note_defect(packet, WEIR_DROP_SOURCE_ROUTED);
        if (next == WEIR_IP_FRAGMENT) {
            bytes = 8;
            uint16_t fragment = weir_swap16(weir_load16(header + 2));
            packet->flags |= weir_fragment_flags(fragment & 0xfff8, fragment & 1);
            packet->fragment_offset = fragment & 0xfff8;
            packet->fragment_id = weir_load32(header + 4);
        }
        next = header[0];
        offset += bytes;
        if (packet->flags & WEIR_PACKET_LATER_FRAGMENT) /* what follows is not a header */
            break;
    }
    packet->protocol = next;
    packet->l4_offset = (uint16_t)offset;
    bool still_extension = next == WEIR_IP_DESTINATION_OPTIONS || next == WEIR_IP_HOP_BY_HOP ||
                           next == WEIR_IP_ROUTING || next == WEIR_IP_FRAGMENT;
    if (still_extension && !(packet->flags & WEIR_PACKET_LATER_FRAGMENT))
        return WEIR_DROP_EXTENSION_CHAIN;
    return WEIR_UNDECIDED;
}

WEIR_INLINE enum weir_verdict weir_parse_v6(const uint8_t* data, const uint8_t* end,
                                            uint32_t frame_bytes, struct weir_packet* packet) {
    const uint8_t* header = weir_at(data, end, packet->l3_offset, WEIR_V6_BYTES);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    if (header[0] >> 4 != 6)
        return WEIR_DROP_BAD_IP_HEADER;
    uint32_t total = WEIR_V6_BYTES + weir_swap16(weir_load16(header + 4));
    if (total > 0xffff)
        return WEIR_DROP_BAD_IP_HEADER;
    if (frame_bytes < (uint32_t)packet->l3_offset + total)
        return WEIR_DROP_TRUNCATED;
    packet->family = 6;
    packet->flags = WEIR_PACKET_DONT_FRAGMENT;
    packet->l3_length = (uint16_t)total;
    packet->protocol = header[6];
    packet->ttl = header[7];
    struct weir_address source = {{weir_load64(header + 8), weir_load64(header + 16)}};
    struct weir_address destination = {{weir_load64(header + 24), weir_load64(header + 32)}};
    weir_flow_set_v6(&packet->flow, &source, &destination, 0, 0, 0);
    enum weir_verdict verdict = weir_parse_v6_extensions(data, end, packet);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    packet->flow.word[4] |= weir_flow_ports_word(0, 0, packet->protocol);
    if (weir_v6_source_is_martian(&source))
        weir_note_defect(packet, WEIR_DROP_MARTIAN_SOURCE);
    if (packet->ttl == 0)
        weir_note_defect(packet, WEIR_DROP_TTL_EXPIRED);
    return WEIR_UNDECIDED;
}

WEIR_INLINE void weir_take_ports(struct weir_packet* packet, const uint8_t* header) {
    weir_packet_take_ports(packet, weir_load16(header), weir_load16(header + 2));
}

/* SYN with FIN or RST, or no flag at all: no TCP sends it, scanners do. */
WEIR_INLINE bool weir_tcp_flags_impossible(uint8_t flags) {
    bool contradictory = (flags & WEIR_TCP_SYN) && (flags & (WEIR_TCP_FIN | WEIR_TCP_RST));
    bool none = (flags & (WEIR_TCP_SYN | WEIR_TCP_ACK | WEIR_TCP_RST | WEIR_TCP_FIN)) == 0;
    return contradictory || none;
}

/* `room` is what the IP length leaves for L4, in bytes. */
WEIR_INLINE enum weir_verdict weir_parse_tcp(const uint8_t* data, const uint8_t* end, uint32_t room,
                                             struct weir_packet* packet) {
    if (room < 20 && (packet->flags & WEIR_PACKET_FRAGMENT)) {
        weir_note_defect(packet, WEIR_DROP_FRAGMENT_TINY);
        return WEIR_UNDECIDED;
    }
    const uint8_t* header = weir_at(data, end, packet->l4_offset, 20);
    if (!header || room < 20)
        return WEIR_DROP_TRUNCATED;
    weir_take_ports(packet, header);
    packet->tcp_flags = header[13] & 0x3f;
    uint32_t header_bytes = (header[12] >> 4) * 4u;
    if (header_bytes < 20 || header_bytes > room)
        weir_note_defect(packet, WEIR_DROP_BAD_TCP_HEADER);
    if (weir_tcp_flags_impossible(packet->tcp_flags))
        weir_note_defect(packet, WEIR_DROP_BAD_TCP_FLAGS);
    return WEIR_UNDECIDED;
}

WEIR_INLINE enum weir_verdict weir_parse_udp(const uint8_t* data, const uint8_t* end, uint32_t room,
                                             struct weir_packet* packet) {
    if (room < 8 && (packet->flags & WEIR_PACKET_FRAGMENT)) {
        weir_note_defect(packet, WEIR_DROP_FRAGMENT_TINY);
        return WEIR_UNDECIDED;
    }
    const uint8_t* header = weir_at(data, end, packet->l4_offset, 8);
    if (!header || room < 8)
        return WEIR_DROP_TRUNCATED;
    weir_take_ports(packet, header);
    uint16_t length = weir_swap16(weir_load16(header + 4));
    bool whole = !(packet->flags & WEIR_PACKET_FRAGMENT);
    if (length < 8 || (whole && length > room))
        weir_note_defect(packet, WEIR_DROP_BAD_UDP_LENGTH);
    return WEIR_UNDECIDED;
}

/* What a fragment may be: all but the last hold whole 8-byte units (RFC 791, RFC 8200 4.5), none
 * reaches past the longest datagram, and a second TCP fragment does not begin inside the header
 * (RFC 1858, RFC 3128). `room` is its payload in bytes. */
WEIR_INLINE void weir_check_fragment(uint32_t room, struct weir_packet* packet) {
    bool uneven = (packet->flags & WEIR_PACKET_MORE_FRAGMENTS) && (room & 7) != 0;
    if (room == 0 || uneven || packet->fragment_offset + room > 0xffffu)
        weir_note_defect(packet, WEIR_DROP_FRAGMENT_BAD);
    if (packet->protocol == WEIR_IP_TCP && packet->fragment_offset != 0 &&
        packet->fragment_offset < 20)
        weir_note_defect(packet, WEIR_DROP_FRAGMENT_TINY);
}

WEIR_INLINE bool weir_protocol_is_icmp(const struct weir_packet* packet) {
    return packet->protocol == (packet->family == 4 ? WEIR_IP_ICMP : WEIR_IP_ICMPV6);
}

WEIR_INLINE enum weir_verdict weir_parse_l4(const uint8_t* data, const uint8_t* end,
                                            struct weir_packet* packet) {
    uint32_t past = (uint32_t)packet->l3_offset + packet->l3_length;
    if (packet->l4_offset > past)
        return WEIR_DROP_TRUNCATED;
    uint32_t room = past - packet->l4_offset;
    if (packet->flags & WEIR_PACKET_FRAGMENT)
        weir_check_fragment(room, packet);
    if (packet->flags & WEIR_PACKET_LATER_FRAGMENT)
        return WEIR_UNDECIDED;
    if (packet->protocol == WEIR_IP_TCP)
        return weir_parse_tcp(data, end, room, packet);
    if (packet->protocol == WEIR_IP_UDP)
        return weir_parse_udp(data, end, room, packet);
    if (weir_protocol_is_icmp(packet))
        return weir_parse_icmp(data, end, room, packet);
    return WEIR_UNDECIDED;
}

/* A packet whose source and destination are the same address and port (the "land" attack). */
WEIR_INLINE bool weir_packet_is_land(const struct weir_packet* packet) {
    struct weir_address source = weir_packet_source(packet);
    struct weir_address destination = weir_packet_destination(packet);
    return packet->source_port == packet->destination_port &&
           weir_address_equal(&source, &destination);
}

WEIR_INLINE enum weir_verdict weir_parse_nothing(struct weir_packet* packet) {
    for (unsigned i = 0; i < WEIR_FLOW_WORDS_V6; i++)
        packet->flow.word[i] = 0;
    packet->flow.words = WEIR_FLOW_WORDS_V4;
    packet->ttl = 0;
    return WEIR_UNDECIDED;
}

/* Fills `packet`. Not IP: WEIR_UNDECIDED with family 0. `frame_bytes` is the length of the frame;
 * data..end may be only its beginning (an skb whose payload lies in pages), and headers that are
 * not all there count as truncated. */
WEIR_INLINE enum weir_verdict weir_parse_beginning(const uint8_t* data, const uint8_t* end,
                                                   uint32_t frame_bytes,
                                                   struct weir_packet* packet) {
    packet->family = 0;
    packet->protocol = 0;
    packet->flags = 0;
    packet->defect = WEIR_UNDECIDED;
    packet->source_port = 0;
    packet->destination_port = 0;
    packet->tcp_flags = 0;
    packet->icmp_type = 0;
    packet->l4_offset = 0;
    packet->l3_length = 0;
    packet->fragment_offset = 0;
    packet->fragment_id = 0;
    packet->quoted_offset = 0;
    packet->quoted_l4_offset = 0;
    enum weir_verdict verdict = weir_parse_ethernet(data, end, packet);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    if (packet->ethertype == WEIR_ETHERTYPE_V4)
        verdict = weir_parse_v4(data, end, frame_bytes, packet);
    else if (packet->ethertype == WEIR_ETHERTYPE_V6)
        verdict = weir_parse_v6(data, end, frame_bytes, packet);
    else
        return weir_parse_nothing(packet);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    verdict = weir_parse_l4(data, end, packet);
    if (verdict == WEIR_UNDECIDED && (packet->flags & WEIR_PACKET_PORTS) &&
        weir_packet_is_land(packet))
        weir_note_defect(packet, WEIR_DROP_LAND);
    return verdict;
}

/* The same for a frame that lies whole in data..end. */
WEIR_INLINE enum weir_verdict weir_parse(const uint8_t* data, const uint8_t* end,
                                         struct weir_packet* packet) {
    return weir_parse_beginning(data, end, (uint32_t)(end - data), packet);
}
