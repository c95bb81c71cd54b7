// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The outer header of dsr-ipip (RFC 2003, 2473, 4213) and dsr-gue (variant 0 of
 * draft-ietf-intarea-gue: UDP, 4 bytes, then the packet), IPv4 or IPv6 around IPv4 or IPv6.
 *
 * The plane's steps:
 *   weir_outer_for               where the outer packet goes, which of our sources it shows
 *   prepend weir_outer_bytes     and what weir_head_change asks for, told by weir_packet_moved
 *   weir_write_outer             reads the inner header, writes what stands before it
 *   weir_packet_encapsulated     from here on the packet's facts are those of the outer packet
 *   weir_write_ethernet          over what was headroom and the old link header
 *
 * The inner packet is not touched: its TTL stays (a backend sees what the client sent), its
 * checksums stay as right or wrong as they came.
 */
#pragma once

#include "dataplane/forwarding/ip_header.h"
#include "dataplane/forwarding/parse_plain.h"
#include "dataplane/forwarding/rows.h"

#define WEIR_UDP_BYTES 8u
#define WEIR_GUE_BYTES 4u

struct weir_outer {
    struct weir_address source, destination;
    weir_be16 source_port, destination_port; /* dsr-gue */
    uint8_t forward;                         /* WEIR_FORWARD_DSR_IPIP or WEIR_FORWARD_DSR_GUE */
    uint8_t family;                          /* of the outer header */
    uint32_t spread; /* hash bits: the same for all packets of a flow, other for other flows */
};

/* Receivers spread tunnels over their queues by the outer addresses and ports alone, so each flow
 * picks a source (dsr-ipip) and a UDP port in 49152..65535 (RFC 6335). The hash bits are those that
 * decide least elsewhere: the slot and the owner come from the top of either half. False: the node
 * has no source in the backend's family. */
WEIR_INLINE bool weir_outer_for(const struct weir_node_row* node, const struct weir_vip_row* vip,
                                const struct weir_backend_row* backend, uint64_t flow_hash,
                                struct weir_outer* outer) {
    bool v4 = weir_address_is_v4(&backend->address);
    uint32_t count = v4 ? node->tunnel_source_v4_count : node->tunnel_source_v6_count;
    if (count == 0)
        return false;
    outer->spread = (uint32_t)(flow_hash >> 32);
    uint32_t index = (outer->spread >> 14) & (count - 1);
    if (v4) {
        weir_be32 first = weir_address_v4(&node->tunnel_source_v4);
        outer->source = weir_address_from_v4(weir_swap32(weir_swap32(first) + index));
    } else {
        outer->source.word[0] = node->tunnel_source_v6.word[0];
        outer->source.word[1] =
            __builtin_bswap64(__builtin_bswap64(node->tunnel_source_v6.word[1]) + index);
    }
    outer->destination = backend->address;
    outer->source_port = weir_swap16((uint16_t)(0xc000u | (outer->spread & 0x3fffu)));
    outer->destination_port = node->gue_port;
    outer->forward = vip->forward;
    outer->family = v4 ? 4 : 6;
    return true;
}

WEIR_INLINE uint16_t weir_outer_ethertype(const struct weir_outer* outer) {
    return (uint16_t)(outer->family == 4 ? WEIR_ETHERTYPE_V4 : WEIR_ETHERTYPE_V6);
}

WEIR_INLINE uint32_t weir_outer_bytes(const struct weir_outer* outer) {
    uint32_t ip = outer->family == 4 ? WEIR_V4_BYTES : WEIR_V6_BYTES;
    return ip + (outer->forward == WEIR_FORWARD_DSR_GUE ? WEIR_UDP_BYTES + WEIR_GUE_BYTES : 0);
}

/* The largest packet that fits a tunnel over a path of `mtu`; 0 when none does. */
WEIR_INLINE uint32_t weir_inner_mtu(uint32_t mtu, const struct weir_outer* outer) {
    uint32_t bytes = weir_outer_bytes(outer);
    return mtu > bytes ? mtu - bytes : 0;
}

WEIR_INLINE uint8_t weir_inner_protocol(const struct weir_packet* packet) {
    return packet->family == 4 ? WEIR_IP_IPIP : WEIR_IP_IPV6;
}

/* DSCP is copied (uniform model, RFC 2983) and so is ECN (RFC 6040 section 4.1, normal mode): the
 * whole traffic class. `inner`: the first 2 bytes of the inner IP header. */
WEIR_INLINE uint8_t weir_outer_tos(const struct weir_packet* packet, const uint8_t* inner) {
    if (packet->family == 4)
        return inner[1];
    return (uint8_t)(weir_swap16(weir_load16(inner)) >> 4);
}

