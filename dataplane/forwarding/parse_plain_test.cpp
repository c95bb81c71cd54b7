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

// Whether the short way took the frame; if so, it gave what the parser gives.
bool plain_like_parsed(const Bytes& frame) {
    ExactCopy copy(frame);
    weir_packet plain{};
    if (!weir_parse_plain(copy.data(), copy.end(), &plain))
        return false;
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
