// SPDX-License-Identifier: BSD-3-Clause
// The health of one backend as a pure state machine: (state, sample, now) -> state. No clock, no
// I/O, no allocation beyond the text of the last result. The prober feeds it; tests drive it with
// invented times. Not thread-safe: owned by the control process's event loop.
//
// Rules
//  - `checking` is where a backend starts. It counts as usable: a control process that starts, or a
//    backend added by a reload, must not take traffic away before anything was measured. The first
//    success makes it `up`; only `fall` consecutive failures make it `down`.
//  - `up` -> `down` takes `fall` consecutive failures, `down` -> `up` takes `rise` consecutive
//    successes and, for a backend that flaps, the end of its hold-down.
//  - Hold-down: a backend that falls again within `flap_window` of having come up must stay down at
//    least hold_base, then twice that, and so on up to hold_max. A longer time up forgets it.
//  - A sample says nothing, and is discarded, when it started before the last change of state, not
//    after the newest sample seen, or when its result came in long after its timeout: then this
//    process was stopped or starved, and the silence is ours, not the backend's.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace weir::control {

using Instant = std::chrono::steady_clock::time_point;
using Milliseconds = std::chrono::milliseconds;

enum class HealthStatus : uint8_t { kChecking, kUp, kDown };

std::string_view to_string(HealthStatus status);

struct HealthRules {
    uint32_t rise = 2; // >= 1
    uint32_t fall = 3; // >= 1
    Milliseconds hold_base{2'000};
    Milliseconds hold_max{60'000};
    Milliseconds flap_window{30'000};
};

struct HealthSample {
    bool success = false;
    Instant started{};
    // Until when the answer could come in. A result processed later than this plus
    // kLateAllowance is discarded.
    Instant deadline{};
    std::string text; // "HTTP 200", "connection refused", ...
};

enum class SampleVerdict : uint8_t {
    kCounted,  // the state stays, the counts moved
    kChanged,  // the status is another one now
    kDiscarded // late or out of order: nothing changed
};

class HealthState {
public:
    static constexpr Milliseconds kLateAllowance{250};

    // `initial`: what the running forwarding state says after a restart of control.
    explicit HealthState(const HealthRules& rules, Instant now,
                         HealthStatus initial = HealthStatus::kChecking);

    SampleVerdict observe(const HealthSample& sample, Instant now);

    HealthStatus status() const { return status_; }
    bool usable() const { return status_ != HealthStatus::kDown; }
    // Why the status is what it is, as a sentence fragment for operators.
    const std::string& reason() const { return reason_; }
    const std::string& last_result() const { return last_result_; }
    Instant last_change() const { return last_change_; }
    // Empty until the first sample was counted.
    std::optional<Instant> last_sample() const { return newest_started_; }
    uint32_t consecutive_successes() const { return successes_; }
    uint32_t consecutive_failures() const { return failures_; }
    uint64_t discarded() const { return discarded_; }
    // Down at least until then (the past or unset when no hold-down applies).
    std::optional<Instant> held_until() const { return held_until_; }
    const HealthRules& rules() const { return rules_; }

private:
    bool stale(const HealthSample& sample, Instant now) const;
    void enter(HealthStatus status, Instant now);
    void fall_down(const HealthSample& sample, Instant now);
    Milliseconds hold_down() const;

    HealthRules rules_;
    HealthStatus status_;
    std::string reason_;
    std::string last_result_;
    Instant last_change_;
    std::optional<Instant> newest_started_;
    std::optional<Instant> held_until_;
    uint32_t successes_ = 0;
    uint32_t failures_ = 0;
    uint32_t flaps_ = 0; // falls in a row that came soon after a rise
    uint64_t discarded_ = 0;
};

} // namespace weir::control
