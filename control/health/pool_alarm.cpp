// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/pool_alarm.hpp"

namespace weir::control {

PoolCounts PoolAlarm::update(std::span<const PoolMember> members, Milliseconds window,
                             Instant now) {
    PoolCounts counts{.total = static_cast<uint32_t>(members.size())};
    for (const PoolMember& member : members) {
        counts.up += member.status == HealthStatus::kUp ? 1 : 0;
        counts.checking += member.status == HealthStatus::kChecking ? 1 : 0;
        if (member.status == HealthStatus::kDown) {
            counts.down++;
            counts.fell_lately += now - member.last_change <= window ? 1 : 0;
        }
    }
    if (counts.fell_lately * 2 > counts.total) {
        raised_ = true;
    } else if (counts.down * 2 <= counts.total) {
        raised_ = false;
    }
    counts.mass_failure = raised_;
    return counts;
}

} // namespace weir::control
