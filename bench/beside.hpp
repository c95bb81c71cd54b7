// SPDX-License-Identifier: BSD-3-Clause
// A worker on the second core that forwards known connections and times each of its bursts, while
// the first core does something beside it, by turns: what a worker notices of the rest of Weir.
#pragma once

#include "bench/bench.hpp"

#include <atomic>
#include <functional>
#include <string>
#include <vector>

namespace weir::bench {

class Beside {
public:
    using Prepare = std::function<void(Rig&)>; // on the worker's core, after `flows` are open

    // Returns when the worker forwards. REQUIRES: the engine outlives it and nobody else polls.
    Beside(const Shape& shape, Engine& engine, std::uint64_t flows, const Prepare& prepare = {});
    ~Beside();
    Beside(const Beside&) = delete;
    Beside& operator=(const Beside&) = delete;

    // Bursts count as calm for so long, or as busy while `act` is called again and again.
    void calm_for(double seconds);
    void busy_for(double seconds, const std::function<void()>& act);
    // ... while `act` runs, once.
    void busy_while(const std::function<void()>& act);

    // Ends the worker; throws if a packet got lost or anything else went wrong on its core. Adds
    // burst_p50_ns, _p999_ns and _worst_ns to the row, each with its _calm_ns.
    void end(Row& row);

private:
    enum class Phase : int { starting, idle, calm, busy, done };

    static int run(void* self);
    void forward();
    void be(Phase phase);
    void stop();

    const Shape shape_;
    Engine& engine_;
    const std::uint64_t flows_;
    const Prepare prepare_;
    bool running_ = true;
    std::atomic<Phase> phase_{Phase::idle};
    std::atomic<Phase> seen_{Phase::starting}; // what the worker's batches count as now
    std::vector<double> calm_, busy_;          // ns a burst
    std::string problem_;
};

} // namespace weir::bench