/* An outer packet that may be fragmented needs an id of its own among all with its addresses (RFC
 * 6864). It is the inner packet's id, which is as unique for its sender, moved by the flow's hash
 * bits, and by the place in its datagram so that two fragments of one do not share it. */
WEIR_INLINE uint16_t weir_outer_id(const struct weir_packet* packet,
                                   const struct weir_outer* outer) {
    return (uint16_t)(weir_swap16((uint16_t)packet->fragment_id) + (outer->spread >> 16) +
                      packet->fragment_offset / 8u);
}

/* What an outer header says of the packet in it. In whole words: compilers hold each in a register
 * of its own then. */
struct weir_inner {
    uint32_t length;   /* bytes, headers included */
    uint32_t id;       /* of the outer header, where that may be fragmented; else 0 */
    uint32_t fragment; /* its flags and offset: WEIR_V4_FLAG_DONT_FRAGMENT or 0 */
    uint32_t tos;
    uint32_t protocol;
};

/* `header`: the first bytes of the packet's IP header. */
WEIR_INLINE struct weir_inner weir_inner_of(const struct weir_packet* packet, const uint8_t* header,
                                            const struct weir_outer* outer) {
    struct weir_inner inner;
    inner.length = packet->l3_length;
    const bool whole = packet->flags & WEIR_PACKET_DONT_FRAGMENT;
    inner.id = whole ? 0 : weir_outer_id(packet, outer);
    inner.fragment = whole ? WEIR_V4_FLAG_DONT_FRAGMENT : 0;
    inner.tos = weir_outer_tos(packet, header);
    inner.protocol = weir_inner_protocol(packet);
    return inner;
}

WEIR_INLINE uint8_t weir_outer_protocol(const struct weir_outer* outer,
                                        const struct weir_inner* inner) {
    return outer->forward == WEIR_FORWARD_DSR_GUE ? (uint8_t)WEIR_IP_UDP : (uint8_t)inner->protocol;
}

/* `at`: WEIR_V4_BYTES. */
WEIR_INLINE void weir_write_outer_v4(uint8_t* at, const struct weir_inner* inner,
                                     const struct weir_outer* outer) {
    struct weir_v4_header header;
    header.source = weir_address_v4(&outer->source);
    header.destination = weir_address_v4(&outer->destination);
    header.total = (uint16_t)(inner->length + weir_outer_bytes(outer));
    header.id = (uint16_t)inner->id;
    header.fragment = (uint16_t)inner->fragment;
    header.tos = (uint8_t)inner->tos;
    header.protocol = weir_outer_protocol(outer, inner);
    weir_write_v4_header(at, &header);
}

/* `at`: WEIR_V6_BYTES. */
WEIR_INLINE void weir_write_outer_v6(uint8_t* at, const struct weir_inner* inner,
                                     const struct weir_outer* outer) {
    struct weir_v6_header header;
    header.source = outer->source;
    header.destination = outer->destination;
    header.flow_label = outer->spread; /* RFC 6438: tunnels spread by flow label */
    header.payload = (uint16_t)(inner->length + weir_outer_bytes(outer) - WEIR_V6_BYTES);
    header.traffic_class = (uint8_t)inner->tos;
    header.next_header = weir_outer_protocol(outer, inner);
    weir_write_v6_header(at, &header);
}

/* The UDP checksum is 0 in both families, in both engines. Over IPv6 RFC 6935 section 5 allows it
 * to tunnels, on the conditions of RFC 6936 section 5; they hold here:
 *   - the inner packet carries its own checksum over addresses and payload, so that a damaged outer
 *     address or port leads at worst to a packet which its receiver refuses;
 *   - a sum over the payload would be taken after the packet lay in our memory and so bless what
 *     was damaged there; a sum derived from the inner checksum is wrong where that one is missing
 *     (fragments, UDP without) and would have to fall back to 0 all the same;
 *   - nothing else here reads the payload: it would cost more than the rest of the decision, and
 *     in BPF a loop that the verifier follows byte by byte.
 * The receiving end has to accept it over IPv6: UDP_NO_CHECK6_RX on a socket, `udp6zerocsumrx` on
 * Linux's tunnel devices. */
/* `at`: WEIR_UDP_BYTES + WEIR_GUE_BYTES. */
WEIR_INLINE void weir_write_outer_gue(uint8_t* at, const struct weir_inner* inner,
                                      const struct weir_outer* outer) {
    weir_store16(at, outer->source_port);
    weir_store16(at + 2, outer->destination_port);
    weir_store16(at + 4, weir_swap16((uint16_t)(inner->length + WEIR_UDP_BYTES + WEIR_GUE_BYTES)));
    weir_store16(at + 6, 0);
    at[8] = 0; /* variant 0, a data packet, no optional fields */
    at[9] = (uint8_t)inner->protocol;
    weir_store16(at + 10, 0);
}

