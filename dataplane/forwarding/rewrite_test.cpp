// SPDX-License-Identifier: BSD-3-Clause
// What leaves in each mode: the fields that should change did, nothing else did, and the checksums,
// summed anew over the whole packet, are right (or as wrong as they came in).
#include "dataplane/forwarding/rewrite.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "dataplane/forwarding/parse_plain.h"
#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

struct Target {
    const char* source4;
    const char* source6;
    const char* destination4;
    const char* destination6;
    unsigned source_port, destination_port;
};

// Empty names and port 0: as the packet has them.
constexpr Target kNat = {"", "", "203.0.113.7", "2001:db8:9::7", 0, 8080};
constexpr Target kNatReply = {"198.51.100.99", "2001:db8:9::99", "", "", 443, 0};
constexpr Target kFullNat = {"192.0.2.200", "2001:db8:9::c8", "203.0.113.7", "2001:db8:9::7", 51000,
                             8443};
constexpr Target kTargets[] = {kNat, kNatReply, kFullNat};

bool is6(const PacketPlan& plan) {
    return plan.source.find(':') != std::string::npos;
}

weir_packet parsed(const Bytes& frame) {
    weir_packet packet{};
    EXPECT_EQ(weir_parse(frame.data(), frame.data() + frame.size(), &packet), WEIR_UNDECIDED);
    return packet;
}

weir_translation translation_of(const Target& target, const weir_packet& packet) {
    weir_translation to;
    weir_translation_of(&packet, &to);
    const bool six = packet.family == 6;
    if (const char* source = six ? target.source6 : target.source4; *source)
        to.source = address_of(source);
    if (const char* destination = six ? target.destination6 : target.destination4; *destination)
        to.destination = address_of(destination);
    if (target.source_port)
        to.source_port = be16(target.source_port);
    if (target.destination_port)
        to.destination_port = be16(target.destination_port);
    return to;
}

// The same packet as it would be built with the new tuple and one hop less.
PacketPlan planned(PacketPlan plan, const Target& target) {
    const bool six = is6(plan);
    if (const char* source = six ? target.source6 : target.source4; *source)
        plan.source = source;
    if (const char* destination = six ? target.destination6 : target.destination4; *destination)
        plan.destination = destination;
    if (target.source_port)
        plan.source_port = static_cast<uint16_t>(target.source_port);
    if (target.destination_port)
        plan.destination_port = static_cast<uint16_t>(target.destination_port);
    plan.ttl--;
    return plan;
}

bool has_ports(const PacketPlan& plan) {
    return plan.protocol == 6 || plan.protocol == 17;
}

TEST(Translate, GivesThePacketThatWouldHaveBeenBuiltSo) {
    size_t compared = 0;
    for (const Sample& sample : sound_packets()) {
        if (!has_ports(sample.plan))
            continue;
        for (const Target& target : kTargets) {
            Bytes frame = build(sample.plan);
            const weir_packet packet = parsed(frame);
            const weir_translation to = translation_of(target, packet);
            ASSERT_EQ(weir_translate(frame.data(), frame.data() + frame.size(), &packet, &to),
                      WEIR_UNDECIDED);
            EXPECT_EQ(frame, build(planned(sample.plan, target))) << sample.name;
            compared++;
        }
    }
    EXPECT_GT(compared, 50u);
}

// Full sums over what left, by its own header fields.
struct Sums {
    bool ip, l4;
    unsigned l4_stored;
};

Sums sums_of(const Bytes& frame) {
    const weir_packet packet = parsed(frame);
    const auto l3 = std::span(frame).subspan(packet.l3_offset, packet.l3_length);
    const size_t header = packet.l4_offset - packet.l3_offset;
    const bool six = packet.family == 6;
    const Bytes source(l3.begin() + (six ? 8 : 12), l3.begin() + (six ? 24 : 16));
    const Bytes destination(l3.begin() + (six ? 24 : 16), l3.begin() + (six ? 40 : 20));
    const auto l4 = l3.subspan(header);
    return {six || full_checksum(l3.first(header)) == 0,
            l4_checksum(source, destination, packet.protocol, l4) == 0,
            get16(l4, packet.protocol == 6 ? 16 : 6)};
}

