// SPDX-License-Identifier: BSD-3-Clause
// What goes on beside the packets on a table of four million connections, and how much longer the
// worker's bursts take meanwhile: listing and counting as control does them without a pause, a
// capture of everything, generations swapped one after the other, connections that expire.
#include "bench/beside.hpp"

#include "dataplane/lb/connection_reader.hpp"

#include <rte_mbuf.h>

#include <memory>
#include <stdexcept>
#include <unistd.h>
#include <vector>

namespace weir::bench {
namespace {

constexpr std::uint64_t kFlows = 4'000'000;
constexpr std::uint32_t kCapacity = kFlows * 5 / 4;
constexpr double kLeastSeconds = 2; // 1,000 of some million bursts are above the p99.9

void stall_row(Row& row, Beside& worker) {
    worker.end(row);
    const auto figure = [&](std::string_view key) {
        return std::find_if(row.more.begin(), row.more.end(),
                            [&](const auto& pair) { return pair.first == key; })
            ->second;
    };
    row.ns = figure("burst_p50_ns") / dpdk::kBurstSize;
    row.more.emplace_back("p999_to_calm", figure("burst_p999_ns") / figure("burst_p999_calm_ns"));
}

// By turns calm and with `act` called again and again.
void measure_turns(Row& row, const Settings& settings, const Shape& shape, Engine& engine,
                   const std::function<void()>& act) {
    Beside worker(shape, engine, kFlows);
    const double share = std::max(settings.seconds, kLeastSeconds) / settings.repeats / 2;
    for (std::uint32_t repeat = 0; repeat < settings.repeats; repeat++) {
        worker.calm_for(share);
        worker.busy_for(share, act);
    }
    stall_row(row, worker);
}

std::unique_ptr<Engine> engine_for(const Shape& shape) {
    drop_rig();
    return std::make_unique<Engine>(World(shape).step().generation, 1, kCapacity);
}

// As GET /v1/connections?count=1 reads the table, one slice a call.
void measure_listing(Row& row, const Settings& settings, const Shape& shape) {
    const auto engine = engine_for(shape);
    std::string problem;
    const auto memory =
        channel::SharedMemory::map(channel::Descriptor(::dup(engine->memory().table_descriptor(0))),
                                   channel::Access::read_only, false, problem);
    const auto table = memory ? lb::ConnectionReader::open(memory->bytes()) : std::nullopt;
    if (!table)
        throw std::runtime_error("the table cannot be read: " + problem);
    constexpr std::uint32_t kSlice = 65'536;
    lb::EntryIndex at = 0;
    std::uint64_t found = 0;
    measure_turns(row, settings, shape, *engine, [&] {
        for (std::uint32_t i = 0; i < kSlice; i++, at = (at + 1) % table->capacity())
            found += table->read(at).has_value();
    });
    row.more.emplace_back("connections_read", static_cast<double>(found));
}

// As GET /metrics reads them.
void measure_counters(Row& row, const Settings& settings, const Shape& shape) {
    const auto engine = engine_for(shape);
    const lb::CountersView& counters = engine->memory().counters();
    volatile std::uint64_t sum = 0;
    double reads = 0;
    measure_turns(row, settings, shape, *engine, [&] {
        if (const auto block = counters.read(0))
            sum = sum + block->polls;
        sum = sum + std::atomic_ref(counters.vip(0, 0).packets).load(std::memory_order_relaxed);
        for (std::uint32_t backend = 0; backend < shape.backends; backend++)
            sum = sum + std::atomic_ref(counters.backend(0, backend).packets)
                            .load(std::memory_order_relaxed);
        reads++;
    });
    row.more.emplace_back("counter_reads", reads);
}

// Everything is wanted, and read as control does it: every 10 ms.
void measure_capture(Row& row, const Settings& settings, const Shape& shape) {
    const auto engine = engine_for(shape);
    auto reader = lb::CaptureReader::open(engine->memory().capture_ring(0));
    if (!reader)
        throw std::runtime_error("the capture ring cannot be read");
    lb::CaptureOrder& order = engine->memory().capture_order();
    std::vector<lb::CapturedPacket> packets;
    double captured = 0;
    std::uint32_t session = 0;
    Beside worker(shape, *engine, kFlows);
    const double share = std::max(settings.seconds, kLeastSeconds) / settings.repeats / 2;
    for (std::uint32_t repeat = 0; repeat < settings.repeats; repeat++) {
        worker.calm_for(share);
        order.start(++session, {~lb::VerdictSet{0}}, UINT64_MAX);
        worker.busy_for(share, [&] {
            ::usleep(10'000);
            if (!reader->begin(session))
                return;
            packets.clear();
            reader->read(packets, lb::kCaptureSlots);
            captured += static_cast<double>(packets.size());
        });
        order.stop();
    }
    stall_row(row, worker);
    row.more.emplace_back("packets_captured", captured);
}

// A backend goes or comes back, as often as the compiler manages. What control made it keeps to the
// end: unmapping its memory would stop the worker, which is in the same process here only.
void measure_swaps(Row& row, const Settings& settings, const Shape& shape) {
    drop_rig();
    World world(shape);
    std::vector<std::shared_ptr<const control::Generation>> made = {world.step().generation};
    Engine engine(made.back(), 1, kCapacity);
    bool down = false;
    measure_turns(row, settings, shape, engine, [&] {
        world.set_down(0, 3, down = !down);
        made.push_back(world.step().generation);
        engine.publish(made.back());
    });
    row.more.emplace_back("swaps", static_cast<double>(made.size() - 1));
}

// Three of the four million connections are reset by their clients and expire at the sweep's own
// pace; before their time has come the worker only looks at them.
void measure_expiry(Row& row, const Settings& settings, const Shape& shape) {
    constexpr double kResetTimeout_s = 10; // of a VIP that says nothing else
    constexpr double kRound_s = 20;        // of the sweep over the whole table
    const auto engine = engine_for(shape);
    std::uint64_t reset_ns = 0;
    Beside worker(shape, *engine, kFlows, [&](Rig& rig) {
        rig.reset_from(kFlows / 4);
        reset_ns = monotonic_ns();
    });
    const auto since_reset = [&] { return static_cast<double>(monotonic_ns() - reset_ns) / 1e9; };
    worker.calm_for(std::max(0.0, kResetTimeout_s - 1 - since_reset()));
    while (since_reset() < kResetTimeout_s + 1)
        ::usleep(10'000);
    const auto expired = [&] { return engine->memory().counters().read(0)->connections_expired; };
    const std::uint64_t before = expired();
    worker.busy_for(std::max(settings.seconds, kRound_s), [] { ::usleep(10'000); });
    const auto count = static_cast<double>(expired() - before);
    stall_row(row, worker);
    if (count == 0)
        throw std::runtime_error("no connection expired");
    row.more.emplace_back("connections_expired", count);
}

} // namespace

void add_stall_rows(Rows& rows) {
    using MeasureShape = void (*)(Row&, const Settings&, const Shape&);
    struct Activity {
        std::string_view name;
        config::ForwardMode mode;
        MeasureShape measure;
    };
    // Swaps take a backend away: in DSR its connections' packets go on, to another one.
    static constexpr Activity kActivities[] = {
        {"listing", config::ForwardMode::kFullNat, measure_listing},
        {"counters", config::ForwardMode::kFullNat, measure_counters},
        {"capture", config::ForwardMode::kFullNat, measure_capture},
        {"swaps", config::ForwardMode::kDsrL2, measure_swaps},
        {"expiry", config::ForwardMode::kFullNat, measure_expiry},
    };
    for (const Activity& activity : kActivities) {
        Shape shape;
        shape.mode = activity.mode;
        rows.push_back({row_of(shape, kFlows, "stall", "hit", activity.name),
                        [shape, measure = activity.measure](Row& row, const Settings& settings) {
                            measure(row, settings, shape);
                        }});
    }
}

} // namespace weir::bench
