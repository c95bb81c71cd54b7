// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/schedule.hpp"

#include <gtest/gtest.h>

namespace weir::control {
namespace {

using namespace std::chrono_literals;

TEST(Schedule, NeverLaterThanTheInterval) {
    for (const auto interval : {10ms, 250ms, 2'000ms, 60'000ms}) {
        for (const double fraction : {0.0, 0.25, 0.5, 0.999}) {
            EXPECT_LE(first_probe_delay(interval, fraction), std::min(interval, kFirstProbeSpread));
            for (const HealthStatus status :
                 {HealthStatus::kChecking, HealthStatus::kUp, HealthStatus::kDown}) {
                for (const uint64_t samples : {1U, 2U, 1000U}) {
                    const auto delay = next_probe_delay(interval, status, samples, fraction);
                    EXPECT_LE(delay, interval);
                    EXPECT_GE(delay, std::min(interval, kUnsettledInterval) / 2);
                }
            }
        }
    }
}

TEST(Schedule, TheSecondSampleSpreadsOverHalfAnInterval) {
    EXPECT_EQ(next_probe_delay(2'000ms, HealthStatus::kUp, 1, 0.0), 1'000ms);
    EXPECT_EQ(next_probe_delay(2'000ms, HealthStatus::kUp, 1, 0.5), 1'500ms);
    EXPECT_EQ(next_probe_delay(2'000ms, HealthStatus::kUp, 2, 0.0), 1'800ms);
}

TEST(Schedule, AnUnknownBackendIsAskedAgainSoon) {
    EXPECT_EQ(next_probe_delay(10'000ms, HealthStatus::kChecking, 1, 0.5), kUnsettledInterval);
    EXPECT_EQ(next_probe_delay(100ms, HealthStatus::kChecking, 1, 0.5), 100ms);
}

} // namespace
} // namespace weir::control
