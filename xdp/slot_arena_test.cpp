// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/slot_arena.hpp"

#include <gtest/gtest.h>

namespace weir::xdp {
namespace {

TEST(SlotArena, PutsTablesSideBySide) {
    SlotArena arena(10);
    const auto first = arena.place(1, 4, 0);
    const auto second = arena.place(2, 6, 0);
    ASSERT_TRUE(first && second);
    EXPECT_EQ(first->first, 0u);
    EXPECT_EQ(second->first, 4u);
    EXPECT_TRUE(first->fresh && second->fresh);
    EXPECT_FALSE(arena.place(3, 1, 0)) << "it is full";
}

TEST(SlotArena, SharesATableBetweenHalves) {
    SlotArena arena(10);
    ASSERT_TRUE(arena.place(1, 8, 0));
    const auto again = arena.place(1, 8, 1);
    ASSERT_TRUE(again);
    EXPECT_EQ(again->first, 0u);
    EXPECT_FALSE(again->fresh);
}

TEST(SlotArena, KeepsWhatTheOtherHalfRefersTo) {
    SlotArena arena(10);
    ASSERT_TRUE(arena.place(1, 5, 0)); // the half that packets read
    arena.begin(1);
    ASSERT_TRUE(arena.place(2, 5, 1));
    arena.begin(0);
    const auto in_gap = arena.place(3, 5, 0);
    ASSERT_TRUE(in_gap) << "neither half refers to table 1 now";
    EXPECT_EQ(in_gap->first, 0u);
    arena.begin(1);
    EXPECT_FALSE(arena.place(4, 6, 1)) << "table 3 is still read";
    EXPECT_TRUE(arena.place(4, 5, 1));
}

TEST(SlotArena, FindsTheGapBetweenTwo) {
    SlotArena arena(9);
    for (uint64_t id : {1u, 2u, 3u})
        ASSERT_TRUE(arena.place(id, 3, 0));
    arena.begin(0);
    ASSERT_TRUE(arena.place(1, 3, 0) && arena.place(3, 3, 0));
    const auto between = arena.place(4, 3, 0);
    ASSERT_TRUE(between);
    EXPECT_EQ(between->first, 3u);
}

TEST(SlotArena, RefusesATableThatNeverFits) {
    SlotArena arena(4);
    EXPECT_FALSE(arena.place(1, 5, 0));
    EXPECT_TRUE(arena.place(2, 4, 0));
}

} // namespace
} // namespace weir::xdp
