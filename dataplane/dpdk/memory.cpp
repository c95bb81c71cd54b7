// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/memory.hpp"

#include <algorithm>
#include <thread>

namespace weir::dpdk {
namespace {

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

// Touching all of a table takes its time: side by side.
template <class Work> void for_each_worker(std::uint32_t workers, Work work) {
    std::vector<std::thread> threads;
    threads.reserve(workers);
    for (std::uint32_t worker = 0; worker < workers; worker++)
        threads.emplace_back(work, worker);
    for (std::thread& thread : threads)
        thread.join();
}

} // namespace

lb::TableGeometry EngineMemory::geometry_of(std::uint32_t connections, std::uint32_t worker,
                                            std::uint32_t workers) {
    lb::TableGeometry geometry;
    geometry.capacity = connections;
    geometry.vips = WEIR_MAX_VIPS; // row ids are not known before the first generation
    geometry.worker = worker;
    geometry.workers = workers;
    geometry.probation_limit = std::max(connections / 4, 1u);
    return geometry;
}

std::size_t EngineMemory::table_bytes(std::uint32_t connections) {
    return lb::WorkerMemory::bytes_needed(geometry_of(connections, 0, 1));
}

Expected<void> EngineMemory::make_counters(std::uint32_t workers) {
    std::string problem;
    auto counters = channel::SharedMemory::create(
        "weir-counters", lb::CountersView::bytes_needed(workers), false, problem);
    if (!counters)
        return Error{"no memory for the counters: " + problem};
    counters_memory_ = std::move(*counters);
    counters_ = lb::CountersView::format(counters_memory_.bytes(), workers);

    capture_order_ = std::make_unique<lb::CaptureOrder>();
    for (std::uint32_t worker = 0; worker < workers; worker++) {
        const std::string name = "weir-capture-" + std::to_string(worker);
        auto ring =
            channel::SharedMemory::create(name.c_str(), lb::capture_ring_bytes(), false, problem);
        if (!ring)
            return Error{"no memory for the copies of captured packets: " + problem};
        lb::CaptureProducer::format(ring->bytes(), worker);
        capture_memory_.push_back(std::move(*ring));
    }
    return {};
}

Expected<void> EngineMemory::make_legend() {
    std::string problem;
    auto memory =
        channel::SharedMemory::create("weir-legend", sizeof(lb::RowLegend), false, problem);
    if (!memory)
        return Error{"no memory for the legend of the connection tables: " + problem};
    legend_memory_ = std::move(*memory);
    legend_ = &lb::format_legend(legend_memory_.bytes(), boot_id());
    return {};
}

Expected<void> EngineMemory::make_tables(std::size_t bytes, bool must_be_huge) {
    for (std::uint32_t worker = 0; worker < workers(); worker++) {
        auto table = table_memory(worker, bytes, huge_, must_be_huge);
        if (!table)
            return table.error();
        table_memory_.push_back(std::move(*table));
    }
    return {};
}

void EngineMemory::lay_out(std::uint32_t connections, bool adopt) {
    for_each_worker(workers(), [this, connections, adopt](std::uint32_t worker) {
        const std::span<std::byte> at = table_memory_[worker].bytes();
        const lb::TableGeometry geometry = geometry_of(connections, worker, workers());
        if (adopt) {
            if (const auto adopted = lb::WorkerMemory::adopt(at, geometry)) {
                parts_[worker] = adopted->memory;
                takeover_->note_adopted(worker, *adopted);
                return;
            }
        }
        parts_[worker] = lb::WorkerMemory::format(at, geometry);
    });
}

Expected<EngineMemory> EngineMemory::create(std::uint32_t workers, std::uint32_t connections,
                                            bool huge, bool must_be_huge, Inheritance inheritance) {
    EngineMemory memory;
    if (auto made = memory.make_counters(workers); !made)
        return made.error();
    memory.parts_.resize(workers);
    memory.strays_ = std::make_unique<lb::StrayReplies>();
    memory.takeover_ = std::move(inheritance.takeover);
    memory.huge_ = huge;
    if (memory.takeover_) {
        memory.legend_memory_ = std::move(inheritance.legend);
        memory.legend_ = lb::adopt_legend(memory.legend_memory_.bytes(), boot_id());
    } else if (auto made = memory.make_legend(); !made) {
        return made.error();
    }
    const bool adopt = !inheritance.tables.empty();
    if (adopt) {
        memory.table_memory_ = std::move(inheritance.tables);
        memory.huge_ = in_huge_pages(memory.table_memory_.front());
    } else if (auto made = memory.make_tables(table_bytes(connections), must_be_huge); !made) {
        return made.error();
    }
    memory.lay_out(connections, adopt);
    return memory;
}

void EngineMemory::inherit_late(Inheritance inheritance) {
    if (takeover_)
        return;
    inheritance.open(workers());
    if (!inheritance.takeover)
        return;
    inheritance.read_out(false);
    late_legend_ = std::move(inheritance.legend);
    takeover_ = std::move(inheritance.takeover);
}

bool EngineMemory::take_given_connections(channel::SharedMemory given) {
    if (!lb::given_in<lb::GivenConnection>(given.bytes()))
        return false;
    given_connections_ = std::move(given);
    return true;
}

bool EngineMemory::take_given_networks(channel::SharedMemory given) {
    if (!lb::given_in<lb::GivenNetwork>(given.bytes()))
        return false;
    given_networks_ = std::move(given);
    return true;
}

std::optional<lb::Takeover::Numbers> EngineMemory::take_over(const lb::ForwardingState& first,
                                                             const lb::Spread* spread) {
    const auto connections = lb::given_in<lb::GivenConnection>(given_connections_.bytes());
    const auto networks = lb::given_in<lb::GivenNetwork>(given_networks_.bytes());
    if (!takeover_ && (!connections->empty() || !networks->empty()))
        takeover_ = std::make_unique<lb::Takeover>(*legend_, workers());
    if (!takeover_)
        return std::nullopt;
    takeover_->give(*connections, *networks);
    const lb::Takeover::Now now{first, spread, monotonic_s(), parts_, *counters_};
    for_each_worker(workers(), [&](std::uint32_t worker) { takeover_->look_through(worker, now); });
    const lb::Takeover::Numbers numbers = takeover_->settle(now, *strays_);
    takeover_.reset();
    late_legend_ = {};
    given_connections_ = {};
    given_networks_ = {};
    return numbers;
}

void EngineMemory::follow(const lb::ForwardingState& state) {
    lb::write_legend(*legend_, state);
    note_alive();
}

void EngineMemory::note_alive() {
    __atomic_store_n(&legend_->alive_s, monotonic_s(), __ATOMIC_RELAXED);
}

} // namespace weir::dpdk
