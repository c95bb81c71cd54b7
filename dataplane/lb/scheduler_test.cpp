// SPDX-License-Identifier: BSD-3-Clause
// Draws come from fixed secrets, so a run is like the last one. Bounds of distributions are those
// that a right implementation would break once in a million secrets (chi-square: 5 standard
// deviations, one-sided 3e-7 for the many degrees of freedom used here).
#include "dataplane/lb/scheduler.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace weir::lb {
namespace {

// Pool row 0 over backends 0..n-1; counts are the test's.
struct Pool {
    weir_pool_row row{};
    std::vector<std::uint16_t> slots;
    std::vector<std::uint32_t> members;
    std::vector<weir_backend_row> backends;
    std::vector<std::uint64_t> counts;
    std::uint64_t asked = 0; // counts read

    Pool(weir_scheduler scheduler, const std::vector<std::uint32_t>& weights) {
        row.scheduler = static_cast<std::uint8_t>(scheduler);
        for (std::size_t i = 0; i < weights.size(); i++) {
            weir_backend_row backend{};
            backend.weight = weights[i];
            backend.state = WEIR_BACKEND_UP;
            backends.push_back(backend);
            members.push_back(static_cast<std::uint32_t>(i));
        }
        counts.resize(weights.size());
        set_order(weights);
    }

    // Smooth weighted round robin, the textbook way: all gain their weight, the richest is next and
    // pays the sum.
    void set_order(const std::vector<std::uint32_t>& weights) {
        const std::uint32_t sum = std::accumulate(weights.begin(), weights.end(), 0u);
        std::vector<std::int64_t> credit(weights.size());
        slots.clear();
        for (std::uint32_t step = 0; step < sum; step++) {
            for (std::size_t i = 0; i < weights.size(); i++)
                credit[i] += weights[i];
            auto richest = std::max_element(credit.begin(), credit.end());
            *richest -= sum;
            slots.push_back(static_cast<std::uint16_t>(richest - credit.begin()));
        }
        row.slot_count = sum;
    }

    // Slots in no order, as a Maglev table has them.
    void set_mixed(std::uint32_t count) {
        Random random(99);
        slots.resize(count);
        for (std::uint16_t& slot : slots)
            slot = static_cast<std::uint16_t>(
                random.below(static_cast<std::uint32_t>(backends.size())));
        row.slot_count = count;
    }

    void limit(std::uint32_t connections) {
        row.flags |= WEIR_POOL_HAS_LIMITS;
        for (weir_backend_row& backend : backends)
            backend.max_connections = connections;
    }

    Choice choose(Scheduler& scheduler, std::uint64_t hash = 0, std::uint64_t now_ms = 0) {
        const PoolTable table{row, slots, members, backends};
        return scheduler.choose(table, 0, hash, now_ms, [&](std::uint32_t backend) {
            asked++;
            return counts[backend];
        });
    }

