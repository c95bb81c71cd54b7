// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The Toeplitz hash as NICs compute it to spread packets over queues (receive side scaling): over
 * source address, destination address, source port, destination port, as they stand in the packet.
 * Input bit i, counted from the first byte's most significant bit, adds (xor) the 32 key bits that
 * begin at key bit i; so the hash is linear, and the owner of a reply can be chosen
 * (lb/spread.hpp).
 *
 * This is the plain form, bit by bit. What hashes every packet works with tables made from
 * weir_toeplitz_window(). The flow hash (hash.h) is another thing: this one only picks a worker.
 */
#pragma once

#include "dataplane/forwarding/flow.h"

#define WEIR_RSS_KEY_BYTES 52u /* the longest any NIC takes; hashing IPv6 needs the first 40 */
#define WEIR_RSS_V4_BYTES 12u  /* of input: two addresses, two ports */
#define WEIR_RSS_V6_BYTES 36u
#define WEIR_RSS_PORTS_BYTES 4u /* the last of them; packets without ports are hashed without */

struct weir_rss_key {
    uint8_t byte[WEIR_RSS_KEY_BYTES];
};

/* What input bit `bit` adds: the 32 key bits from there on. bit < 8 * WEIR_RSS_V6_BYTES. */
WEIR_INLINE uint32_t weir_toeplitz_window(const struct weir_rss_key* key, uint32_t bit) {
    const uint32_t first = bit / 8;
    uint64_t bits = 0; /* 40 of them */
    for (uint32_t i = 0; i < 5; i++)
        bits = bits << 8 | key->byte[first + i];
    return (uint32_t)(bits >> (8 - bit % 8));
}

/* What the value of one input byte adds. */
WEIR_INLINE uint32_t weir_toeplitz_byte(const struct weir_rss_key* key, uint32_t index,
                                        uint8_t value) {
    uint32_t hash = 0;
    for (uint32_t bit = 0; bit < 8; bit++)
        if (value & (0x80u >> bit))
            hash ^= weir_toeplitz_window(key, index * 8 + bit);
    return hash;
}

/* The flow's words are the hash's input already: both have the tuple in the packet's order. */
WEIR_INLINE uint8_t weir_rss_input(const struct weir_flow* flow, uint32_t index) {
    return (uint8_t)(flow->word[index / 8] >> (index % 8 * 8));
}

WEIR_INLINE uint32_t weir_rss_input_bytes(const struct weir_flow* flow) {
    return flow->words == WEIR_FLOW_WORDS_V4 ? WEIR_RSS_V4_BYTES : WEIR_RSS_V6_BYTES;
}

/* The hash of a TCP or UDP packet that is no fragment. */
WEIR_INLINE uint32_t weir_toeplitz(const struct weir_rss_key* key, const struct weir_flow* flow) {
    const uint32_t bytes = weir_rss_input_bytes(flow);
    uint32_t hash = 0;
    for (uint32_t i = 0; i < bytes; i++)
        hash ^= weir_toeplitz_byte(key, i, weir_rss_input(flow, i));
    return hash;
}

/* The hash of a packet whose ports a NIC does not look at: fragments, ICMP. */
WEIR_INLINE uint32_t weir_toeplitz_addresses(const struct weir_rss_key* key,
                                             const struct weir_flow* flow) {
    const uint32_t bytes = weir_rss_input_bytes(flow) - WEIR_RSS_PORTS_BYTES;
    uint32_t hash = 0;
    for (uint32_t i = 0; i < bytes; i++)
        hash ^= weir_toeplitz_byte(key, i, weir_rss_input(flow, i));
    return hash;
}
