// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/layout.hpp"

#include <gtest/gtest.h>

#include <limits>

#include "control/weirctl/quantity.hpp"

namespace weir::weirctl {
namespace {

TEST(Table, AlignsByCharactersAndEndsNoLineInBlanks) {
    Table table({{"NAME"}, {"COUNT", Align::kRight}, {"MEANING"}});
    table.add({"größe", "7", "x"});
    table.add({"b", "1,000,000", ""});
    EXPECT_EQ(table.text(), "NAME       COUNT  MEANING\n"
                            "größe          7  x\n"
                            "b      1,000,000\n");
}

TEST(Sheet, PutsFurtherLinesUnderTheFirst) {
    Sheet sheet;
    sheet.add("a", "one\ntwo");
    sheet.add("long", "");
    EXPECT_EQ(sheet.text(), "a     one\n"
                            "      two\n"
                            "long\n");
}

TEST(Listing, IsEmptyWithoutSentences) {
    EXPECT_EQ(listing("problems", {}), "");
    EXPECT_EQ(listing("problems", {"a", "b"}), "problems:\n  a\n  b\n");
}

TEST(Quantity, GroupsThousands) {
    EXPECT_EQ(grouped(0), "0");
    EXPECT_EQ(grouped(999), "999");
    EXPECT_EQ(grouped(1000), "1,000");
    EXPECT_EQ(grouped(1048576), "1,048,576");
    EXPECT_EQ(grouped(std::numeric_limits<std::uint64_t>::max()), "18,446,744,073,709,551,615");
}

TEST(Quantity, ShowsBytesWithThreeDigits) {
    EXPECT_EQ(bytes_text(0), "0 B");
    EXPECT_EQ(bytes_text(999), "999 B");
    EXPECT_EQ(bytes_text(1000), "1.00 kB");
    EXPECT_EQ(bytes_text(9994), "9.99 kB");
    EXPECT_EQ(bytes_text(9995), "10.0 kB");
    EXPECT_EQ(bytes_text(64000), "64.0 kB");
    EXPECT_EQ(bytes_text(99950), "100 kB");
    EXPECT_EQ(bytes_text(999499), "999 kB");
    EXPECT_EQ(bytes_text(999500), "1.00 MB");
    EXPECT_EQ(bytes_text(1234567890), "1.23 GB");
    EXPECT_EQ(bytes_text(std::numeric_limits<std::uint64_t>::max()), "18.4 EB");
}

TEST(Quantity, ShowsTheTwoLargestUnitsOfADuration) {
    EXPECT_EQ(duration_text(-1), "0.0 s");
    EXPECT_EQ(duration_text(0.4), "0.4 s");
    EXPECT_EQ(duration_text(59.94), "59.9 s");
    EXPECT_EQ(duration_text(59.96), "1 min");
    EXPECT_EQ(duration_text(75.2), "1 min 15 s");
    EXPECT_EQ(duration_text(3599.6), "1 h");
    EXPECT_EQ(duration_text(7325), "2 h 2 min");
    EXPECT_EQ(duration_text(86400), "1 d");
    EXPECT_EQ(duration_text(90000), "1 d 1 h");
    EXPECT_EQ(duration_text(86400 + 120), "1 d");
    EXPECT_NE(duration_text(std::numeric_limits<double>::infinity()), "");
}

TEST(Quantity, CountsNouns) {
    EXPECT_EQ(counted(0, "packet"), "0 packets");
    EXPECT_EQ(counted(1, "packet"), "1 packet");
    EXPECT_EQ(counted(2000, "packet"), "2,000 packets");
    EXPECT_EQ(percent_text(0.3333), "33.3 %");
}

} // namespace
} // namespace weir::weirctl
