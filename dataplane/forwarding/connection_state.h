// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What a packet does to a connection's state, and how long a state lasts: pure functions of
 * (state, event). No clock, no table. docs/connection-lifetime.md shows the same table; C++ reads
 * it through dataplane/lb/connection_lifetime.hpp, whose test goes through every transition.
 *
 * No sequence numbers are kept, so a packet proves only what the side that sent it wants us to
 * believe. Two rules follow: what the client alone can send never confirms a connection whose
 * backend we can hear (a flood of SYN, ACK stays on probation), and a reset is taken back by any
 * later packet from the side that is said to have sent it (RFC 5961's blind resets).
 */
#pragma once

#include "dataplane/forwarding/packet.h"
#include "dataplane/forwarding/rows.h"

/* Four bits in a connection row; the numbers are part of the published layout. */
enum weir_connection_state {
    WEIR_STATE_FREE = 0,
    WEIR_STATE_UDP_ONE_WAY = 1,
    WEIR_STATE_UDP_ASSURED = 2,
    WEIR_STATE_SYN_SEEN = 3,
    WEIR_STATE_SYN_ACK_SEEN = 4,
    WEIR_STATE_MIDSTREAM = 5, /* begins with no SYN: after a restart, or a stray */
    WEIR_STATE_ESTABLISHED = 6,
    WEIR_STATE_FIN_CLIENT = 7,
    WEIR_STATE_FIN_BACKEND = 8,
    WEIR_STATE_CLOSING_CLIENT = 9,   /* both sent FIN, the client first: the backend keeps no
                                        TIME_WAIT */
    WEIR_STATE_CLOSING_BACKEND = 10, /* both sent FIN, the backend first */
    WEIR_STATE_RST_CLIENT = 11,
    WEIR_STATE_RST_BACKEND = 12,
    WEIR_STATE_COUNT
};

enum weir_packet_event {
    WEIR_EVENT_CLIENT_SYN,
    WEIR_EVENT_CLIENT_SYN_ACK,
    WEIR_EVENT_CLIENT_ACK, /* any TCP segment without SYN, FIN, RST */
    WEIR_EVENT_CLIENT_FIN,
    WEIR_EVENT_CLIENT_RST,
    WEIR_EVENT_CLIENT_DATAGRAM,
    WEIR_EVENT_BACKEND_SYN,
    WEIR_EVENT_BACKEND_SYN_ACK,
    WEIR_EVENT_BACKEND_ACK,
    WEIR_EVENT_BACKEND_FIN,
    WEIR_EVENT_BACKEND_RST,
    WEIR_EVENT_BACKEND_DATAGRAM,
    WEIR_EVENT_COUNT
};

enum weir_direction { WEIR_FROM_CLIENT = 0, WEIR_FROM_BACKEND = 1 };

/* Whose packets pass through us: both sides' in the NAT modes, the client's alone in DSR. */
enum weir_visibility { WEIR_BOTH_SIDES = 0, WEIR_CLIENT_ONLY = 1 };

/* A row of the table as one word: the next state of event e in the bits from 4 * e on, so that a
 * look-up is a load and a shift, in BPF without a bound to prove. */
#define WEIR_NEXT(a, b, c, d, e, f, g, h, i, j, k, l)                                              \
    ((uint64_t)WEIR_S_##a << 0 | (uint64_t)WEIR_S_##b << 4 | (uint64_t)WEIR_S_##c << 8 |           \
     (uint64_t)WEIR_S_##d << 12 | (uint64_t)WEIR_S_##e << 16 | (uint64_t)WEIR_S_##f << 20 |        \
     (uint64_t)WEIR_S_##g << 24 | (uint64_t)WEIR_S_##h << 28 | (uint64_t)WEIR_S_##i << 32 |        \
     (uint64_t)WEIR_S_##j << 36 | (uint64_t)WEIR_S_##k << 40 | (uint64_t)WEIR_S_##l << 44)

/* Short names, so that a row of the table is a line. */
#define WEIR_S_Fre WEIR_STATE_FREE
#define WEIR_S_Ud1 WEIR_STATE_UDP_ONE_WAY
#define WEIR_S_UdA WEIR_STATE_UDP_ASSURED
#define WEIR_S_Syn WEIR_STATE_SYN_SEEN
#define WEIR_S_SyA WEIR_STATE_SYN_ACK_SEEN
#define WEIR_S_Mid WEIR_STATE_MIDSTREAM
#define WEIR_S_Est WEIR_STATE_ESTABLISHED
#define WEIR_S_FiC WEIR_STATE_FIN_CLIENT
#define WEIR_S_FiB WEIR_STATE_FIN_BACKEND
#define WEIR_S_ClC WEIR_STATE_CLOSING_CLIENT
#define WEIR_S_ClB WEIR_STATE_CLOSING_BACKEND
#define WEIR_S_RsC WEIR_STATE_RST_CLIENT
#define WEIR_S_RsB WEIR_STATE_RST_BACKEND

/* clang-format off */
static const uint64_t weir_next_both_sides[16] = {
    /*                  from the client              | from the backend */
    /*                  syn  s-ack ack fin  rst  udp     syn  s-ack ack fin  rst  udp */
    /* Fre */ WEIR_NEXT(Fre, Fre, Fre, Fre, Fre, Fre,   Fre, Fre, Fre, Fre, Fre, Fre),
    /* The backend's first answer shows that the source address is not forged. */
    /* Ud1 */ WEIR_NEXT(Ud1, Ud1, Ud1, Ud1, Ud1, Ud1,   Ud1, Ud1, Ud1, Ud1, Ud1, UdA),
    /* UdA */ WEIR_NEXT(UdA, UdA, UdA, UdA, UdA, UdA,   UdA, UdA, UdA, UdA, UdA, UdA),
    /* Nothing the client sends counts before the SYN-ACK. A bare ACK of the backend is its
     * challenge to a SYN on an old connection (RFC 5961, 4.2): the client resets and tries again. */
    /* Syn */ WEIR_NEXT(Syn, Syn, Syn, Syn, Syn, Syn,   Syn, SyA, Syn, Syn, RsB, Syn),
    /* The client's ACK shows that it received the SYN-ACK: the handshake is complete. Its RST may
     * be forged and costs it nothing if true: the next SYN starts anew. */
    /* SyA */ WEIR_NEXT(SyA, SyA, Est, FiC, SyA, SyA,   SyA, SyA, SyA, SyA, RsB, SyA),
    /* Only the backend knows whether there was a connection. */
    /* Mid */ WEIR_NEXT(Mid, Mid, Mid, Mid, Mid, Mid,   Mid, SyA, Est, FiB, RsB, Mid),
    /* A SYN here may be forged; the backend answers it with a challenge. */
    /* Est */ WEIR_NEXT(Est, Est, Est, FiC, RsC, Est,   Est, Est, Est, FiB, RsB, Est),
    /* Half closed (RFC 9293, 3.6): the other side may go on sending for as long as it likes. */
    /* FiC */ WEIR_NEXT(FiC, FiC, FiC, FiC, RsC, FiC,   FiC, FiC, FiC, ClC, RsB, FiC),
    /* FiB */ WEIR_NEXT(FiB, FiB, FiB, ClB, RsC, FiB,   FiB, FiB, FiB, FiB, RsB, FiB),
    /* What still comes is retransmission. */
    /* ClC */ WEIR_NEXT(ClC, ClC, ClC, ClC, ClC, ClC,   ClC, ClC, ClC, ClC, ClC, ClC),
    /* ClB */ WEIR_NEXT(ClB, ClB, ClB, ClB, ClB, ClB,   ClB, ClB, ClB, ClB, ClB, ClB),
    /* A side that has reset sends nothing more: if it does, the reset was forged. */
    /* RsC */ WEIR_NEXT(RsC, RsC, Est, FiC, RsC, RsC,   RsC, RsC, RsC, RsC, RsC, RsC),
    /* RsB */ WEIR_NEXT(RsB, RsB, RsB, RsB, RsB, RsB,   RsB, SyA, Est, FiB, RsB, RsB),
};

/* The same where only the client is heard: its second packet has to do for the backend's answer. */
static const uint64_t weir_next_client_only[16] = {
    /* Fre */ WEIR_NEXT(Fre, Fre, Fre, Fre, Fre, Fre,   Fre, Fre, Fre, Fre, Fre, Fre),
    /* Ud1 */ WEIR_NEXT(Ud1, Ud1, Ud1, Ud1, Ud1, UdA,   Ud1, Ud1, Ud1, Ud1, Ud1, UdA),
    /* UdA */ WEIR_NEXT(UdA, UdA, UdA, UdA, UdA, UdA,   UdA, UdA, UdA, UdA, UdA, UdA),
    /* Syn */ WEIR_NEXT(Syn, Syn, Est, FiC, Syn, Syn,   Syn, SyA, Syn, Syn, RsB, Syn),
    /* SyA */ WEIR_NEXT(SyA, SyA, Est, FiC, SyA, SyA,   SyA, SyA, SyA, SyA, RsB, SyA),
    /* Mid */ WEIR_NEXT(Mid, Mid, Est, FiC, Mid, Mid,   Mid, SyA, Est, FiB, RsB, Mid),
    /* Est */ WEIR_NEXT(Est, Est, Est, FiC, RsC, Est,   Est, Est, Est, FiB, RsB, Est),
    /* FiC */ WEIR_NEXT(FiC, FiC, FiC, FiC, RsC, FiC,   FiC, FiC, FiC, ClC, RsB, FiC),
    /* FiB */ WEIR_NEXT(FiB, FiB, FiB, ClB, RsC, FiB,   FiB, FiB, FiB, FiB, RsB, FiB),
    /* ClC */ WEIR_NEXT(ClC, ClC, ClC, ClC, ClC, ClC,   ClC, ClC, ClC, ClC, ClC, ClC),
    /* ClB */ WEIR_NEXT(ClB, ClB, ClB, ClB, ClB, ClB,   ClB, ClB, ClB, ClB, ClB, ClB),
    /* RsC */ WEIR_NEXT(RsC, RsC, Est, FiC, RsC, RsC,   RsC, RsC, RsC, RsC, RsC, RsC),
    /* RsB */ WEIR_NEXT(RsB, RsB, RsB, RsB, RsB, RsB,   RsB, SyA, Est, FiB, RsB, RsB),
};
/* clang-format on */

#undef WEIR_S_Fre
#undef WEIR_S_Ud1
#undef WEIR_S_UdA
#undef WEIR_S_Syn
#undef WEIR_S_SyA
#undef WEIR_S_Mid
#undef WEIR_S_Est
#undef WEIR_S_FiC
#undef WEIR_S_FiB
#undef WEIR_S_ClC
#undef WEIR_S_ClB
#undef WEIR_S_RsC
#undef WEIR_S_RsB
#undef WEIR_NEXT

/* One of enum weir_packet_event; `direction` is one of enum weir_direction. */
WEIR_INLINE uint32_t weir_tcp_event(uint32_t direction, uint8_t tcp_flags) {
    uint32_t client = WEIR_EVENT_CLIENT_ACK;
    if (tcp_flags & WEIR_TCP_RST)
        client = WEIR_EVENT_CLIENT_RST;
    else if (tcp_flags & WEIR_TCP_SYN)
        client = (tcp_flags & WEIR_TCP_ACK) ? WEIR_EVENT_CLIENT_SYN_ACK : WEIR_EVENT_CLIENT_SYN;
    else if (tcp_flags & WEIR_TCP_FIN)
        client = WEIR_EVENT_CLIENT_FIN;
    return client + direction * WEIR_EVENT_BACKEND_SYN;
}

WEIR_INLINE uint32_t weir_udp_event(uint32_t direction) {
    return direction == WEIR_FROM_BACKEND ? WEIR_EVENT_BACKEND_DATAGRAM
                                          : WEIR_EVENT_CLIENT_DATAGRAM;
}

WEIR_INLINE uint32_t weir_packet_event_of(const struct weir_packet* packet, uint32_t direction) {
    return packet->protocol == WEIR_IP_TCP ? weir_tcp_event(direction, packet->tcp_flags)
                                           : weir_udp_event(direction);
}

/* State of a connection that begins with this packet; FREE: such a packet is not recorded. */
WEIR_INLINE uint8_t weir_initial_state(uint32_t event) {
    switch (event) {
    case WEIR_EVENT_CLIENT_SYN:
        return WEIR_STATE_SYN_SEEN;
    case WEIR_EVENT_CLIENT_ACK:
    case WEIR_EVENT_CLIENT_FIN:
        return WEIR_STATE_MIDSTREAM;
    case WEIR_EVENT_CLIENT_DATAGRAM:
        return WEIR_STATE_UDP_ONE_WAY;
    default: /* a RST ends what we do not know; a backend opens nothing */
        return WEIR_STATE_FREE;
    }
}

/* `state` below 16 and `event` below WEIR_EVENT_COUNT. */
WEIR_INLINE uint8_t weir_next_state(uint32_t visibility, uint8_t state, uint32_t event) {
    uint64_t row = state;
    WEIR_OPAQUE(row);
    row &= 15;
    uint64_t next =
        visibility == WEIR_CLIENT_ONLY ? weir_next_client_only[row] : weir_next_both_sides[row];
    return (uint8_t)(next >> (4 * event) & 15);
}

/* Sets of states as one bit each: a test of a set is a shift, on every machine. */
#define WEIR_STATE_BIT(state) (1u << (state))
WEIR_INLINE bool weir_state_is_of(uint8_t state, uint32_t set) {
    return set >> (state & 15) & 1;
}

/* The peers have shown each other to be real: an entry in this state leaves probation. A connection
 * that is reset during its handshake is no better than a half-open one. */
WEIR_INLINE bool weir_state_confirmed(uint8_t state) {
    return weir_state_is_of(
        state, WEIR_STATE_BIT(WEIR_STATE_UDP_ASSURED) | WEIR_STATE_BIT(WEIR_STATE_ESTABLISHED) |
                   WEIR_STATE_BIT(WEIR_STATE_FIN_CLIENT) | WEIR_STATE_BIT(WEIR_STATE_FIN_BACKEND) |
                   WEIR_STATE_BIT(WEIR_STATE_CLOSING_CLIENT) |
                   WEIR_STATE_BIT(WEIR_STATE_CLOSING_BACKEND));
}

/* Neither begins nor ends anything, as far as the packet itself shows. No ICMP error, no fragment.
 */
WEIR_INLINE bool weir_is_quiet(const struct weir_packet* packet) {
    return packet->protocol != WEIR_IP_TCP ||
           (packet->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_FIN | WEIR_TCP_RST)) == 0;
}

/* A quiet packet leaves a connection in this state and restarts its idle time, whoever sent it (the
 * diagonals of Est and UdA), where its backend is up. */
WEIR_INLINE bool weir_state_complete(uint8_t state) {
    return weir_state_is_of(state, WEIR_STATE_BIT(WEIR_STATE_ESTABLISHED) |
                                       WEIR_STATE_BIT(WEIR_STATE_UDP_ASSURED));
}

/* A SYN (alone) on an old tuple in this state opens a new connection at once: the old entry is to
 * be erased and the packet treated as unknown. A retransmitted SYN meets its own half-open entry
 * here; giving it the same backend again, while that is up, is the caller's choice. */
WEIR_INLINE bool weir_state_restarts(uint8_t state, uint8_t tcp_flags) {
    if ((tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_ACK | WEIR_TCP_FIN | WEIR_TCP_RST)) != WEIR_TCP_SYN)
        return false;
    return !weir_state_is_of(
        state, WEIR_STATE_BIT(WEIR_STATE_FREE) | WEIR_STATE_BIT(WEIR_STATE_UDP_ONE_WAY) |
                   WEIR_STATE_BIT(WEIR_STATE_UDP_ASSURED) | WEIR_STATE_BIT(WEIR_STATE_ESTABLISHED));
}