TEST(Translate, APlainFrameGetsTheSame) {
    size_t compared = 0;
    for (Sample sample : sound_packets()) {
        sample.plan.payload.resize(40);
        const Bytes frame = build(sample.plan);
        weir_packet packet{};
        if (!weir_parse_plain(frame.data(), frame.data() + frame.size(), &packet))
            continue;
        const bool is_tcp = packet.protocol == WEIR_IP_TCP;
        const size_t udp_checksum = packet.l4_offset + 6u;
        for (const bool summed : {true, false}) {
            for (const Target& target : kTargets) {
                Bytes expected = frame;
                if (!summed && !is_tcp)
                    std::fill_n(expected.begin() + static_cast<long>(udp_checksum), 2, uint8_t{0});
                Bytes plain = expected;
                const weir_translation to = translation_of(target, packet);
                ASSERT_EQ(weir_translate(expected.data(), expected.data() + expected.size(),
                                         &packet, &to),
                          WEIR_UNDECIDED);
                if (packet.family == 4)
                    weir_translate_plain_v4(plain.data(), packet.flow.word, is_tcp, &to);
                else
                    weir_translate_plain_v6(plain.data(), packet.flow.word, is_tcp, &to);
                EXPECT_EQ(plain, expected) << sample.name;
                compared++;
            }
        }
    }
    EXPECT_GT(compared, 30u);
}

TEST(Translate, ChecksumsHoldForRandomTuplesAndPayloads) {
    std::mt19937_64 random(4);
    for (int i = 0; i < 30000; i++) {
        PacketPlan plan;
        const bool six = random() % 2;
        plan.source = six ? "2001:db8::" + std::to_string(1 + random() % 9999) : "192.0.2.1";
        plan.destination = six ? kVip6 : kVip4;
        plan.protocol = random() % 2 ? 6 : 17;
        plan.ttl = static_cast<uint8_t>(2 + random() % 254);
        plan.source_port = static_cast<uint16_t>(random());
        plan.payload.resize(random() % 64);
        for (uint8_t& byte : plan.payload)
            byte = static_cast<uint8_t>(random() % 3 ? random() : 0xff);
        Bytes frame = build(plan);
        const weir_packet packet = parsed(frame);
        weir_translation to;
        weir_translation_of(&packet, &to);
        to.source = six ? weir_address{{random(), random()}}
                        : weir_address_from_v4(static_cast<weir_be32>(random()));
        to.destination = six ? weir_address{{random(), random()}}
                             : weir_address_from_v4(static_cast<weir_be32>(random()));
        to.source_port = static_cast<weir_be16>(random());
        to.destination_port = static_cast<weir_be16>(random());
        ASSERT_EQ(weir_translate(frame.data(), frame.data() + frame.size(), &packet, &to),
                  WEIR_UNDECIDED);
        const Sums sums = sums_of(frame);
        ASSERT_TRUE(sums.ip);
        ASSERT_TRUE(sums.l4);
        if (plan.protocol == 17) {
            ASSERT_NE(sums.l4_stored, 0u) << "a UDP checksum must not turn into none (RFC 768)";
        }
    }
}

TEST(Translate, KeepsCorruptionVisible) {
    for (const Sample& sample : sound_packets()) {
        if (!has_ports(sample.plan) || sample.plan.payload.empty() || sample.plan.udp_checksum_zero)
            continue;
        for (const Target& target : kTargets) {
            Bytes frame = build(sample.plan);
            frame[frame.size() - sample.plan.padding - 1] ^=
                0x40; // payload damaged on the way here
            ASSERT_FALSE(sums_of(frame).l4);
            const weir_packet packet = parsed(frame);
            const weir_translation to = translation_of(target, packet);
            weir_translate(frame.data(), frame.data() + frame.size(), &packet, &to);
            EXPECT_FALSE(sums_of(frame).l4) << sample.name;
            EXPECT_TRUE(sums_of(frame).ip);
        }
    }
}

TEST(Translate, UdpWithoutAChecksumStaysWithout) {
    PacketPlan plan;
    plan.protocol = 17;
    plan.udp_checksum_zero = true;
    Bytes frame = build(plan);
    const weir_packet packet = parsed(frame);
    const weir_translation to = translation_of(kFullNat, packet);
    weir_translate(frame.data(), frame.data() + frame.size(), &packet, &to);
    EXPECT_EQ(sums_of(frame).l4_stored, 0u);
}

TEST(Translate, AUdpSumOfZeroIsSentAsAllOnes) {
    PacketPlan plan;
    plan.protocol = 17;
    const Bytes original = build(plan);
    size_t all_ones = 0;
    for (unsigned port = 1; port < 0x10000; port++) { // some port makes the sum come out as zero
        Bytes frame = original;
        const weir_packet packet = parsed(frame);
        weir_translation to;
        weir_translation_of(&packet, &to);
        to.source_port = be16(port);
        weir_translate(frame.data(), frame.data() + frame.size(), &packet, &to);
        const unsigned stored = get16(frame, packet.l4_offset + 6u);
        ASSERT_NE(stored, 0u) << port;
        all_ones += stored == 0xffff;
    }
    EXPECT_GT(all_ones, 0u);
}

