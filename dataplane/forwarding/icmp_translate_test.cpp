// SPDX-License-Identifier: BSD-3-Clause
// A translated ICMP error is the one that would have been built around the translated packet,
// however much of it is quoted.
#include "dataplane/forwarding/icmp_translate.h"

#include <gtest/gtest.h>

#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

struct Scene { // a packet of ours on its way, and a router that has something to say about it
    PacketPlan quoted;
    PacketPlan error;
    size_t quote_bytes;
};

Bytes build_error(const Scene& scene) {
    PacketPlan error = scene.error;
    error.payload = build_ip(scene.quoted);
    error.payload.resize(std::min(error.payload.size(), scene.quote_bytes));
    return build(error);
}

// The error about what we sent to a backend, as it must reach the client.
Scene scene(bool six, uint8_t protocol, size_t quote_bytes) {
    const PacketPlan plain;
    Scene made{plain, plain, quote_bytes};
    made.quoted.protocol = protocol;
    made.quoted.tcp_flags = 0x18;
    made.quoted.source = six ? "2001:db8:9::c8" : "192.0.2.200";
    made.quoted.destination = six ? "2001:db8:8::7" : "203.0.113.7";
    made.quoted.source_port = 50123;
    made.quoted.destination_port = 8080;
    made.quoted.ttl = 3;
    made.error.source = six ? "2001:db8:5::1" : "192.0.2.77";
    made.error.destination = made.quoted.source;
    made.error.protocol = six ? 58 : 1;
    made.error.icmp_type = six ? 2 : 3;
    made.error.icmp_code = six ? 0 : 4;
    made.error.icmp_word = 1400;
    made.error.vlan_tci = 5;
    return made;
}

Scene translated(Scene scene) {
    const bool six = is_v6(scene.quoted);
    scene.quoted.source = six ? kClient6 : "198.51.100.200";
    scene.quoted.destination = six ? kVip6 : kVip4;
    scene.quoted.source_port = 40000;
    scene.quoted.destination_port = 443;
    scene.error.source = six ? kVip6 : kVip4;
    scene.error.destination = scene.quoted.source;
    scene.error.ttl--;
    return scene;
}

weir_packet parsed(const Bytes& frame) {
    weir_packet packet{};
    EXPECT_EQ(weir_parse(frame.data(), frame.data() + frame.size(), &packet), WEIR_UNDECIDED);
    return packet;
}

weir_translation tuple(const PacketPlan& plan) {
    return {address_of(plan.source), address_of(plan.destination), be16(plan.source_port),
            be16(plan.destination_port)};
}

weir_verdict translate(uint8_t* data, const uint8_t* end, const weir_packet& packet,
                       const Scene& want) {
    const weir_address source = address_of(want.error.source);
    const weir_address destination = address_of(want.error.destination);
    const weir_translation quoted = tuple(want.quoted);
    return weir_translate_icmp_error(data, end, &packet, &source, &destination, &quoted);
}

size_t least_quote(bool six) {
    return six ? 48 : 28;
}

bool icmp_sum_holds(const PacketPlan& error, const Bytes& frame, const weir_packet& packet) {
    const auto icmp = std::span(frame).subspan(
        packet.l4_offset, size_t{packet.l3_offset} + packet.l3_length - packet.l4_offset);
    if (packet.family == 4)
        return full_checksum(icmp) == 0;
    return l4_checksum(address_bytes(error.source), address_bytes(error.destination), 58, icmp) ==
           0;
}

TEST(TranslateIcmpError, GivesTheErrorAboutTheTranslatedPacketForEveryLengthOfQuote) {
    size_t compared = 0;
    for (const bool six : {false, true}) {
        for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
            for (size_t quote = least_quote(six); quote < least_quote(six) + 30; quote++) {
                const Scene from = scene(six, protocol, quote);
                const Scene want = translated(from);
                Bytes frame = build_error(from);
                const weir_packet packet = parsed(frame);
                ASSERT_TRUE(packet.flags & WEIR_PACKET_ICMP_ERROR);
                ASSERT_EQ(packet.defect, WEIR_UNDECIDED);
                ASSERT_EQ(translate(frame.data(), frame.data() + frame.size(), packet, want),
                          WEIR_UNDECIDED);
                const Bytes expected = build_error(want);
                if (protocol == 6 && quote == least_quote(six) - 8 + 17) {
                    EXPECT_TRUE(icmp_sum_holds(want.error, frame, packet));
                    continue; // half a TCP checksum: left as it came
                }
                EXPECT_EQ(frame, expected) << six << ' ' << int{protocol} << ' ' << quote;
                compared++;
            }
        }
    }
    EXPECT_EQ(compared, 118u);
}

