// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/forwarding_state.hpp"
#include "dataplane/lb/state_builder.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <memory>
#include <random>

namespace weir::lb {
namespace {

// A root at a 64-byte boundary, as a mapping gives it.
struct Root {
    explicit Root(const std::vector<std::byte>& bytes)
        : size(bytes.size()),
          at(static_cast<std::byte*>(std::aligned_alloc(64, (bytes.size() + 63) / 64 * 64))) {
        std::memcpy(at.get(), bytes.data(), size);
    }
    std::span<const std::byte> span() const { return {at.get(), size}; }
    StateHeader& header() { return *reinterpret_cast<StateHeader*>(at.get()); }
    template <class Row> Row* rows(const TableDescriptor& table) {
        return reinterpret_cast<Row*>(at.get() + table.offset);
    }
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    std::size_t size;
    std::unique_ptr<std::byte, Free> at;
};

// One VIP, one pool of two backends over 7 slots.
struct Sample {
    Sample() {
        slots = {0, 1, 0, 1, 0, 1, 0};
        segment = inspect_segment(segment_id(slots), slots);
        MatchTableBuilder builder;
        weir_address vip = weir_address_from_v4(0x0a7100cb);
        builder.add_port(vip, 6, weir_swap16(80), WEIR_MATCH_VIP, 0);
        builder.add_range(vip, 6, 9000, 9009, WEIR_MATCH_VIP, 0);
        builder.add_address(vip, WEIR_MATCH_VIP_ADDRESS);
        tables.generation = 3;
        tables.match = *builder.build(problem);
        tables.vips.resize(1);
        tables.vips[0].flags = WEIR_VIP_SERVED;
        tables.vips[0].forward = WEIR_FORWARD_NAT;
        tables.vips[0].family = 4;
        tables.pools = {{0, 7, 0, 2, 1, {}}};
        tables.members = {0, 1};
        tables.backends.resize(2);
        for (auto& backend : tables.backends) {
            backend.state = WEIR_BACKEND_UP;
            backend.family = 4;
        }
        tables.next_hops.resize(1);
        tables.snat.resize(1);
        tables.snat[0].first_port = 40000;
        tables.snat[0].last_port = 59999;
        tables.interfaces.resize(1);
        tables.segments = {{segment.id, slots.size() * 2}};
    }
    bool opens(const Root& root) {
        return ForwardingState::open(root.span(), std::span(&segment, 1), problem).has_value();
    }
    std::vector<std::uint16_t> slots;
    Segment segment;
    StateTables tables;
    std::string problem;
};

TEST(ForwardingState, WhatWasBuiltIsRead) {
    Sample sample;
    Root root(build_root(sample.tables));
    auto state = ForwardingState::open(root.span(), std::span(&sample.segment, 1), sample.problem);
    ASSERT_TRUE(state) << sample.problem;
    EXPECT_EQ(state->generation(), 3u);
    EXPECT_EQ(state->vips().size(), 1u);
    EXPECT_EQ(state->select(state->pools()[0], 0), 0u);
    EXPECT_EQ(state->select(state->pools()[0], 0xffffffff), 0u);
    EXPECT_EQ(state->select(state->pools()[0], 0xffffffff / 7 * 2), 1u);
}

TEST(ForwardingState, PoolWithoutTableHasNoBackend) {
    Sample sample;
    sample.tables.pools[0].slot_count = 0;
    Root root(build_root(sample.tables));
    auto state = ForwardingState::open(root.span(), std::span(&sample.segment, 1), sample.problem);
    ASSERT_TRUE(state) << sample.problem;
    EXPECT_EQ(state->select(state->pools()[0], 123), WEIR_NO_ROW);
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

// Reads everything a worker could reach from an accepted state.
std::uint64_t walk(const ForwardingState& state, std::mt19937_64& random) {
    std::uint64_t seen = 0;
    for (int i = 0; i < 64; i++) {
        weir_address address =
            i % 2 ? weir_address_from_v4(0x0a7100cb) : weir_address{{random(), random()}};
        auto port = static_cast<weir_be16>(i % 4 == 1 ? weir_swap16(80) : random());
        weir_match match = weir_match_endpoint(&state.match(), &address, 6, port);
        seen += match.kind;
        if (match.kind == WEIR_MATCH_SNAT)
            seen += state.snat()[match.index].first_port;
        if (match.kind != WEIR_MATCH_VIP)
            continue;
        const weir_vip_row& vip = state.vips()[match.index];
        std::uint32_t backend = state.select(state.pools()[vip.pool], random());
        if (backend == WEIR_NO_ROW)
            continue;
        std::uint32_t next_hop = state.backends()[backend].next_hop;
        if (next_hop != WEIR_NO_ROW)
            seen += state.interfaces()[state.next_hops()[next_hop].interface].mtu;
    }
    return seen;
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
