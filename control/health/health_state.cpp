// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/health_state.hpp"

#include <algorithm>
#include <limits>

namespace weir::control {
namespace {

uint32_t saturating_increment(uint32_t value) {
    return value == std::numeric_limits<uint32_t>::max() ? value : value + 1;
}

} // namespace

std::string_view to_string(HealthStatus status) {
    switch (status) {
    case HealthStatus::kChecking:
        return "checking";
    case HealthStatus::kUp:
        return "up";
    case HealthStatus::kDown:
        return "down";
    }
    return "unknown";
}

HealthState::HealthState(const HealthRules& rules, Instant now, HealthStatus initial)
    : rules_(rules), status_(initial), last_change_(now) {
    rules_.rise = std::max<uint32_t>(rules_.rise, 1);
    rules_.fall = std::max<uint32_t>(rules_.fall, 1);
    reason_ = initial == HealthStatus::kChecking ? "not probed yet"
                                                 : "as before the control process restarted";
}

bool HealthState::stale(const HealthSample& sample, Instant now) const {
    return sample.started < last_change_ ||
           (newest_started_ && sample.started <= *newest_started_) ||
           now > sample.deadline + kLateAllowance;
}

SampleVerdict HealthState::observe(const HealthSample& sample, Instant now) {
    if (stale(sample, now)) {
        discarded_++;
        return SampleVerdict::kDiscarded;
    }
    newest_started_ = sample.started;
    last_result_ = sample.text;
    const HealthStatus before = status_;
    if (sample.success) {
        failures_ = 0;
        successes_ = saturating_increment(successes_);
        const bool held = held_until_ && now < *held_until_;
        if (status_ == HealthStatus::kChecking ||
            (status_ == HealthStatus::kDown && successes_ >= rules_.rise && !held)) {
            reason_ = sample.text;
            enter(HealthStatus::kUp, now);
        }
    } else {
        successes_ = 0;
        failures_ = saturating_increment(failures_);
        if (status_ != HealthStatus::kDown && failures_ >= rules_.fall) {
            fall_down(sample, now);
        } else if (status_ == HealthStatus::kDown) {
            reason_ = sample.text;
        }
    }
    return status_ == before ? SampleVerdict::kCounted : SampleVerdict::kChanged;
}

void HealthState::enter(HealthStatus status, Instant now) {
    status_ = status;
    last_change_ = now;
}

void HealthState::fall_down(const HealthSample& sample, Instant now) {
    const bool flapped = status_ == HealthStatus::kUp && held_until_.has_value() &&
                         now - last_change_ < rules_.flap_window;
    flaps_ = flapped ? saturating_increment(flaps_) : 0;
    // The first fall of a steady backend is not held, but it marks the next soon one as a flap.
    held_until_ = now + (flaps_ == 0 ? Milliseconds{0} : hold_down());
    reason_ = sample.text;
    enter(HealthStatus::kDown, now);
}

Milliseconds HealthState::hold_down() const {
    Milliseconds hold = rules_.hold_base;
    const uint32_t doublings = std::min<uint32_t>(flaps_ - 1, 30);
    for (uint32_t i = 0; i < doublings && hold < rules_.hold_max; i++) {
        hold *= 2;
    }
    return std::min(hold, rules_.hold_max);
}

} // namespace weir::control
