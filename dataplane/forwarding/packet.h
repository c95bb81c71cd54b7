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
    WEIR_IP_TCP = 6,
    WEIR_IP_UDP = 17,
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
    WEIR_PACKET_LATER_FRAGMENT = 0x04, /* offset > 0: carries no ports */
};

struct weir_packet {
    struct weir_flow
        flow; /* addresses and protocol always; ports are 0 without WEIR_PACKET_PORTS */
    weir_be16 source_port;
    weir_be16 destination_port;
    uint16_t l3_offset; /* bytes from the start of the frame */
    uint16_t l4_offset;
    uint16_t l3_length; /* bytes, headers included, as the IP header says */
    uint16_t ethertype; /* host order, behind the VLAN tag if there is one */
    uint16_t vlan_tci;  /* host order, or WEIR_NO_VLAN */
    uint8_t family;     /* 4, 6, or 0 when it is not IP */
    uint8_t protocol;   /* enum weir_ip_protocol, behind the extension headers */
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

/* The 6 bytes of the source MAC of a frame that the parser has seen. */
WEIR_INLINE const uint8_t* weir_ethernet_source(const uint8_t* frame) {
    return frame + 6;
}

/* A SYN that opens a connection: SYN without ACK. */
WEIR_INLINE bool weir_packet_opens(const struct weir_packet* packet) {
    return packet->protocol == WEIR_IP_TCP &&
           (packet->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK)) == WEIR_TCP_SYN;
}
