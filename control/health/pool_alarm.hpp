// SPDX-License-Identifier: BSD-3-Clause
// Tells a pool that loses more than half of its backends at once from backends that die one by
// one: then the probe path is as likely the culprit as the backends, and the caller may hold on to
// the last known set. Pure; owned by the prober.
#pragma once

#include <span>

#include "control/health/health_state.hpp"

namespace weir::control {

struct PoolMember {
    HealthStatus status = HealthStatus::kChecking;
    Instant last_change{};
};

struct PoolCounts {
    uint32_t total = 0;
    uint32_t up = 0;
    uint32_t checking = 0; // usable, not known yet
    uint32_t down = 0;
    uint32_t fell_lately = 0; // down since less than the window
    bool mass_failure = false;
};

class PoolAlarm {
public:
    // Raised when more than half of the pool fell within `window`; lowered when at most half of it
    // is down.
    PoolCounts update(std::span<const PoolMember> members, Milliseconds window, Instant now);

private:
    bool raised_ = false;
};

} // namespace weir::control
