// SPDX-License-Identifier: BSD-3-Clause
// Everything the API's views are made from, as the controller has it at this moment. Borrowed for
// the duration of one view.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "control/compile/compile.hpp"
#include "control/engine_choice.hpp"
#include "control/engine_link/engine.hpp"
#include "control/engine_link/generation.hpp"
#include "control/health/prober.hpp"
#include "control/kernel/next_hop.hpp"
#include "control/packet_steering.hpp"
#include "control/vrrp/runner.hpp"

namespace weir::control {

struct Snapshot {
    const config::Config& config;
    const Admin& admin;
    std::vector<BackendHealth> health; // by pool, then address
    std::map<std::string, PoolCounts> counts;
    const std::map<net::IpAddress, NextHop>& next_hops;

    const CompiledState* compiled = nullptr; // what the live generation was made as
    std::shared_ptr<const Generation> live;  // null: none
    const Engine* engine = nullptr;          // null: not connected

    bool ready = false;
    bool drained = false; // takes no part in the election
    EngineChoice choice;
    vrrp::Status election; // empty with static ownership
    std::vector<GuardCount> guard;
    std::vector<std::string> problems;
    Instant now{};
};

} // namespace weir::control