TEST(TranslateIcmpError, QuotedOptionsAndAnUnsummedUdpDatagram) {
    Scene from = scene(false, 17, 100);
    from.quoted.udp_checksum_zero = true;
    from.quoted.v4_options = {1, 1, 1, 0};
    const Scene want = translated(from);
    Bytes frame = build_error(from);
    const weir_packet packet = parsed(frame);
    ASSERT_EQ(translate(frame.data(), frame.data() + frame.size(), packet, want), WEIR_UNDECIDED);
    EXPECT_EQ(frame, build_error(want));
}

TEST(TranslateIcmpError, PaddingBehindTheErrorIsNotTheQuotes) {
    Scene from = scene(false, 6, 28);
    from.error.padding = 18;
    const Scene want = translated(from);
    Bytes frame = build_error(from);
    const weir_packet packet = parsed(frame);
    ASSERT_EQ(translate(frame.data(), frame.data() + frame.size(), packet, want), WEIR_UNDECIDED);
    EXPECT_EQ(frame, build_error(want));
}

TEST(TranslateIcmpError, AllSumsHoldForRandomTuplesAndStayWrongWhereTheyWere) {
    std::mt19937_64 random(21);
    for (int i = 0; i < 30000; i++) {
        const bool six = random() % 2;
        Scene from = scene(six, random() % 2 ? 6 : 17, 2000);
        from.quoted.payload.resize(random() % 64);
        for (uint8_t& byte : from.quoted.payload)
            byte = static_cast<uint8_t>(random() % 3 ? random() : 0xff);
        Scene want = translated(from);
        for (PacketPlan* plan : {&want.quoted, &want.error}) {
            for (std::string* address : {&plan->source, &plan->destination})
                *address = six ? "2001:db8:7::" + std::to_string(1 + random() % 9999)
                               : "198.51.100." + std::to_string(random() % 256);
        }
        want.quoted.source_port = static_cast<uint16_t>(random());
        want.quoted.destination_port = static_cast<uint16_t>(random());
        Bytes frame = build_error(from);
        const bool damaged = random() % 4 == 0;
        if (damaged)
            frame.back() ^= 0x10;
        const weir_packet packet = parsed(frame);
        ASSERT_EQ(translate(frame.data(), frame.data() + frame.size(), packet, want),
                  WEIR_UNDECIDED);
        ASSERT_EQ(icmp_sum_holds(want.error, frame, packet), !damaged);
        const auto quoted = std::span(frame).subspan(packet.quoted_offset);
        ASSERT_TRUE(six || full_checksum(quoted.first(20)) == 0);
        const uint16_t l4 =
            l4_checksum(address_bytes(want.quoted.source), address_bytes(want.quoted.destination),
                        packet.protocol, quoted.subspan(six ? 40 : 20));
        ASSERT_EQ(l4 == 0, !damaged);
        const weir_packet again = parsed(frame);
        ASSERT_EQ(again.ttl, from.error.ttl - 1);
        ASSERT_EQ(again.source_port, be16(want.quoted.destination_port));
    }
}

TEST(TranslateIcmpError, AnErrorOnItsLastHopIsLeftAsItWas) {
    for (const bool six : {false, true}) {
        Scene from = scene(six, 6, 60);
        from.error.ttl = 1;
        Bytes frame = build_error(from);
        const Bytes before = frame;
        const weir_packet packet = parsed(frame);
        EXPECT_EQ(translate(frame.data(), frame.data() + frame.size(), packet, translated(from)),
                  WEIR_DROP_TTL_EXPIRED);
        EXPECT_EQ(frame, before);
    }
}

TEST(TranslateIcmpError, NeverWritesPastACutPacket) {
    for (const bool six : {false, true}) {
        for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
            const Scene from = scene(six, protocol, 200);
            const Bytes whole = build_error(from);
            const weir_packet packet = parsed(whole);
            for (size_t size = 0; size <= whole.size(); size++) {
                ExactCopy copy(std::span<const uint8_t>(whole).first(size));
                const bool enough = size >= packet.quoted_l4_offset + 8u;
                EXPECT_EQ(translate(copy.data(), copy.end(), packet, translated(from)),
                          enough ? WEIR_UNDECIDED : WEIR_DROP_TRUNCATED);
            }
        }
    }
}

} // namespace
