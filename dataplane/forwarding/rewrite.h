// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The only place that writes packet bytes: Ethernet for the way out, addresses and ports for NAT,
 * TTL, checksums (RFC 1624; UDP checksum 0 stays 0, RFC 768).
 *
 * dsr-l2   weir_write_ethernet alone: the packet reaches the backend as the client sent it
 * nat      weir_translate (destination there, source back), then weir_write_ethernet
 * full-nat weir_translate (both ends), then weir_write_ethernet
 */
#pragma once

#include "dataplane/forwarding/checksum.h"
#include "dataplane/forwarding/rows.h"

/* The tuple a packet leaves with; fields that stay hold the packet's own values. */
struct weir_translation {
    struct weir_address source;
    struct weir_address destination;
    weir_be16 source_port;
    weir_be16 destination_port;
};

/* Fields for a translation that changes nothing yet. */
WEIR_INLINE void weir_translation_of(const struct weir_packet* packet,
                                     struct weir_translation* translation) {
    translation->source = weir_packet_source(packet);
    translation->destination = weir_packet_destination(packet);
    translation->source_port = packet->source_port;
    translation->destination_port = packet->destination_port;
}

/* IPv4 source and destination as they stand side by side in the header. */
WEIR_INLINE uint64_t weir_v4_pair(const struct weir_translation* to) {
    return weir_address_v4(&to->source) | (uint64_t)weir_address_v4(&to->destination) << 32;
}

/* Source and destination port, likewise. */
WEIR_INLINE uint32_t weir_port_pair(weir_be16 source, weir_be16 destination) {
    return source | (uint32_t)destination << 16;
}

/* Gives the header other addresses, takes one off the TTL, which is above 0, and fixes the
 * checksum. `delta`: what the addresses add to it. */
WEIR_INLINE void weir_readdress_v4(uint8_t* header, uint64_t addresses, uint64_t delta) {
    const uint64_t of_ttl = weir_checksum_delta16(1, 0); /* the same from any TTL to the next */
    header[8] = (uint8_t)(header[8] - 1);
    weir_store16(header + 10, weir_checksum_apply(weir_load16(header + 10), delta + of_ttl));
    weir_store64(header + 12, addresses);
}

WEIR_INLINE enum weir_verdict weir_write_v4_addresses(uint8_t* data, const uint8_t* end,
                                                      const struct weir_packet* packet,
                                                      const struct weir_translation* to) {
    uint8_t* header = weir_at_mutable(data, end, packet->l3_offset, WEIR_V4_BYTES);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    uint64_t addresses = weir_v4_pair(to);
    weir_readdress_v4(header, addresses,
                      weir_checksum_delta64(weir_load64(header + 12), addresses));
    return WEIR_UNDECIDED;
}

/* The same of IPv6, whose header has no checksum. */
WEIR_INLINE void weir_readdress_v6(uint8_t* header, const struct weir_translation* to) {
    header[7] = (uint8_t)(header[7] - 1);
    weir_store64(header + 8, to->source.word[0]);
    weir_store64(header + 16, to->source.word[1]);
    weir_store64(header + 24, to->destination.word[0]);
    weir_store64(header + 32, to->destination.word[1]);
}

WEIR_INLINE enum weir_verdict weir_write_v6_addresses(uint8_t* data, const uint8_t* end,
                                                      const struct weir_packet* packet,
                                                      const struct weir_translation* to) {
    uint8_t* header = weir_at_mutable(data, end, packet->l3_offset, WEIR_V6_BYTES);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    weir_readdress_v6(header, to);
    return WEIR_UNDECIDED;
}

/* Gives the header other ports and fixes the checksum. `delta`: what addresses and ports add to it.
 */
WEIR_INLINE void weir_readdress_tcp(uint8_t* header, uint32_t ports, uint64_t delta) {
    weir_store32(header, ports);
    weir_store16(header + 16, weir_checksum_apply(weir_load16(header + 16), delta));
}

WEIR_INLINE void weir_readdress_udp(uint8_t* header, uint32_t ports, uint64_t delta) {
    weir_store32(header, ports);
    uint16_t checksum = weir_load16(header + 6);
    if (checksum != 0) {
        checksum = weir_checksum_apply(checksum, delta);
        weir_store16(header + 6, checksum ? checksum : 0xffff);
    }
}

