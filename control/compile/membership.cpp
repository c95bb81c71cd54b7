// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/membership.hpp"

#include <algorithm>

namespace weir::control {
namespace {

struct Candidate {
    BackendAdmin admin;
    bool backup = false;
    bool down = false;
    bool eligible = false; // would take connections if it were up
};

// How many of the primaries or of the backups could serve, and how many of those are up.
struct Strength {
    std::size_t eligible = 0;
    std::size_t up = 0;
    bool last_known = false; // some that could serve did so in the generation before

    [[nodiscard]] bool is_short(std::size_t threshold_percent) const {
        return up == 0 || up * 100 < threshold_percent * eligible;
    }
};

std::vector<Candidate> candidates_of(const config::PoolConfig& pool, const Health& health,
                                     const Admin& admin, std::vector<MemberDecision>& decisions) {
    std::vector<Candidate> candidates;
    for (const config::BackendConfig& backend : pool.backends) {
        Candidate candidate;
        if (const auto found = admin.find({pool.name, backend.name}); found != admin.end())
            candidate.admin = found->second;
        candidate.backup = backend.backup;
        candidate.down = health.down.contains({pool.name, backend.address});
        MemberDecision decision;
        decision.weight = candidate.admin.weight.value_or(backend.weight);
        candidate.eligible = candidate.admin.state == AdminState::kReady && decision.weight > 0;
        candidates.push_back(candidate);
        decisions.push_back(decision);
    }
    return candidates;
}

weir_backend_state state_of(const Candidate& candidate, bool trusted) {
    if (candidate.admin.state == AdminState::kDisable || (candidate.down && !trusted))
        return WEIR_BACKEND_DOWN;
    return candidate.eligible ? WEIR_BACKEND_UP : WEIR_BACKEND_DRAINING;
}

} // namespace

PoolDecision decide_members(const config::PoolConfig& pool, const Health& health,
                            const Admin& admin, const std::vector<bool>& was_member,
                            bool fail_open) {
    PoolDecision result;
    const std::vector<Candidate> candidates = candidates_of(pool, health, admin, result.backends);
    Strength primaries;
    Strength backups;
    for (std::size_t i = 0; i < candidates.size(); i++) {
        Strength& strength = candidates[i].backup ? backups : primaries;
        strength.eligible += candidates[i].eligible;
        strength.up += candidates[i].eligible && !candidates[i].down;
        strength.last_known = strength.last_known || (candidates[i].eligible && was_member[i]);
    }
    const bool too_few = primaries.is_short(pool.panic_threshold_percent);
    result.on_backups = too_few && backups.up > 0;
    result.panic = too_few && !result.on_backups && primaries.eligible + backups.eligible > 0;
    const bool all =
        !(primaries.last_known || backups.last_known) || health.mass_failure.contains(pool.name);
    for (std::size_t i = 0; i < candidates.size(); i++) {
        const Candidate& candidate = candidates[i];
        // Backups are no second choice among many that may all be well: only where nobody else is.
        const bool last_resort = !candidate.backup || primaries.eligible == 0;
        const bool trusted = result.panic && fail_open && (was_member[i] || (all && last_resort));
        MemberDecision& decision = result.backends[i];
        decision.state = state_of(candidate, trusted);
        decision.member = decision.state == WEIR_BACKEND_UP && (!result.panic || fail_open) &&
                          (!candidate.backup || result.on_backups || trusted);
        // A backup that waits keeps what it has, and gets nothing new from persistence either.
        if (candidate.backup && !decision.member && decision.state == WEIR_BACKEND_UP)
            decision.state = WEIR_BACKEND_DRAINING;
    }
    return result;
}

} // namespace weir::control
