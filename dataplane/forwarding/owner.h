// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Which worker owns a packet's connection: a pure function of the packet and the configuration, so
 * any worker that receives one knows where it belongs.
 *   DSR       the flow hash
 *   nat       the client's address and port, which both directions carry
 *   full-nat  client to VIP: the flow hash; reply: the SNAT port tells, because the worker that
 *             opened the connection chose it among its own
 * VIPs whose pool has persistence: the client's network, so that one worker remembers where it
 * went. Pools without are given as NULL here.
 * Where NICs spread packets by a table of ours, the owner of DSR packets, of full-nat packets
 * without persistence and of full-nat replies is whom the NIC gives them to (lb/spread.hpp); what
 * stands here is for the others then.
 */
#pragma once

#include "dataplane/forwarding/match.h"
#include "dataplane/forwarding/select.h"

WEIR_INLINE uint32_t weir_owner_of_client(const struct weir_hash_key* key,
                                          const struct weir_address* client, weir_be16 client_port,
                                          uint8_t protocol, uint32_t workers) {
    uint64_t word[3];
    word[0] = client->word[0];
    word[1] = client->word[1];
    word[2] = weir_flow_ports_word(client_port, 0, protocol) | ((uint64_t)21 << 56);
    return weir_scale(weir_hash_owner_bits(weir_siphash13(key, word, 3)), workers);
}

WEIR_INLINE uint32_t weir_owner_of_network(const struct weir_hash_key* key,
                                           const struct weir_address* client,
                                           const struct weir_pool_row* pool, uint32_t workers) {
    struct weir_address network = weir_client_network(client, pool);
    return weir_scale(weir_hash_owner_bits(weir_network_hash(key, &network)), workers);
}

WEIR_INLINE bool weir_pool_persists(const struct weir_pool_row* pool) {
    return pool && pool->persistence_s != 0;
}

WEIR_INLINE uint32_t weir_owner_of_vip_packet(const struct weir_packet* packet,
                                              const struct weir_vip_row* vip,
                                              const struct weir_pool_row* pool,
                                              const struct weir_hash_key* key, uint64_t flow_hash,
                                              uint32_t workers) {
    if (weir_pool_persists(pool)) {
        struct weir_address from = weir_packet_source(packet);
        return weir_owner_of_network(key, &from, pool, workers);
    }
    if (vip->forward != WEIR_FORWARD_NAT)
        return weir_owner_of_flow(flow_hash, workers);
    struct weir_address client = weir_packet_source(packet);
    return weir_owner_of_client(key, &client, packet->source_port, packet->protocol, workers);
}

/* A reply of a `nat` connection: what the client is to us is its destination. `pool`: of the
 * backend that sent it. */
WEIR_INLINE uint32_t weir_owner_of_nat_reply(const struct weir_packet* packet,
                                             const struct weir_pool_row* pool,
                                             const struct weir_hash_key* key, uint32_t workers) {
    struct weir_address client = weir_packet_destination(packet);
    if (weir_pool_persists(pool))
        return weir_owner_of_network(key, &client, pool, workers);
    return weir_owner_of_client(key, &client, packet->destination_port, packet->protocol, workers);
}

WEIR_INLINE uint32_t weir_owner_of_snat_reply(const struct weir_packet* packet,
                                              const struct weir_snat_row* snat, uint32_t workers) {
    return weir_snat_port_owner(weir_swap16(packet->destination_port), snat->first_port, workers);
}
