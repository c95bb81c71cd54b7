// SPDX-License-Identifier: BSD-3-Clause
// When to probe next: pure decisions, the prober owns the timers. `fraction` in [0, 1) is the
// caller's random draw; it spreads the probes of many backends over time.
#pragma once

#include "control/health/health_state.hpp"

namespace weir::control {

// After a start the first verdict is wanted soon, but not from a thousand backends at once.
inline constexpr Milliseconds kFirstProbeSpread{200};
// A backend nobody knows yet that fails is asked again this soon, so that a start among dead
// backends settles quickly.
inline constexpr Milliseconds kUnsettledInterval{500};

Milliseconds first_probe_delay(Milliseconds interval, double fraction);

// From the start of one sample to the start of the next, never above `interval`: a dead backend is
// out within fall x interval + timeout. `samples` is how many were taken before.
Milliseconds next_probe_delay(Milliseconds interval, HealthStatus status, uint64_t samples,
                              double fraction);

} // namespace weir::control
