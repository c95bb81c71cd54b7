// SPDX-License-Identifier: BSD-3-Clause
// How long a change takes from the compiler's start until every worker forwards by it, and what a
// worker on another core notices meanwhile.
#include "bench/beside.hpp"

namespace weir::bench {
namespace {

constexpr std::uint64_t kFlows = 131'072;

struct Change {
    std::vector<double> compile, seal, swap, whole;
};

// Backends go down and come back, one a generation.
Change change_for(World& world, Engine& engine, const Settings& settings) {
    Change change;
    for (std::uint32_t i = 0; i < std::max(settings.repeats, 2u); i++) {
        const std::uint32_t pool = i / 2 * 7 % world.shape().pools;
        world.set_down(pool, 3, i % 2 == 0);
        const World::Step step = world.step();
        const double swap = engine.publish(step.generation);
        change.compile.push_back(step.compile_ns);
        change.seal.push_back(step.seal_ns);
        change.swap.push_back(swap);
        change.whole.push_back(step.compile_ns + step.seal_ns + swap);
    }
    return change;
}

void measure(Row& row, const Settings& settings, const Shape& shape) {
    drop_rig();
    World world(shape);
    const World::Step first = world.step();
    Engine engine(first.generation, 1, 1'250'000);
    Beside worker(shape, engine, kFlows);
    worker.calm_for(settings.seconds);
    Change change;
    worker.busy_while([&] { change = change_for(world, engine, settings); });
    worker.end(row);
    row.ns = median(change.whole);
    double bytes = 0; // of the workers' slot tables
    for (const auto& held : engine.generations().running()->segments)
        bytes += static_cast<double>(held->memory.bytes().size());
    const std::pair<std::string, double> figures[] = {
        {"vips", shape.vips},
        {"backends_a_pool", shape.backends},
        {"compile_ns", median(change.compile)},
        {"seal_ns", median(change.seal)},
        {"swap_ns", median(change.swap)},
        {"slowest_ns", quantile(change.whole, 1)},
        {"first_compile_ns", first.compile_ns},
        {"first_swap_ns", engine.first_publish_ns()},
        {"bytes_a_pool", bytes / shape.pools},
    };
    row.more.insert(row.more.end(), std::begin(figures), std::end(figures));
}

} // namespace

void add_publish_rows(Rows& rows) {
    for (const auto& [vips, pools] : {std::pair{100u, 10u}, std::pair{10'000u, 1000u}}) {
        Shape shape;
        shape.vips = vips;
        shape.pools = pools;
        rows.push_back(
            {row_of(shape, kFlows, "publish", "", "vips=" + std::to_string(vips)),
             [shape](Row& row, const Settings& settings) { measure(row, settings, shape); }});
    }
}

} // namespace weir::bench
