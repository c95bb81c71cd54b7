// SPDX-License-Identifier: BSD-3-Clause
// The memory that outlives a generation and that the control process holds too: counters, what of
// each worker outlives the process (lb/worker_memory.hpp) with the legend of its rows, and a
// capture ring for each worker. Made at start by the main thread; the parts then belong to their
// writers (counters.hpp, connection_table.hpp).
#pragma once

#include "config/expected.hpp"
#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/dpdk/inheritance.hpp"
#include "dataplane/lb/capture_ring.hpp"
#include "dataplane/lb/counters.hpp"
#include "dataplane/lb/stray_replies.hpp"
#include "dataplane/lb/takeover.hpp"

#include <deque>
#include <memory>
#include <vector>

namespace weir::dpdk {

class EngineMemory {
public:
    static lb::TableGeometry geometry_of(std::uint32_t connections, std::uint32_t worker,
                                         std::uint32_t workers);
    // Bytes of one worker's table and what lies behind it.
    static std::size_t table_bytes(std::uint32_t connections);

    // With `huge` the tables are in huge pages if enough are free; `must_be_huge` makes it an error
    // when not. Tables that were inherited are used on as they are.
    static Expected<EngineMemory> create(std::uint32_t workers, std::uint32_t connections,
                                         bool huge, bool must_be_huge,
                                         Inheritance inheritance = {});

    // Something was left after all, and no generation is there yet.
    void inherit_late(Inheritance inheritance);
    // Another engine has made connections meanwhile, or remembered networks (lb/given.hpp), and no
    // generation is there yet. False: the memory holds something else.
    bool take_given_connections(channel::SharedMemory given);
    bool take_given_networks(channel::SharedMemory given);
    // With the first generation, before a worker sees it: what was left, and what was given, goes
    // on by it.
    std::optional<lb::Takeover::Numbers> take_over(const lb::ForwardingState& first,
                                                   const lb::Spread* spread);
    // From now on rows mean what `state` says. Before a worker sees it.
    void follow(const lb::ForwardingState& state);
    // The workers may write until now.
    void note_alive();

    lb::CountersView& counters() { return *counters_; }
    lb::ConnectionTable& table(std::uint32_t worker) { return parts_[worker].table; }
    lb::LastHops& last_hops(std::uint32_t worker) { return *parts_[worker].last_hops; }
    lb::PersistenceTable& persistence(std::uint32_t worker) { return *parts_[worker].persistence; }
    lb::StrayReplies& strays() { return *strays_; }
    std::span<std::byte> capture_ring(std::uint32_t worker) {
        return capture_memory_[worker].bytes();
    }
    lb::CaptureOrder& capture_order() { return *capture_order_; }
    int counters_descriptor() const { return counters_memory_.descriptor(); }
    int table_descriptor(std::uint32_t worker) const { return table_memory_[worker].descriptor(); }
    int legend_descriptor() const { return legend_memory_.descriptor(); }
    int capture_descriptor(std::uint32_t worker) const {
        return capture_memory_[worker].descriptor();
    }
    std::uint32_t workers() const { return static_cast<std::uint32_t>(parts_.size()); }
    bool huge() const { return huge_; }

private:
    Expected<void> make_counters(std::uint32_t workers);
    Expected<void> make_legend();
    Expected<void> make_tables(std::size_t bytes, bool must_be_huge);
    void lay_out(std::uint32_t connections, bool adopt);

    channel::SharedMemory counters_memory_;
    std::optional<lb::CountersView> counters_;
    channel::SharedMemory legend_memory_;
    lb::RowLegend* legend_ = nullptr;
    std::vector<channel::SharedMemory> table_memory_;
    std::vector<lb::WorkerMemory> parts_; // in table_memory_
    std::unique_ptr<lb::StrayReplies> strays_;
    std::unique_ptr<lb::Takeover> takeover_; // until the first generation
    channel::SharedMemory late_legend_;      // what a late takeover_ reads
    channel::SharedMemory given_connections_;
    channel::SharedMemory given_networks_;
    std::vector<channel::SharedMemory> capture_memory_;
    std::unique_ptr<lb::CaptureOrder> capture_order_; // the engine's own, not shared
    bool huge_ = false;
};

} // namespace weir::dpdk
