// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/exception_filter.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

namespace weir::lb {
namespace {

TEST(ExceptionFilter, KnowsWhatWasAddedAndLittleElse) {
    auto filter = std::make_unique<ExceptionFilter>();
    std::mt19937_64 random(1);
    std::vector<std::uint64_t> added(2000);
    for (std::uint64_t& hash : added)
        filter->add(hash = random());
    for (std::uint64_t hash : added)
        EXPECT_TRUE(filter->may_have(hash));
    int wrong = 0;
    for (int i = 0; i < 100'000; i++)
        wrong += filter->may_have(random());
    // 2000 bits of 262144: 0.76 %, and five standard deviations.
    EXPECT_LT(wrong, 763 + 5 * 28);
}

TEST(ExceptionFilter, ForgetsInTheRoundThatDoesNotVisitAnyMore) {
    auto filter = std::make_unique<ExceptionFilter>();
    filter->add(7);
    filter->turn();
    EXPECT_TRUE(filter->may_have(7)) << "added in the round that ended";
    filter->keep(7);
    filter->turn();
    EXPECT_TRUE(filter->may_have(7));
    filter->turn();
    EXPECT_FALSE(filter->may_have(7));
}

TEST(ExceptionFilter, WhatIsAddedInARoundOutlivesIt) {
    auto filter = std::make_unique<ExceptionFilter>();
    filter->turn();
    filter->add(9); // behind the sweep's hand: not visited in this round
    filter->turn();
    EXPECT_TRUE(filter->may_have(9));
}

TEST(ExceptionFilter, AssumesAllUntilAWholeRoundHasBeenVisited) {
    auto filter = std::make_unique<ExceptionFilter>();
    filter->assume_all();
    EXPECT_TRUE(filter->may_have(3));
    filter->turn(); // the end of a round of which the beginning is not known
    EXPECT_TRUE(filter->may_have(3));
    filter->keep(5);
    filter->turn();
    EXPECT_TRUE(filter->may_have(5));
    EXPECT_FALSE(filter->may_have(std::uint64_t{1} << 31));
}

} // namespace
} // namespace weir::lb
