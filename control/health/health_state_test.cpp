// SPDX-License-Identifier: BSD-3-Clause
// The health state machine against invariants over every short event sequence, with invented times.
#include "control/health/health_state.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace weir::control {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{1'000s};
constexpr Milliseconds kInterval{1'000};
constexpr Milliseconds kTimeout{500};

HealthSample sample_at(Instant started, bool success) {
    return {.success = success,
            .started = started,
            .deadline = started + kTimeout,
            .text = success ? "ok" : "refused"};
}

// One sample an interval, answered 1 ms after it started.
class Steady {
public:
    explicit Steady(const HealthRules& rules, HealthStatus initial = HealthStatus::kChecking)
        : state(rules, kStart, initial), now(kStart) {}
    SampleVerdict feed(bool success) {
        now += kInterval;
        return state.observe(sample_at(now - 1ms, success), now);
    }
    void feed(bool success, uint32_t times) {
        for (uint32_t i = 0; i < times; i++) {
            feed(success);
        }
    }
    HealthState state;
    Instant now;
};

enum Event { kSuccess, kFailure, kLateSuccess, kLateFailure, kOldFailure, kEvents };

// Plays one sequence and checks every invariant after every event, against counts kept here.
void play(const HealthRules& rules, HealthStatus initial, const std::vector<int>& events) {
    HealthState state(rules, kStart, initial);
    Instant now = kStart;
    uint32_t successes = 0;
    uint32_t failures = 0;
    for (const int event : events) {
        const HealthStatus before = state.status();
        now += kInterval;
        HealthSample sample = sample_at(now - 1ms, event == kSuccess || event == kLateSuccess);
        if (event == kLateSuccess || event == kLateFailure) {
            sample.deadline = now - HealthState::kLateAllowance - 1ms;
        } else if (event == kOldFailure) {
            sample.started = state.last_sample().value_or(kStart - 1ms);
        }
        const SampleVerdict verdict = state.observe(sample, now);
        if (event >= kLateSuccess) {
            ASSERT_EQ(verdict, SampleVerdict::kDiscarded);
            ASSERT_EQ(state.status(), before);
            ASSERT_EQ(state.consecutive_successes(), successes);
            ASSERT_EQ(state.consecutive_failures(), failures);
            continue;
        }
        successes = event == kSuccess ? successes + 1 : 0;
        failures = event == kFailure ? failures + 1 : 0;
        ASSERT_EQ(state.consecutive_successes(), successes);
        ASSERT_EQ(state.consecutive_failures(), failures);
        const bool changed = state.status() != before;
        ASSERT_EQ(verdict == SampleVerdict::kChanged, changed);
        ASSERT_EQ(changed, state.last_change() == now);
        // Never back to `checking`; down exactly at `fall`, up exactly at `rise` unless held.
        ASSERT_FALSE(changed && state.status() == HealthStatus::kChecking);
        const bool must_fall = before != HealthStatus::kDown && failures >= rules.fall;
        ASSERT_EQ(changed && state.status() == HealthStatus::kDown, must_fall);
        const bool held = state.held_until() && now < *state.held_until();
        const bool must_rise = (before == HealthStatus::kChecking && event == kSuccess) ||
                               (before == HealthStatus::kDown && successes >= rules.rise && !held);
        ASSERT_EQ(changed && state.status() == HealthStatus::kUp, must_rise);
        if (state.status() == HealthStatus::kDown && state.held_until()) {
            ASSERT_LE(*state.held_until() - state.last_change(), rules.hold_max);
        }
    }
}

TEST(HealthState, EveryShortSequenceKeepsTheInvariants) {
    constexpr int kLength = 6;
    for (const HealthStatus initial :
         {HealthStatus::kChecking, HealthStatus::kUp, HealthStatus::kDown}) {
        for (uint32_t rise = 1; rise <= 3; rise++) {
            for (uint32_t fall = 1; fall <= 3; fall++) {
                const HealthRules rules{.rise = rise, .fall = fall, .hold_base = 1'500ms};
                std::vector<int> events(kLength, 0);
                const auto total =
                    static_cast<uint64_t>(std::pow(static_cast<int>(kEvents), kLength));
                for (uint64_t code = 0; code < total; code++) {
                    uint64_t rest = code;
                    for (int& event : events) {
                        event = static_cast<int>(rest % kEvents);
                        rest /= kEvents;
                    }
                    play(rules, initial, events);
                    ASSERT_FALSE(testing::Test::HasFatalFailure())
                        << "rise " << rise << " fall " << fall << " code " << code;
                }
            }
        }
    }
}

// Only successes and failures, but long enough for several flaps with their hold-down.
TEST(HealthState, EveryLongerSequenceOfSuccessAndFailureKeepsTheInvariants) {
    constexpr uint32_t kLength = 14;
    for (const uint32_t rise : {1U, 2U}) {
        for (const uint32_t fall : {1U, 2U}) {
            const HealthRules rules{
                .rise = rise, .fall = fall, .hold_base = 1'500ms, .hold_max = 4'000ms};
            for (uint32_t code = 0; code < (1U << kLength); code++) {
                std::vector<int> events;
                for (uint32_t bit = 0; bit < kLength; bit++) {
                    events.push_back((code >> bit & 1) != 0 ? kSuccess : kFailure);
                }
                play(rules, HealthStatus::kChecking, events);
                ASSERT_FALSE(testing::Test::HasFatalFailure()) << "code " << code;
            }
        }
    }
}

TEST(HealthState, FirstSuccessDecides) {
    Steady backend({.rise = 5, .fall = 3});
    EXPECT_EQ(backend.state.status(), HealthStatus::kChecking);
    EXPECT_TRUE(backend.state.usable());
    EXPECT_EQ(backend.feed(true), SampleVerdict::kChanged);
    EXPECT_EQ(backend.state.status(), HealthStatus::kUp);
}

TEST(HealthState, CheckingStaysUsableUntilFallFailures) {
    Steady backend({.rise = 2, .fall = 3});
    backend.feed(false, 2);
    EXPECT_TRUE(backend.state.usable());
    EXPECT_EQ(backend.feed(false), SampleVerdict::kChanged);
    EXPECT_FALSE(backend.state.usable());
    EXPECT_EQ(backend.state.reason(), "refused");
    EXPECT_EQ(backend.state.last_change(), backend.now);
}

TEST(HealthState, ASuccessBetweenFailuresStartsTheCountAgain) {
    Steady backend({.rise = 2, .fall = 3});
    backend.feed(true);
    for (int i = 0; i < 100; i++) {
        backend.feed(false, 2);
        backend.feed(true);
        ASSERT_EQ(backend.state.status(), HealthStatus::kUp);
    }
}

TEST(HealthState, AFirstFallIsNotHeld) {
    Steady backend({.rise = 2, .fall = 3});
    backend.feed(true);
    backend.feed(false, 3);
    backend.feed(true, 2);
    EXPECT_EQ(backend.state.status(), HealthStatus::kUp);
}

// Goes up, falls at once, and reports how long it was held down, `cycles` times.
std::vector<Milliseconds> holds_of_a_flapper(Steady& backend, int cycles) {
    std::vector<Milliseconds> holds;
    for (int i = 0; i < cycles; i++) {
        while (backend.state.status() != HealthStatus::kUp) {
            backend.feed(true);
        }
        backend.feed(false, backend.state.rules().fall);
        EXPECT_EQ(backend.state.status(), HealthStatus::kDown);
        holds.push_back(std::chrono::duration_cast<Milliseconds>(*backend.state.held_until() -
                                                                 backend.state.last_change()));
    }
    return holds;
}

TEST(HealthState, FlappingIsHeldDownExponentiallyAndBounded) {
    Steady backend({.rise = 1, .fall = 1, .hold_base = 2s, .hold_max = 10s, .flap_window = 30s});
    EXPECT_EQ(holds_of_a_flapper(backend, 7),
              (std::vector<Milliseconds>{0s, 2s, 4s, 8s, 10s, 10s, 10s}));
}

TEST(HealthState, ALongTimeUpForgetsTheFlaps) {
    Steady backend({.rise = 1, .fall = 1, .hold_base = 2s, .hold_max = 10s, .flap_window = 30s});
    holds_of_a_flapper(backend, 4);
    while (backend.state.status() != HealthStatus::kUp) {
        backend.feed(true);
    }
    backend.feed(true, 31);
    EXPECT_EQ(holds_of_a_flapper(backend, 2), (std::vector<Milliseconds>{0s, 2s}));
}

TEST(HealthState, NoHoldBaseMeansNoHold) {
    Steady backend({.rise = 1, .fall = 1, .hold_base = 0s, .hold_max = 10s, .flap_window = 30s});
    EXPECT_EQ(holds_of_a_flapper(backend, 3), (std::vector<Milliseconds>{0s, 0s, 0s}));
}

// The process was stopped for 5 s: the probe in flight looks like a timeout, but says nothing.
TEST(HealthState, AResultAfterAStopOfThisProcessIsDiscarded) {
    Steady backend({.rise = 1, .fall = 1});
    backend.feed(true);
    const HealthSample late = sample_at(backend.now + 1ms, false);
    EXPECT_EQ(backend.state.observe(late, backend.now + 5s), SampleVerdict::kDiscarded);
    EXPECT_EQ(backend.state.status(), HealthStatus::kUp);
    EXPECT_EQ(backend.state.discarded(), 1U);
    EXPECT_EQ(backend.state.last_result(), "ok");
}

TEST(HealthState, ASampleFromBeforeTheChangeIsDiscarded) {
    Steady backend({.rise = 1, .fall = 1});
    backend.feed(true);
    const Instant before_fall = backend.now + 1ms;
    backend.feed(false);
    HealthSample old = sample_at(before_fall, true);
    old.deadline = backend.now + 1s;
    EXPECT_EQ(backend.state.observe(old, backend.now + 1ms), SampleVerdict::kDiscarded);
    EXPECT_EQ(backend.state.status(), HealthStatus::kDown);
}

TEST(HealthState, ARestartKeepsWhatTheForwardingStateSaid) {
    Steady was_down({.rise = 2, .fall = 3}, HealthStatus::kDown);
    EXPECT_FALSE(was_down.state.usable());
    was_down.feed(true);
    EXPECT_FALSE(was_down.state.usable());
    was_down.feed(true);
    EXPECT_TRUE(was_down.state.usable());

    Steady was_up({.rise = 2, .fall = 3}, HealthStatus::kUp);
    was_up.feed(false, 2);
    EXPECT_TRUE(was_up.state.usable());
    was_up.feed(false);
    EXPECT_FALSE(was_up.state.usable());
}

} // namespace
} // namespace weir::control
