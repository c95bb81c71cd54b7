// SPDX-License-Identifier: BSD-3-Clause
#include "control/health/pool_alarm.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace weir::control {
namespace {

using namespace std::chrono_literals;

constexpr Instant kStart{1'000s};
constexpr Milliseconds kWindow{2'000};

std::vector<PoolMember> pool_of(size_t up, size_t down, Instant fell) {
    std::vector<PoolMember> members(up, {HealthStatus::kUp, kStart - 1h});
    members.insert(members.end(), down, {HealthStatus::kDown, fell});
    return members;
}

TEST(PoolAlarm, RaisedOnlyWhenMoreThanHalfFallTogether) {
    PoolAlarm alarm;
    EXPECT_FALSE(alarm.update(pool_of(4, 4, kStart), kWindow, kStart).mass_failure);
    const PoolCounts counts = alarm.update(pool_of(3, 5, kStart), kWindow, kStart);
    EXPECT_TRUE(counts.mass_failure);
    EXPECT_EQ(counts.total, 8U);
    EXPECT_EQ(counts.up, 3U);
    EXPECT_EQ(counts.down, 5U);
    EXPECT_EQ(counts.fell_lately, 5U);
}

TEST(PoolAlarm, OneByOneIsNoAlarm) {
    PoolAlarm alarm;
    std::vector<PoolMember> members = pool_of(4, 0, kStart);
    Instant now = kStart;
    for (PoolMember& member : members) {
        now += kWindow + 1ms;
        member = {HealthStatus::kDown, now};
        EXPECT_FALSE(alarm.update(members, kWindow, now).mass_failure);
    }
}

TEST(PoolAlarm, StaysUntilHalfThePoolIsBack) {
    PoolAlarm alarm;
    EXPECT_TRUE(alarm.update(pool_of(1, 3, kStart), kWindow, kStart).mass_failure);
    EXPECT_TRUE(alarm.update(pool_of(1, 3, kStart), kWindow, kStart + 1h).mass_failure);
    EXPECT_FALSE(alarm.update(pool_of(2, 2, kStart), kWindow, kStart + 1h).mass_failure);
}

TEST(PoolAlarm, CheckingCountsAsUsable) {
    PoolAlarm alarm;
    const std::vector<PoolMember> members(3);
    const PoolCounts counts = alarm.update(members, kWindow, kStart);
    EXPECT_EQ(counts.checking, 3U);
    EXPECT_FALSE(counts.mass_failure);
}

} // namespace
} // namespace weir::control
