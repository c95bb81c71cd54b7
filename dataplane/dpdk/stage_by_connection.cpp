// SPDX-License-Identifier: BSD-3-Clause
// The short way of packets that belong to a known connection and leave it as it is, but for its
// age.
#include "dataplane/dpdk/known_connection.hpp"
#include "dataplane/dpdk/quick_rewrite.hpp"
#include "dataplane/dpdk/short_way.hpp"

namespace weir::dpdk {
namespace {

// `changes`: it may change its connection, so what follows has to wait for the stages.
[[gnu::always_inline]] inline weir_verdict to_backend(Worker& worker, Burst& burst, std::uint32_t i,
                                                      const weir_packet& packet, bool watched,
                                                      bool& changes) {
    const std::uint32_t row = burst.match[i].index;
    const weir_vip_row& vip = worker.state->vips()[row];
    const lb::EntryIndex entry = find_of_client(worker, burst.hash[i], burst.hint[i], row, packet);
    if (entry == lb::kNoEntry)
        return WEIR_UNDECIDED;
    changes = !stays_as_it_is(worker, entry, burst.mbuf[i], packet);
    if (changes || watched)
        return WEIR_UNDECIDED;
    weir_translation to{};
    burst.backend[i] = go_on_to_backend(worker, entry, vip, to);
    if (burst.backend[i] == WEIR_NO_ROW)
        return WEIR_UNDECIDED;
    burst.vip[i] = row;
    return quick_to_backend(worker, burst, i, vip, packet, to);
}

[[gnu::always_inline]] inline weir_verdict to_client(Worker& worker, Burst& burst, std::uint32_t i,
                                                     const weir_packet& packet) {
    const lb::EntryIndex entry =
        find_of_backend(worker, burst.hash[i], burst.hint[i], burst.match[i], packet);
    if (entry == lb::kNoEntry)
        return WEIR_UNDECIDED;
    const lb::HotRow& row = worker.table.row(entry);
    const lb::LastHop* hop = worker.last_hops.find(static_cast<std::uint16_t>(row.last_hop));
    if (!hop || !go_on_to_client(worker, entry))
        return WEIR_UNDECIDED;
    burst.vip[i] = row.vip;
    burst.backend[i] = row.backend;
    return quick_to_client(worker, burst, i, *hop, packet,
                           translation_to_client(*worker.state, row));
}

} // namespace

void foresee_connections(const Worker& worker, Burst& burst, Candidates& found) {
    std::uint32_t kept = 0;
    for (std::uint32_t k = 0; k < found.by_connection_count; k++) {
        const std::uint32_t i = found.by_connection[k];
        if (!is_ours(worker, burst, found, burst.match[i], i))
            continue;
        worker.table.prefetch_index(lb::index_hash(burst.hash[i]));
        found.by_connection[kept++] = found.by_connection[k];
    }
    found.by_connection_count = kept;
}

std::uint32_t forward_by_connections(Worker& worker, Burst& burst, const Candidates& found,
                                     VipRun& run) {
    for (std::uint32_t k = 0; k < found.by_connection_count; k++) {
        const std::uint32_t i = found.by_connection[k];
        burst.hint[i] = worker.table.prefetch_row(lb::index_hash(burst.hash[i]));
    }
    std::uint32_t gone = 0;
    bool changes = false;
    for (std::uint32_t k = 0; k < found.by_connection_count && !changes; k++) {
        const std::uint32_t i = found.by_connection[k];
        const std::uint64_t bytes = rte_pktmbuf_pkt_len(burst.mbuf[i]);
        const weir_verdict verdict = with_packet(
            burst, found, i, [&](const weir_packet& packet) __attribute__((always_inline)) {
                return burst.match[i].kind == WEIR_MATCH_VIP
                           ? to_backend(worker, burst, i, packet, (found.watched >> i & 1) != 0,
                                        changes)
                           : to_client(worker, burst, i, packet);
            });
        if (verdict == WEIR_UNDECIDED)
            continue;
        burst.verdict[i] = static_cast<std::uint8_t>(verdict);
        count_rewritten(worker, run, burst.vip[i], burst.backend[i], verdict, bytes);
        gone += lb::class_of(verdict) == WEIR_CLASS_FORWARD;
    }
    return gone;
}

} // namespace weir::dpdk
