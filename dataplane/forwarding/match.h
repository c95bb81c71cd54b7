// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What a packet means to us: for a VIP, a reply, or the kernel's business.
 *
 * The table is open-addressed and flat (one array value in BPF). The builder guarantees that no key
 * lies further than WEIR_MATCH_MAX_PROBES from its home and that a free row ends each shorter run.
 */
#pragma once

#include "dataplane/forwarding/rows.h"

struct weir_match_view {
    const struct weir_match_row* rows;
    const struct weir_range_row* ranges;
    uint32_t mask;
    uint32_t seed;
    uint32_t flags;
    weir_be16 gue_port;
};

struct weir_match {
    uint32_t kind; /* enum weir_match_kind */
    uint32_t index;
};

/* Keys come from the configuration, not from the wire, so a fast mix is enough; `seed` is the
 * builder's way out of a long run. */
WEIR_INLINE uint32_t weir_match_home(uint32_t seed, const struct weir_address* address,
                                     uint8_t protocol, weir_be16 port) {
    uint64_t mixed = (address->word[0] ^ seed) * 0x9e3779b97f4a7c15u;
    mixed ^= address->word[1] + ((uint64_t)port << 8) + protocol;
    mixed *= 0xd6e8feb86659fd93u;
    mixed ^= mixed >> 32;
    mixed *= 0xd6e8feb86659fd93u;
    return (uint32_t)(mixed >> 32);
}

WEIR_INLINE const struct weir_match_row* weir_match_find(const struct weir_match_view* table,
                                                         const struct weir_address* address,
                                                         uint8_t protocol, weir_be16 port) {
    uint32_t home = weir_match_home(table->seed, address, protocol, port);
    for (uint32_t probe = 0; probe < WEIR_MATCH_MAX_PROBES; probe++) {
        uint64_t at = (home + probe) & table->mask;
        WEIR_OPAQUE(at);
        at &= WEIR_MATCH_MAX_ROWS - 1;
        const struct weir_match_row* row = &table->rows[at];
        if (row->kind == WEIR_MATCH_EMPTY)
            return NULL;
        if (row->port == port && row->protocol == protocol &&
            weir_address_equal(&row->address, address))
            return row;
    }
    return NULL;
}

/* Looks a port up in the ranges of a RANGES row, then takes the row's default. */
WEIR_INLINE struct weir_match weir_match_ranges(const struct weir_match_view* table,
                                                const struct weir_match_row* row, weir_be16 port) {
    struct weir_match match = {row->default_kind, row->index};
    uint16_t host_port = weir_swap16(port);
    for (uint32_t i = 0; i < WEIR_MAX_RANGES_PER_ADDRESS; i++) {
        if (i >= row->range_count)
            break;
        uint64_t at = row->range_first + i;
        WEIR_OPAQUE(at);
        at &= WEIR_MAX_RANGES - 1;
        const struct weir_range_row* range = &table->ranges[at];
        if (host_port >= range->first_port && host_port <= range->last_port) {
            match.kind = range->kind;
            match.index = range->index;
            break;
        }
    }
    return match;
}

/* The most specific meaning of (address, protocol, port): exact, then range, then all ports. */
WEIR_INLINE struct weir_match weir_match_endpoint(const struct weir_match_view* table,
                                                  const struct weir_address* address,
                                                  uint8_t protocol, weir_be16 port) {
    struct weir_match nothing = {WEIR_MATCH_EMPTY, WEIR_NO_ROW};
    const struct weir_match_row* row = weir_match_find(table, address, protocol, port);
    if (!row)
        row = weir_match_find(table, address, protocol, 0);
    if (!row)
        return nothing;
    if (row->kind == WEIR_MATCH_RANGES)
        return weir_match_ranges(table, row, port);
    struct weir_match match = {row->kind, row->index};
    return match;
}

WEIR_INLINE uint32_t weir_match_address(const struct weir_match_view* table,
                                        const struct weir_address* address) {
    const struct weir_match_row* row = weir_match_find(table, address, 0, 0);
    return row ? row->kind : (uint32_t)WEIR_MATCH_EMPTY;
}

/* What a packet's destination alone says. */
WEIR_INLINE struct weir_match weir_match_destination(const struct weir_match_view* table,
                                                     const struct weir_packet* packet) {
    struct weir_match match = {WEIR_MATCH_EMPTY, WEIR_NO_ROW};
    struct weir_address destination = weir_packet_destination(packet);
    if (packet->flags & WEIR_PACKET_PORTS) {
        match =
            weir_match_endpoint(table, &destination, packet->protocol, packet->destination_port);
        if (match.kind == WEIR_MATCH_VIP || match.kind == WEIR_MATCH_SNAT)
            return match;
    }
    match.index = WEIR_NO_ROW;
    match.kind = weir_match_address(table, &destination);
    return match;
}

/* The meaning of a whole packet. VIP and SNAT: by destination. BACKEND: a source that is a backend
 * of a `nat` VIP, to an address that is not the node's own (else it is the reply to a probe).
 * VIP_ADDRESS: to a VIP's address but not to a served port, or without a port (ICMP, a later
 * fragment). EMPTY: not ours. */
WEIR_INLINE struct weir_match weir_match_packet(const struct weir_match_view* table,
                                                const struct weir_packet* packet) {
    struct weir_match match = {WEIR_MATCH_EMPTY, WEIR_NO_ROW};
    if (packet->family == 0)
        return match;
    match = weir_match_destination(table, packet);
    if (match.kind != WEIR_MATCH_EMPTY || !(table->flags & WEIR_MATCH_HAS_NAT) ||
        !(packet->flags & WEIR_PACKET_PORTS))
        return match;
    struct weir_address source = weir_packet_source(packet);
    match = weir_match_endpoint(table, &source, packet->protocol, packet->source_port);
    if (match.kind != WEIR_MATCH_BACKEND)
        match.kind = WEIR_MATCH_EMPTY;
    return match;
}

/* To the same address, protocol and port: what is a VIP's for one is the same VIP's for the other.
 * Flows of packets that have WEIR_PACKET_PORTS. */
WEIR_INLINE bool weir_same_endpoint(const struct weir_flow* a, const struct weir_flow* b) {
    const uint64_t* of_a = a->word; /* flow.h: what stands where */
    const uint64_t* of_b = b->word;
    if (a->words != b->words)
        return false;
    if (a->words == WEIR_FLOW_WORDS_V4)
        return ((of_a[0] ^ of_b[0]) >> 32 | (of_a[1] ^ of_b[1]) >> 16) == 0;
    return ((of_a[2] ^ of_b[2]) | (of_a[3] ^ of_b[3]) | (of_a[4] ^ of_b[4]) >> 16) == 0;
}

/* Does the packet belong to the balancer (to an AF_XDP socket, past the guard)? A fragment to a
 * VIP's address counts: the balancer has to say what becomes of it. */
WEIR_INLINE bool weir_match_is_ours(const struct weir_match* match,
                                    const struct weir_packet* packet) {
    if (match->kind == WEIR_MATCH_VIP_ADDRESS)
        return (packet->flags & WEIR_PACKET_FRAGMENT) && !(packet->flags & WEIR_PACKET_PORTS) &&
               (packet->protocol == WEIR_IP_TCP || packet->protocol == WEIR_IP_UDP);
    return match->kind == WEIR_MATCH_VIP || match->kind == WEIR_MATCH_SNAT ||
           match->kind == WEIR_MATCH_BACKEND;
}
