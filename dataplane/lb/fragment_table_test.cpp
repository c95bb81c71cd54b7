// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/fragment_table.hpp"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>

namespace weir::lb {
namespace {

constexpr std::uint32_t kHeader = 20;

weir_packet piece(std::uint32_t offset, std::uint32_t bytes, bool more) {
    weir_packet packet{};
    packet.family = 4;
    packet.protocol = WEIR_IP_UDP;
    packet.l3_offset = 14;
    packet.l4_offset = 14 + kHeader;
    packet.l3_length = static_cast<std::uint16_t>(kHeader + bytes);
    packet.fragment_offset = static_cast<std::uint16_t>(offset);
    packet.flags = WEIR_PACKET_FRAGMENT;
    if (offset != 0)
        packet.flags |= WEIR_PACKET_LATER_FRAGMENT;
    if (more)
        packet.flags |= WEIR_PACKET_MORE_FRAGMENTS;
    if (offset == 0)
        weir_packet_take_ports(&packet, 1111, 2222);
    return packet;
}

class Fragments : public testing::Test {
protected:
    FragmentDecision see(std::uint32_t offset, std::uint32_t bytes, bool more,
                         std::uint64_t hash = 7, int* handle = nullptr) {
        return table->see(piece(offset, bytes, more), hash, handle ? handle : &any, now_ms);
    }
    std::vector<ReleasedFragment> released() {
        std::vector<ReleasedFragment> all;
        for (ReleasedFragment one; table->take_released(one);)
            all.push_back(one);
        return all;
    }
    std::unique_ptr<FragmentTable> table = std::make_unique<FragmentTable>();
    std::uint64_t now_ms = 5000;
    int any = 0;
};

TEST_F(Fragments, LaterOnesBorrowTheFirstOnesPorts) {
    EXPECT_EQ(see(0, 1480, true).step, FragmentStep::kFollow);
    const FragmentDecision second = see(1480, 1480, true);
    EXPECT_EQ(second.step, FragmentStep::kFollow);
    EXPECT_EQ(second.ports.source, 1111);
    EXPECT_EQ(second.ports.destination, 2222);
    EXPECT_EQ(see(2960, 100, false).step, FragmentStep::kFollow);
    EXPECT_EQ(table->held(), 0u);
}

TEST_F(Fragments, EarlyOnesWaitAndComeOutInOrder) {
    int last = 0;
    int middle = 0;
    EXPECT_EQ(see(2960, 100, false, 7, &last).step, FragmentStep::kWait);
    EXPECT_EQ(see(1480, 1480, true, 7, &middle).step, FragmentStep::kWait);
    EXPECT_EQ(table->held(), 2u);
    EXPECT_TRUE(released().empty());
    EXPECT_EQ(see(0, 1480, true).step, FragmentStep::kFollow);
    const auto out = released();
    ASSERT_EQ(out.size(), 2u);
    EXPECT_EQ(out[0].packet, &last);
    EXPECT_EQ(out[1].packet, &middle);
    EXPECT_TRUE(out[0].has_ports && out[0].ports.destination == 2222);
    EXPECT_EQ(table->held(), 0u);
}

TEST_F(Fragments, TheFirstOneIsWaitedForOnlySoLong) {
    EXPECT_EQ(see(1480, 8, true).step, FragmentStep::kWait);
    now_ms += kFragmentWait_ms - 1;
    table->expire(now_ms);
    EXPECT_TRUE(released().empty());
    now_ms += 1;
    table->expire(now_ms);
    const auto out = released();
    ASSERT_EQ(out.size(), 1u);
    EXPECT_FALSE(out[0].has_ports);
    EXPECT_EQ(table->held(), 0u);
}

TEST_F(Fragments, OverlapsEndTheDatagramAndRepetitionsDoNot) {
    EXPECT_EQ(see(0, 1480, true).step, FragmentStep::kFollow);
    EXPECT_EQ(see(0, 1480, true).step, FragmentStep::kOverlap) << "a repetition";
    EXPECT_EQ(see(1480, 1480, true).step, FragmentStep::kFollow) << "the rest still comes through";
    EXPECT_EQ(see(2952, 100, true).step, FragmentStep::kOverlap) << "reaches into the second";
    EXPECT_EQ(see(3200, 8, false).step, FragmentStep::kOverlap) << "follows an overlap";
}

TEST_F(Fragments, ADatagramHasOneEnd) {
    EXPECT_EQ(see(0, 8, true).step, FragmentStep::kFollow);
    EXPECT_EQ(see(800, 8, false).step, FragmentStep::kFollow);
    EXPECT_EQ(see(800, 8, false).step, FragmentStep::kOverlap) << "a repetition";
    EXPECT_EQ(see(400, 8, true).step, FragmentStep::kFollow);
    EXPECT_EQ(see(808, 8, true).step, FragmentStep::kOverlap) << "behind the end";
    EXPECT_EQ(see(16, 8, true).step, FragmentStep::kOverlap);
    EXPECT_EQ(see(0, 8, true, 8).step, FragmentStep::kFollow);
    EXPECT_EQ(see(800, 8, true, 8).step, FragmentStep::kFollow);
    EXPECT_EQ(see(400, 8, false, 8).step, FragmentStep::kOverlap) << "an end before the end";
}

TEST_F(Fragments, AnOverlapBeforeTheFirstReleasesWhatWaited) {
    EXPECT_EQ(see(1480, 1480, true).step, FragmentStep::kWait);
    EXPECT_EQ(see(1488, 1480, true).step, FragmentStep::kOverlap);
    const auto out = released();
    ASSERT_EQ(out.size(), 1u);
    EXPECT_FALSE(out[0].has_ports);
}

TEST_F(Fragments, AWholeDatagramIsForgotten) {
    EXPECT_EQ(see(0, 1480, true).step, FragmentStep::kFollow);
    EXPECT_EQ(see(1480, 20, false).step, FragmentStep::kFollow);
    EXPECT_EQ(see(1480, 20, false).step, FragmentStep::kWait) << "the id is free for another";
}

TEST_F(Fragments, AnOldDatagramsIdIsFree) {
    EXPECT_EQ(see(0, 1480, true).step, FragmentStep::kFollow);
    now_ms += kFragmentLifetime_ms;
    EXPECT_EQ(see(1480, 1480, true).step, FragmentStep::kWait);
    EXPECT_EQ(see(0, 1480, true).step, FragmentStep::kFollow);
}

TEST_F(Fragments, WaitingIsBounded) {
    for (std::uint32_t i = 1; i <= kFragmentsHeldOfADatagram; i++)
        EXPECT_EQ(see(i * 8, 8, true, 1).step, FragmentStep::kWait);
    EXPECT_EQ(see(4000, 8, true, 1).step, FragmentStep::kQueueFull);
    std::uint32_t waiting = kFragmentsHeldOfADatagram;
    for (std::uint64_t hash = 2; waiting < kFragmentsHeld; hash++, waiting++)
        EXPECT_EQ(see(8, 8, true, hash << 20).step, FragmentStep::kWait);
    EXPECT_EQ(see(8, 8, true, std::uint64_t{9999} << 20).step, FragmentStep::kQueueFull);
    EXPECT_EQ(table->held(), kFragmentsHeld);
    now_ms += kFragmentWait_ms;
    table->expire(now_ms);
    EXPECT_EQ(released().size(), kFragmentsHeld);
    EXPECT_EQ(see(8, 8, true, 1).step, FragmentStep::kWait);
}

// Any sequence: what goes in waits, passes or is refused, and nothing is kept for good.
TEST_F(Fragments, EveryPacketComesOutOnce) {
    std::mt19937 random(4);
    std::map<int*, int> inside;
    std::vector<int> handles(200'000);
    std::uint32_t waited = 0;
    for (int& handle : handles) {
        const std::uint32_t offset = random() % 4 * 8;
        const bool more = random() % 3 != 0;
        const FragmentDecision decision = see(offset, 8 + random() % 2 * 8, more,
                                              (random() % 6000) * 0x9e3779b97f4a7c15u, &handle);
        if (decision.step == FragmentStep::kWait) {
            inside[&handle]++;
            waited++;
        }
        now_ms += random() % 3;
        table->expire(now_ms);
        if (random() % 2) {
            for (const ReleasedFragment& one : released())
                ASSERT_EQ(inside.erase(static_cast<int*>(one.packet)), 1u);
        }
        ASSERT_EQ(table->held(), inside.size());
    }
    EXPECT_GT(waited, 1000u);
    now_ms += kFragmentWait_ms;
    table->expire(now_ms);
    for (const ReleasedFragment& one : released())
        ASSERT_EQ(inside.erase(static_cast<int*>(one.packet)), 1u);
    EXPECT_TRUE(inside.empty());
}

} // namespace
} // namespace weir::lb
