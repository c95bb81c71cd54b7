// SPDX-License-Identifier: BSD-3-Clause
#include "bench/beside.hpp"

#include <rte_launch.h>
#include <rte_lcore.h>
#include <rte_rcu_qsbr.h>

#include <stdexcept>
#include <unistd.h>

namespace weir::bench {

Beside::Beside(const Shape& shape, Engine& engine, std::uint64_t flows, const Prepare& prepare)
    : shape_(shape), engine_(engine), flows_(flows), prepare_(prepare) {
    if (machine().second_lcore >= RTE_MAX_LCORE)
        throw std::runtime_error("needs a second core");
    rte_eal_remote_launch(run, this, machine().second_lcore);
    be(Phase::idle);
}

Beside::~Beside() {
    stop();
}

int Beside::run(void* self) {
    auto& beside = *static_cast<Beside*>(self);
    try {
        beside.forward();
    } catch (const std::exception& error) {
        beside.problem_ = error.what();
    }
    beside.seen_.store(Phase::done);
    rte_rcu_qsbr_thread_offline(beside.engine_.rcu(), 0); // nobody polls any more
    return 0;
}

void Beside::forward() {
    Rig rig(shape_, engine_);
    rig.fill(flows_);
    if (prepare_)
        prepare_(rig);
    std::vector<std::uint64_t> ticks;
    for (;;) {
        const Phase phase = phase_.load();
        seen_.store(phase);
        if (phase == Phase::done)
            return;
        rig.prepare_hits();
        ticks.clear();
        rig.time_each_poll(ticks);
        rig.expect_all_sent(); // not a packet is lost
        if (phase == Phase::idle || phase != phase_.load())
            continue; // a batch is of one phase from its beginning to its end
        for (const std::uint64_t burst : ticks)
            (phase == Phase::calm ? calm_ : busy_)
                .push_back(ns_of_ticks(static_cast<double>(burst)));
    }
}

// Returns when the worker has noticed, or has ended with a problem.
void Beside::be(Phase phase) {
    phase_.store(phase);
    while (seen_.load() != phase && seen_.load() != Phase::done)
        ::usleep(100);
}

void Beside::stop() {
    if (!running_)
        return;
    running_ = false;
    phase_.store(Phase::done);
    rte_eal_wait_lcore(machine().second_lcore);
}

void Beside::calm_for(double seconds) {
    be(Phase::calm);
    ::usleep(static_cast<useconds_t>(seconds * 1e6));
    be(Phase::idle);
}

void Beside::busy_for(double seconds, const std::function<void()>& act) {
    const std::uint64_t end = monotonic_ns() + static_cast<std::uint64_t>(seconds * 1e9);
    busy_while([&] {
        do
            act();
        while (monotonic_ns() < end);
    });
}

void Beside::busy_while(const std::function<void()>& act) {
    be(Phase::busy);
    act();
    be(Phase::idle);
}

void Beside::end(Row& row) {
    stop();
    if (!problem_.empty())
        throw std::runtime_error(problem_);
    for (const auto& [name, share] : {std::pair{"p50", 0.5}, {"p999", 0.999}, {"worst", 1.0}}) {
        const std::string key = std::string("burst_") + name;
        row.more.emplace_back(key + "_ns", quantile(busy_, share));
        row.more.emplace_back(key + "_calm_ns", quantile(calm_, share));
    }
}

} // namespace weir::bench
