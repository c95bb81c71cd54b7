// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/schedule.hpp"

#include <algorithm>

namespace weir::control {
namespace {

Milliseconds scaled(Milliseconds span, double factor) {
    return Milliseconds(static_cast<Milliseconds::rep>(static_cast<double>(span.count()) * factor));
}

} // namespace

Milliseconds first_probe_delay(Milliseconds interval, double fraction) {
    return scaled(std::min(interval, kFirstProbeSpread), fraction);
}

Milliseconds next_probe_delay(Milliseconds interval, HealthStatus status, uint64_t samples,
                              double fraction) {
    if (status == HealthStatus::kChecking) {
        return std::min(interval, kUnsettledInterval);
    }
    // The second sample lands anywhere in half an interval, which undoes the common start; after
    // that a little jitter keeps backends from falling into step again.
    return samples <= 1 ? scaled(interval, 0.5 + 0.5 * fraction)
                        : scaled(interval, 0.9 + 0.1 * fraction);
}

} // namespace weir::control