WEIR_INLINE enum weir_verdict weir_write_l4(uint8_t* data, const uint8_t* end,
                                            const struct weir_packet* packet, uint32_t ports,
                                            uint64_t delta) {
    if (packet->protocol == WEIR_IP_TCP) {
        uint8_t* header = weir_at_mutable(data, end, packet->l4_offset, 18);
        if (!header)
            return WEIR_DROP_TRUNCATED;
        weir_readdress_tcp(header, ports, delta);
        return WEIR_UNDECIDED;
    }
    uint8_t* header = weir_at_mutable(data, end, packet->l4_offset, 8);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    weir_readdress_udp(header, ports, delta);
    return WEIR_UNDECIDED;
}

/* The addresses and the TTL; adds to `delta` what the addresses change a checksum by. */
WEIR_INLINE enum weir_verdict weir_translate_header(uint8_t* data, const uint8_t* end,
                                                    const struct weir_packet* packet,
                                                    const struct weir_translation* to,
                                                    uint64_t* delta) {
    if (packet->family == 4) {
        uint8_t* header = weir_at_mutable(data, end, packet->l3_offset, WEIR_V4_BYTES);
        if (!header)
            return WEIR_DROP_TRUNCATED;
        uint64_t addresses = weir_v4_pair(to);
        uint64_t of_addresses = weir_checksum_delta64(packet->flow.word[0], addresses);
        weir_readdress_v4(header, addresses, of_addresses);
        *delta += of_addresses;
        return WEIR_UNDECIDED;
    }
    struct weir_address source = weir_packet_source(packet);
    struct weir_address destination = weir_packet_destination(packet);
    *delta += weir_checksum_delta_address(&source, &to->source) +
              weir_checksum_delta_address(&destination, &to->destination);
    return weir_write_v6_addresses(data, end, packet, to);
}

/* Gives the packet the tuple `to` and takes one off its TTL: a NAT hop is a router. A packet that
 * could not live past this hop is dropped before anything is written. */
WEIR_INLINE enum weir_verdict weir_translate(uint8_t* data, const uint8_t* end,
                                             const struct weir_packet* packet,
                                             const struct weir_translation* to) {
    if (packet->ttl <= 1)
        return WEIR_DROP_TTL_EXPIRED;
    uint32_t ports = weir_port_pair(to->source_port, to->destination_port);
    uint64_t delta =
        weir_checksum_delta32(weir_port_pair(packet->source_port, packet->destination_port), ports);
    enum weir_verdict verdict = weir_translate_header(data, end, packet, to, &delta);
    if (verdict != WEIR_UNDECIDED || (packet->flags & WEIR_PACKET_LATER_FRAGMENT))
        return verdict;
    return weir_write_l4(data, end, packet, ports, delta);
}

/* The same of a frame that weir_parse_plain() has taken, with a TTL above 1. `flow`: as the packet
 * came. Nothing can go wrong. */
WEIR_INLINE void weir_translate_plain_v4(uint8_t* frame, const uint64_t flow[WEIR_FLOW_WORDS_V4],
                                         bool is_tcp, const struct weir_translation* to) {
    uint8_t* header = frame + WEIR_ETHERNET_BYTES;
    uint64_t addresses = weir_v4_pair(to);
    uint32_t ports = weir_port_pair(to->source_port, to->destination_port);
    uint64_t delta = weir_checksum_delta64(flow[0], addresses);
    weir_readdress_v4(header, addresses, delta);
    delta += weir_checksum_delta32((uint32_t)flow[1], ports);
    if (is_tcp)
        weir_readdress_tcp(header + WEIR_V4_BYTES, ports, delta);
    else
        weir_readdress_udp(header + WEIR_V4_BYTES, ports, delta);
}

WEIR_INLINE void weir_translate_plain_v6(uint8_t* frame, const uint64_t flow[WEIR_FLOW_WORDS_V6],
                                         bool is_tcp, const struct weir_translation* to) {
    uint8_t* header = frame + WEIR_ETHERNET_BYTES;
    uint32_t ports = weir_port_pair(to->source_port, to->destination_port);
    const struct weir_address source = {{flow[0], flow[1]}};
    const struct weir_address destination = {{flow[2], flow[3]}};
    uint64_t delta = weir_checksum_delta32((uint32_t)flow[4], ports) +
                     weir_checksum_delta_address(&source, &to->source) +
                     weir_checksum_delta_address(&destination, &to->destination);
    weir_readdress_v6(header, to);
    if (is_tcp)
        weir_readdress_tcp(header + WEIR_V6_BYTES, ports, delta);
    else
        weir_readdress_udp(header + WEIR_V6_BYTES, ports, delta);
}