/* Whether the packet that led from `before` to `after` restarts the entry's idle time. A client's
 * packets alone keep neither a half-open connection alive nor a UDP one whose backend is down. */
WEIR_INLINE bool weir_state_refreshes(uint8_t before, uint8_t after, uint32_t direction,
                                      bool backend_down) {
    switch (after) {
    case WEIR_STATE_UDP_ONE_WAY:
    case WEIR_STATE_UDP_ASSURED:
        return direction == WEIR_FROM_BACKEND || !backend_down;
    case WEIR_STATE_ESTABLISHED:
    case WEIR_STATE_FIN_CLIENT:
    case WEIR_STATE_FIN_BACKEND:
        return true;
    default:
        return before != after;
    }
}

/* The SNAT port of an entry in this state may be given to a new connection to the same backend,
 * whose side of the old one is gone. The entry is to be erased first. Under pressure the ports of
 * all ended connections may be: the backend may still be in TIME_WAIT, and takes the new SYN if its
 * sequence number or time stamp is the newer (RFC 6191). */
WEIR_INLINE bool weir_snat_port_reusable(uint8_t state, bool pressure) {
    uint32_t set = WEIR_STATE_BIT(WEIR_STATE_CLOSING_CLIENT);
    if (pressure)
        set |= WEIR_STATE_BIT(WEIR_STATE_CLOSING_BACKEND) | WEIR_STATE_BIT(WEIR_STATE_RST_CLIENT) |
               WEIR_STATE_BIT(WEIR_STATE_RST_BACKEND);
    return weir_state_is_of(state, set);
}

/* Seconds without a packet until it is forgotten. */
WEIR_INLINE uint16_t weir_state_timeout_s(uint8_t state, const struct weir_timeouts* timeouts) {
    switch (state) {
    case WEIR_STATE_FREE:
        return 0;
    case WEIR_STATE_UDP_ONE_WAY:
    case WEIR_STATE_UDP_ASSURED:
        return timeouts->udp;
    case WEIR_STATE_SYN_SEEN:
    case WEIR_STATE_SYN_ACK_SEEN:
    case WEIR_STATE_MIDSTREAM:
        return timeouts->syn;
    case WEIR_STATE_ESTABLISHED:
        return timeouts->established;
    case WEIR_STATE_FIN_CLIENT:
    case WEIR_STATE_FIN_BACKEND:
    case WEIR_STATE_CLOSING_CLIENT:
    case WEIR_STATE_CLOSING_BACKEND:
        return timeouts->fin;
    default: /* reset; or a damaged row: not for long */
        return timeouts->rst;
    }
}
