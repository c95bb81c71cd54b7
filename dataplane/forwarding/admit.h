// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What the planes may do with a packet, step by step: is it ours and sound; may it start a
 * connection; may a known connection go on to its backend. Each function decides from rows and the
 * parsed packet alone. */
#pragma once

#include "dataplane/forwarding/match.h"

#define WEIR_PORT_BGP 179u
#define WEIR_PORT_BFD 3784u
#define WEIR_PORT_BFD_ECHO 3785u
#define WEIR_PORT_BFD_MULTIHOP 4784u

WEIR_INLINE bool weir_port_is(const struct weir_packet* packet, uint16_t port) {
    weir_be16 wanted = weir_swap16(port);
    return packet->source_port == wanted || packet->destination_port == wanted;
}

/* The kernel's packets by class, so that control protocols never queue behind data. */
WEIR_INLINE enum weir_verdict weir_punt_class(const struct weir_packet* packet) {
    if (packet->family == 0)
        return packet->ethertype == WEIR_ETHERTYPE_ARP ? WEIR_PUNTED_CONTROL : WEIR_PUNTED_OTHER;
    bool has_type = packet->family == 4 && !(packet->flags & WEIR_PACKET_LATER_FRAGMENT);
    switch (packet->protocol) {
    case WEIR_IP_VRRP:
    case WEIR_IP_IGMP:
        return WEIR_PUNTED_CONTROL;
    case WEIR_IP_ICMP:
        return has_type && (packet->icmp_type == 8 || packet->icmp_type == 0) ? WEIR_PUNTED_ECHO
                                                                              : WEIR_PUNTED_OTHER;
    case WEIR_IP_ICMPV6:
        if (packet->icmp_type >= 130 && packet->icmp_type <= 143) /* MLD and neighbour discovery */
            return WEIR_PUNTED_CONTROL;
        return packet->icmp_type == 128 || packet->icmp_type == 129 ? WEIR_PUNTED_ECHO
                                                                    : WEIR_PUNTED_OTHER;
    case WEIR_IP_TCP:
        return weir_port_is(packet, WEIR_PORT_BGP) ? WEIR_PUNTED_CONTROL : WEIR_PUNTED_OTHER;
    case WEIR_IP_UDP:
        return weir_port_is(packet, WEIR_PORT_BFD) || weir_port_is(packet, WEIR_PORT_BFD_ECHO) ||
                       weir_port_is(packet, WEIR_PORT_BFD_MULTIHOP)
                   ? WEIR_PUNTED_CONTROL
                   : WEIR_PUNTED_OTHER;
    default:
        return WEIR_PUNTED_OTHER;
    }
}

/* After the match: UNDECIDED means the packet is the balancer's (match.kind VIP, SNAT or BACKEND).
 * Else it is punted in its class, or dropped for what is wrong with it. */
WEIR_INLINE enum weir_verdict weir_admit(const struct weir_packet* packet,
                                         const struct weir_match* match) {
    if (!weir_match_is_ours(match, packet))
        return weir_punt_class(packet);
    if (packet->defect)
        return (enum weir_verdict)packet->defect;
    if ((packet->flags & WEIR_PACKET_FRAGMENT) && !(packet->flags & WEIR_PACKET_PORTS))
        return WEIR_DROP_FRAGMENT_NO_FIRST;
    return WEIR_UNDECIDED;
}

/* A packet to a VIP whose connection is not known: UNDECIDED means select a backend and record. */
WEIR_INLINE enum weir_verdict weir_admit_new(const struct weir_packet* packet,
                                             const struct weir_vip_row* vip) {
    if (packet->flags & WEIR_PACKET_TUNNEL_ERROR)
        return WEIR_DROP_ICMP_NO_CONNECTION;
    if (vip->flags & WEIR_VIP_HASH_RECOVERS)
        return WEIR_UNDECIDED;
    if (packet->flags & WEIR_PACKET_ICMP_ERROR)
        return WEIR_DROP_ICMP_NO_CONNECTION;
    if (packet->flags & WEIR_PACKET_LATER_FRAGMENT)
        return WEIR_DROP_NO_CONNECTION;
    if (packet->protocol == WEIR_IP_UDP || weir_packet_opens(packet))
        return WEIR_UNDECIDED;
    return WEIR_DROP_NO_CONNECTION;
}

enum weir_known_step {
    WEIR_KNOWN_FORWARD,  /* to its own backend */
    WEIR_KNOWN_RESELECT, /* forget it, treat the packet as unknown */
    WEIR_KNOWN_DROP,
};

/* A packet of a known connection: its own backend, even while that backend drains. */
WEIR_INLINE enum weir_known_step weir_admit_known(const struct weir_vip_row* vip,
                                                  const struct weir_backend_row* backend) {
    if (backend->state == WEIR_BACKEND_UP || backend->state == WEIR_BACKEND_DRAINING)
        return WEIR_KNOWN_FORWARD;
    if (backend->state == WEIR_BACKEND_DOWN && vip->on_backend_down == WEIR_BACKEND_DOWN_KEEP)
        return WEIR_KNOWN_FORWARD;
    return vip->on_backend_down == WEIR_BACKEND_DOWN_RESELECT ? WEIR_KNOWN_RESELECT
                                                              : WEIR_KNOWN_DROP;
}

/* The port a backend is reached at: its own, or the one the client used. */
WEIR_INLINE weir_be16 weir_backend_port(const struct weir_backend_row* backend,
                                        weir_be16 service_port) {
    return backend->port ? backend->port : service_port;
}
