// SPDX-License-Identifier: BSD-3-Clause
// The parser's short way against the parser.
#include "dataplane/forwarding/match.h"
#include "dataplane/forwarding/parse_plain.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "dataplane/forwarding/test_corpus.hpp"

namespace {

using namespace weir::forwarding_test;

PacketPlan plan6() {
    PacketPlan plan;
    plan.source = kClient6;
    plan.destination = kVip6;
    return plan;
}

// What a frame is for, and where it comes from, as words, are the same for those of one endpoint or
// address and for no other.
void expect_ends(const Bytes& frame, const weir_packet& packet) {
    for (const std::uint8_t protocol : {6, 17}) {
        PacketPlan plan;
        plan.protocol = protocol;
        plan.source_port = 4711;
        plan.payload.assign(40, 1); // some frames are too short for the short way
        const Bytes other = build(plan);
        weir_packet of_other{};
        ASSERT_TRUE(weir_parse_plain(other.data(), other.data() + other.size(), &of_other));
        const auto same = [&](std::uint64_t mask) {
            return weir_plain_v4_protocol(frame.data()) == weir_plain_v4_protocol(other.data()) &&
                   weir_plain_v4_to(frame.data(), mask) == weir_plain_v4_to(other.data(), mask);
        };
        EXPECT_EQ(same(WEIR_PLAIN_TO_ENDPOINT), weir_same_endpoint(&packet.flow, &of_other.flow));
        const weir_address ours = weir_packet_destination(&packet);
        const weir_address theirs = weir_packet_destination(&of_other);
        EXPECT_EQ(same(WEIR_PLAIN_TO_ADDRESS),
                  packet.protocol == protocol && weir_address_equal(&ours, &theirs));
        const weir_address our_source = weir_packet_source(&packet);
        const weir_address their_source = weir_packet_source(&of_other);
        EXPECT_EQ(weir_plain_v4_from(frame.data()) == weir_plain_v4_from(other.data()),
                  packet.source_port == of_other.source_port &&
                      weir_address_equal(&our_source, &their_source));
    }
}

// Whether the short way took the frame; if so, it gave what the parser gives.
bool plain_like_parsed(const Bytes& frame) {
    ExactCopy copy(frame);
    weir_packet plain{};
    if (!weir_parse_plain(copy.data(), copy.end(), &plain))
        return false;
    if (plain.family == 4)
        expect_ends(frame, plain);
    weir_packet parsed{};
    EXPECT_EQ(weir_parse(copy.data(), copy.end(), &parsed), WEIR_UNDECIDED);
    EXPECT_TRUE(same_packet(plain, parsed));
    return true;
}

TEST(ParsePlain, TakesWhatIsPlain) {
    for (PacketPlan plan : {PacketPlan{}, plan6()})
        for (std::uint8_t protocol : {6, 17})
            for (std::size_t padding : {0, 7}) {
                plan.protocol = protocol;
                plan.padding = padding;
                plan.payload.assign(40, 1);
                EXPECT_TRUE(plain_like_parsed(build(plan)));
            }
}

TEST(ParsePlain, LeavesTheRestToTheParser) {
    std::vector<PacketPlan> plans(9);
    plans[0].vlan_tci = 5;
    plans[1].v4_options = {1, 1, 1, 0};
    plans[2].v4_fragment = 0x2000;
    plans[3].v4_fragment = 3;
    plans[4].ttl = 0;
    plans[5].tcp_flags = 0x03;
    plans[6].source = "127.0.0.1";
    plans[7].source = plans[7].destination;
    plans[7].source_port = plans[7].destination_port;
    plans[8].protocol = 1;
    for (const PacketPlan& plan : plans)
        EXPECT_FALSE(plain_like_parsed(build(plan)));
}

TEST(ParsePlain, AgreesWithTheParserOnAnything) {
    std::mt19937 random(5);
    std::uint32_t taken = 0;
    std::uint32_t left = 0;
    for (const Sample& sample : sound_packets()) {
        const Bytes sound = build(sample.plan);
        for (int i = 0; i < 2000; i++) {
            Bytes frame = sound;
            for (std::uint32_t bits = random() % 3; bits > 0 && !frame.empty(); bits--)
                frame[random() % std::min<std::size_t>(frame.size(), 64)] ^=
                    static_cast<std::uint8_t>(1u << random() % 8);
            if (random() % 2)
                repair_v4_checksum(frame);
            if (random() % 4 == 0)
                frame.resize(random() % (frame.size() + 1));
            (plain_like_parsed(frame) ? taken : left)++;
        }
    }
    EXPECT_GT(taken, 1000u);
    EXPECT_GT(left, 1000u);
}

} // namespace
