// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Answers of our own, made of the packet they answer: TCP resets and ICMP errors. They leave by the
 * way the packet came: MACs changed over, VLAN tag kept, from the address the packet was sent to.
 * Their IP headers are plain: TTL 64, class 0 (nobody outside makes our answers urgent), IPv4 with
 * DF and id 0.
 *
 * Each writer gives WEIR_UNDECIDED when the answer stands, or the drop verdict of a packet that
 * gets none; then nothing was written. Rates are the plane's business.
 */
#pragma once

#include "dataplane/forwarding/ip_header.h"
#include "dataplane/forwarding/rewrite.h"

#define WEIR_TCP_RESET_BYTES 20u
#define WEIR_ICMP_BYTES 8u

/* ICMP types and codes of our answers (RFC 792, RFC 1812, RFC 4443). */
#define WEIR_ICMP_UNREACHABLE 3u
#define WEIR_ICMP_TIME_EXCEEDED 11u
#define WEIR_ICMP_CODE_PORT 3u
#define WEIR_ICMP_CODE_FRAGMENTATION_NEEDED 4u
#define WEIR_ICMP6_UNREACHABLE 1u
#define WEIR_ICMP6_TOO_BIG 2u
#define WEIR_ICMP6_TIME_EXCEEDED 3u
#define WEIR_ICMP6_CODE_PORT 4u

/* About these no ICMP error is sent: errors and redirects (RFC 1122 3.2.2, RFC 4443 2.4e). */
WEIR_INLINE bool weir_packet_is_icmp_error(const struct weir_packet* packet) {
    if (packet->flags & (WEIR_PACKET_ICMP_ERROR | WEIR_PACKET_TUNNEL_ERROR))
        return true;
    uint8_t type = packet->icmp_type;
    if (packet->family == 4)
        return packet->protocol == WEIR_IP_ICMP &&
               (type == 3 || type == 4 || type == 5 || type == 11 || type == 12);
    return packet->protocol == WEIR_IP_ICMPV6 && (type < 128 || type == 137);
}

/* One host's address in a packet of that family, that is: not "this network", loopback, multicast,
 * class E or broadcast, nor a v4-mapped one in IPv6, which no packet on the wire has (RFC
 * 4291 2.5.5.2) and which would make the answer an IPv4 packet. */
WEIR_INLINE bool weir_address_is_one_host(const struct weir_address* address, uint8_t family) {
    if (family == 4) {
        uint32_t first = weir_address_v4(address) & 0xff;
        return first != 0 && first != 127 && first < 224;
    }
    bool unspecified_or_loopback =
        address->word[0] == 0 && (address->word[1] & ~((uint64_t)1 << 56)) == 0;
    return (address->word[0] & 0xff) != 0xff && !unspecified_or_loopback &&
           !weir_address_is_v4(address);
}

/* Whether an answer of any kind may go out (RFC 1122 3.2.2, RFC 1812 4.3.2.7, RFC 4443 2.4e). That
 * the frame itself was sent to one station is looked at when the answer is written. */
WEIR_INLINE bool weir_may_answer(const struct weir_packet* packet) {
    if (packet->family == 0 || (packet->flags & WEIR_PACKET_LATER_FRAGMENT) ||
        weir_packet_is_icmp_error(packet))
        return false;
    struct weir_address source = weir_packet_source(packet);
    struct weir_address destination = weir_packet_destination(packet);
    return weir_address_is_one_host(&source, packet->family) &&
           weir_address_is_one_host(&destination, packet->family);
}

/* --- checksums in full -------------------------------------------------------------------------
 */

WEIR_INLINE uint64_t weir_sum_address(const struct weir_address* address) {
    if (weir_address_is_v4(address))
        return weir_address_v4(address);
    return (address->word[0] & 0xffffffffu) + (address->word[0] >> 32) +
           (address->word[1] & 0xffffffffu) + (address->word[1] >> 32);
}

/* The pseudo header of either family (RFC 793, RFC 8200 section 8.1). `bytes` fits 16 bits. */
WEIR_INLINE uint64_t weir_sum_pseudo_header(const struct weir_address* source,
                                            const struct weir_address* destination,
                                            uint8_t protocol, uint32_t bytes) {
    return weir_sum_address(source) + weir_sum_address(destination) + weir_swap16(protocol) +
           weir_swap16((uint16_t)bytes);
}

/* The longest ICMP message of ours; what bounds the sum for the BPF verifier. */
#define WEIR_SUM_MOST_BYTES 1280u

/* The sum of `bytes` bytes at `offset`, at most WEIR_SUM_MOST_BYTES; what is not there counts as 0.
 */