TEST(Translate, ThereAndBackIsTheSamePacketTwoHopsOlder) {
    for (const Sample& sample : sound_packets()) {
        if (!has_ports(sample.plan))
            continue;
        Bytes frame = build(sample.plan);
        const weir_packet packet = parsed(frame);
        weir_translation back;
        weir_translation_of(&packet, &back);
        const weir_translation there = translation_of(kFullNat, packet);
        weir_translate(frame.data(), frame.data() + frame.size(), &packet, &there);
        const weir_packet translated = parsed(frame);
        weir_translate(frame.data(), frame.data() + frame.size(), &translated, &back);
        PacketPlan older = sample.plan;
        older.ttl = static_cast<uint8_t>(older.ttl - 2);
        EXPECT_EQ(frame, build(older)) << sample.name;
    }
}

TEST(Translate, APacketOnItsLastHopIsLeftAsItWas) {
    for (const bool six : {false, true}) {
        for (uint8_t ttl : {uint8_t{0}, uint8_t{1}}) {
            PacketPlan plan;
            if (six) {
                plan.source = kClient6;
                plan.destination = kVip6;
            }
            plan.ttl = ttl;
            Bytes frame = build(plan);
            const Bytes before = frame;
            const weir_packet packet = parsed(frame);
            const weir_translation to = translation_of(kFullNat, packet);
            EXPECT_EQ(weir_translate(frame.data(), frame.data() + frame.size(), &packet, &to),
                      WEIR_DROP_TTL_EXPIRED);
            EXPECT_EQ(frame, before);
        }
    }
}

// Sends `plan` out with `tag`, as a plane does: head moved, offsets moved, Ethernet written.
Bytes sent(const PacketPlan& plan, uint16_t tag) {
    Bytes room(8);
    const Bytes frame = build(plan);
    room.insert(room.end(), frame.begin(), frame.end());
    uint8_t* data = room.data() + 8;
    const uint8_t* end = room.data() + room.size();
    weir_packet packet = parsed(frame);
    const int change = weir_head_change(&packet, tag);
    data -= change;
    weir_packet_moved(&packet, change, tag);
    const uint8_t to[6] = {0x0a, 1, 2, 3, 4, 5}, from[6] = {0x0a, 9, 8, 7, 6, 5};
    const weir_link link = {to, from, tag};
    EXPECT_EQ(weir_write_ethernet(data, end, &packet, &link), WEIR_UNDECIDED);
    return Bytes(static_cast<const uint8_t*>(data), end);
}

TEST(WriteEthernet, IsAllThatDsrChanges) {
    for (const Sample& sample : sound_packets()) {
        for (const uint16_t tag : {uint16_t{WEIR_NO_VLAN}, uint16_t{0x6123}}) {
            PacketPlan plan = sample.plan;
            plan.destination_mac = {0x0a, 1, 2, 3, 4, 5};
            plan.source_mac = {0x0a, 9, 8, 7, 6, 5};
            plan.vlan_ethertype = 0x8100; // a service tag leaves as an ordinary one
            plan.vlan_tci = tag == WEIR_NO_VLAN ? std::nullopt : std::optional(tag);
            EXPECT_EQ(sent(sample.plan, tag), build(plan)) << sample.name << " tag " << tag;
        }
    }
}

TEST(Rewrite, NeverWritesPastACutPacket) {
    // Offsets of a whole packet, bytes of a shorter one: what a plane with a bug would hand over.
    for (const Sample& sample : sound_packets()) {
        if (!has_ports(sample.plan))
            continue;
        const Bytes whole = build(sample.plan);
        const weir_packet packet = parsed(whole);
        const weir_translation to = translation_of(kFullNat, packet);
        const uint8_t mac[6] = {};
        const weir_link link = {mac, mac, packet.vlan_tci};
        for (size_t size = 0; size < packet.l4_offset + 8u; size++) {
            ExactCopy copy(std::span<const uint8_t>(whole).first(size));
            EXPECT_EQ(weir_translate(copy.data(), copy.end(), &packet, &to), WEIR_DROP_TRUNCATED);
            if (size < packet.l3_offset) {
                EXPECT_EQ(weir_write_ethernet(copy.data(), copy.end(), &packet, &link),
                          WEIR_DROP_TRUNCATED);
            }
        }
    }
}

} // namespace
