// SPDX-License-Identifier: BSD-3-Clause
// The generations of ForwardingState: copies what it receives into its own memory, validates it,
// publishes it to the workers and takes the old one back when no worker can still read it. A
// generation is taken whole or refused whole; refusing changes nothing. The sealed memory a
// generation came in is kept by descriptor, for the control process that comes next.
//
// Thread ownership: everything here runs on the main thread; `current()` is read by the workers and
// the kernel path under quiescent-state RCU.
#pragma once

#include "config/expected.hpp"
#include "dataplane/channel/sealed_memory.hpp"
#include "dataplane/dpdk/table_arena.hpp"
#include "dataplane/lb/forwarding_state.hpp"

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

struct rte_rcu_qsbr;

namespace weir::dpdk {

// A slot table, shared by the generations that use it.
struct HeldSegment {
    channel::Descriptor descriptor;
    TableArena::Block memory;
    lb::Segment segment;
};

struct Generation {
    channel::Descriptor descriptor; // of the root
    TableArena::Block root;
    std::vector<std::shared_ptr<HeldSegment>> segments; // in the order of the root's list
    lb::ForwardingState state;
};

class Generations {
public:
    using BeforePublish = std::function<void(const lb::ForwardingState&)>;

    // `interfaces`: how many the engine has; a generation for another number is refused.
    // `before`: is shown each one that is accepted, before any reader sees it; running() is still
    // the one before it.
    Generations(rte_rcu_qsbr* rcu, std::uint32_t interfaces, BeforePublish before = {})
        : rcu_(rcu), interfaces_(interfaces), before_(std::move(before)) {}
    // REQUIRES: no thread reads current() any more.
    ~Generations() { current_.store(nullptr); }

    const std::atomic<const lb::ForwardingState*>& current() const { return current_; }

    // A slot table for a generation to come.
    Expected<void> add_segment(std::uint64_t id, channel::Descriptor descriptor);

    // Validates and publishes. After success every worker uses it, or the sentence says which does
    // not yet.
    struct Published {
        std::string remark; // empty, or what an operator should know
    };
    Expected<Published> publish(std::uint64_t generation, channel::Descriptor root);

    // Forgets segments that were added and are in no generation that runs.
    void drop_unused_segments();

    // Gives back old generations that no reader can see any more.
    void reclaim();

    const Generation* running() const { return running_.get(); }
    std::size_t segments_held() const { return segments_.size(); }
    std::size_t retired() const { return retired_.size(); }
    const TableArena& arena() const { return arena_; }

private:
    Expected<std::unique_ptr<Generation>> validate(std::uint64_t generation,
                                                   channel::Descriptor root);
    Expected<TableArena::Block> copy_of(const channel::Descriptor& descriptor, std::size_t most);
    bool wait_for_readers(std::uint64_t token);

    struct Retired {
        std::unique_ptr<Generation> generation;
        std::uint64_t token;
    };

    TableArena arena_; // of all that follows
    rte_rcu_qsbr* rcu_;
    std::uint32_t interfaces_;
    BeforePublish before_;
    std::atomic<const lb::ForwardingState*> current_{nullptr};
    std::unique_ptr<Generation> running_;
    std::vector<Retired> retired_;
    std::unordered_map<std::uint64_t, std::shared_ptr<HeldSegment>> segments_; // by id
};

} // namespace weir::dpdk
