// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The flow key: the 5-tuple as the words that SipHash takes, for either family.
 *
 * As a byte string the key is source | destination | source port | destination port | protocol, all
 * as they stand in the packet: 13 bytes for IPv4 (2 words), 37 for IPv6 (5 words).
 */
#pragma once

#include "dataplane/forwarding/hash.h"

#define WEIR_FLOW_WORDS_V4 2u
#define WEIR_FLOW_WORDS_V6 5u

struct weir_flow {
    uint64_t word[WEIR_FLOW_WORDS_V6]; /* IPv4 uses the first two */
    uint32_t words;
};

WEIR_INLINE uint64_t weir_flow_ports_word(weir_be16 source_port, weir_be16 destination_port,
                                          uint8_t protocol) {
    return (uint64_t)source_port | ((uint64_t)destination_port << 16) | ((uint64_t)protocol << 32);
}

WEIR_INLINE void weir_flow_set_v4(struct weir_flow* flow, weir_be32 source, weir_be32 destination,
                                  weir_be16 source_port, weir_be16 destination_port,
                                  uint8_t protocol) {
    flow->words = WEIR_FLOW_WORDS_V4;
    flow->word[0] = (uint64_t)source | ((uint64_t)destination << 32);
    flow->word[1] =
        weir_flow_ports_word(source_port, destination_port, protocol) | ((uint64_t)13 << 56);
}

/* The same of a packet: its addresses and its ports stand side by side in it, as in the words. */
WEIR_INLINE void weir_flow_read_v4(struct weir_flow* flow, const uint8_t* addresses,
                                   const uint8_t* ports, uint8_t protocol) {
    flow->words = WEIR_FLOW_WORDS_V4;
    flow->word[0] = weir_load64(addresses);
    flow->word[1] = weir_load32(ports) | ((uint64_t)protocol << 32) | ((uint64_t)13 << 56);
}

WEIR_INLINE void weir_flow_set_v6(struct weir_flow* flow, const struct weir_address* source,
                                  const struct weir_address* destination, weir_be16 source_port,
                                  weir_be16 destination_port, uint8_t protocol) {
    flow->words = WEIR_FLOW_WORDS_V6;
    flow->word[0] = source->word[0];
    flow->word[1] = source->word[1];
    flow->word[2] = destination->word[0];
    flow->word[3] = destination->word[1];
    flow->word[4] =
        weir_flow_ports_word(source_port, destination_port, protocol) | ((uint64_t)37 << 56);
}

WEIR_INLINE void weir_flow_set(struct weir_flow* flow, const struct weir_address* source,
                               const struct weir_address* destination, weir_be16 source_port,
                               weir_be16 destination_port, uint8_t protocol) {
    if (weir_address_is_v4(source))
        weir_flow_set_v4(flow, weir_address_v4(source), weir_address_v4(destination), source_port,
                         destination_port, protocol);
    else
        weir_flow_set_v6(flow, source, destination, source_port, destination_port, protocol);
}

WEIR_INLINE uint64_t weir_flow_hash(const struct weir_hash_key* key, const struct weir_flow* flow) {
    if (flow->words == WEIR_FLOW_WORDS_V4)
        return weir_siphash13(key, flow->word, WEIR_FLOW_WORDS_V4);
    return weir_siphash13(key, flow->word, WEIR_FLOW_WORDS_V6);
}

/* How the 64 bits of a flow hash are used, so that no two uses share bits that matter:
 *   high 32: the owning worker;  low 32: connection-table index and tag, and the Maglev slot. */
WEIR_INLINE uint32_t weir_hash_table_bits(uint64_t hash) {
    return (uint32_t)hash;
}

WEIR_INLINE uint32_t weir_hash_owner_bits(uint64_t hash) {
    return (uint32_t)(hash >> 32);
}
