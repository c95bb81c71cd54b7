// SPDX-License-Identifier: BSD-3-Clause
// The memory that outlives a generation and that the control process holds too: counters, and one
// connection table and one capture ring for each worker. Made at start by the main thread; the
// parts then belong to their writers (counters.hpp, connection_table.hpp).
#pragma once

#include "config/expected.hpp"
#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/lb/capture_ring.hpp"
#include "dataplane/lb/connection_table.hpp"
#include "dataplane/lb/counters.hpp"
#include "dataplane/lb/last_hops.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace weir::dpdk {

class EngineMemory {
public:
    // Bytes of one worker's table and last hops.
    static std::size_t table_bytes(std::uint32_t connections);

    // With `huge` the tables are in huge pages if enough are free; `must_be_huge` makes it an error
    // when not.
    static Expected<EngineMemory> create(std::uint32_t workers, std::uint32_t connections,
                                         bool huge, bool must_be_huge);

    lb::CountersView& counters() { return *counters_; }
    lb::ConnectionTable& table(std::uint32_t worker) { return tables_[worker]; }
    lb::LastHops& last_hops(std::uint32_t worker) { return *last_hops_[worker]; }
    std::span<std::byte> capture_ring(std::uint32_t worker) {
        return capture_memory_[worker].bytes();
    }
    lb::CaptureOrder& capture_order() { return *capture_order_; }
    int counters_descriptor() const { return counters_memory_.descriptor(); }
    int table_descriptor(std::uint32_t worker) const { return table_memory_[worker].descriptor(); }
    int capture_descriptor(std::uint32_t worker) const {
        return capture_memory_[worker].descriptor();
    }
    std::uint32_t workers() const { return static_cast<std::uint32_t>(tables_.size()); }
    bool huge() const { return huge_; }

private:
    channel::SharedMemory counters_memory_;
    std::optional<lb::CountersView> counters_;
    std::vector<channel::SharedMemory> table_memory_;
    std::vector<lb::ConnectionTable> tables_;
    std::vector<lb::LastHops*> last_hops_; // in table_memory_
    std::vector<channel::SharedMemory> capture_memory_;
    std::unique_ptr<lb::CaptureOrder> capture_order_; // the engine's own, not shared
    bool huge_ = false;
};

} // namespace weir::dpdk
