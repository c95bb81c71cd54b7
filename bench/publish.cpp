// SPDX-License-Identifier: BSD-3-Clause
// How long a change takes from the compiler's start until every worker forwards by it, and what a
// worker on another core notices meanwhile.
#include "bench/bench.hpp"

#include "dataplane/dpdk/generations.hpp"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_rcu_qsbr.h>

#include <stdexcept>
#include <unistd.h>

namespace weir::bench {
namespace {

constexpr std::uint64_t kFlows = 131'072;

channel::Descriptor copy_of(int descriptor) {
    return channel::Descriptor(::dup(descriptor));
}

// As the channel does it: the tables that are new, then the root.
double publish(dpdk::Generations& generations, const control::Generation& next,
               const control::Generation* before) {
    const std::uint64_t begin = monotonic_ns();
    for (const auto& [id, memory] : next.segments())
        if (!before || !before->segments().contains(id))
            if (const auto added = generations.add_segment(id, copy_of(memory->descriptor()));
                !added)
                throw std::runtime_error(added.error().sentence);
    const auto published = generations.publish(next.number(), copy_of(next.root_descriptor()));
    if (!published)
        throw std::runtime_error(published.error().sentence);
    return static_cast<double>(monotonic_ns() - begin);
}

struct Traffic {
    Rig& rig;
    std::atomic<bool> ready{false};
    std::atomic<bool> changing{false};
    std::atomic<bool> done{false};
    std::atomic<std::uint64_t> batches{0};
    std::vector<double> calm, busy; // ns a burst
    std::string problem;
};

int run_traffic(void* argument) {
    auto& traffic = *static_cast<Traffic*>(argument);
    std::vector<std::uint64_t> ticks;
    try {
        traffic.rig.fill(kFlows);
        traffic.ready.store(true);
        while (!traffic.done.load()) {
            const bool changing = traffic.changing.load();
            traffic.rig.prepare_hits();
            ticks.clear();
            traffic.rig.time_each_poll(ticks);
            traffic.rig.expect_all_sent(); // not a packet is lost
            for (const std::uint64_t burst : ticks)
                (changing ? traffic.busy : traffic.calm)
                    .push_back(ns_of_ticks(static_cast<double>(burst)));
            traffic.batches++;
        }
    } catch (const std::exception& error) {
        traffic.problem = error.what();
        traffic.ready.store(true);
    }
    return 0;
}

struct Change {
    std::vector<double> compile, seal, swap, whole;
};

// Backends go down and come back, one a generation.
Change change_for(World& world, dpdk::Generations& generations, const Settings& settings,
                  std::shared_ptr<const control::Generation> last) {
    Change change;
    for (std::uint32_t i = 0; i < std::max(settings.repeats, 2u); i++) {
        const std::uint32_t pool = i / 2 * 7 % world.shape().pools;
        world.set_down(pool, 3, i % 2 == 0);
        const World::Step step = world.step();
        const double swap = publish(generations, *step.generation, last.get());
        last = step.generation;
        change.compile.push_back(step.compile_ns);
        change.seal.push_back(step.seal_ns);
        change.swap.push_back(swap);
        change.whole.push_back(step.compile_ns + step.seal_ns + swap);
    }
    return change;
}

void measure(Row& row, const Settings& settings, const Shape& shape) {
    if (machine().second_lcore >= RTE_MAX_LCORE)
        throw std::runtime_error("needs a second core");
    drop_rig();
    World world(shape);
    const World::Step first = world.step();
    Engine engine(first.generation, 1, 1'250'000);
    dpdk::Generations generations(engine.rcu(), 1);
    engine.follow(generations.current());
    rte_rcu_qsbr_thread_offline(engine.rcu(), 0); // nobody polls yet
    const double first_swap = publish(generations, *first.generation, nullptr);
    rte_rcu_qsbr_thread_online(engine.rcu(), 0);
    Rig rig(shape, engine);
    Traffic traffic{rig};
    rte_eal_remote_launch(run_traffic, &traffic, machine().second_lcore);
    while (!traffic.ready.load())
        ::usleep(1000);
    const std::uint64_t calm_until =
        monotonic_ns() + static_cast<std::uint64_t>(settings.seconds * 1e9);
    while (monotonic_ns() < calm_until || traffic.batches.load() == 0)
        if (::usleep(1000); !traffic.problem.empty())
            break;
    traffic.changing.store(true);
    const Change change = change_for(world, generations, settings, first.generation);
    traffic.done.store(true);
    rte_eal_wait_lcore(machine().second_lcore);
    rte_rcu_qsbr_thread_offline(engine.rcu(), 0);
    if (!traffic.problem.empty())
        throw std::runtime_error(traffic.problem);
    row.ns = median(change.whole);
    row.more = {{"vips", shape.vips},
                {"backends_a_pool", shape.backends},
                {"compile_ns", median(change.compile)},
                {"seal_ns", median(change.seal)},
                {"swap_ns", median(change.swap)},
                {"worst_ns", quantile(change.whole, 1)},
                {"first_compile_ns", first.compile_ns},
                {"first_swap_ns", first_swap},
                {"bytes_a_pool", 2.0 * WEIR_MAGLEV_DEFAULT_SIZE},
                {"burst_p999_ns", quantile(traffic.busy, 0.999)},
                {"burst_p999_calm_ns", quantile(traffic.calm, 0.999)},
                {"burst_worst_ns", quantile(traffic.busy, 1)},
                {"burst_worst_calm_ns", quantile(traffic.calm, 1)}};
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