/* `data` is the new start of the frame; `packet` still tells of the inner packet, with l3_offset
 * the length of the link header: that is where the outer header goes, and the inner one stands
 * weir_outer_bytes behind it. */
WEIR_INLINE enum weir_verdict weir_write_outer(uint8_t* data, const uint8_t* end,
                                               const struct weir_packet* packet,
                                               const struct weir_outer* outer) {
    uint32_t bytes = weir_outer_bytes(outer);
    if (packet->l3_length + bytes > 0xffffu)
        return WEIR_DROP_TOO_BIG;
    const uint8_t* header = weir_at(data, end, packet->l3_offset + bytes, WEIR_V4_BYTES);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    const struct weir_inner inner = weir_inner_of(packet, header, outer);
    const uint32_t ip_bytes = outer->family == 4 ? WEIR_V4_BYTES : WEIR_V6_BYTES;
    if (outer->family == 4) {
        uint8_t* at = weir_at_mutable(data, end, packet->l3_offset, WEIR_V4_BYTES);
        if (!at)
            return WEIR_DROP_TRUNCATED;
        weir_write_outer_v4(at, &inner, outer);
    } else {
        uint8_t* at = weir_at_mutable(data, end, packet->l3_offset, WEIR_V6_BYTES);
        if (!at)
            return WEIR_DROP_TRUNCATED;
        weir_write_outer_v6(at, &inner, outer);
    }
    if (outer->forward != WEIR_FORWARD_DSR_GUE)
        return WEIR_UNDECIDED;
    uint8_t* at =
        weir_at_mutable(data, end, packet->l3_offset + ip_bytes, WEIR_UDP_BYTES + WEIR_GUE_BYTES);
    if (!at)
        return WEIR_DROP_TRUNCATED;
    weir_write_outer_gue(at, &inner, outer);
    return WEIR_UNDECIDED;
}

/* The same of a frame that weir_parse_plain() has taken, of IPv4 or not. `frame` is where it began;
 * weir_outer_bytes() before that it begins now. Nothing can go wrong. REQUIRES: what fits the
 * path's MTU. */
WEIR_INLINE void weir_write_plain_outer(uint8_t* frame, bool is_v4,
                                        const struct weir_outer* outer) {
    const uint8_t* header = frame + WEIR_ETHERNET_BYTES;
    struct weir_packet packet;
    if (is_v4)
        weir_read_plain_v4(frame, &packet);
    else
        weir_read_plain_v6(frame, &packet);
    const struct weir_inner inner = weir_inner_of(&packet, header, outer);
    uint8_t* at = frame + WEIR_ETHERNET_BYTES - weir_outer_bytes(outer);
    if (outer->family == 4)
        weir_write_outer_v4(at, &inner, outer);
    else
        weir_write_outer_v6(at, &inner, outer);
    if (outer->forward == WEIR_FORWARD_DSR_GUE)
        weir_write_outer_gue(frame + WEIR_ETHERNET_BYTES - WEIR_UDP_BYTES - WEIR_GUE_BYTES, &inner,
                             outer);
}

/* l3_offset (unchanged), l3_length, l4_offset (UDP, or the inner header), ethertype, family,
 * protocol, ttl and flags become the outer packet's. `flow`, ports and tcp_flags stay the client's:
 * they are what counters, captures and `explain` speak of; weir_packet_source and _destination must
 * not be asked any more. */
WEIR_INLINE void weir_packet_encapsulated(struct weir_packet* packet,
                                          const struct weir_outer* outer) {
    bool v4 = outer->family == 4;
    bool gue = outer->forward == WEIR_FORWARD_DSR_GUE;
    packet->protocol = gue ? (uint8_t)WEIR_IP_UDP : weir_inner_protocol(packet);
    if (v4)
        packet->fragment_id = (packet->flags & WEIR_PACKET_DONT_FRAGMENT)
                                  ? 0
                                  : weir_swap16(weir_outer_id(packet, outer));
    packet->fragment_offset = 0;
    packet->flags &= WEIR_PACKET_PORTS | WEIR_PACKET_DONT_FRAGMENT;
    if (!v4)
        packet->flags |= WEIR_PACKET_DONT_FRAGMENT;
    packet->ttl = WEIR_OWN_TTL;
    packet->family = outer->family;
    packet->ethertype = weir_outer_ethertype(outer);
    packet->l3_length = (uint16_t)(packet->l3_length + weir_outer_bytes(outer));
    packet->l4_offset = (uint16_t)(packet->l3_offset + (v4 ? WEIR_V4_BYTES : WEIR_V6_BYTES));
}
