// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/maglev.hpp"

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace weir::lb {
namespace {

using Table = std::vector<std::uint16_t>;

std::vector<MaglevBackend> random_pool(std::mt19937_64& random, std::size_t count,
                                       std::uint32_t weight = 1) {
    std::vector<MaglevBackend> pool(count);
    for (auto& backend : pool)
        backend = {random(), random(), weight};
    return pool;
}

Table build(const std::vector<MaglevBackend>& pool, std::uint32_t size = kDefaultMaglevSize) {
    Table slots(size);
    build_maglev(pool, slots);
    return slots;
}

std::vector<std::uint32_t> shares(const Table& slots, std::size_t backends) {
    std::vector<std::uint32_t> count(backends);
    for (const auto backend : slots)
        ++count.at(backend);
    return count;
}

TEST(Maglev, NoBackendWithWeightLeavesEverySlotEmpty) {
    for (const auto& pool : {std::vector<MaglevBackend>{}, {{1, 2, 0}, {3, 4, 0}}}) {
        const Table slots = build(pool, 251);
        EXPECT_TRUE(
            std::all_of(slots.begin(), slots.end(), [](auto s) { return s == kNoBackend; }));
    }
}

TEST(Maglev, AnyPrimeSizeIsFilled) {
    std::mt19937_64 random(1);
    for (const std::uint32_t size : {3u, 5u, 251u, 1009u, 65521u, 65537u, 655373u}) {
        const Table slots = build(random_pool(random, 3), size);
        for (const auto slot : slots)
            ASSERT_LT(slot, 3);
    }
}

TEST(Maglev, WeightZeroGetsNoSlotAndDisturbsNobody) {
    std::mt19937_64 random(2);
    auto pool = random_pool(random, 5);
    const Table without = build({pool.begin(), pool.begin() + 4});
    pool[4].weight = 0;
    EXPECT_EQ(build(pool), without);
}

TEST(Maglev, TheOrderOfTheListDoesNotMatter) {
    std::mt19937_64 random(3);
    for (int round = 0; round < 20; ++round) {
        auto pool = random_pool(random, 2 + random() % 30);
        for (auto& backend : pool)
            backend.weight = static_cast<std::uint32_t>(random() % 10);
        const Table slots = build(pool);
        EXPECT_EQ(build(pool), slots);

        std::vector<std::uint16_t> order(pool.size());
        std::iota(order.begin(), order.end(), std::uint16_t{0});
        std::shuffle(order.begin(), order.end(), random);
        std::vector<MaglevBackend> shuffled;
        shuffled.reserve(order.size());
        for (const auto index : order)
            shuffled.push_back(pool[index]);
        const Table reordered = build(shuffled);
        for (std::size_t i = 0; i < slots.size(); ++i) {
            const auto expected = slots[i];
            const auto actual = reordered[i] == kNoBackend ? kNoBackend : order[reordered[i]];
            ASSERT_EQ(actual, expected) << "slot " << i;
        }
    }
}

TEST(Maglev, EqualWeightsDifferByAtMostOneSlot) {
    std::mt19937_64 random(4);
    for (const std::size_t count : {1u, 2u, 3u, 7u, 16u, 100u, 1000u}) {
        for (const std::uint32_t weight : {1u, 7u, 4'000'000'000u}) {
            const auto share = shares(build(random_pool(random, count, weight)), count);
            const auto [least, most] = std::minmax_element(share.begin(), share.end());
            EXPECT_LE(*most - *least, 1u) << count << " backends";
        }
    }
}

TEST(Maglev, SharesAreWithinOnePercentOfTheWeights) {
    std::mt19937_64 random(5);
    for (int round = 0; round < 60; ++round) {
        const std::size_t count = 2 + random() % 15;
        auto pool = random_pool(random, count);
        for (auto& backend : pool)
            backend.weight = static_cast<std::uint32_t>(1 + random() % 100);
        if (round == 0)
            pool[0].weight = 100, pool[1].weight = 1;
        std::uint64_t sum = 0;
        for (const auto& backend : pool)
            sum += backend.weight;
        const auto share = shares(build(pool), count);
        for (std::size_t i = 0; i < count; ++i) {
            const double exact = 65537.0 * pool[i].weight / static_cast<double>(sum);
            EXPECT_LE(std::abs(share[i] - exact), std::max(1.0, 0.01 * exact))
                << "weight " << pool[i].weight << " of " << sum;
            EXPECT_LE(std::abs(share[i] - exact), 1.5) << "a slot's rounding, no more";
        }
    }
}

// Slots that change between backends which are in both tables, as a share of the table.
double collateral(const std::vector<MaglevBackend>& pool, std::size_t removed) {
    const Table before = build(pool);
    auto rest = pool;
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(removed));
    const Table after = build(rest);
    std::size_t moved = 0;
    for (std::size_t i = 0; i < before.size(); ++i) {
        if (before[i] == removed)
            continue;
        const auto same = static_cast<std::uint16_t>(before[i] - (before[i] > removed ? 1 : 0));
        moved += after[i] != same;
    }
    return static_cast<double>(moved) / static_cast<double>(before.size());
}

TEST(Maglev, RemovingOrAddingABackendMovesFewOthers) {
    std::mt19937_64 random(6);
    for (const std::size_t count : {2u, 3u, 4u, 8u, 16u}) {
        double sum = 0;
        double worst = 0;
        constexpr int kRounds = 40;
        for (int round = 0; round < kRounds; ++round) {
            const double share = collateral(random_pool(random, count), random() % count);
            sum += share;
            worst = std::max(worst, share);
        }
        RecordProperty("mean_" + std::to_string(count), std::to_string(100 * sum / kRounds));
        RecordProperty("worst_" + std::to_string(count), std::to_string(100 * worst));
        EXPECT_LE(sum / kRounds, 0.0035) << count << " backends, on average";
        EXPECT_LE(worst, 0.013) << count << " backends, the worst pool";
    }
}

} // namespace
} // namespace weir::lb