/* How many bytes the head must grow (4), shrink (-4) or stay (0) for the tag the packet leaves
 * with. The plane moves the head, then calls weir_packet_moved, then weir_write_ethernet. */
WEIR_INLINE int weir_head_change(const struct weir_packet* packet, uint16_t vlan_tci) {
    bool has = packet->vlan_tci != WEIR_NO_VLAN;
    bool wants = vlan_tci != WEIR_NO_VLAN;
    if (has == wants)
        return 0;
    return wants ? (int)WEIR_VLAN_BYTES : -(int)WEIR_VLAN_BYTES;
}

WEIR_INLINE void weir_packet_moved(struct weir_packet* packet, int head_change, uint16_t vlan_tci) {
    packet->l3_offset = (uint16_t)(packet->l3_offset + head_change);
    packet->l4_offset = (uint16_t)(packet->l4_offset + head_change);
    packet->vlan_tci = vlan_tci;
}

struct weir_link { /* how a frame leaves */
    const uint8_t* destination_mac;
    const uint8_t* source_mac;
    uint16_t vlan_tci; /* host order, or WEIR_NO_VLAN; the packet's head already fits it */
};

/* A packet that came untagged can leave by the hop as it is, but for its link header. */
WEIR_INLINE bool weir_hop_takes(const struct weir_next_hop_row* hop, uint32_t l3_length) {
    return hop->resolved && hop->vlan_tci == WEIR_NO_VLAN && l3_length <= hop->mtu;
}

WEIR_INLINE void weir_copy_mac(uint8_t* to, const uint8_t* from) {
    uint32_t first = weir_load32(from);
    uint16_t last = weir_load16(from + 4);
    weir_store32(to, first);
    weir_store16(to + 4, last);
}

/* The link header of an untagged frame that leaves untagged and as the same kind of packet: its
 * ethertype is right as it stands. `data`: WEIR_ETHERNET_BYTES. */
WEIR_INLINE void weir_write_macs(uint8_t* data, const uint8_t* destination_mac,
                                 const uint8_t* source_mac) {
    weir_copy_mac(data, destination_mac);
    weir_copy_mac(data + 6, source_mac);
}

/* The same to a next hop, whose two addresses stand side by side as in the frame. */
WEIR_INLINE void weir_write_hop_macs(uint8_t* data, const struct weir_next_hop_row* hop) {
    const uint8_t* macs = (const uint8_t*)hop;
    uint64_t first = weir_load64(macs);
    uint32_t last = weir_load32(macs + 8);
    weir_store64(data, first);
    weir_store32(data + 8, last);
}

/* The same of one that leaves as another kind, `ethertype` in host order. */
WEIR_INLINE void weir_write_untagged(uint8_t* data, const struct weir_next_hop_row* hop,
                                     uint16_t ethertype) {
    weir_write_hop_macs(data, hop);
    weir_store16(data + 12, weir_swap16(ethertype));
}

WEIR_INLINE enum weir_verdict weir_write_ethernet(uint8_t* data, const uint8_t* end,
                                                  const struct weir_packet* packet,
                                                  const struct weir_link* link) {
    bool tagged = link->vlan_tci != WEIR_NO_VLAN;
    uint8_t* header = weir_at_mutable(data, end, 0, WEIR_ETHERNET_BYTES);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    weir_copy_mac(header, link->destination_mac);
    weir_copy_mac(header + 6, link->source_mac);
    weir_store16(header + 12, weir_swap16(tagged ? WEIR_ETHERTYPE_VLAN : packet->ethertype));
    if (!tagged)
        return WEIR_UNDECIDED;
    uint8_t* tag = weir_at_mutable(data, end, WEIR_ETHERNET_BYTES, WEIR_VLAN_BYTES);
    if (!tag)
        return WEIR_DROP_TRUNCATED;
    weir_store16(tag, weir_swap16(link->vlan_tci));
    weir_store16(tag + 2, weir_swap16(packet->ethertype));
    return WEIR_UNDECIDED;
}
