// SPDX-License-Identifier: BSD-3-Clause
// Which backends of a pool take new connections, and what state each of its rows has: health,
// operators and the pool's panic rules in one pure decision. Called by the compiler.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "control/compile/inputs.hpp"

namespace weir::control {

struct MemberDecision {
    weir_backend_state state = WEIR_BACKEND_DOWN;
    std::uint16_t weight = 0; // in effect
    bool member = false;      // gets slots
};

struct PoolDecision {
    std::vector<MemberDecision> backends; // by index into PoolConfig::backends
    // Too few backends are up. With `fail_open` the members are the last known ones, else none.
    bool panic = false;
    // Too few of the others are up, and backups serve beside those. Comes before panic.
    bool on_backups = false;
};

// `was_member`: by index, whether the generation before balanced over the backend. `fail_open`:
// some VIP of the pool has on_all_down = open, or none uses it.
//
// In panic the set is the last known one; all that could serve when there is none, or when most of
// the pool fell at once: then the order in which the probes noticed says nothing.
PoolDecision decide_members(const config::PoolConfig& pool, const Health& health,
                            const Admin& admin, const std::vector<bool>& was_member,
                            bool fail_open);

} // namespace weir::control
