// SPDX-License-Identifier: BSD-3-Clause
// Select backend: the pool's choice for packets without a connection.
#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/forwarding/exceptions.h"

namespace weir::dpdk {
namespace {

// What the choice needs beyond the packet's hash is asked of no other pool.
bool by_hash_alone(const weir_pool_row& pool) {
    return pool.scheduler == WEIR_SCHEDULE_MAGLEV && pool.persistence_s == 0 &&
           (pool.flags & WEIR_POOL_HAS_LIMITS) == 0;
}

bool by_hash(const weir_pool_row& pool) {
    return pool.scheduler == WEIR_SCHEDULE_MAGLEV || pool.scheduler == WEIR_SCHEDULE_SOURCE_HASH;
}

bool opens(const weir_packet& packet) {
    return !is_bystander(packet) && (packet.protocol != WEIR_IP_TCP || weir_packet_opens(&packet));
}

// The backend of the hash's slot: the oldest for a flow that may be older than the slot's last
// change, while flows of that time are waited for.
std::uint32_t by_slot(const lb::ForwardingState& state, const weir_vip_row& vip,
                      std::uint64_t slot_hash, bool begins) {
    const weir_pool_row& pool = state.pools()[vip.pool];
    const std::uint32_t oldest = begins ? WEIR_NO_ROW : state.oldest(pool, slot_hash);
    if (oldest != WEIR_NO_ROW && weir_oldest_serves(&vip, &state.backends()[oldest]))
        return oldest;
    return state.select(pool, slot_hash);
}

// Where every flow is recorded an unknown datagram begins one; where only exceptions are, it mostly
// does not.
bool begins(const Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    if (!(vip.flags & WEIR_VIP_EXCEPTIONS))
        return opens(burst.packet[i]);
    const auto* data = rte_pktmbuf_mtod(burst.mbuf[i], const std::uint8_t*);
    return weir_flow_begins(data, data + rte_pktmbuf_data_len(burst.mbuf[i]), &burst.packet[i]);
}

// Connections of a backend, of all workers. The others' numbers lack what they opened this instant.
std::uint64_t connections_of(const Worker& worker, std::uint32_t backend) {
    return lb::active_of_all(*worker.context.counters, worker.context.workers, backend);
}

// The backend that the client's network went to, if it takes new connections; else WEIR_NO_ROW.
std::uint32_t remembered(const Worker& worker, const Burst& burst, std::uint32_t i,
                         const weir_pool_row& pool, std::uint64_t key) {
    const std::uint16_t timeout_s = std::min(pool.persistence_s, lb::kLongestPersistence_s);
    const auto* entry = worker.persistence.find(key, worker.now_s, timeout_s);
    if (!entry || entry->backend >= worker.state->backends().size())
        return WEIR_NO_ROW;
    const weir_backend_row& backend = worker.state->backends()[entry->backend];
    // Draining ends persistence: a backend that is to run empty would not.
    if (backend.state != WEIR_BACKEND_UP || backend.weight == 0 ||
        backend.pool != worker.state->vips()[burst.vip[i]].pool ||
        !lb::PersistenceTable::is_of(*entry, backend.identity))
        return WEIR_NO_ROW;
    if (backend.max_connections != 0 &&
        !lb::has_room(backend, connections_of(worker, entry->backend)))
        return WEIR_NO_ROW;
    return entry->backend;
}

lb::Choice scheduled(Worker& worker, const Burst& burst, std::uint32_t i, const weir_vip_row& vip,
                     const weir_address& client) {
    const lb::ForwardingState& state = *worker.state;
    const weir_pool_row& pool = state.pools()[vip.pool];
    const std::uint64_t hash = weir_slot_hash(&pool, &state.hash_key(), &client, burst.hash[i]);
    // A connection that we do not know but that its backend knows is no new one: it is found again
    // by hash, whether or not the backend has room.
    if (!opens(burst.packet[i]))
        return {by_slot(state, vip, hash, false), false};
    if (vip.flags & WEIR_VIP_EXCEPTIONS) // source-hash without limits
        return {by_slot(state, vip, hash, begins(burst, i, vip)), false};
    const lb::PoolTable table{pool, pool.slot_count ? state.slots(pool) : decltype(table.slots){},
                              state.members_of(pool), state.backends()};
    return worker.scheduler.choose(
        table, vip.pool, hash, worker.now_ms,
        [&](std::uint32_t backend) { return connections_of(worker, backend); });
}

lb::Choice choose(Worker& worker, const Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    const weir_pool_row& pool = worker.state->pools()[vip.pool];
    const weir_address client = weir_packet_source(&burst.packet[i]);
    if (pool.persistence_s == 0)
        return scheduled(worker, burst, i, vip, client);
    const std::uint64_t key = weir_persistence_key(&worker.state->hash_key(), &client, &pool);
    lb::Choice choice{remembered(worker, burst, i, pool, key), false};
    if (choice.backend == WEIR_NO_ROW)
        choice = scheduled(worker, burst, i, vip, client);
    if (choice.backend != WEIR_NO_ROW && !is_bystander(burst.packet[i]))
        worker.persistence.remember(
            key, choice.backend, worker.state->backends()[choice.backend].identity, worker.now_s);
    return choice;
}

} // namespace

std::uint32_t backend_by_hash(const Worker& worker, const Burst& burst, std::uint32_t i,
                              const weir_vip_row& vip) {
    if (!by_hash_alone(worker.state->pools()[vip.pool]) || !opens(burst.packet[i]))
        return WEIR_NO_ROW;
    return by_slot(*worker.state, vip, burst.hash[i], true);
}

void select_backend(Worker& worker, Burst& burst, std::uint32_t i) {
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    weir_verdict verdict = weir_admit_new(&burst.packet[i], &vip);
    // Nothing recorded vouches for it, so anybody could have sent it.
    if (verdict == WEIR_UNDECIDED && burst.packet[i].flags & WEIR_PACKET_ICMP_ERROR &&
        !worker.icmp_errors.take(worker.time_ns, worker.share_of(worker.state->node().icmp_pps)))
        verdict = WEIR_DROP_ICMP_RATE;
    if (verdict != WEIR_UNDECIDED)
        return drop(worker, burst, i, verdict);
    const weir_pool_row& pool = worker.state->pools()[vip.pool];
    if (!by_hash(pool) && !opens(burst.packet[i])) // never to one picked anew
        return drop(worker, burst, i, WEIR_DROP_NO_CONNECTION);
    const lb::Choice choice =
        by_hash_alone(pool)
            ? lb::Choice{by_slot(*worker.state, vip, burst.hash[i], begins(burst, i, vip)), false}
            : choose(worker, burst, i, vip);
    burst.backend[i] = choice.backend;
    if (choice.backend == WEIR_NO_ROW)
        drop(worker, burst, i, choice.at_limit ? WEIR_DROP_BACKEND_LIMIT : WEIR_DROP_NO_BACKEND);
}

} // namespace weir::dpdk
