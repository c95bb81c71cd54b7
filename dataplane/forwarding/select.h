// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* From a flow hash to a Maglev slot, and to a worker. */
#pragma once

#include "dataplane/forwarding/flow.h"

/* `hash` spread evenly over 0..count-1 without a division (Lemire, 2016). */
WEIR_INLINE uint32_t weir_scale(uint32_t hash, uint32_t count) {
    return (uint32_t)(((uint64_t)hash * count) >> 32);
}

WEIR_INLINE uint32_t weir_maglev_slot(uint64_t flow_hash, uint32_t slot_count) {
    return weir_scale(weir_hash_table_bits(flow_hash), slot_count);
}

/* Who owns a connection is a pure function of its packets, so that any worker that receives one
 * knows where it belongs:
 *   DSR       the flow hash
 *   nat       the client's address and port, which both directions carry
 *   full-nat  client to VIP: the flow hash; reply: the SNAT port tells */
WEIR_INLINE uint32_t weir_owner_of_flow(uint64_t flow_hash, uint32_t workers) {
    return weir_scale(weir_hash_owner_bits(flow_hash), workers);
}

WEIR_INLINE uint32_t weir_owner_of_client(const struct weir_hash_key* key,
                                          const struct weir_address* client, weir_be16 client_port,
                                          uint8_t protocol, uint32_t workers) {
    uint64_t word[3];
    word[0] = client->word[0];
    word[1] = client->word[1];
    word[2] = weir_flow_ports_word(client_port, 0, protocol) | ((uint64_t)21 << 56);
    return weir_scale(weir_hash_owner_bits(weir_siphash13(key, word, 3)), workers);
}

/* SNAT ports are dealt out round: the worker that opened the connection owns its port. */
WEIR_INLINE uint32_t weir_snat_port_owner(uint16_t port, uint16_t first_port, uint32_t workers) {
    return (uint32_t)(port - first_port) % workers;
}
