// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/slot_windows.hpp"

#include <gtest/gtest.h>

namespace weir::lb {
namespace {

constexpr std::uint16_t kNone = WEIR_NO_MEMBER;
constexpr std::uint32_t kLength_s = 100;
using Slots = std::vector<std::uint16_t>;
using Rows = std::vector<std::uint32_t>;

// The backend row that each slot had, or WEIR_NO_ROW.
Rows oldest_rows(const SlotWindows& windows) {
    Rows rows;
    for (std::uint16_t elder : windows.oldest())
        rows.push_back(elder == kNone ? WEIR_NO_ROW : windows.elders().at(elder));
    return rows;
}

TEST(SlotWindows, TheFirstTableOpensNothing) {
    SlotWindows windows;
    windows.follow(Slots{0, 1, 0}, Rows{10, 11}, 1, kLength_s);
    EXPECT_FALSE(windows.open());
    EXPECT_TRUE(windows.oldest().empty());
    EXPECT_FALSE(windows.next_close_s(kLength_s));
}

TEST(SlotWindows, AChangedSlotRemembersWhoseItWasForItsTime) {
    SlotWindows windows;
    windows.follow(Slots{0, 1, 0}, Rows{10, 11}, 1, kLength_s);
    windows.follow(Slots{1, 1, 0}, Rows{10, 11}, 50, kLength_s);
    EXPECT_EQ(oldest_rows(windows), (Rows{10, WEIR_NO_ROW, WEIR_NO_ROW}));
    EXPECT_EQ(windows.next_close_s(kLength_s), 150u);
    windows.follow(Slots{1, 1, 0}, Rows{10, 11}, 149, kLength_s);
    EXPECT_TRUE(windows.open());
    windows.follow(Slots{1, 1, 0}, Rows{10, 11}, 150, kLength_s);
    EXPECT_FALSE(windows.open());
    EXPECT_TRUE(windows.elders().empty());
}

TEST(SlotWindows, TheSameNumbersCanMeanOthers) {
    SlotWindows windows;
    windows.follow(Slots{0, 1, 0}, Rows{10, 11}, 1, kLength_s);
    windows.follow(Slots{0, 1, 0}, Rows{10, 12}, 2, kLength_s);
    EXPECT_EQ(oldest_rows(windows), (Rows{WEIR_NO_ROW, 11, WEIR_NO_ROW}));
    windows.follow(Slots{1, 0, 1}, Rows{12, 10}, 3, kLength_s);
    EXPECT_EQ(oldest_rows(windows), (Rows{WEIR_NO_ROW, 11, WEIR_NO_ROW})) << "only the order";
}

TEST(SlotWindows, ASecondChangeKeepsTheOldestAndItsTime) {
    SlotWindows windows;
    windows.follow(Slots{0}, Rows{10}, 1, kLength_s);
    windows.follow(Slots{0}, Rows{11}, 10, kLength_s);
    windows.follow(Slots{0}, Rows{12}, 60, kLength_s);
    EXPECT_EQ(oldest_rows(windows), Rows{10});
    EXPECT_EQ(windows.next_close_s(kLength_s), 110u);
    windows.follow(Slots{0}, Rows{12}, 110, kLength_s);
    EXPECT_FALSE(windows.open());
}

TEST(SlotWindows, BackAtItsOldestTheWindowCloses) {
    SlotWindows windows;
    windows.follow(Slots{0}, Rows{10}, 1, kLength_s);
    windows.follow(Slots{0}, Rows{11}, 10, kLength_s);
    windows.follow(Slots{0}, Rows{10}, 20, kLength_s);
    EXPECT_FALSE(windows.open());
    windows.follow(Slots{0}, Rows{11}, 30, kLength_s);
    EXPECT_EQ(oldest_rows(windows), Rows{10}) << "and another one opens";
    EXPECT_EQ(windows.next_close_s(kLength_s), 130u);
}

TEST(SlotWindows, AChangeAtTheTimeOfTheCloseIsAWindowOfItsOwn) {
    SlotWindows windows;
    windows.follow(Slots{0}, Rows{10}, 1, kLength_s);
    windows.follow(Slots{0}, Rows{11}, 10, kLength_s);
    windows.follow(Slots{0}, Rows{12}, 110, kLength_s);
    EXPECT_EQ(oldest_rows(windows), Rows{11});
    EXPECT_EQ(windows.next_close_s(kLength_s), 210u);
}

TEST(SlotWindows, APoolWithoutBackendsForAWhileIsComparedWithWhatItWas) {
    SlotWindows windows;
    windows.follow(Slots{0, 0}, Rows{10}, 1, kLength_s);
    windows.follow({}, {}, 5, kLength_s);
    windows.follow(Slots{0, 0}, Rows{10}, 9, kLength_s);
    EXPECT_FALSE(windows.open());
    windows.follow({}, {}, 10, kLength_s);
    windows.follow(Slots{0, 0}, Rows{11}, 20, kLength_s);
    EXPECT_EQ(oldest_rows(windows), (Rows{10, 10}));
}

TEST(SlotWindows, AnotherSizeBeginsAnew) {
    SlotWindows windows;
    windows.follow(Slots{0}, Rows{10}, 1, kLength_s);
    windows.follow(Slots{0}, Rows{11}, 2, kLength_s);
    windows.follow(Slots{0, 0, 0}, Rows{12}, 3, kLength_s);
    EXPECT_FALSE(windows.open());
}

TEST(SlotWindows, EldersThatNoSlotNamesAreForgotten) {
    SlotWindows windows;
    windows.follow(Slots{0, 1}, Rows{10, 11}, 1, kLength_s);
    windows.follow(Slots{1, 1}, Rows{10, 11}, 10, kLength_s); // slot 0 was 10's
    windows.follow(Slots{1, 0}, Rows{10, 11}, 50, kLength_s); // slot 1 was 11's
    EXPECT_EQ(windows.elders(), (Rows{10, 11}));
    windows.follow(Slots{1, 0}, Rows{10, 11}, 110, kLength_s);
    EXPECT_EQ(windows.elders(), Rows{11});
    EXPECT_EQ(oldest_rows(windows), (Rows{WEIR_NO_ROW, 11}));
}

TEST(SlotWindows, AdoptedOnesBeginTheirTimeAgain) {
    SlotWindows windows = SlotWindows::adopt(Slots{0, 0}, Rows{11}, Slots{0, kNone}, Rows{10});
    EXPECT_TRUE(windows.open());
    windows.follow(Slots{0, 0}, Rows{11}, 500, kLength_s);
    EXPECT_EQ(oldest_rows(windows), (Rows{10, WEIR_NO_ROW}));
    EXPECT_EQ(windows.next_close_s(kLength_s), 600u);
}

} // namespace
} // namespace weir::lb
