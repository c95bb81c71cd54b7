// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What the parser found in a packet. Offsets, never pointers, so that it stays true when the plane
 * moves the packet's head, and so that the BPF verifier can follow it. */
#pragma once

#include "dataplane/forwarding/flow.h"
#include "dataplane/forwarding/verdict.h"

#define WEIR_ETHERTYPE_V4 0x0800u
#define WEIR_ETHERTYPE_V6 0x86ddu
#define WEIR_ETHERTYPE_ARP 0x0806u
#define WEIR_ETHERTYPE_VLAN 0x8100u
#define WEIR_ETHERTYPE_SERVICE_VLAN 0x88a8u

#define WEIR_ETHERNET_BYTES 14u
#define WEIR_VLAN_BYTES 4u
#define WEIR_V4_BYTES 20u
#define WEIR_V6_BYTES 40u

enum weir_ip_protocol {
    WEIR_IP_HOP_BY_HOP = 0,
    WEIR_IP_ICMP = 1,
    WEIR_IP_IGMP = 2,
    WEIR_IP_IPIP = 4,
    WEIR_IP_TCP = 6,
    WEIR_IP_UDP = 17,
    WEIR_IP_IPV6 = 41,
    WEIR_IP_ROUTING = 43,
    WEIR_IP_FRAGMENT = 44,
    WEIR_IP_ICMPV6 = 58,
    WEIR_IP_DESTINATION_OPTIONS = 60,
    WEIR_IP_VRRP = 112,
};

enum weir_tcp_flag {
    WEIR_TCP_FIN = 0x01,
    WEIR_TCP_SYN = 0x02,
    WEIR_TCP_RST = 0x04,
    WEIR_TCP_PSH = 0x08,
    WEIR_TCP_ACK = 0x10,
    WEIR_TCP_URG = 0x20,
};

#define WEIR_NO_VLAN 0xffffu

enum weir_packet_flag {
    WEIR_PACKET_PORTS = 0x01,          /* source_port and destination_port were read */
    WEIR_PACKET_FRAGMENT = 0x02,       /* any fragment, the first one too */
    WEIR_PACKET_LATER_FRAGMENT = 0x04, /* offset > 0: carries no ports of its own */
    WEIR_PACKET_MORE_FRAGMENTS = 0x08, /* not the last one of its datagram */
    WEIR_PACKET_DONT_FRAGMENT = 0x10,  /* IPv4 with DF, and all of IPv6 */
    WEIR_PACKET_ICMP_ERROR = 0x20,     /* flow and ports are the quoted packet's, reversed */
    WEIR_PACKET_TUNNEL_ERROR = 0x40, /* about an encapsulated packet: flow as the client sent it */
};

/* An ICMP error travels like a packet of the connection it is about: `flow` is the quoted packet's
 * tuple turned round, so an error about what we sent to a client has the key of what that client
 * sends to us, and one about what we sent to a backend has the key of its replies. Match, owner,
 * hash and look-up then need no second form; only rewriting looks at the quoted packet. `protocol`
 * is the quoted one too; ttl and icmp_type are the error's own.
 *
 * A later fragment has no ports. The plane fills them in from the first fragment of the datagram
 * (weir_packet_take_ports), and it travels like the first. */

struct weir_packet {
    struct weir_flow
        flow; /* addresses and protocol always; ports are 0 without WEIR_PACKET_PORTS */
    weir_be16 source_port;
    weir_be16 destination_port;
    uint16_t l3_offset; /* bytes from the start of the frame */
    uint16_t l4_offset;
    uint16_t l3_length;       /* bytes, headers included, as the IP header says */
    uint16_t fragment_offset; /* bytes; 0 unless WEIR_PACKET_LATER_FRAGMENT */
    weir_be32 fragment_id;    /* IPv4: in the low 16 bits */
    uint16_t quoted_offset;   /* of the packet an ICMP error quotes: its IP header */
    uint16_t quoted_l4_offset;
    uint16_t ethertype; /* host order, behind the VLAN tag if there is one */
    uint16_t vlan_tci;  /* host order, or WEIR_NO_VLAN */
    uint8_t family;     /* 4, 6, or 0 when it is not IP */
    uint8_t protocol;   /* enum weir_ip_protocol, behind the extension headers; see ICMP_ERROR */
    uint8_t ttl;        /* TTL or hop limit */
    uint8_t tcp_flags;
    uint8_t icmp_type;
    uint8_t flags;  /* enum weir_packet_flag */
    uint8_t defect; /* enum weir_verdict: drop with it if the packet is ours; 0 when sound */
};

WEIR_INLINE struct weir_address weir_packet_source(const struct weir_packet* packet) {
    if (packet->family == 4)
        return weir_address_from_v4((weir_be32)packet->flow.word[0]);
    struct weir_address address = {{packet->flow.word[0], packet->flow.word[1]}};
    return address;
}

WEIR_INLINE struct weir_address weir_packet_destination(const struct weir_packet* packet) {
    if (packet->family == 4)
        return weir_address_from_v4((weir_be32)(packet->flow.word[0] >> 32));
    struct weir_address address = {{packet->flow.word[2], packet->flow.word[3]}};
    return address;
}

/* The first defect is the one that counts. */
WEIR_INLINE void weir_note_defect(struct weir_packet* packet, enum weir_verdict verdict) {
    if (packet->defect == WEIR_UNDECIDED)
        packet->defect = (uint8_t)verdict;
}

/* Gives a fragment without ports those of its datagram's first one. */
WEIR_INLINE void weir_packet_take_ports(struct weir_packet* packet, weir_be16 source_port,
                                        weir_be16 destination_port) {
    packet->source_port = source_port;
    packet->destination_port = destination_port;
    packet->flags |= WEIR_PACKET_PORTS;
    uint64_t ports = weir_flow_ports_word(source_port, destination_port, 0);
    if (packet->family == 4)
        packet->flow.word[1] |= ports;
    else
        packet->flow.word[4] |= ports;
}

/* The 6 bytes of the source MAC of a frame that the parser has seen. */
WEIR_INLINE const uint8_t* weir_ethernet_source(const uint8_t* frame) {
    return frame + 6;
}

/* The same as a word, whose upper 16 bits are 0. */
WEIR_INLINE uint64_t weir_ethernet_source_word(const uint8_t* frame) {
    return weir_load64(frame + 6) & 0xffffffffffffu;
}

/* A SYN that opens a connection: SYN without ACK. */
WEIR_INLINE bool weir_packet_opens(const struct weir_packet* packet) {
    return packet->protocol == WEIR_IP_TCP && !(packet->flags & WEIR_PACKET_ICMP_ERROR) &&
           (packet->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN;
}
