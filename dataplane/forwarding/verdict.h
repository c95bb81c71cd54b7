// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The one list of what can happen to a packet.
 *
 * Every packet a worker takes in leaves with exactly one verdict. Each line gives a verdict its
 * enumerator, counter name, class and the sentence an operator reads; counters, metrics, `weirctl
 * drops` and docs/verdicts.md are made from this list. Removing or reordering lines changes the
 * meaning of shared counter memory: bump kCountersVersion (dataplane/lb/counters.hpp) when you
 * do.
 *
 * Classes are the terms of the closed-books formula:
 *   rx + generated + handed_in = tx + punted + handed_out + sum(drops) + held
 * FORWARD leaves by a port (tx), PUNT goes to the kernel-side interface, HAND_OVER goes to another
 * worker's ring, DROP ends here.
 */
#pragma once

#include "dataplane/forwarding/base.h"

enum weir_verdict_class {
    WEIR_CLASS_NONE = 0,
    WEIR_CLASS_FORWARD,
    WEIR_CLASS_PUNT,
    WEIR_CLASS_HAND_OVER,
    WEIR_CLASS_DROP,
};

/* X(ENUMERATOR, counter_name, CLASS, sentence) */
#define WEIR_VERDICTS(X)                                                                           \
    X(FORWARDED, forwarded, FORWARD, "sent to a backend")                                          \
    X(REPLIED, replied, FORWARD, "a backend's reply, translated and sent to its client")           \
    X(FROM_KERNEL, from_kernel, FORWARD,                                                           \
      "sent by the kernel through its side of a bypassed interface")                               \
    X(ICMP_RELAYED, icmp_relayed, FORWARD,                                                         \
      "an ICMP error about a connection, sent to its backend or its client")                       \
    X(ANSWERED_RESET, answered_reset, FORWARD, "answered with a TCP reset")                        \
    X(ANSWERED_UNREACHABLE, answered_unreachable, FORWARD, "answered with ICMP unreachable")       \
    X(ANSWERED_TOO_BIG, answered_too_big, FORWARD,                                                 \
      "answered with fragmentation needed or packet too big")                                      \
    X(ANSWERED_TIME_EXCEEDED, answered_time_exceeded, FORWARD, "answered with ICMP time exceeded") \
    X(PUNTED_CONTROL, punted_control, PUNT,                                                        \
      "ARP, neighbour discovery, VRRP, BGP or BFD, given to the kernel")                           \
    X(PUNTED_ECHO, punted_echo, PUNT, "ICMP echo, given to the kernel")                            \
    X(PUNTED_OTHER, punted_other, PUNT, "not for a VIP, given to the kernel")                      \
    X(HANDED_OVER, handed_over, HAND_OVER, "given to the worker that owns the connection")         \
    X(DROP_NO_CONFIGURATION, drop_no_configuration, DROP,                                          \
      "came before the control process had published a configuration")                             \
    X(DROP_TRUNCATED, drop_truncated, DROP, "shorter than its own headers say")                    \
    X(DROP_BAD_IP_HEADER, drop_bad_ip_header, DROP,                                                \
      "IP header with a wrong version, header length or total length")                             \
    X(DROP_BAD_IP_CHECKSUM, drop_bad_ip_checksum, DROP, "IPv4 header checksum does not match")     \
    X(DROP_SOURCE_ROUTED, drop_source_routed, DROP,                                                \
      "carries an IPv4 source-route option or an IPv6 type 0 routing header")                      \
    X(DROP_BAD_IP_OPTIONS, drop_bad_ip_options, DROP, "IPv4 options that do not parse")            \
    X(DROP_EXTENSION_CHAIN, drop_extension_chain, DROP,                                            \
      "more than 4 IPv6 extension headers, or one that does not parse")                            \
    X(DROP_BAD_TCP_HEADER, drop_bad_tcp_header, DROP,                                              \
      "TCP header length below 20 or past the end")                                                \
    X(DROP_BAD_UDP_LENGTH, drop_bad_udp_length, DROP, "UDP length below 8 or past the end")        \
    X(DROP_BAD_TCP_FLAGS, drop_bad_tcp_flags, DROP, "TCP flags that no connection uses")           \
    X(DROP_LAND, drop_land, DROP, "source and destination are the same address and port")          \
    X(DROP_MARTIAN_SOURCE, drop_martian_source, DROP,                                              \
      "source address that no client can have (loopback, multicast, unspecified, broadcast)")      \
    X(DROP_TTL_EXPIRED, drop_ttl_expired, DROP, "TTL or hop limit used up on the way")             \
    X(DROP_FRAGMENT_TINY, drop_fragment_tiny, DROP,                                                \
      "a first fragment without the whole L4 header, or a second one inside it")                   \
    X(DROP_FRAGMENT_BAD, drop_fragment_bad, DROP,                                                  \
      "a fragment with a length or offset that no datagram has")                                   \
    X(DROP_FRAGMENT_OVERLAP, drop_fragment_overlap, DROP,                                          \
      "overlaps another fragment of its datagram, or follows one that did")                        \
    X(DROP_FRAGMENT_NO_FIRST, drop_fragment_no_first, DROP,                                        \
      "waited in vain for the first fragment of its datagram")                                     \
    X(DROP_FRAGMENT_QUEUE_FULL, drop_fragment_queue_full, DROP,                                    \
      "too many fragments wait for their first one")                                               \
    X(DROP_ICMP_NO_CONNECTION, drop_icmp_no_connection, DROP,                                      \
      "an ICMP error about a connection that is not known")                                        \
    X(DROP_ICMP_IMPLAUSIBLE, drop_icmp_implausible, DROP,                                          \
      "an ICMP error that quotes no packet of ours, or an MTU that no link has")                   \
    X(DROP_TUNNEL_ERROR, drop_tunnel_error, DROP,                                                  \
      "an ICMP error about a tunnel to a backend that tells its client nothing")                   \
    X(DROP_ICMP_RATE, drop_icmp_rate, DROP,                                                        \
      "over the rate allowed to ICMP errors that no recorded connection vouches for")              \
    X(DROP_NOT_OURS, drop_not_ours, DROP,                                                          \
      "not for a VIP, on an interface without a kernel side to give it to")                        \
    X(DROP_PUNT_RATE, drop_punt_rate, DROP, "over the rate allowed to the kernel for its class")   \
    X(DROP_PUNT_QUEUE_FULL, drop_punt_queue_full, DROP, "the queue to the kernel was full")        \
    X(DROP_NO_BACKEND, drop_no_backend, DROP, "the pool has no backend to send it to")             \
    X(DROP_BACKEND_LIMIT, drop_backend_limit, DROP,                                                \
      "every backend of the pool has its max_connections")                                         \
    X(DROP_BACKEND_DOWN, drop_backend_down, DROP, "its connection's backend is down")              \
    X(DROP_NO_NEXT_HOP, drop_no_next_hop, DROP,                                                    \
      "the way to the backend or client is not resolved (no route or no neighbour)")               \
    X(DROP_NO_CONNECTION, drop_no_connection, DROP,                                                \
      "neither starts a connection nor belongs to a known one")                                    \
    X(DROP_TABLE_FULL, drop_table_full, DROP, "no room for a new connection in the table")         \
    X(DROP_VIP_QUOTA, drop_vip_quota, DROP, "the VIP has used its share of the connection table")  \
    X(DROP_SNAT_EXHAUSTED, drop_snat_exhausted, DROP,                                              \
      "no source port is free for a new connection to this backend")                               \
    X(DROP_NAT_CONFLICT, drop_nat_conflict, DROP,                                                  \
      "another VIP already has a connection from this client and port to this backend")            \
    X(DROP_TOO_BIG, drop_too_big, DROP, "larger than the way to the backend or client allows")     \
    X(DROP_NO_BUFFER, drop_no_buffer, DROP, "no packet buffer was free for a copy of it")          \
    X(DROP_RING_FULL, drop_ring_full, DROP, "the owning worker's ring was full")                   \
    X(DROP_TX_FULL, drop_tx_full, DROP, "the port's transmit queue was full")                      \
    X(DROP_STANDING_IN, drop_standing_in, DROP,                                                    \
      "of no connection that is known while another engine takes over or gives back")

enum weir_verdict {
    WEIR_UNDECIDED = 0, /* no verdict yet: the next stage looks at it */
#define WEIR_VERDICT_ENUMERATOR(enumerator, name, class, sentence) WEIR_##enumerator,
    WEIR_VERDICTS(WEIR_VERDICT_ENUMERATOR)
#undef WEIR_VERDICT_ENUMERATOR
        WEIR_VERDICT_COUNT
};
