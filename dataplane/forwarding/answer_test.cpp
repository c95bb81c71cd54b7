// SPDX-License-Identifier: BSD-3-Clause
// Resets are the packets that an independent builder makes of the same facts.
#include "dataplane/forwarding/answer.h"

#include <gtest/gtest.h>

#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

weir_packet parsed(const Bytes& frame) {
    weir_packet packet{};
    EXPECT_EQ(weir_parse(frame.data(), frame.data() + frame.size(), &packet), WEIR_UNDECIDED);
    return packet;
}

// A reset of `plan`'s own direction with nothing else of it left but the link.
PacketPlan bare_reset(const PacketPlan& plan) {
    PacketPlan reset;
    reset.destination_mac = plan.destination_mac;
    reset.source_mac = plan.source_mac;
    reset.vlan_tci = plan.vlan_tci;
    reset.vlan_ethertype = plan.vlan_ethertype;
    reset.source = plan.source;
    reset.destination = plan.destination;
    reset.source_port = plan.source_port;
    reset.destination_port = plan.destination_port;
    reset.tcp_window = 0;
    reset.v4_id = 0;
    reset.v4_fragment = 0x4000;
    reset.payload.clear();
    return reset;
}

PacketPlan reset_back(const PacketPlan& plan) {
    PacketPlan reset = bare_reset(plan);
    std::swap(reset.source_mac, reset.destination_mac);
    std::swap(reset.source, reset.destination);
    std::swap(reset.source_port, reset.destination_port);
    if (plan.tcp_flags & 0x10) {
        reset.tcp_flags = 0x04;
        reset.tcp_sequence = plan.tcp_acknowledged;
        reset.tcp_acknowledged = 0;
    } else {
        reset.tcp_flags = 0x14;
        reset.tcp_sequence = 0;
        reset.tcp_acknowledged =
            static_cast<uint32_t>(plan.tcp_sequence + plan.payload.size() + (plan.tcp_flags & 1) +
                                  (plan.tcp_flags >> 1 & 1));
    }
    return reset;
}

TEST(WriteReset, IsTheResetThatTheRfcAsksFor) {
    size_t compared = 0;
    for (Sample& sample : sound_packets()) {
        if (sample.plan.protocol != 6)
            continue;
        for (const uint8_t flags : {0x02, 0x12, 0x10, 0x18, 0x11, 0x01}) {
            sample.plan.tcp_flags = flags;
            sample.plan.tcp_sequence = compared % 2 ? 0xfffffffe : 0x01020304; // wraps
            Bytes frame = build(sample.plan);
            const weir_packet packet = parsed(frame);
            ASSERT_EQ(weir_write_reset(frame.data(), frame.data() + frame.size(), &packet),
                      WEIR_UNDECIDED)
                << sample.name;
            ASSERT_LE(weir_reset_frame_bytes(&packet), frame.size());
            frame.resize(weir_reset_frame_bytes(&packet));
            EXPECT_EQ(frame, build(reset_back(sample.plan))) << sample.name << ' ' << int{flags};
            compared++;
        }
    }
    EXPECT_GT(compared, 60u);
}

TEST(WriteReset, OnwardKeepsDirectionAndSequence) {
    for (const bool six : {false, true}) {
        PacketPlan plan;
        if (six) {
            plan.source = kClient6;
            plan.destination = kVip6;
        }
        plan.tcp_flags = 0x18;
        plan.tcp_options = {1, 1, 1, 1};
        plan.vlan_tci = 9;
        Bytes frame = build(plan);
        const weir_packet packet = parsed(frame);
        PacketPlan want = bare_reset(plan);
        want.source = six ? "2001:db8:9::1" : "192.0.2.200";
        want.destination = six ? "2001:db8:9::2" : "203.0.113.7";
        want.source_port = 50001;
        want.destination_port = 8080;
        want.tcp_flags = 0x04;
        want.tcp_acknowledged = 0;
        const weir_translation to = {address_of(want.source), address_of(want.destination),
                                     be16(50001), be16(8080)};
        ASSERT_EQ(weir_write_reset_onward(frame.data(), frame.data() + frame.size(), &packet, &to),
                  WEIR_UNDECIDED);
        frame.resize(weir_reset_frame_bytes(&packet));
        EXPECT_EQ(frame, build(want));
    }
}

