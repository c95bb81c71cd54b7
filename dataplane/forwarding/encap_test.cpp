// SPDX-License-Identifier: BSD-3-Clause
// Encapsulation in all four family pairs against headers put together byte by byte.
#include "dataplane/forwarding/encap.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/rewrite.h"
#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

constexpr uint64_t kHash = 0x1234'5678'9abc'def0;
constexpr unsigned kGuePort = 6080;

weir_node_row node_row() {
    weir_node_row node{};
    node.tunnel_source_v4 = address_of("10.9.0.240");
    node.tunnel_source_v4_count = 16;
    node.tunnel_source_v6 = address_of("2001:db8:9::ff00");
    node.tunnel_source_v6_count = 256;
    node.gue_port = be16(kGuePort);
    return node;
}

weir_outer outer_for(bool gue, bool six, uint64_t hash = kHash) {
    const weir_node_row node = node_row();
    weir_vip_row vip{};
    vip.forward = gue ? WEIR_FORWARD_DSR_GUE : WEIR_FORWARD_DSR_IPIP;
    weir_backend_row backend{};
    backend.address = address_of(six ? "2001:db8:8::7" : "203.0.113.7");
    weir_outer outer{};
    EXPECT_TRUE(weir_outer_for(&node, &vip, &backend, hash, &outer));
    return outer;
}

weir_packet parsed(const Bytes& frame) {
    weir_packet packet{};
    EXPECT_EQ(weir_parse(frame.data(), frame.data() + frame.size(), &packet), WEIR_UNDECIDED);
    return packet;
}

// The outer headers as the RFCs say, for kHash.
Bytes expected_outer(const PacketPlan& inner, const Bytes& inner_ip, bool gue, bool six) {
    Bytes payload;
    if (gue) {
        put16(payload, 0xc000 | (0x12345678 & 0x3fff));
        put16(payload, kGuePort);
        put16(payload, static_cast<unsigned>(inner_ip.size() + 12));
        put16(payload, 0);
        put8(payload, 0);
        put8(payload, is_v6(inner) ? 41 : 4);
        put16(payload, 0);
    }
    put(payload, inner_ip);
    PacketPlan outer;
    outer.protocol = gue ? 17 : is_v6(inner) ? 41 : 4;
    outer.tos = inner.tos;
    outer.source = six ? "2001:db8:9::ffd1" : "10.9.0.241";
    outer.destination = six ? "2001:db8:8::7" : "203.0.113.7";
    outer.v6_flow_label = 0x45678;
    const bool whole = is_v6(inner) || (inner.v4_fragment & 0x4000);
    outer.v4_fragment = whole ? 0x4000 : 0;
    outer.v4_id =
        static_cast<uint16_t>(whole ? 0 : inner.v4_id + 0x1234 + (inner.v4_fragment & 0x1fff));
    return build_ip(outer, payload);
}

struct Encapsulated {
    Bytes frame;
    weir_packet packet;
};

Encapsulated encapsulate(const Bytes& frame, const weir_outer& outer, uint16_t tag) {
    weir_packet packet = parsed(frame);
    const int change = weir_head_change(&packet, tag);
    const int grow = static_cast<int>(weir_outer_bytes(&outer)) + change;
    Bytes room(static_cast<size_t>(grow), 0xee);
    put(room, frame);
    weir_packet_moved(&packet, change, tag);
    uint8_t* data = room.data();
    const uint8_t* end = data + room.size();
    EXPECT_EQ(weir_write_outer(data, end, &packet, &outer), WEIR_UNDECIDED);
    weir_packet_encapsulated(&packet, &outer);
    const uint8_t to[6] = {0x0a, 1, 2, 3, 4, 5}, from[6] = {0x0a, 9, 8, 7, 6, 5};
    const weir_link link = {to, from, tag};
    EXPECT_EQ(weir_write_ethernet(data, end, &packet, &link), WEIR_UNDECIDED);
    return {room, packet};
}

