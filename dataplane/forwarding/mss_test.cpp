// SPDX-License-Identifier: BSD-3-Clause
// SYNs leave with the MSS that would have been built into them; nothing else of them changes.
#include "dataplane/forwarding/mss.h"

#include <gtest/gtest.h>

#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/test_corpus.hpp"

namespace {

using namespace weir::forwarding_test;

PacketPlan syn(bool six, Bytes options) {
    PacketPlan plan;
    if (six) {
        plan.source = kClient6;
        plan.destination = kVip6;
    }
    plan.tcp_options = std::move(options);
    return plan;
}

// The frame after clamping, and whether it was said to have been lowered.
std::pair<Bytes, bool> clamped(Bytes frame, uint32_t limit) {
    weir_packet packet{};
    EXPECT_EQ(weir_parse(frame.data(), frame.data() + frame.size(), &packet), WEIR_UNDECIDED);
    const bool lowered = weir_clamp_mss(frame.data(), frame.data() + frame.size(), &packet, limit);
    return {frame, lowered};
}

TEST(MssLimit, LeavesRoomForBothHeaders) {
    EXPECT_EQ(weir_mss_limit(1480, 4), 1440u);
    EXPECT_EQ(weir_mss_limit(1460, 6), 1400u);
    EXPECT_EQ(weir_mss_limit(40, 4), 0u);
    EXPECT_EQ(weir_mss_limit(0, 6), 0u);
}

TEST(ClampMss, GivesTheSynThatWouldHaveBeenBuiltSo) {
    // The option first, at an odd offset, last, and behind others; 1460 is 05b4, 1400 is 0578.
    const std::pair<Bytes, Bytes> options[] = {
        {{2, 4, 5, 0xb4}, {2, 4, 5, 0x78}},
        {{1, 2, 4, 5, 0xb4, 1, 1, 1}, {1, 2, 4, 5, 0x78, 1, 1, 1}},
        {{4, 2, 3, 3, 7, 2, 4, 5, 0xb4, 0, 0, 0}, {4, 2, 3, 3, 7, 2, 4, 5, 0x78, 0, 0, 0}},
        {{1, 1, 1, 1, 2, 4, 5, 0xb4}, {1, 1, 1, 1, 2, 4, 5, 0x78}},
        {{2, 4, 1, 0, 2, 4, 5, 0xb4}, {2, 4, 1, 0, 2, 4, 5, 0x78}},
    };
    for (const bool six : {false, true}) {
        for (const uint8_t flags : {uint8_t{0x02}, uint8_t{0x12}}) {
            for (const auto& [from, to] : options) {
                PacketPlan plan = syn(six, from), want = syn(six, to);
                plan.tcp_flags = want.tcp_flags = flags;
                EXPECT_EQ(clamped(build(plan), 1400), std::pair(build(want), true));
            }
        }
    }
}

TEST(ClampMss, LeavesAlone) {
    const Bytes mss = {2, 4, 5, 0xb4};
    auto untouched = [](const PacketPlan& plan, uint32_t limit) {
        const Bytes frame = build(plan);
        return clamped(frame, limit) == std::pair(frame, false);
    };
    EXPECT_FALSE(untouched(syn(false, mss), 1459)) << "negative control";
    EXPECT_TRUE(untouched(syn(false, mss), 1460)) << "already as low";
    EXPECT_TRUE(untouched(syn(false, mss), 9000));
    EXPECT_TRUE(untouched(syn(false, mss), 0)) << "no limit can be met";
    EXPECT_TRUE(untouched(syn(false, {}), 1000)) << "never adds the option";
    EXPECT_TRUE(untouched(syn(false, {0, 0, 0, 0, 2, 4, 5, 0xb4}), 1000)) << "behind the end";
    EXPECT_TRUE(untouched(syn(false, {2, 5, 5, 0xb4, 1, 1, 1, 1}), 1000)) << "wrong length";
    EXPECT_TRUE(untouched(syn(false, {2, 4, 5, 0xb4, 3, 9, 1, 1}), 1000)) << "past the header";
    EXPECT_TRUE(untouched(syn(false, {2, 4, 5, 0xb4, 3, 0, 1, 1}), 1000)) << "length 0";
    EXPECT_TRUE(untouched(syn(false, {1, 1, 1, 2}), 1000)) << "length is payload";
    PacketPlan ack = syn(false, mss);
    ack.tcp_flags = 0x10;
    EXPECT_TRUE(untouched(ack, 1000));
    PacketPlan udp = syn(false, {});
    udp.protocol = 17;
    EXPECT_TRUE(untouched(udp, 1000));
    PacketPlan later = syn(false, mss);
    later.v4_fragment = 0x00b9;
    EXPECT_TRUE(untouched(later, 1000));
}

TEST(ClampMss, ChecksumsFollowForRandomOptions) {
    std::mt19937_64 random(11);
    size_t lowered = 0;
    for (int i = 0; i < 50000; i++) {
        Bytes options;
        for (size_t n = random() % 5; n > 0; n--)
            put8(options, random() % 4 ? 1 : static_cast<uint8_t>(random()));
        put(options, Bytes{2, 4, static_cast<uint8_t>(random()), static_cast<uint8_t>(random())});
        options.resize((options.size() + 3) / 4 * 4, static_cast<uint8_t>(random() % 2));
        PacketPlan plan = syn(random() % 2, options);
        plan.payload.clear();
        const Bytes frame = build(plan);
        const auto [after, did] = clamped(frame, static_cast<uint32_t>(1 + random() % 0xffff));
        lowered += did;
        const size_t l4 = is_v6(plan) ? 54 : 34;
        EXPECT_EQ(l4_checksum(address_bytes(plan.source), address_bytes(plan.destination), 6,
                              std::span(after).subspan(l4)),
                  0);
        EXPECT_EQ(did, after != frame);
    }
    EXPECT_GT(lowered, 5000u);
}

TEST(ClampMss, KeepsCorruptionVisible) {
    const PacketPlan plan = syn(false, {2, 4, 5, 0xb4});
    Bytes frame = build(plan);
    frame.back() ^= 0x40;
    const Bytes after = clamped(frame, 1000).first;
    EXPECT_NE(l4_checksum(address_bytes(plan.source), address_bytes(plan.destination), 6,
                          std::span(after).subspan(34)),
              0);
}

TEST(ClampMss, NeverReadsPastACutPacket) {
    const Bytes whole = build(syn(true, {1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 5, 0xb4, 1, 1, 1}));
    weir_packet packet{};
    ASSERT_EQ(weir_parse(whole.data(), whole.data() + whole.size(), &packet), WEIR_UNDECIDED);
    for (size_t size = 0; size < whole.size(); size++) {
        ExactCopy copy(std::span<const uint8_t>(whole).first(size));
        const bool all_there = size >= 54 + 20 + 13 + 3u;
        EXPECT_TRUE(all_there || !weir_clamp_mss(copy.data(), copy.end(), &packet, 1000)) << size;
    }
}

} // namespace
