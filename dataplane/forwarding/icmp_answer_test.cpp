// SPDX-License-Identifier: BSD-3-Clause
// ICMP errors of our own are the packets that an independent builder makes of the same facts.
#include "dataplane/forwarding/icmp_answer.h"

#include <gtest/gtest.h>

#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/test_corpus.hpp"

namespace {

using namespace weir::forwarding_test;

struct Error {
    uint8_t type4, code4, type6, code6;
    uint32_t mtu;
};

constexpr Error kErrors[] = {
    {3, 4, 2, 0, 1400},
    {11, 0, 3, 0, 0},
    {3, 3, 1, 4, 0},
};

weir_packet parsed(const Bytes& frame) {
    weir_packet packet{};
    weir_parse(frame.data(), frame.data() + frame.size(), &packet);
    return packet;
}

// What the plane does: room before the frame, the frame cut, the answer written.
std::pair<Bytes, weir_verdict> answered(const Bytes& frame, const Error& error) {
    const weir_packet packet = parsed(frame);
    const bool six = packet.family == 6;
    Bytes room(weir_icmp_answer_bytes(&packet), 0xee);
    put(room, frame);
    room.resize(weir_icmp_frame_bytes(&packet));
    ExactCopy copy(room);
    const weir_address vip = weir_packet_destination(&packet);
    const weir_verdict verdict = weir_write_icmp_error(copy.data(), copy.end(), &packet, &vip,
                                                       six ? error.type6 : error.type4,
                                                       six ? error.code6 : error.code4, error.mtu);
    return {Bytes(static_cast<const uint8_t*>(copy.data()), copy.end()), verdict};
}

Bytes expected(const PacketPlan& plan, const Error& error) {
    const bool six = is_v6(plan);
    PacketPlan answer;
    answer.destination_mac = plan.source_mac;
    answer.source_mac = plan.destination_mac;
    answer.vlan_tci = plan.vlan_tci;
    answer.vlan_ethertype = plan.vlan_ethertype;
    answer.source = plan.destination;
    answer.destination = plan.source;
    answer.protocol = six ? 58 : 1;
    answer.icmp_type = six ? error.type6 : error.type4;
    answer.icmp_code = six ? error.code6 : error.code4;
    answer.icmp_word = error.mtu;
    answer.v4_id = 0;
    answer.v4_fragment = 0x4000;
    answer.payload = build_ip(plan);
    answer.payload.resize(std::min<size_t>(answer.payload.size(), six ? 1232 : 548));
    return build(answer);
}

TEST(WriteIcmpError, IsTheErrorThatTheRfcsAskFor) {
    size_t compared = 0;
    for (const Sample& sample : sound_packets()) {
        for (const Error& error : kErrors) {
            const auto [frame, verdict] = answered(build(sample.plan), error);
            EXPECT_EQ(verdict, WEIR_UNDECIDED) << sample.name;
            EXPECT_EQ(frame, expected(sample.plan, error)) << sample.name;
            compared++;
        }
    }
    EXPECT_GT(compared, 90u);
}

TEST(WriteIcmpError, QuotesAsMuchAsItMayAtEveryLength) {
    std::mt19937_64 random(5);
    for (const bool six : {false, true}) {
        PacketPlan plan;
        plan.protocol = 17;
        if (six) {
            plan.source = kClient6;
            plan.destination = kVip6;
        }
        for (size_t size = 0; size < 1400; size += size % 400 < 8 ? 1 : 37) {
            plan.payload.resize(size);
            for (uint8_t& byte : plan.payload)
                byte = static_cast<uint8_t>(random());
            const auto [frame, verdict] = answered(build(plan), kErrors[0]);
            EXPECT_EQ(verdict, WEIR_UNDECIDED);
            EXPECT_EQ(frame, expected(plan, kErrors[0])) << size;
            EXPECT_LE(frame.size(), 14u + (six ? 1280 : 576));
        }
    }
}

TEST(WriteIcmpError, AboutAFirstFragmentButNotALaterOne) {
    PacketPlan plan;
    plan.payload.resize(76, 0x31);
    plan.v4_fragment = 0x2000;
    const auto first = answered(build(plan), kErrors[1]);
    EXPECT_EQ(first.second, WEIR_UNDECIDED);
    EXPECT_EQ(first.first, expected(plan, kErrors[1]));
    plan.v4_fragment = 0x2010;
    EXPECT_EQ(answered(build(plan), kErrors[1]).second, WEIR_DROP_TTL_EXPIRED);
}

TEST(WriteIcmpError, RefusesUnderTheNameOfWhatItWasFor) {
    PacketPlan plan;
    plan.destination_mac = {1, 0, 0x5e, 0, 0, 1};
    EXPECT_EQ(answered(build(plan), kErrors[0]).second, WEIR_DROP_TOO_BIG);
    EXPECT_EQ(answered(build(plan), kErrors[1]).second, WEIR_DROP_TTL_EXPIRED);
    EXPECT_EQ(answered(build(plan), kErrors[2]).second, WEIR_DROP_NO_BACKEND);
    plan.source = kClient6;
    plan.destination = "ff02::1";
    EXPECT_EQ(answered(build(plan), kErrors[0]).second, WEIR_DROP_TOO_BIG);
    EXPECT_EQ(answered(build(plan), kErrors[1]).second, WEIR_DROP_TTL_EXPIRED);
    EXPECT_EQ(answered(build(plan), kErrors[2]).second, WEIR_DROP_NO_BACKEND);
    PacketPlan error;
    error.protocol = 1;
    error.icmp_type = 3;
    error.payload = build_ip(PacketPlan{});
    EXPECT_EQ(answered(build(error), kErrors[1]).second, WEIR_DROP_TTL_EXPIRED);
}

TEST(WriteIcmpError, AnMtuThatTheFieldCannotHoldIsItsMost) {
    const auto [frame, verdict] = answered(build(PacketPlan{}), {3, 4, 2, 0, 0x12345});
    EXPECT_EQ(verdict, WEIR_UNDECIDED);
    EXPECT_EQ(get16(frame, 38), 0u);
    EXPECT_EQ(get16(frame, 40), 0xffffu);
}

TEST(WriteIcmpError, NeverWritesPastACutPacket) {
    for (const Sample& sample : sound_packets()) {
        const Bytes whole = build(sample.plan);
        const weir_packet packet = parsed(whole);
        Bytes room(weir_icmp_answer_bytes(&packet));
        put(room, whole);
        for (size_t size = 0; size < weir_icmp_frame_bytes(&packet); size++) {
            ExactCopy copy(std::span<const uint8_t>(room).first(size));
            const weir_address vip = weir_packet_destination(&packet);
            ASSERT_EQ(weir_write_icmp_error(copy.data(), copy.end(), &packet, &vip, 3, 4, 1400),
                      weir_unanswered(packet.family, 3, 4))
                << sample.name << ' ' << size;
        }
    }
}

} // namespace
