// SPDX-License-Identifier: BSD-3-Clause
#include "bench/engine.hpp"

#include "bench/timing.hpp"
#include "bench/wire.hpp"

#include <rte_rcu_qsbr.h>
#include <rte_ring.h>

#include <cstdlib>
#include <stdexcept>
#include <string>
#include <unistd.h>

namespace weir::bench {
namespace {

dpdk::EngineMemory make_memory(std::uint32_t workers, std::uint32_t capacity) {
    auto memory = dpdk::EngineMemory::create(workers, capacity, true, false);
    if (!memory)
        throw std::runtime_error(memory.error().sentence);
    return std::move(*memory);
}

rte_ring* make_inbox() {
    static int number = 0;
    rte_ring* ring = rte_ring_create(("inbox" + std::to_string(number++)).c_str(), 2048,
                                     SOCKET_ID_ANY, RING_F_SC_DEQ);
    if (!ring)
        throw std::runtime_error("no memory for a ring");
    return ring;
}

rte_rcu_qsbr* make_readers(std::uint32_t workers) {
    auto* rcu = static_cast<rte_rcu_qsbr*>(
        std::aligned_alloc(64, (rte_rcu_qsbr_get_memsize(workers) + 63) / 64 * 64));
    rte_rcu_qsbr_init(rcu, workers);
    return rcu;
}

channel::Descriptor copy_of(int descriptor) {
    return channel::Descriptor(::dup(descriptor));
}

} // namespace

Engine::Engine(std::shared_ptr<const control::Generation> generation, std::uint32_t workers,
               std::uint32_t capacity)
    : memory_(make_memory(workers, capacity)), rcu_(make_readers(workers), std::free),
      generations_(rcu_.get(), 1), first_publish_ns_(publish(std::move(generation))) {
    machine(); // EAL comes before rings
    for (std::uint32_t i = 0; i < workers; i++) {
        rte_rcu_qsbr_thread_register(rcu_.get(), i);
        rte_rcu_qsbr_thread_online(rcu_.get(), i);
        inbox_.push_back(make_inbox());
    }
}

Engine::~Engine() {
    for (rte_ring* ring : inbox_)
        rte_ring_free(ring);
}

double Engine::publish(std::shared_ptr<const control::Generation> next) {
    const std::uint64_t begin = monotonic_ns();
    for (const auto& [id, memory] : next->segments())
        if (!last_ || !last_->segments().contains(id))
            if (const auto added = generations_.add_segment(id, copy_of(memory->descriptor()));
                !added)
                throw std::runtime_error(added.error().sentence);
    const auto published = generations_.publish(next->number(), copy_of(next->root_descriptor()));
    if (!published)
        throw std::runtime_error(published.error().sentence);
    const auto ns = static_cast<double>(monotonic_ns() - begin);
    last_ = std::move(next);
    return ns;
}

dpdk::WorkerContext Engine::context(std::uint32_t worker) {
    dpdk::WorkerContext context;
    context.id = context.block = worker;
    context.workers = memory_.workers();
    context.interface_count = context.port_count = 1;
    context.ports[0] = {machine().port, static_cast<std::uint16_t>(worker), 0, false, false};
    context.pool = machine().pool;
    context.state = &generations_.current();
    context.rcu = rcu_.get();
    context.table = &memory_.table(worker);
    context.last_hops = &memory_.last_hops(worker);
    context.persistence = &memory_.persistence(worker);
    context.strays = &memory_.strays();
    context.secret = 99 + worker;
    context.spread = &no_spread_;
    context.counters = &memory_.counters();
    context.capture_ring = memory_.capture_ring(worker);
    context.capture_order = &memory_.capture_order();
    context.inbox = inbox_[worker];
    for (std::size_t peer = 0; peer < inbox_.size(); peer++)
        context.peer_inbox[peer] = inbox_[peer];
    return context;
}

} // namespace weir::bench