TEST(Encapsulate, AllFamilyPairsAndBothForms) {
    size_t compared = 0;
    for (Sample sample : sound_packets()) {
        sample.plan.tos = static_cast<uint8_t>(0xb8 | (compared & 3)); // EF, each ECN codepoint
        for (unsigned pick = 0; pick < 8; pick++) {
            const bool gue = pick & 1, six = pick & 2;
            const uint16_t tag = pick & 4 ? 0x0123 : uint16_t{WEIR_NO_VLAN};
            PacketPlan link = sample.plan;
            link.destination_mac = {0x0a, 1, 2, 3, 4, 5};
            link.source_mac = {0x0a, 9, 8, 7, 6, 5};
            link.vlan_ethertype = 0x8100;
            link.vlan_tci = tag == WEIR_NO_VLAN ? std::nullopt : std::optional(tag);
            const Bytes inner = build_ip(sample.plan);
            const Encapsulated made = encapsulate(build(sample.plan), outer_for(gue, six), tag);
            EXPECT_EQ(made.frame, framed(link, expected_outer(sample.plan, inner, gue, six)))
                << sample.name << ' ' << pick;
            compared++;
        }
    }
    EXPECT_GT(compared, 200u);
}

TEST(Encapsulate, APlainFrameGetsTheSame) {
    size_t compared = 0;
    for (Sample sample : sound_packets()) {
        sample.plan.tos = 0xb9;
        sample.plan.padding = compared % 3;
        sample.plan.payload.resize(40); // IPv6 is as long as the parser wants a plain frame to be
        const Bytes frame = build(sample.plan);
        weir_packet packet{};
        if (!weir_parse_plain(frame.data(), frame.data() + frame.size(), &packet))
            continue;
        for (unsigned pick = 0; pick < 4; pick++) {
            const weir_outer outer = outer_for(pick & 1, pick & 2);
            Bytes room(weir_outer_bytes(&outer), 0xee);
            put(room, frame);
            weir_write_plain_outer(room.data() + weir_outer_bytes(&outer), packet.family == 4,
                                   &outer);
            Bytes expected = encapsulate(frame, outer, WEIR_NO_VLAN).frame;
            std::fill_n(expected.begin(), WEIR_ETHERNET_BYTES, uint8_t{0xee}); // not its business
            std::fill_n(room.begin(), WEIR_ETHERNET_BYTES, uint8_t{0xee});
            EXPECT_EQ(room, expected) << sample.name << ' ' << pick;
            compared++;
        }
    }
    EXPECT_GT(compared, 30u);
}

TEST(Encapsulate, ThePacketThenTellsOfTheOuterOne) {
    for (const Sample& sample : sound_packets()) {
        for (const bool gue : {false, true}) {
            for (const bool six : {false, true}) {
                const Encapsulated made =
                    encapsulate(build(sample.plan), outer_for(gue, six), 0x0007);
                const weir_packet again = parsed(made.frame);
                EXPECT_EQ(made.packet.l3_offset, again.l3_offset);
                EXPECT_EQ(made.packet.l3_length, again.l3_length);
                EXPECT_EQ(made.packet.l4_offset, again.l4_offset);
                EXPECT_EQ(made.packet.family, again.family);
                EXPECT_EQ(made.packet.protocol, again.protocol);
                EXPECT_EQ(made.packet.ttl, again.ttl);
                EXPECT_EQ(made.packet.ethertype, again.ethertype);
                EXPECT_EQ(made.packet.flags & ~WEIR_PACKET_PORTS, again.flags & ~WEIR_PACKET_PORTS);
                if (!six) {
                    EXPECT_EQ(made.packet.fragment_id, again.fragment_id);
                }
            }
        }
    }
}

TEST(Encapsulate, DontFragmentIsCopiedAndFragmentsGetIdsOfTheirOwn) {
    PacketPlan plan;
    plan.payload.resize(64);
    std::set<unsigned> ids;
    for (const uint16_t fragment : {0x0000, 0x2000, 0x2008, 0x0010}) {
        plan.v4_fragment = fragment;
        const Bytes frame = encapsulate(build(plan), outer_for(false, false), WEIR_NO_VLAN).frame;
        EXPECT_EQ(get16(frame, 20), 0u) << "the outer packet is whole, and may be cut";
        if (fragment != 0)
            ids.insert(get16(frame, 18));
    }
    EXPECT_EQ(ids.size(), 3u);
    plan.v4_fragment = 0x4000;
    const Bytes frame = encapsulate(build(plan), outer_for(false, false), WEIR_NO_VLAN).frame;
    EXPECT_EQ(get16(frame, 20), 0x4000u);
    EXPECT_EQ(get16(frame, 18), 0u);
}

