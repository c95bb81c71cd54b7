// SPDX-License-Identifier: BSD-3-Clause
// compile(): configuration, health, adjacency, operators' wishes and the generation before -> the
// next generation of ForwardingState. A pure function: the same input gives the same bytes on every
// node; no clock of its own, no I/O, no state (SlotTables only saves work). Called by the
// controller and tests.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "config/expected.hpp"
#include "control/compile/inputs.hpp"
#include "control/compile/membership.hpp"
#include "control/compile/slot_tables.hpp"
#include "dataplane/lb/state_builder.hpp"

namespace weir::control {

struct CompileInput {
    const config::Config& config;
    const Health& health;
    const Adjacency& adjacency;
    const Admin& admin;
    const History& history;
    const Forget& forget;
    const std::vector<InterfaceFacts>& interfaces;
    weir_hash_key hash_key{};
    std::uint32_t now_s = 1; // any clock that does not go back, above 0
};

struct CompiledState {
    lb::StateTables tables;                                 // generation: one above the history's
    std::vector<std::shared_ptr<const SlotTable>> segments; // in the order of tables.segments

    // Where the configuration's things are in the tables.
    std::vector<std::uint32_t> vip_ids;                  // by index of the VIP
    std::vector<std::vector<std::uint32_t>> backend_ids; // by indices of pool and backend
    std::vector<std::uint32_t> leaving;                  // backend rows of the past
    std::vector<PoolDecision> pools;                     // by index of the pool
    Windows windows;
    std::optional<std::uint32_t> next_close_s; // when a window closes, in CompileInput's clock
};

// The weight that a scheduler goes by: rr and lc make no difference between those that have one.
std::uint32_t scheduling_weight(config::Scheduler scheduler, std::uint16_t weight);

// An error is a limit of the forwarding tables that the configuration exceeds.
Expected<CompiledState> compile(const CompileInput& input, SlotTables& slot_tables);

} // namespace weir::control
