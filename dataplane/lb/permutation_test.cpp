// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/permutation.hpp"

#include <algorithm>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace weir::lb {
namespace {

// Of 0 .. size-1 with one key, `many` lanes at a time.
std::vector<std::uint32_t> all_of(const Permutation& permutation, std::uint64_t key,
                                  std::uint32_t many) {
    std::vector<std::uint32_t> result;
    Permutation::Lanes lanes;
    for (std::uint32_t at = 0; at < permutation.size(); at += many) {
        const std::uint32_t count = std::min(many, permutation.size() - at);
        for (std::uint32_t lane = 0; lane < count; ++lane)
            lanes.set(lane, at + lane, key);
        permutation.apply(lanes, count);
        result.insert(result.end(), lanes.index, lanes.index + count);
    }
    return result;
}

TEST(Permutation, MapsEverySizeOntoItself) {
    std::mt19937_64 random(1);
    std::vector<std::uint32_t> sizes = {65'535, 65'536, 65'537, 1'000'003};
    for (std::uint32_t size = 1; size < 300; ++size)
        sizes.push_back(size);
    for (const std::uint32_t size : sizes) {
        std::vector<bool> seen(size);
        for (const std::uint32_t to : all_of(Permutation(size), random(), 32)) {
            ASSERT_LT(to, size);
            ASSERT_FALSE(seen[to]) << to << " of " << size << " twice";
            seen[to] = true;
        }
    }
}

TEST(Permutation, TheLargestSizeStaysInside) {
    std::mt19937_64 random(2);
    const Permutation permutation(Permutation::kLargest);
    Permutation::Lanes lanes;
    for (int round = 0; round < 10'000; ++round) {
        for (std::uint32_t lane = 0; lane < Permutation::kLanes; ++lane)
            lanes.set(lane, Permutation::kLargest - 1 - static_cast<std::uint32_t>(round),
                      random());
        permutation.apply(lanes, Permutation::kLanes);
        for (const std::uint32_t to : lanes.index)
            ASSERT_LT(to, Permutation::kLargest);
    }
}

// What a lane maps to is its own index's and key's affair, however many others there are, and
// whatever is in those that are not used.
TEST(Permutation, ALaneDoesNotDependOnTheOthers) {
    std::mt19937_64 random(3);
    for (const std::uint32_t size : {1u, 7u, 1000u, 64'512u}) {
        const Permutation permutation(size);
        for (std::uint32_t count = 1; count <= Permutation::kLanes; ++count) {
            Permutation::Lanes lanes;
            Permutation::Lanes alone[Permutation::kLanes];
            for (std::uint32_t lane = 0; lane < Permutation::kLanes; ++lane)
                lanes.set(lane, 0xffff'ffff, random()); // never used
            for (std::uint32_t lane = 0; lane < count; ++lane) {
                const auto index = static_cast<std::uint32_t>(random() % size);
                const std::uint64_t key = random();
                lanes.set(lane, index, key);
                alone[lane].set(0, index, key);
                permutation.apply(alone[lane], 1);
            }
            permutation.apply(lanes, count);
            for (std::uint32_t lane = 0; lane < count; ++lane)
                ASSERT_EQ(lanes.index[lane], alone[lane].index[0]);
        }
    }
}

// Chi-square of how far apart neighbours are mapped to, over many keys: 499 degrees of freedom,
// mean 499, standard deviation 31.6; five of them.
TEST(Permutation, OneValueDoesNotForetellTheNext) {
    constexpr std::uint32_t kSize = 500;
    constexpr std::uint32_t kDraws = 200'000;
    const Permutation permutation(kSize);
    std::mt19937_64 random(4);
    std::vector<double> first(kSize);
    std::vector<double> step(kSize);
    for (std::uint32_t draw = 0; draw < kDraws; ++draw) {
        Permutation::Lanes lanes;
        const std::uint64_t key = random();
        const auto at = static_cast<std::uint32_t>(random() % (kSize - 1));
        lanes.set(0, at, key);
        lanes.set(1, at + 1, key);
        permutation.apply(lanes, 2);
        ++first[lanes.index[0]];
        ++step[(lanes.index[1] + kSize - lanes.index[0]) % kSize];
    }
    const auto chi_square = [](const std::vector<double>& observed, std::uint32_t from) {
        const double expected = static_cast<double>(kDraws) / (kSize - from);
        double sum = 0;
        for (std::uint32_t i = from; i < kSize; ++i)
            sum += (observed[i] - expected) * (observed[i] - expected) / expected;
        return sum;
    };
    EXPECT_LT(chi_square(first, 0), 657);
    EXPECT_GT(chi_square(first, 0), 341);
    EXPECT_EQ(step[0], 0);
    EXPECT_LT(chi_square(step, 1), 656);
    EXPECT_GT(chi_square(step, 1), 340);
}

} // namespace
} // namespace weir::lb
