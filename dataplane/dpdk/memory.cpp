// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/memory.hpp"

#include <new>
#include <thread>

namespace weir::dpdk {
namespace {

lb::TableGeometry geometry_of(std::uint32_t connections, std::uint32_t worker,
                              std::uint32_t workers) {
    lb::TableGeometry geometry;
    geometry.capacity = connections;
    geometry.vips = WEIR_MAX_VIPS; // row ids are not known before the first generation
    geometry.worker = worker;
    geometry.workers = workers;
    geometry.probation_limit = std::max(connections / 4, 1u);
    return geometry;
}

Expected<channel::SharedMemory> table_memory(std::uint32_t worker, std::size_t bytes, bool& huge,
                                             bool must_be_huge) {
    const std::string name = "weir-connections-" + std::to_string(worker);
    std::string problem;
    if (huge) {
        if (auto memory = channel::SharedMemory::create(name.c_str(), bytes, true, problem))
            return std::move(*memory);
        if (must_be_huge)
            return Error{"engine.hugepages is \"on\", but the connection table of worker " +
                         std::to_string(worker) + " (" + std::to_string(bytes >> 20) +
                         " MB) does not fit into the free huge pages: " + problem};
        huge = false;
    }
    if (auto memory = channel::SharedMemory::create(name.c_str(), bytes, false, problem))
        return std::move(*memory);
    return Error{"no memory for a table of engine.connections: " + problem};
}

// A worker's memory: its connection table, and behind it, at a cache line, its last hops.
std::size_t last_hops_offset(std::uint32_t connections) {
    return (lb::ConnectionTable::bytes_needed(geometry_of(connections, 0, 1)) + 63) / 64 * 64;
}

} // namespace

std::size_t EngineMemory::table_bytes(std::uint32_t connections) {
    return last_hops_offset(connections) + sizeof(lb::LastHops);
}

Expected<EngineMemory> EngineMemory::create(std::uint32_t workers, std::uint32_t connections,
                                            bool huge, bool must_be_huge) {
    EngineMemory memory;
    std::string problem;
    auto counters = channel::SharedMemory::create(
        "weir-counters", lb::CountersView::bytes_needed(workers), false, problem);
    if (!counters)
        return Error{"no memory for the counters: " + problem};
    memory.counters_memory_ = std::move(*counters);
    memory.counters_ = lb::CountersView::format(memory.counters_memory_.bytes(), workers);

    memory.capture_order_ = std::make_unique<lb::CaptureOrder>();
    for (std::uint32_t worker = 0; worker < workers; worker++) {
        const std::string name = "weir-capture-" + std::to_string(worker);
        auto ring =
            channel::SharedMemory::create(name.c_str(), lb::capture_ring_bytes(), false, problem);
        if (!ring)
            return Error{"no memory for the copies of captured packets: " + problem};
        lb::CaptureProducer::format(ring->bytes(), worker);
        memory.capture_memory_.push_back(std::move(*ring));
    }

    memory.huge_ = huge;
    const std::size_t bytes = table_bytes(connections);
    for (std::uint32_t worker = 0; worker < workers; worker++) {
        auto table = table_memory(worker, bytes, memory.huge_, must_be_huge);
        if (!table)
            return table.error();
        memory.table_memory_.push_back(std::move(*table));
    }
    // Laying a table out touches all of it: the tables side by side, or a start takes too long.
    memory.tables_.resize(workers);
    memory.last_hops_.resize(workers);
    std::vector<std::thread> threads;
    threads.reserve(workers);
    for (std::uint32_t worker = 0; worker < workers; worker++)
        threads.emplace_back([&memory, worker, workers, connections] {
            std::span<std::byte> at = memory.table_memory_[worker].bytes();
            const std::size_t behind = last_hops_offset(connections);
            memory.tables_[worker] = lb::ConnectionTable::format(
                at.first(behind), geometry_of(connections, worker, workers));
            memory.last_hops_[worker] = new (at.data() + behind) lb::LastHops{};
        });
    for (std::thread& thread : threads)
        thread.join();
    return memory;
}

} // namespace weir::dpdk
