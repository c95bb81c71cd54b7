// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/membership.hpp"

#include <algorithm>

namespace weir::control {
namespace {

struct Candidate {
    BackendAdmin admin;
    bool down = false;
    bool eligible = false; // would take connections if it were up
};

std::vector<Candidate> candidates_of(const config::PoolConfig& pool, const Health& health,
                                     const Admin& admin, std::vector<MemberDecision>& decisions) {
    std::vector<Candidate> candidates;
    for (const config::BackendConfig& backend : pool.backends) {
        Candidate candidate;
        if (const auto found = admin.find({pool.name, backend.name}); found != admin.end())
            candidate.admin = found->second;
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
    std::size_t eligible = 0;
    std::size_t up = 0;
    bool last_known = false;
    for (std::size_t i = 0; i < candidates.size(); i++) {
        eligible += candidates[i].eligible;
        up += candidates[i].eligible && !candidates[i].down;
        last_known = last_known || (candidates[i].eligible && was_member[i]);
    }
    result.panic = eligible > 0 && (up == 0 || up * 100 < pool.panic_threshold_percent * eligible);
    const bool all = !last_known || health.mass_failure.contains(pool.name);
    for (std::size_t i = 0; i < candidates.size(); i++) {
        const bool trusted = result.panic && fail_open && (all || was_member[i]);
        MemberDecision& decision = result.backends[i];
        decision.state = state_of(candidates[i], trusted);
        decision.member = decision.state == WEIR_BACKEND_UP && (!result.panic || fail_open);
    }
    return result;
}

} // namespace weir::control
