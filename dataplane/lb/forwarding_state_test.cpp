// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/state_sample.hpp"

#include <gtest/gtest.h>

#include <functional>
#include <random>

namespace weir::lb {
namespace {

TEST(ForwardingState, WhatWasBuiltIsRead) {
    Sample sample;
    Root root(build_root(sample.tables));
    auto state = ForwardingState::open(root.span(), std::span(&sample.segment, 1), sample.problem);
    ASSERT_TRUE(state) << sample.problem;
    EXPECT_EQ(state->generation(), 3u);
    EXPECT_EQ(state->vips().size(), 1u);
    EXPECT_EQ(state->select(state->pools()[0], 0), 0u);
    EXPECT_EQ(state->select(state->pools()[0], 0xffffffff), 0u);
    EXPECT_EQ(state->select(state->pools()[0], std::uint64_t{0xffffffff} / 7 * 2), 1u);
}

TEST(ForwardingState, PoolWithoutTableHasNoBackend) {
    Sample sample;
    sample.tables.pools[0].slot_count = 0;
    Root root(build_root(sample.tables));
    auto state = ForwardingState::open(root.span(), std::span(&sample.segment, 1), sample.problem);
    ASSERT_TRUE(state) << sample.problem;
    EXPECT_EQ(state->select(state->pools()[0], 123), WEIR_NO_ROW);
}

TEST(ForwardingState, PersistenceIsAskedOfPoolsOnlyWhereSomePoolHasIt) {
    for (std::uint16_t persistence_s : {0, 60}) {
        Sample sample;
        sample.tables.pools[0].persistence_s = persistence_s;
        sample.tables.backends[1].pool = WEIR_NO_ROW;
        Root root(build_root(sample.tables));
        auto state =
            ForwardingState::open(root.span(), std::span(&sample.segment, 1), sample.problem);
        ASSERT_TRUE(state) << sample.problem;
        const weir_pool_row* pool = persistence_s == 0 ? nullptr : &state->pools()[0];
        EXPECT_EQ(state->persistence_of_vip(0), pool);
        EXPECT_EQ(state->persistence_of_backend(0), pool);
        EXPECT_EQ(state->persistence_of_backend(1), nullptr) << "its pool is gone";
    }
}

TEST(ForwardingState, WithNatItMayKnowEachAddressOfItsMatchTableAndFewOthers) {
    Sample sample;
    MatchTableBuilder builder;
    const weir_address vip = weir_address_from_v4(0x0a7100cb), snat = weir_address_from_v4(1),
                       backend = {{1, 2}}, local = {{3, 4}};
    builder.add_port(vip, 6, weir_swap16(80), WEIR_MATCH_VIP, 0);
    builder.add_range(snat, 6, 40000, 40063, WEIR_MATCH_SNAT, 0);
    builder.add_port(backend, 6, weir_swap16(80), WEIR_MATCH_BACKEND, 0);
    builder.add_address(local, WEIR_MATCH_LOCAL);
    builder.set_flags(WEIR_MATCH_HAS_NAT);
    sample.tables.match = *builder.build(sample.problem);
    Root root(build_root(sample.tables));
    auto state = ForwardingState::open(root.span(), std::span(&sample.segment, 1), sample.problem);
    ASSERT_TRUE(state) << sample.problem;
    for (const weir_address& address : {vip, snat, backend, local})
        EXPECT_TRUE(state->may_know(address));
    std::mt19937_64 random(1);
    std::uint32_t others = 0;
    for (int i = 0; i < 1000; i++)
        others += state->may_know({{random(), random()}});
    EXPECT_LT(others, 10u);
}

TEST(ForwardingState, EachDanglingReferenceIsRefusedByName) {
    struct Case {
        const char* says;
        std::function<void(Sample&)> damage;
    };
    const Case cases[] = {
        {"vip row 0", [](Sample& s) { s.tables.vips[0].pool = 9; }},
        {"vip row 0", [](Sample& s) { s.tables.vips[0].forward = 77; }},
        {"pool row 0", [](Sample& s) { s.tables.pools[0].member_count = 3; }},
        {"pool row 0", [](Sample& s) { s.tables.pools[0].member_count = 1; }},
        {"pool row 0", [](Sample& s) { s.tables.pools[0].segment = 1; }},
        {"pool row 0", [](Sample& s) { s.tables.pools[0].slot_count = 11; }},
        {"member row 1", [](Sample& s) { s.tables.members[1] = 2; }},
        {"backend row 1", [](Sample& s) { s.tables.backends[1].next_hop = 1; }},
        {"backend row 1", [](Sample& s) { s.tables.backends[1].state = 9; }},
        {"next_hop row 0", [](Sample& s) { s.tables.next_hops[0].interface = 1; }},
        {"snat row 0", [](Sample& s) { s.tables.snat[0].first_port = 60000; }},
        {"range row 0", [](Sample& s) { s.tables.match.ranges[0].index = 1; }},
        {"range row 0",
         [](Sample& s) {
             s.tables.match.ranges[0].kind = WEIR_MATCH_BACKEND;
             s.tables.match.ranges[0].index = 2;
         }},
        {"names a row that is not there", [](Sample& s) { s.tables.vips.clear(); }},
        {"segment row 0", [](Sample& s) { s.tables.segments[0].id++; }},
        {"generation 0", [](Sample& s) { s.tables.generation = 0; }},
        {"mask", [](Sample& s) { s.tables.match.header.mask = 0xffff; }},
    };
    for (const Case& c : cases) {
        Sample sample;
        c.damage(sample);
        Root root(build_root(sample.tables));
        EXPECT_FALSE(sample.opens(root)) << c.says;
        EXPECT_NE(sample.problem.find(c.says), std::string::npos) << sample.problem;
    }
}

TEST(ForwardingState, NoMutationCrashesAReader) {
    Sample sample;
    const std::vector<std::byte> good = build_root(sample.tables);
    std::mt19937_64 random(11);
    int accepted = 0;
    int refused = 0;
    for (int round = 0; round < 200'000; round++) {
        std::vector<std::byte> bytes = good;
        std::size_t count = 1 + random() % 4;
        for (std::size_t i = 0; i < count; i++) {
            std::size_t bound = random() % 2 ? bytes.size() : sizeof(StateHeader);
            bytes[random() % bound] = static_cast<std::byte>(random() % 3 ? random() : 0xff);
        }
        if (random() % 8 == 0)
            bytes.resize(random() % bytes.size());
        if (bytes.empty())
            continue;
        Root root(bytes);
        auto state =
            ForwardingState::open(root.span(), std::span(&sample.segment, 1), sample.problem);
        if (state) {
            accepted++;
            walk(*state, random);
        } else {
            refused++;
        }
    }
    EXPECT_GT(accepted, 1000) << "mutations in addresses and weights are harmless";
    EXPECT_GT(refused, 1000);
}

TEST(SegmentId, EqualContentEqualIdOtherContentOtherId) {
    std::vector<std::uint16_t> a(65537, 3);
    std::vector<std::uint16_t> b = a;
    EXPECT_EQ(segment_id(a), segment_id(b));
    b[65536] = 4;
    EXPECT_NE(segment_id(a), segment_id(b));
    b = a;
    b.push_back(0);
    EXPECT_NE(segment_id(a), segment_id(b));
}

} // namespace
} // namespace weir::lb