    // Opens a connection, which stays.
    Choice open(Scheduler& scheduler, std::uint64_t hash = 0, std::uint64_t now_ms = 0) {
        const Choice choice = choose(scheduler, hash, now_ms);
        if (choice.backend != WEIR_NO_ROW)
            counts[choice.backend]++;
        return choice;
    }
    std::uint64_t total() const { return std::accumulate(counts.begin(), counts.end(), 0ull); }
};

// Chi-square of counts against shares, in standard deviations from its mean.
double unevenness(const std::vector<std::uint64_t>& counts, const std::vector<double>& shares) {
    double total = 0;
    double all_shares = 0;
    double chi = 0;
    for (std::size_t i = 0; i < counts.size(); i++) {
        total += static_cast<double>(counts[i]);
        all_shares += shares[i];
    }
    for (std::size_t i = 0; i < counts.size(); i++) {
        const double expected = total * shares[i] / all_shares;
        const double off = static_cast<double>(counts[i]) - expected;
        chi += off * off / expected;
    }
    const double freedom = static_cast<double>(counts.size()) - 1;
    return (chi - freedom) / std::sqrt(2 * freedom);
}

TEST(RoundRobin, EveryRoundIsExactWhateverTheWeightsAndTheStart) {
    for (std::uint32_t a = 1; a <= 4; a++)
        for (std::uint32_t b = 1; b <= 4; b++)
            for (std::uint32_t c = 1; c <= 4; c++)
                for (std::uint32_t worker = 0; worker < 3; worker++) {
                    Pool pool(WEIR_SCHEDULE_ROUND_ROBIN, {a, b, c});
                    Scheduler scheduler(worker, 3, 1);
                    for (std::uint64_t round = 1; round <= 3; round++) {
                        for (std::uint32_t i = 0; i < a + b + c; i++)
                            pool.open(scheduler);
                        EXPECT_EQ(pool.counts,
                                  (std::vector<std::uint64_t>{a * round, b * round, c * round}));
                    }
                    EXPECT_EQ(pool.asked, 0u) << "counts are nobody's business here";
                }
}

TEST(RoundRobin, WorkersStartEvenlySpaced) {
    Pool pool(WEIR_SCHEDULE_ROUND_ROBIN, {1, 1, 1, 1});
    for (std::uint32_t worker = 0; worker < 4; worker++) {
        Scheduler scheduler(worker, 4, 1);
        EXPECT_EQ(pool.choose(scheduler).backend, worker);
    }
}

TEST(RoundRobin, ANewOrderIsWalkedFromWhereTheOldOneStood) {
    Pool pool(WEIR_SCHEDULE_ROUND_ROBIN, {1, 1, 1, 1, 1});
    Scheduler scheduler(0, 1, 1);
    for (std::uint32_t i = 0; i < 4; i++)
        EXPECT_EQ(pool.choose(scheduler).backend, i);
    pool.set_order({1, 1, 1, 1, 1, 1}); // no cursor starts anew
    pool.members.push_back(5);
    pool.backends.push_back(pool.backends[0]);
    EXPECT_EQ(pool.choose(scheduler).backend, 4u);
    EXPECT_EQ(pool.choose(scheduler).backend, 5u);
    for (std::uint32_t i = 0; i < 4; i++)
        pool.choose(scheduler);
    pool.set_order({1, 1, 1}); // shorter than the cursor
    EXPECT_EQ(pool.choose(scheduler).backend, 4u % 3);
    EXPECT_EQ(pool.choose(scheduler).backend, 2u);
    EXPECT_EQ(pool.choose(scheduler).backend, 0u);
}

TEST(RoundRobin, AFullBackendsTurnsGoToTheNext) {
    Pool pool(WEIR_SCHEDULE_ROUND_ROBIN, {1, 1, 1});
    pool.row.flags |= WEIR_POOL_HAS_LIMITS;
    pool.backends[0].max_connections = 10;
    Scheduler scheduler(0, 1, 1);
    for (int i = 0; i < 210; i++)
        EXPECT_FALSE(pool.open(scheduler).at_limit);
    EXPECT_EQ(pool.counts, (std::vector<std::uint64_t>{10, 100, 100}));
}

// Of `n` equal backends: the fullest one's lead over the mean after 100000 connections.
double lead(Pool& pool) {
    const auto fullest =
        static_cast<double>(*std::max_element(pool.counts.begin(), pool.counts.end()));
    return fullest - static_cast<double>(pool.total()) / static_cast<double>(pool.counts.size());
}

TEST(Least, StaysNearTheMeanWhereChanceDoesNot) {
    for (std::size_t n : {2u, 3u, 10u, 100u}) {
        Pool pool(WEIR_SCHEDULE_LEAST, std::vector<std::uint32_t>(n, 1));
        Pool chance(WEIR_SCHEDULE_MAGLEV, std::vector<std::uint32_t>(n, 1));
        Scheduler scheduler(0, 1, 7);
        Random random(7);
        for (int i = 0; i < 100'000; i++) {
            pool.open(scheduler);
            chance.open(scheduler, random.below(0xffffffff));
        }
        // log2(log n) + O(1) for two choices (Berenbrink et al., 2000, for any number of balls);
        // chance: a standard deviation of sqrt(100000 / n), so a lead below its half is a 1-in-10^6
        // event only with more than 2 backends and is not asserted for 2.
        EXPECT_LE(lead(pool), 8) << n;
        if (n > 2) {
            EXPECT_GT(lead(chance), 25) << n;
        }
    }
}

TEST(Least, EvensOutWhatWasUneven) {
    Pool pool(WEIR_SCHEDULE_LEAST, {1, 1, 1});
    pool.counts = {1000, 0, 0};
    Scheduler scheduler(0, 1, 3);
    for (int i = 0; i < 2000; i++)
        pool.open(scheduler);
    for (std::uint64_t count : pool.counts)
        EXPECT_NEAR(static_cast<double>(count), 1000, 8) << "the new ones went to the other two";
}

TEST(Least, FollowsTheWeights) {
    const std::vector<std::uint32_t> weights = {1, 2, 4, 9};
    Pool pool(WEIR_SCHEDULE_LEAST, weights);
    Scheduler scheduler(0, 1, 5);
    for (int i = 0; i < 16'000; i++)
        pool.open(scheduler);
    for (std::size_t i = 0; i < weights.size(); i++)
        EXPECT_NEAR(static_cast<double>(pool.counts[i]) / weights[i], 1000, 12) << i;
}

TEST(Least, PlainComparisonIgnoresTheWeightsOfTheRows) {
    Pool pool(WEIR_SCHEDULE_LEAST, {5, 1});
    pool.set_order({1, 1});
    pool.row.flags = WEIR_POOL_IGNORES_WEIGHTS;
    Scheduler scheduler(0, 1, 5);
    for (int i = 0; i < 2000; i++)
        pool.open(scheduler);
    EXPECT_NEAR(static_cast<double>(pool.counts[0]), 1000, 8);
    Pool weighted(WEIR_SCHEDULE_LEAST, {5, 1});
    weighted.set_order({1, 1});
    for (int i = 0; i < 2000; i++)
        weighted.open(scheduler);
    EXPECT_GT(weighted.counts[0], 1500u) << "the control: without the flag they count";
}

TEST(Least, EmptyPoolsDrawByWeight) {
    const std::vector<std::uint32_t> weights = {3, 3, 3, 3, 3, 3};
    Pool pool(WEIR_SCHEDULE_LEAST, weights);
    Scheduler scheduler(0, 1, 11);
    std::vector<std::uint64_t> chosen(weights.size());
    for (int i = 0; i < 60'000; i++)
        chosen[pool.choose(scheduler).backend]++; // nothing is ever counted: all stay equal
    EXPECT_LT(unevenness(chosen, {1, 1, 1, 1, 1, 1}), 5.0);
}

TEST(Limits, AreFilledToTheLastPlaceAndNotBeyond) {
    for (weir_scheduler scheduler_kind : {WEIR_SCHEDULE_MAGLEV, WEIR_SCHEDULE_SOURCE_HASH,
                                          WEIR_SCHEDULE_ROUND_ROBIN, WEIR_SCHEDULE_LEAST}) {
        Pool pool(scheduler_kind, std::vector<std::uint32_t>(50, 1));
        if (scheduler_kind <= WEIR_SCHEDULE_SOURCE_HASH)
            pool.set_mixed(65537);
        pool.limit(20);
        pool.backends[7].max_connections = 3;
        Scheduler scheduler(0, 1, 21);
        Random random(8);
        for (int i = 0; i < 49 * 20 + 3; i++)
            ASSERT_FALSE(pool.open(scheduler, random.below(0xffffffff)).at_limit) << i;
        for (std::size_t i = 0; i < 50; i++)
            EXPECT_EQ(pool.counts[i], i == 7 ? 3u : 20u);
        const Choice over = pool.open(scheduler, 5);
        EXPECT_TRUE(over.at_limit);
        EXPECT_EQ(over.backend, WEIR_NO_ROW);
    }
}

TEST(Limits, AFullPoolCostsItsSearchOnceAMillisecond) {
    Pool pool(WEIR_SCHEDULE_ROUND_ROBIN, std::vector<std::uint32_t>(500, 1));
    pool.limit(0);
    for (weir_backend_row& backend : pool.backends)
        backend.max_connections = 1;
    std::fill(pool.counts.begin(), pool.counts.end(), 1);
    Scheduler scheduler(0, 1, 1);
    constexpr std::uint64_t kNow_ms = 5000;
    EXPECT_TRUE(pool.choose(scheduler, 0, kNow_ms).at_limit);
    EXPECT_LE(pool.asked, Scheduler::kMostCounted + 1);
    const std::uint64_t searched = pool.asked;
    pool.counts[0] = pool.counts[400] = 0;
    EXPECT_TRUE(pool.choose(scheduler, 0, kNow_ms + Scheduler::kFullFor_ms - 1).at_limit);
    EXPECT_EQ(pool.asked, searched) << "within a millisecond nothing is looked at";
    EXPECT_FALSE(pool.choose(scheduler, 0, kNow_ms + Scheduler::kFullFor_ms).at_limit);
}

TEST(Limits, WhatAFullBackendCannotTakeGoesToAllOthers) {
    constexpr std::size_t kBackends = 20;
    Pool pool(WEIR_SCHEDULE_MAGLEV, std::vector<std::uint32_t>(kBackends, 1));
    pool.set_mixed(65537);
    pool.row.flags |= WEIR_POOL_HAS_LIMITS;
    pool.backends[0].max_connections = 1;
    pool.counts[0] = 1;
    Scheduler scheduler(0, 1, 1);
    std::vector<std::uint64_t> taken(kBackends);
    std::vector<double> shares(kBackends);
    for (std::uint32_t slot = 0; slot < 65537; slot++) {
        const std::uint64_t hash = ((std::uint64_t{slot} << 32) + 65536) / 65537;
        ASSERT_EQ(weir_maglev_slot(hash, 65537), slot);
        const std::uint32_t backend = pool.choose(scheduler, hash).backend;
        if (pool.slots[slot] == 0)
            taken[backend]++;
        else
            ASSERT_EQ(backend, pool.slots[slot]) << "the others' slots are theirs as before";
        shares[pool.slots[slot]]++;
    }
    EXPECT_EQ(taken[0], 0u);
    taken.erase(taken.begin());
    shares.erase(shares.begin());
    EXPECT_LT(unevenness(taken, shares), 5.0);
}

TEST(Limits, LeastTakesTheOtherOfTwoOrSearches) {
    Pool pool(WEIR_SCHEDULE_LEAST, std::vector<std::uint32_t>(40, 1));
    pool.limit(1);
    std::fill(pool.counts.begin(), pool.counts.end(), 1);
    pool.counts[33] = 0;
    Scheduler scheduler(0, 1, 1);
    for (int i = 0; i < 100; i++)
        EXPECT_EQ(pool.choose(scheduler).backend, 33u);
}

TEST(Scheduler, APoolWithoutBackendsHasNoneAndIsNotFull) {
    for (std::uint8_t kind = 0; kind <= WEIR_SCHEDULE_LEAST; kind++) {
        Pool pool(static_cast<weir_scheduler>(kind), {1, 1});
        pool.limit(1);
        Scheduler scheduler(0, 1, 1);
        std::fill(pool.slots.begin(), pool.slots.end(), std::uint16_t{WEIR_NO_MEMBER});
        EXPECT_EQ(pool.choose(scheduler).backend, WEIR_NO_ROW);
        EXPECT_FALSE(pool.choose(scheduler).at_limit);
        pool.row.slot_count = 0;
        EXPECT_EQ(pool.choose(scheduler).backend, WEIR_NO_ROW);
        EXPECT_FALSE(pool.choose(scheduler).at_limit);
    }
}

TEST(Scheduler, LoadsCompareAsFractionsDo) {
    for (std::uint32_t a = 0; a < 12; a++)
        for (std::uint32_t b = 0; b < 12; b++)
            for (std::uint32_t u = 1; u < 6; u++)
                for (std::uint32_t v = 1; v < 6; v++)
                    EXPECT_EQ(less_loaded(a, u, b, v), (a + 1.0) / u < (b + 1.0) / v - 1e-9);
}

} // namespace
} // namespace weir::lb
