// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/token_bucket.hpp"

#include <gtest/gtest.h>

namespace weir::dpdk {
namespace {

constexpr std::uint64_t kMillisecond = 1'000'000;

int passed(TokenBucket& bucket, std::uint64_t now_ns, std::uint32_t rate, int offered) {
    int count = 0;
    for (int i = 0; i < offered; i++)
        count += bucket.take(now_ns, rate) ? 1 : 0;
    return count;
}

TEST(TokenBucket, LetsABurstAndThenTheRatePass) {
    TokenBucket bucket;
    EXPECT_EQ(passed(bucket, 1, 1000, 500), 100);
    int count = 0;
    for (int ms = 1; ms <= 1000; ms++)
        count += passed(bucket, 1 + static_cast<std::uint64_t>(ms) * kMillisecond, 1000, 10);
    EXPECT_EQ(count, 1000);
}

TEST(TokenBucket, ASlowRateStillPasses) {
    TokenBucket bucket;
    EXPECT_EQ(passed(bucket, 5, 1, 3), 1);
    EXPECT_EQ(passed(bucket, 5 + 999 * kMillisecond, 1, 3), 0);
    EXPECT_EQ(passed(bucket, 5 + 1000 * kMillisecond, 1, 3), 1);
}

TEST(TokenBucket, ZeroLetsNothingPass) {
    TokenBucket bucket;
    EXPECT_EQ(passed(bucket, 1, 0, 10), 0);
    EXPECT_EQ(passed(bucket, 3'600'000 * kMillisecond, 0, 10), 0);
}

TEST(TokenBucket, ALongPauseFillsItOnlyOnce) {
    TokenBucket bucket;
    passed(bucket, 1, 10'000'000, 2'000'000);
    EXPECT_EQ(passed(bucket, std::uint64_t{1} << 62, 10'000'000, 2'000'000), 1'000'000);
}

TEST(TokenBucket, ALowerRateTakesEffectAtOnce) {
    TokenBucket bucket;
    EXPECT_TRUE(bucket.take(1, 100'000));
    EXPECT_EQ(passed(bucket, 2, 100, 1000), 10);
    EXPECT_EQ(passed(bucket, 3, 0, 1000), 0);
}

} // namespace
} // namespace weir::dpdk
