// SPDX-License-Identifier: BSD-3-Clause
// What the workers of a row share, as the engine of the dataplane has it: memory, readers, inboxes,
// and the generations, which come in as control sends them, only without the channel.
#pragma once

#include "control/engine_link/generation.hpp"
#include "dataplane/dpdk/generations.hpp"
#include "dataplane/dpdk/memory.hpp"
#include "dataplane/dpdk/worker_context.hpp"

#include <cstdint>
#include <memory>
#include <vector>

namespace weir::bench {

class Engine {
public:
    // Publishes the generation.
    Engine(std::shared_ptr<const control::Generation> generation, std::uint32_t workers,
           std::uint32_t capacity);
    ~Engine();
    Engine(const Engine&) = delete;
    Engine& operator=(const Engine&) = delete;

    // Hands over the tables that the generation before has not, then the root, and returns when
    // every worker forwards by it: ns that it took. Throws when it is refused.
    double publish(std::shared_ptr<const control::Generation> next);
    double first_publish_ns() const { return first_publish_ns_; }

    dpdk::WorkerContext context(std::uint32_t worker);
    dpdk::EngineMemory& memory() { return memory_; }
    const dpdk::Generations& generations() const { return generations_; }
    rte_rcu_qsbr* rcu() { return rcu_.get(); }

private:
    dpdk::EngineMemory memory_;
    std::unique_ptr<rte_rcu_qsbr, void (*)(void*)> rcu_;
    dpdk::Generations generations_;
    std::shared_ptr<const control::Generation> last_;
    double first_publish_ns_;
    std::atomic<const lb::Spread*> no_spread_{nullptr};
    std::vector<rte_ring*> inbox_;
};

} // namespace weir::bench
