// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/state_builder.hpp"

#include <gtest/gtest.h>

#include <random>

namespace weir::lb {
namespace {

weir_address v4(std::uint32_t host) {
    return weir_address_from_v4(weir_swap32(host));
}

weir_match_view view_of(const MatchTable& table) {
    return {table.rows.data(), table.ranges.data(), table.header.mask, table.header.seed,
            table.header.flags};
}

TEST(MatchTableBuilder, MostSpecificWins) {
    MatchTableBuilder builder;
    weir_address vip = v4(0xcb00710a);
    builder.add_all_ports(vip, 6, WEIR_MATCH_VIP, 1);
    builder.add_range(vip, 6, 8000, 8099, WEIR_MATCH_VIP, 2);
    builder.add_port(vip, 6, weir_swap16(8050), WEIR_MATCH_VIP, 3);
    std::string problem;
    auto table = builder.build(problem);
    ASSERT_TRUE(table) << problem;
    weir_match_view view = view_of(*table);
    auto index = [&](std::uint16_t port) {
        return weir_match_endpoint(&view, &vip, 6, weir_swap16(port)).index;
    };
    EXPECT_EQ(index(8050), 3u);
    EXPECT_EQ(index(8000), 2u);
    EXPECT_EQ(index(8099), 2u);
    EXPECT_EQ(index(8100), 1u);
    EXPECT_EQ(weir_match_endpoint(&view, &vip, 17, weir_swap16(8050)).kind,
              std::uint32_t{WEIR_MATCH_EMPTY});
}

TEST(MatchTableBuilder, EveryKeyOfALargeTableIsFoundAndNoOther) {
    MatchTableBuilder builder;
    std::mt19937_64 random(7);
    std::vector<weir_address> addresses;
    for (std::uint32_t i = 0; i < 40'000; i++) {
        weir_address address = {{random(), random()}};
        addresses.push_back(address);
        builder.add_port(address, 6, weir_swap16(443), WEIR_MATCH_VIP, i);
    }
    std::string problem;
    auto table = builder.build(problem);
    ASSERT_TRUE(table) << problem;
    weir_match_view view = view_of(*table);
    for (std::uint32_t i = 0; i < addresses.size(); i++)
        ASSERT_EQ(weir_match_endpoint(&view, &addresses[i], 6, weir_swap16(443)).index, i);
    for (int i = 0; i < 10'000; i++) {
        weir_address other = {{random(), random()}};
        ASSERT_EQ(weir_match_endpoint(&view, &other, 6, weir_swap16(443)).kind,
                  std::uint32_t{WEIR_MATCH_EMPTY});
    }
}

TEST(MatchTableBuilder, RangesAreAloneWhereNoExactPortIs) {
    MatchTableBuilder builder;
    const weir_address snat = v4(0xc0000240);
    builder.add_range(snat, 6, 32768, 65535, WEIR_MATCH_SNAT, 0);
    builder.add_range(snat, 17, 32768, 65535, WEIR_MATCH_SNAT, 0);
    builder.add_port(snat, 17, weir_swap16(53), WEIR_MATCH_VIP, 1);
    builder.add_port(v4(0xc0000241), 6, weir_swap16(80), WEIR_MATCH_VIP, 2);
    builder.add_address(snat, WEIR_MATCH_LOCAL);
    std::string problem;
    auto table = builder.build(problem);
    ASSERT_TRUE(table) << problem;
    const weir_match_view view = view_of(*table);
    EXPECT_EQ(weir_match_find(&view, &snat, 6, 0)->ranges_alone, 1);
    EXPECT_EQ(weir_match_find(&view, &snat, 17, 0)->ranges_alone, 0);
}

TEST(MatchTableBuilder, LimitsAreSentences) {
    MatchTableBuilder builder;
    for (std::uint16_t i = 0; i < WEIR_MAX_RANGES_PER_ADDRESS + 1; i++)
        builder.add_range(v4(1), 6, static_cast<std::uint16_t>(1000 + i * 10),
                          static_cast<std::uint16_t>(1005 + i * 10), WEIR_MATCH_VIP, 0);
    std::string problem;
    EXPECT_FALSE(builder.build(problem));
    EXPECT_NE(problem.find("17 port ranges"), std::string::npos) << problem;
}

} // namespace
} // namespace weir::lb