WEIR_INLINE uint64_t weir_sum_bytes(const uint8_t* data, const uint8_t* end, uint32_t offset,
                                    uint32_t bytes) {
    uint64_t sum = 0;
    uint32_t whole = bytes & ~3u;
    for (uint32_t i = 0; i < WEIR_SUM_MOST_BYTES; i += 4) {
        if (i >= whole)
            break;
        const uint8_t* at = weir_at(data, end, offset + i, 4);
        if (!at)
            return sum;
        sum += weir_load32(at);
    }
    const uint8_t* pair = weir_at(data, end, offset + whole, 2);
    if ((bytes & 2) && pair)
        sum += weir_load16(pair);
    const uint8_t* odd = weir_at(data, end, offset + (bytes & ~1u), 1);
    if ((bytes & 1) && odd)
        sum += odd[0];
    return sum;
}

/* --- the link header -----------------------------------------------------------------------------
 */

struct weir_link_bytes { /* a link header taken out of the frame */
    uint32_t tag;
    uint16_t mac[6];
    uint16_t type;
};

/* False: cut short, or sent to more than one station. `offset`: where the old frame starts. */
WEIR_INLINE bool weir_take_link(const uint8_t* data, const uint8_t* end, uint32_t offset,
                                struct weir_link_bytes* link) {
    const uint8_t* at = weir_at(data, end, offset, WEIR_ETHERNET_BYTES + WEIR_VLAN_BYTES);
    if (!at || (at[0] & 1))
        return false;
    for (int i = 0; i < 6; i++)
        link->mac[i] = weir_load16(at + 2 * i);
    link->type = weir_load16(at + 12);
    link->tag = weir_load32(at + 14);
    return true;
}

/* Writes it back at the start of the frame, towards where it came from. Without a tag the 4 bytes
 * behind it are left to the IP header. */
WEIR_INLINE bool weir_return_link(uint8_t* data, const uint8_t* end,
                                  const struct weir_link_bytes* link, bool tagged) {
    uint8_t* at = weir_at_mutable(data, end, 0, WEIR_ETHERNET_BYTES + WEIR_VLAN_BYTES);
    if (!at)
        return false;
    for (int i = 0; i < 3; i++) {
        weir_store16(at + 2 * i, link->mac[3 + i]);
        weir_store16(at + 6 + 2 * i, link->mac[i]);
    }
    weir_store16(at + 12, link->type);
    if (tagged)
        weir_store32(at + 14, link->tag);
    return true;
}

/* --- an IP header for either family --------------------------------------------------------------
 */

/* `payload`: bytes behind the IP header. False: not all there. */
WEIR_INLINE bool weir_write_answer_ip(uint8_t* data, const uint8_t* end, uint32_t l3_offset,
                                      const struct weir_address* source,
                                      const struct weir_address* destination, uint8_t protocol,
                                      uint32_t payload) {
    if (weir_address_is_v4(source)) {
        uint8_t* at = weir_at_mutable(data, end, l3_offset, WEIR_V4_BYTES);
        if (!at)
            return false;
        struct weir_v4_header header;
        header.source = weir_address_v4(source);
        header.destination = weir_address_v4(destination);
        header.total = (uint16_t)(WEIR_V4_BYTES + payload);
        header.id = 0;
        header.fragment = WEIR_V4_FLAG_DONT_FRAGMENT;
        header.tos = 0;
        header.protocol = protocol;
        weir_write_v4_header(at, &header);
        return true;
    }
    uint8_t* at = weir_at_mutable(data, end, l3_offset, WEIR_V6_BYTES);
    if (!at)
        return false;
    struct weir_v6_header header;
    header.source = *source;
    header.destination = *destination;
    header.flow_label = 0;
    header.payload = (uint16_t)payload;
    header.traffic_class = 0;
    header.next_header = protocol;
    weir_write_v6_header(at, &header);
    return true;
}

WEIR_INLINE uint32_t weir_ip_bytes(uint8_t family) {
    return family == 4 ? WEIR_V4_BYTES : WEIR_V6_BYTES;
}

/* --- TCP resets ----------------------------------------------------------------------------------
 */

struct weir_segment {                /* what a reset needs of the segment it answers */
    uint32_t sequence, acknowledged; /* host order */
    uint32_t length;                 /* in sequence numbers: SYN and FIN count */
    uint8_t flags;
};

/* False: no reset answers it. */
WEIR_INLINE bool weir_take_segment(const uint8_t* data, const uint8_t* end,
                                   const struct weir_packet* packet, struct weir_segment* segment) {
    if (packet->protocol != WEIR_IP_TCP || (packet->tcp_flags & WEIR_TCP_RST) ||
        (packet->flags & WEIR_PACKET_FRAGMENT) || !weir_may_answer(packet))
        return false;
    const uint8_t* header = weir_at(data, end, packet->l4_offset, WEIR_TCP_RESET_BYTES);
    if (!header)
        return false;
    uint32_t past = (uint32_t)packet->l3_offset + packet->l3_length;
    uint32_t payload_at = packet->l4_offset + (uint32_t)(header[12] >> 4) * 4;
    segment->sequence = weir_swap32(weir_load32(header + 4));
    segment->acknowledged = weir_swap32(weir_load32(header + 8));
    segment->flags = packet->tcp_flags;
    segment->length = (past > payload_at ? past - payload_at : 0) +
                      ((segment->flags & WEIR_TCP_SYN) ? 1 : 0) +
                      ((segment->flags & WEIR_TCP_FIN) ? 1 : 0);
    return true;
}

