// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/persistence_table.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

namespace weir::lb {
namespace {

constexpr std::uint32_t kSets = PersistenceTable::kEntries / PersistenceTable::kWays;

class Persistence : public ::testing::Test {
protected:
    // The i-th key of a set.
    static std::uint64_t key(std::uint32_t set, std::uint64_t i) { return (i + 1) * kSets + set; }
    const PersistenceTable::Entry* find(std::uint64_t key, std::uint16_t now_s,
                                        std::uint16_t timeout_s = 600) const {
        return table->find(key, now_s, timeout_s);
    }
    std::unique_ptr<PersistenceTable> table = std::make_unique<PersistenceTable>();
};

TEST_F(Persistence, RemembersUntilTheTimeoutAndNoLonger) {
    table->remember(77, 5, 123, 1000);
    ASSERT_NE(find(77, 1000), nullptr);
    EXPECT_EQ(find(77, 1000)->backend, 5u);
    EXPECT_NE(find(77, 1599), nullptr);
    EXPECT_EQ(find(77, 1600), nullptr);
    EXPECT_EQ(find(78, 1000), nullptr);
    table->remember(77, 5, 123, 1599); // seen again: counts anew
    EXPECT_NE(find(77, 2198), nullptr);
}

TEST_F(Persistence, OfWhatAnotherTableKnowsTheYoungerHolds) {
    table->remember(77, 5, 123, 1000);
    table->confirm(77);
    const std::uint16_t confirmed = find(77, 1000)->check;
    table->learn(PersistenceTable::entry_of(77, 6, 124, 1000), 1010);
    EXPECT_EQ(find(77, 1010)->backend, 5u) << "as old";
    table->learn(PersistenceTable::entry_of(77, 6, 123, 1001), 1010);
    EXPECT_EQ(find(77, 1010)->backend, 6u);
    EXPECT_EQ(find(77, 1010)->check, confirmed) << "its addresses are no invention";
    table->learn(PersistenceTable::entry_of(78, 7, 125, 1001), 1010);
    table->learn({}, 1010);
    ASSERT_NE(find(78, 1010), nullptr);
    EXPECT_TRUE(PersistenceTable::is_of(*find(78, 1010), 125));
    EXPECT_EQ(table->used(), 2u);
}

TEST_F(Persistence, SecondsWrap) {
    table->remember(1, 2, 3, 65500);
    EXPECT_NE(find(1, 63), nullptr) << "99 s later";
    EXPECT_EQ(find(1, 564), nullptr) << "600 s later";
}

TEST_F(Persistence, TheSweepTakesWhatWouldLookYoungAgain) {
    for (std::uint64_t i = 1; i <= 100; i++)
        table->remember(i, 1, 1, 10);
    EXPECT_EQ(table->used(), 100u);
    table->sweep(static_cast<std::uint16_t>(10 + kLongestPersistence_s - 1),
                 PersistenceTable::kEntries);
    EXPECT_EQ(table->used(), 100u) << "still within the longest timeout";
    table->sweep(static_cast<std::uint16_t>(10 + kLongestPersistence_s),
                 PersistenceTable::kEntries);
    EXPECT_EQ(table->used(), 0u);
    EXPECT_EQ(find(1, 11), nullptr) << "one round of the clock later it is not young again";
}

TEST_F(Persistence, AnotherBackendInTheSameRowIsNoticed) {
    table->remember(9, 4, 0xabcdef0123456789, 0);
    const auto* entry = find(9, 0);
    ASSERT_NE(entry, nullptr);
    EXPECT_TRUE(PersistenceTable::is_of(*entry, 0xabcdef0123456789));
    EXPECT_FALSE(PersistenceTable::is_of(*entry, 0xabcdef0123456788));
    table->confirm(9);
    EXPECT_TRUE(PersistenceTable::is_of(*find(9, 0), 0xabcdef0123456789));
}

TEST_F(Persistence, ANetworkHasOneEntryAndItsNewestBackend) {
    table->remember(9, 4, 1, 0);
    table->remember(9, 6, 2, 1);
    EXPECT_EQ(table->used(), 1u);
    EXPECT_EQ(find(9, 1)->backend, 6u);
}

TEST_F(Persistence, TheOldestGivesWay) {
    for (std::uint16_t i = 0; i < 8; i++)
        table->remember(key(3, i), i, 0, static_cast<std::uint16_t>(65530 + i)); // over the wrap
    table->remember(key(3, 8), 8, 0, 20);
    EXPECT_EQ(find(key(3, 0), 20), nullptr);
    for (std::uint16_t i = 1; i <= 8; i++)
        EXPECT_NE(find(key(3, i), 20), nullptr) << i;
}

TEST_F(Persistence, AFloodOfStrangersCostsTheKnownOnePlaceOfEight) {
    std::mt19937_64 random(4);
    std::vector<std::uint64_t> known;
    for (std::uint32_t set = 0; set < kSets; set++)
        for (std::uint64_t i = 0; i < 8; i++) {
            known.push_back(key(set, i));
            table->remember(known.back(), 1, 0, 100);
            table->confirm(known.back());
        }
    for (int i = 0; i < 2'000'000; i++)
        table->remember(random(), 2, 0, 101);
    std::uint32_t kept = 0;
    for (std::uint64_t k : known)
        kept += find(k, 102) != nullptr ? 1 : 0;
    EXPECT_EQ(kept, kSets * 7) << "seven of eight in each set";
}

TEST_F(Persistence, WithoutConfirmationTheFloodWouldTakeAll) { // the control of the test above
    std::mt19937_64 random(4);
    for (std::uint64_t i = 0; i < 1000; i++)
        table->remember(key(0, i), 1, 0, 100);
    for (int i = 0; i < 2'000'000; i++)
        table->remember(random(), 2, 0, 101);
    for (std::uint64_t i = 0; i < 1000; i++)
        EXPECT_EQ(find(key(0, i), 102), nullptr);
}

TEST_F(Persistence, HowManyNetworksItHolds) {
    // Random keys spread over sets of 8 like balls over urns: a Poisson law with mean load. Half
    // full, 2.1 % of sets get more than 8: 0.8 % of the networks find no place.
    std::mt19937_64 random(5);
    std::vector<std::uint64_t> keys(PersistenceTable::kEntries / 2);
    for (std::uint64_t& k : keys) {
        k = random();
        table->remember(k, 1, 0, 1);
    }
    std::uint32_t kept = 0;
    for (std::uint64_t k : keys)
        kept += find(k, 1) != nullptr ? 1 : 0;
    EXPECT_GT(kept, keys.size() * 99 / 100);
    EXPECT_LT(kept, keys.size());
}

TEST_F(Persistence, AHashOfZeroIsAKeyLikeAnother) {
    table->remember(0, 3, 0, 1);
    ASSERT_NE(find(0, 1), nullptr);
    EXPECT_EQ(table->used(), 1u);
}

} // namespace
} // namespace weir::lb