TEST(OuterFor, SpreadsFlowsOverSourcesAndPorts) {
    std::mt19937_64 random(7);
    std::set<uint64_t> sources4, sources6;
    std::set<unsigned> ports;
    for (int i = 0; i < 20000; i++) {
        const uint64_t hash = random();
        const weir_outer four = outer_for(false, false, hash), six = outer_for(true, true, hash);
        sources4.insert(four.source.word[1]);
        sources6.insert(six.source.word[1]);
        EXPECT_EQ(six.source.word[0], node_row().tunnel_source_v6.word[0]);
        const unsigned port = weir_swap16(six.source_port);
        EXPECT_GE(port, 49152u);
        ports.insert(port);
        EXPECT_EQ(outer_for(true, true, hash).source_port, six.source_port);
    }
    EXPECT_EQ(sources4.size(), 16u);
    EXPECT_EQ(sources6.size(), 256u);
    EXPECT_GT(ports.size(), 10000u);
    EXPECT_TRUE(sources4.contains(address_of("10.9.0.240").word[1]));
    EXPECT_TRUE(sources4.contains(address_of("10.9.0.255").word[1]));
}

TEST(OuterFor, ANodeWithoutASourceInThatFamilyCannot) {
    weir_node_row node = node_row();
    weir_vip_row vip{};
    vip.forward = WEIR_FORWARD_DSR_IPIP;
    weir_backend_row four{}, six{};
    four.address = address_of("203.0.113.7");
    six.address = address_of("2001:db8:8::7");
    weir_outer outer{};
    node.tunnel_source_v6_count = 0;
    EXPECT_TRUE(weir_outer_for(&node, &vip, &four, kHash, &outer));
    EXPECT_FALSE(weir_outer_for(&node, &vip, &six, kHash, &outer));
    node = node_row();
    node.tunnel_source_v4_count = 0;
    EXPECT_FALSE(weir_outer_for(&node, &vip, &four, kHash, &outer));
    EXPECT_TRUE(weir_outer_for(&node, &vip, &six, kHash, &outer));
}

TEST(OuterBytes, AndWhatThePathLeavesForTheInnerPacket) {
    const std::array<std::array<unsigned, 2>, 2> bytes = {{{20, 40}, {32, 52}}};
    for (const bool gue : {false, true}) {
        for (const bool six : {false, true}) {
            const weir_outer outer = outer_for(gue, six);
            EXPECT_EQ(weir_outer_bytes(&outer), bytes[gue][six]);
            EXPECT_EQ(weir_inner_mtu(1500, &outer), 1500 - bytes[gue][six]);
            EXPECT_EQ(weir_inner_mtu(bytes[gue][six], &outer), 0u);
            EXPECT_EQ(weir_inner_mtu(10, &outer), 0u);
        }
    }
}

TEST(Encapsulate, RefusesWhatNoIpPacketCanHold) {
    Bytes frame(70000);
    weir_packet packet = parsed(build(PacketPlan{}));
    packet.l3_length = 65530;
    const weir_outer outer = outer_for(false, false);
    EXPECT_EQ(weir_write_outer(frame.data(), frame.data() + frame.size(), &packet, &outer),
              WEIR_DROP_TOO_BIG);
}

TEST(Encapsulate, NeverWritesPastACutPacket) {
    for (const bool gue : {false, true}) {
        for (const bool six : {false, true}) {
            const Bytes whole = build(PacketPlan{});
            const weir_packet packet = parsed(whole);
            const weir_outer outer = outer_for(gue, six);
            for (size_t size = 0; size < 14 + weir_outer_bytes(&outer) + 20; size++) {
                ExactCopy copy(Bytes(size, 0x45));
                EXPECT_EQ(weir_write_outer(copy.data(), copy.end(), &packet, &outer),
                          WEIR_DROP_TRUNCATED);
            }
        }
    }
}

} // namespace
