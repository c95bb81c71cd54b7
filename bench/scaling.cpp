// SPDX-License-Identifier: BSD-3-Clause
// A second worker on a second core: both at once against the first one alone, each with the packets
// that it owns, as a NIC that spreads by our key would bring them. And against both one after the
// other, as two cores of a virtual machine need not be equally fast.
#include "bench/bench.hpp"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_pause.h>

#include <stdexcept>

namespace weir::bench {
namespace {

constexpr std::uint64_t kMostFlows = 1'000'000;

// Both threads stop here until the other has come.
class Meeting {
public:
    void meet() {
        const std::uint32_t mine = turn_.load(std::memory_order_relaxed);
        if (arrived_.fetch_add(1) == 1) {
            arrived_.store(0);
            turn_.store(mine + 1);
            return;
        }
        while (turn_.load() == mine)
            rte_pause();
    }

private:
    std::atomic<std::uint32_t> arrived_{0};
    std::atomic<std::uint32_t> turn_{0};
};

struct Second {
    Rig& rig;
    Meeting meeting;
    std::atomic<bool> done{false};
    std::vector<double> ns;
};

double batch_ns(Rig& rig) {
    const double ns = ns_of_ticks(static_cast<double>(rig.time_polls())) / kBatch;
    rig.expect_all_sent();
    return ns;
}

// One worker while the other rests.
struct Alone {
    Rig& rig;
    std::uint64_t for_ns;
    std::vector<double> ns;
};

int run_alone(void* argument) {
    auto& alone = *static_cast<Alone*>(argument);
    for (const std::uint64_t end = monotonic_ns() + alone.for_ns; monotonic_ns() < end;) {
        alone.rig.prepare_hits();
        alone.ns.push_back(batch_ns(alone.rig));
    }
    return 0;
}

int run_second(void* argument) {
    auto& second = *static_cast<Second*>(argument);
    for (;;) {
        second.meeting.meet(); // the round begins, or there is none
        if (second.done.load())
            return 0;
        second.rig.prepare_hits();
        second.meeting.meet();
        second.ns.push_back(batch_ns(second.rig));
    }
}

void measure(Row& row, const Settings& settings, const Shape& shape, std::uint64_t flows) {
    if (machine().second_lcore >= RTE_MAX_LCORE)
        throw std::runtime_error("needs a second core");
    drop_rig();
    Engine engine(World(shape).step().generation, 2, kMostFlows * 5 / 4 / 2);
    Rig first(shape, engine, 0);
    Rig other(shape, engine, 1);
    first.fill(flows / 2);
    other.fill(flows / 2);
    std::vector<double> alone_first, alone_second, both_first, both_second;
    for (std::uint32_t repeat = 0; repeat < settings.repeats; repeat++) {
        const auto share =
            static_cast<std::uint64_t>(settings.seconds / settings.repeats / 3 * 1e9);
        Alone on_first{first, share, {}};
        run_alone(&on_first);
        alone_first.push_back(median(on_first.ns));
        Alone on_second{other, share, {}};
        rte_eal_remote_launch(run_alone, &on_second, machine().second_lcore);
        rte_eal_wait_lcore(machine().second_lcore);
        alone_second.push_back(median(on_second.ns));
        Second second{other, {}, false, {}};
        rte_eal_remote_launch(run_second, &second, machine().second_lcore);
        std::vector<double> ns;
        for (const std::uint64_t end = monotonic_ns() + share; monotonic_ns() < end;) {
            second.meeting.meet();
            first.prepare_hits();
            second.meeting.meet();
            ns.push_back(batch_ns(first));
        }
        second.done.store(true);
        second.meeting.meet();
        rte_eal_wait_lcore(machine().second_lcore);
        both_first.push_back(median(ns));
        both_second.push_back(median(second.ns));
    }
    const double one = 1 / median(alone_first);
    const double other_one = 1 / median(alone_second);
    const double two = 1 / median(both_first) + 1 / median(both_second);
    row.ns = 1 / two;
    row.more = {{"workers", 2},
                {"ns_one_worker", 1 / one},
                {"speed_up", two / one},
                {"ns_other_worker", 1 / other_one},
                {"kept", two / (one + other_one)}};
}

} // namespace

void add_scaling_rows(Rows& rows) {
    for (const config::ForwardMode mode :
         {config::ForwardMode::kDsrL2, config::ForwardMode::kFullNat})
        for (const std::uint64_t flows : {std::uint64_t{1000}, kMostFlows}) {
            Shape shape;
            shape.mode = mode;
            rows.push_back({row_of(shape, flows, "pipeline", "hit", "workers=2"),
                            [=](Row& row, const Settings& settings) {
                                measure(row, settings, shape, flows);
                            }});
        }
}

} // namespace weir::bench
