// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/round_order.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <numeric>
#include <random>

#include <gtest/gtest.h>

namespace weir::lb {
namespace {

using Weights = std::vector<std::uint32_t>;
using Order = std::vector<std::uint16_t>;

std::uint64_t sum_of(const Weights& weights) {
    return std::accumulate(weights.begin(), weights.end(), std::uint64_t{0});
}

// After every prefix of the round each backend is less than one turn from its exact share.
void expect_even(const Weights& weights) {
    const Order order = build_round_order(weights);
    const std::vector<std::uint32_t> turns = round_turns(weights);
    const auto length = static_cast<std::int64_t>(order.size());
    std::vector<std::int64_t> count(weights.size());
    for (std::int64_t step = 1; step <= length; step++) {
        const std::uint16_t backend = order[static_cast<std::size_t>(step - 1)];
        ASSERT_LT(backend, weights.size());
        count[backend]++;
        // Who is not served falls behind: looking at all of them is needed only now and then.
        if (step % 97 != 0 && step > 200 && step < length) {
            ASSERT_LT(std::abs(count[backend] * length - step * turns[backend]), length);
            continue;
        }
        for (std::size_t i = 0; i < weights.size(); i++)
            ASSERT_LT(std::abs(count[i] * length - step * turns[i]), length)
                << "backend " << i << " after step " << step;
    }
    for (std::size_t i = 0; i < weights.size(); i++)
        EXPECT_EQ(count[i], turns[i]) << i;
}

TEST(RoundOrder, NobodyWithAWeightIsAnEmptyRound) {
    EXPECT_TRUE(build_round_order(Weights{}).empty());
    EXPECT_TRUE(build_round_order(Weights{0, 0}).empty());
}

TEST(RoundOrder, EqualWeightsTakeTurnsInTheOrderOfTheList) {
    EXPECT_EQ(build_round_order(Weights{1, 1, 1}), (Order{0, 1, 2}));
    EXPECT_EQ(build_round_order(Weights{65535, 0, 65535}), (Order{0, 2}));
}

TEST(RoundOrder, TurnsOfAHeavyBackendStandApart) {
    EXPECT_EQ(build_round_order(Weights{2, 1, 1}), (Order{0, 1, 0, 2}));
    EXPECT_EQ(build_round_order(Weights{20, 10}), (Order{0, 0, 1})); // a ring: as 0 1 0
    // Never more than three in a row, round after round; the least that five in seven allow.
    const Order order = build_round_order(Weights{5, 1, 1});
    int longest = 0;
    int run = 0;
    for (std::size_t step = 0; step < 2 * order.size(); step++) {
        run = order[step % order.size()] == 0 ? run + 1 : 0;
        longest = std::max(longest, run);
    }
    EXPECT_EQ(longest, 3);
}

TEST(RoundOrder, IsEvenForRandomWeights) {
    std::mt19937 random(1);
    for (int round = 0; round < 200; round++) {
        Weights weights(1 + random() % 12);
        for (std::uint32_t& weight : weights)
            weight = random() % 30;
        expect_even(weights);
        ASSERT_FALSE(::testing::Test::HasFailure()) << "round " << round;
    }
}

TEST(RoundOrder, ScalesWhatIsTooLong) {
    std::mt19937 random(2);
    for (const std::size_t count : {2u, 3u, 40u, 4096u}) {
        Weights weights(count);
        for (std::uint32_t& weight : weights)
            weight = 1 + random() % 65535;
        weights[0] = 65535;
        weights[1] = 1;
        const std::vector<std::uint32_t> turns = round_turns(weights);
        const std::uint64_t length = std::accumulate(turns.begin(), turns.end(), std::uint64_t{0});
        ASSERT_LE(length, kLongestRound);
        const double scale =
            static_cast<double>(kLongestRound - count) / static_cast<double>(sum_of(weights));
        if (sum_of(weights) > kLongestRound)
            for (std::size_t i = 0; i < count; i++) {
                const double exact = weights[i] * scale;
                ASSERT_GE(turns[i], 1u);
                ASSERT_TRUE(std::abs(turns[i] - exact) <= 0.5 + 1e-9 ||
                            (exact < 1 && turns[i] == 1))
                    << i << " of " << count;
            }
        expect_even(weights);
    }
}

// All weights at their largest: shares stay equal, and the worst length is not exceeded.
TEST(RoundOrder, ManyLargeWeightsKeepTheirProportion) {
    Weights weights(4096, 65535);
    weights[7] = 32768;
    const std::vector<std::uint32_t> turns = round_turns(weights);
    EXPECT_EQ(turns[0], 15u);
    EXPECT_EQ(turns[7], 8u); // 7.5
    EXPECT_LE(build_round_order(weights).size(), kLongestRound);
}

} // namespace
} // namespace weir::lb
