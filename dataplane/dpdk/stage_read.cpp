// SPDX-License-Identifier: BSD-3-Clause
// Read: what nearly all packets are, plain ones, side by side, and their flow hashes.
#include "dataplane/dpdk/stages.hpp"

#include <rte_mbuf.h>
#include <rte_prefetch.h>

#include <algorithm>

namespace weir::dpdk {
namespace {

void look_at(forwarding::PlainFrames& frames, const Burst& burst) {
    const std::uint32_t count = burst.count;
    frames.count = count;
    for (std::uint32_t i = 0; i < count; i++) {
        const rte_mbuf* const mbuf = burst.mbuf[i];
        auto* const data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
        rte_prefetch0(data);
        frames.data[i] = data;
        frames.bytes[i] = rte_pktmbuf_data_len(mbuf);
    }
    std::fill(frames.bytes + count, frames.bytes + kBurstSize, 0);
}

void hash_flows(const lb::ForwardingState& state, Burst& burst) {
    const forwarding::PlainBurst& columns = burst.columns;
    if (columns.v4 != 0)
        lb::flow_hashes_v4(state.hash_key(), columns.flow_v4, burst.hash, burst.count);
    if (columns.v6 == 0)
        return;
    if (columns.v4 == 0)
        return lb::flow_hashes_v6(state.hash_key(), columns.flow_v6, burst.hash, burst.count);
    alignas(64) std::uint64_t hash[kBurstSize];
    lb::flow_hashes_v6(state.hash_key(), columns.flow_v6, hash, burst.count);
    for_each(columns.v6, [&](std::uint32_t i) { burst.hash[i] = hash[i]; });
}

} // namespace

void read(Worker& worker, Burst& burst) {
    look_at(burst.frames, burst);
    burst.columns.read(burst.frames);
    if (worker.state)
        hash_flows(*worker.state, burst);
}

} // namespace weir::dpdk
