// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* From a flow or a client to a slot or a worker, and from a SNAT port to a worker. */
#pragma once

#include "dataplane/forwarding/rows.h"

/* `hash` spread evenly over 0..count-1 without a division (Lemire, 2016). */
WEIR_INLINE uint32_t weir_scale(uint32_t hash, uint32_t count) {
    return (uint32_t)(((uint64_t)hash * count) >> 32);
}

WEIR_INLINE uint32_t weir_maglev_slot(uint64_t flow_hash, uint32_t slot_count) {
    return weir_scale(weir_hash_table_bits(flow_hash), slot_count);
}

/* source-hash: the client's address alone, so that all it opens meets the same slot. 16 bytes, a
 * length that no other hashed string has. */
WEIR_INLINE uint64_t weir_source_hash(const struct weir_hash_key* key,
                                      const struct weir_address* client) {
    uint64_t word[3] = {client->word[0], client->word[1], (uint64_t)16 << 56};
    return weir_siphash13(key, word, 3);
}

/* The hash that a pool's slots are looked up by: `flow_hash`, or the client's. */
WEIR_INLINE uint64_t weir_slot_hash(const struct weir_pool_row* pool,
                                    const struct weir_hash_key* key,
                                    const struct weir_address* client, uint64_t flow_hash) {
    return pool->scheduler == WEIR_SCHEDULE_SOURCE_HASH ? weir_source_hash(key, client) : flow_hash;
}

/* --- persistence: clients of one network are one client ----------------------------------------
 */

/* The first `bits` (0..64) bits of eight bytes in network order. */
WEIR_INLINE uint64_t weir_prefix_mask(uint32_t bits) {
    return bits == 0 ? 0 : __builtin_bswap64(~(uint64_t)0 << (64 - bits));
}

/* The client's address with all behind the pool's prefix cleared; IPv4 stays v4-mapped. */
WEIR_INLINE struct weir_address weir_client_network(const struct weir_address* client,
                                                    const struct weir_pool_row* pool) {
    uint32_t bits = weir_address_is_v4(client) ? 96u + pool->persistence_prefix_v4
                                               : (uint32_t)pool->persistence_prefix_v6;
    struct weir_address network;
    network.word[0] = client->word[0] & weir_prefix_mask(bits < 64 ? bits : 64);
    network.word[1] =
        bits <= 64 ? 0 : client->word[1] & weir_prefix_mask(bits < 128 ? bits - 64 : 64);
    return network;
}

/* 17 bytes: the pool does not count, so that a network has one owner in all pools that cut it
 * alike. */
WEIR_INLINE uint64_t weir_network_hash(const struct weir_hash_key* key,
                                       const struct weir_address* network) {
    uint64_t word[3] = {network->word[0], network->word[1], (uint64_t)17 << 56};
    return weir_siphash13(key, word, 3);
}

/* What a network is remembered under: 24 bytes, the pool's identity among them. */
WEIR_INLINE uint64_t weir_persistence_key(const struct weir_hash_key* key,
                                          const struct weir_address* client,
                                          const struct weir_pool_row* pool) {
    struct weir_address network = weir_client_network(client, pool);
    uint64_t word[4] = {network.word[0], network.word[1], pool->identity, (uint64_t)24 << 56};
    return weir_siphash13(key, word, 4);
}

/* A flow hash to a worker. */
WEIR_INLINE uint32_t weir_owner_of_flow(uint64_t flow_hash, uint32_t workers) {
    return weir_scale(weir_hash_owner_bits(flow_hash), workers);
}

/* SNAT ports are dealt out round: port by port to worker by worker. Host order. */
WEIR_INLINE uint32_t weir_snat_port_owner(uint16_t port, uint16_t first_port, uint32_t workers) {
    return (uint32_t)(port - first_port) % workers;
}