TEST(WriteReset, RefusesAndLeavesThePacketAlone) {
    auto refused = [](PacketPlan plan) {
        Bytes frame = build(plan);
        const Bytes before = frame;
        weir_packet packet{};
        weir_parse(frame.data(), frame.data() + frame.size(), &packet);
        const uint8_t* end = frame.data() + frame.size();
        return weir_write_reset(frame.data(), end, &packet) == WEIR_DROP_NO_CONNECTION &&
               frame == before;
    };
    PacketPlan plan;
    EXPECT_FALSE(refused(plan)) << "negative control";
    plan.tcp_flags = 0x04;
    EXPECT_TRUE(refused(plan)) << "a reset";
    plan.tcp_flags = 0x14;
    EXPECT_TRUE(refused(plan));
    plan.tcp_flags = 0x10;
    plan.v4_fragment = 0x2000;
    EXPECT_TRUE(refused(plan)) << "a first fragment";
    plan.v4_fragment = 0x0010;
    EXPECT_TRUE(refused(plan)) << "a later fragment";
    plan.v4_fragment = 0;
    plan.destination = "224.0.0.1";
    EXPECT_TRUE(refused(plan));
    plan.destination = kVip4;
    plan.source = "255.255.255.255";
    EXPECT_TRUE(refused(plan));
    plan.source = "192.0.2.1";
    plan.destination_mac = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    EXPECT_TRUE(refused(plan)) << "sent to every station";
    plan.destination_mac = {2, 0, 0, 0, 0, 2};
    plan.protocol = 17;
    EXPECT_TRUE(refused(plan));
}

TEST(WriteReset, NeverWritesPastACutPacket) {
    for (const Sample& sample : sound_packets()) {
        if (sample.plan.protocol != 6)
            continue;
        const Bytes whole = build(sample.plan);
        const weir_packet packet = parsed(whole);
        weir_translation to;
        weir_translation_of(&packet, &to);
        for (size_t size = 0; size < packet.l4_offset + 20u; size++) {
            ExactCopy copy(std::span<const uint8_t>(whole).first(size));
            EXPECT_NE(weir_write_reset(copy.data(), copy.end(), &packet), WEIR_UNDECIDED);
            EXPECT_NE(weir_write_reset_onward(copy.data(), copy.end(), &packet, &to),
                      WEIR_UNDECIDED);
        }
    }
}

TEST(MayAnswer, NeverErrorsFragmentsOrGroups) {
    auto may = [](const PacketPlan& plan) {
        const Bytes frame = build(plan);
        weir_packet packet{};
        weir_parse(frame.data(), frame.data() + frame.size(), &packet);
        return weir_may_answer(&packet);
    };
    for (const Sample& sample : sound_packets())
        EXPECT_TRUE(may(sample.plan)) << sample.name;
    PacketPlan four, six;
    six.source = kClient6;
    six.destination = kVip6;
    four.protocol = 1;
    six.protocol = 58;
    for (unsigned type = 0; type < 256; type++) {
        four.icmp_type = six.icmp_type = static_cast<uint8_t>(type);
        const bool error4 = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;
        EXPECT_EQ(may(four), !error4) << type;
        EXPECT_EQ(may(six), type >= 128 && type != 137) << type;
    }
    four = six = PacketPlan{};
    four.v4_fragment = 0x2000;
    EXPECT_TRUE(may(four)) << "the first fragment may be answered";
    four.v4_fragment = 0x0010;
    EXPECT_FALSE(may(four));
    for (const char* source : {"0.0.0.0", "127.0.0.1", "224.0.0.1", "255.255.255.255"}) {
        PacketPlan plan;
        plan.source = source;
        EXPECT_FALSE(may(plan)) << source;
    }
    for (const char* source : {"::", "::1", "ff02::1", "::ffff:192.0.2.1"}) {
        PacketPlan plan;
        plan.destination = kVip6;
        plan.source = source;
        EXPECT_FALSE(may(plan)) << source;
        plan.source = kClient6;
        plan.destination = source;
        EXPECT_FALSE(may(plan)) << source;
    }
    weir_packet nothing{};
    EXPECT_FALSE(weir_may_answer(&nothing));
}

TEST(SumBytes, EqualsTheSlowSumAtEveryLengthAndOffset) {
    std::mt19937_64 random(3);
    for (uint32_t bytes = 0; bytes <= 1280; bytes += bytes < 40 ? 1 : 31) {
        for (uint32_t offset = 0; offset < 5; offset++) {
            Bytes all(offset + bytes);
            for (uint8_t& byte : all)
                byte = static_cast<uint8_t>(random());
            ExactCopy copy(all);
            const uint64_t sum = weir_sum_bytes(copy.data(), copy.end(), offset, bytes);
            const auto folded = static_cast<uint16_t>(~weir_checksum_fold(sum));
            EXPECT_EQ(weir_swap16(folded), full_checksum(std::span(all).subspan(offset)));
        }
    }
}

} // namespace