/* How long the frame is with a reset in it: the plane cuts it to this. */
WEIR_INLINE uint32_t weir_reset_frame_bytes(const struct weir_packet* packet) {
    return packet->l3_offset + weir_ip_bytes(packet->family) + WEIR_TCP_RESET_BYTES;
}

/* IP and TCP from l3_offset on. */
WEIR_INLINE bool weir_write_reset_packet(uint8_t* data, const uint8_t* end,
                                         const struct weir_packet* packet,
                                         const struct weir_translation* tuple, uint32_t sequence,
                                         uint32_t acknowledged, uint8_t flags) {
    uint32_t l4_offset = packet->l3_offset + weir_ip_bytes(packet->family);
    if (!weir_write_answer_ip(data, end, packet->l3_offset, &tuple->source, &tuple->destination,
                              WEIR_IP_TCP, WEIR_TCP_RESET_BYTES))
        return false;
    uint8_t* at = weir_at_mutable(data, end, l4_offset, WEIR_TCP_RESET_BYTES);
    if (!at)
        return false;
    weir_store16(at, tuple->source_port);
    weir_store16(at + 2, tuple->destination_port);
    weir_store32(at + 4, weir_swap32(sequence));
    weir_store32(at + 8, weir_swap32(acknowledged));
    at[12] = 0x50; /* no options */
    at[13] = flags;
    weir_store16(at + 14, 0); /* window */
    weir_store32(at + 16, 0); /* checksum, urgent pointer */
    uint64_t sum = weir_sum_pseudo_header(&tuple->source, &tuple->destination, WEIR_IP_TCP,
                                          WEIR_TCP_RESET_BYTES);
    for (int i = 0; i < (int)WEIR_TCP_RESET_BYTES; i += 4)
        sum += weir_load32(at + i);
    weir_store16(at + 16, (uint16_t)~weir_checksum_fold(sum));
    return true;
}

/* A reset back to the sender (RFC 9293 section 3.10.7.1): where the segment acknowledges something,
 * with just that sequence number, so that it passes RFC 5961's check; else acknowledging the
 * segment. The frame, its link header included, is then ready to go but for its length,
 * weir_reset_frame_bytes. Resets and fragments get none. */
WEIR_INLINE enum weir_verdict weir_write_reset(uint8_t* data, const uint8_t* end,
                                               const struct weir_packet* packet) {
    struct weir_segment segment;
    struct weir_link_bytes link;
    if (!weir_take_segment(data, end, packet, &segment) || !weir_take_link(data, end, 0, &link) ||
        !weir_at(data, end, weir_reset_frame_bytes(packet) - 1, 1))
        return WEIR_DROP_NO_CONNECTION;
    struct weir_translation back;
    back.source = weir_packet_destination(packet);
    back.destination = weir_packet_source(packet);
    back.source_port = packet->destination_port;
    back.destination_port = packet->source_port;
    bool acknowledges = segment.flags & WEIR_TCP_ACK;
    bool written = weir_write_reset_packet(
        data, end, packet, &back, acknowledges ? segment.acknowledged : 0,
        acknowledges ? 0 : segment.sequence + segment.length,
        (uint8_t)(acknowledges ? WEIR_TCP_RST : WEIR_TCP_RST | WEIR_TCP_ACK));
    if (!written || !weir_return_link(data, end, &link, packet->vlan_tci != WEIR_NO_VLAN))
        return WEIR_DROP_TRUNCATED;
    return WEIR_UNDECIDED;
}

/* A reset in the packet's own direction, for the other end of a NAT connection: `to` is the tuple
 * the packet would have left with, the sequence number its own, which is the one that end expects
 * next. The link header is left to weir_write_ethernet. */
WEIR_INLINE enum weir_verdict weir_write_reset_onward(uint8_t* data, const uint8_t* end,
                                                      const struct weir_packet* packet,
                                                      const struct weir_translation* to) {
    struct weir_segment segment;
    if (!weir_take_segment(data, end, packet, &segment) ||
        !weir_at(data, end, weir_reset_frame_bytes(packet) - 1, 1))
        return WEIR_DROP_NO_CONNECTION;
    if (!weir_write_reset_packet(data, end, packet, to, segment.sequence, 0, WEIR_TCP_RST))
        return WEIR_DROP_TRUNCATED;
    return WEIR_UNDECIDED;
}
