// SPDX-License-Identifier: BSD-3-Clause
// Errors about what we encapsulated: found in all family pairs and both forms, and turned into what
// the client must be told.
#include "dataplane/forwarding/tunnel_error.h"

#include <gtest/gtest.h>

#include "dataplane/forwarding/rewrite.h"
#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

constexpr unsigned kGuePort = 6080;

PacketPlan client_packet(bool six, uint8_t protocol = 6) {
    PacketPlan plan;
    plan.protocol = protocol;
    plan.tcp_flags = 0x10;
    if (six) {
        plan.source = kClient6;
        plan.destination = kVip6;
    } else {
        plan.destination = kVip4;
    }
    plan.payload.resize(1300, 0x77);
    return plan;
}

struct Tunnel {
    bool gue, six;
    uint8_t variant = 0;
    unsigned port = kGuePort;
    std::string source4 = "10.9.0.240";
};

// Our encapsulated packet, put together byte by byte.
Bytes encapsulated(const Tunnel& tunnel, const PacketPlan& inner) {
    Bytes payload;
    const Bytes ip = build_ip(inner);
    if (tunnel.gue) {
        put16(payload, 50000);
        put16(payload, tunnel.port);
        put16(payload, static_cast<unsigned>(ip.size() + 12));
        put16(payload, 0);
        put8(payload, tunnel.variant);
        put8(payload, is_v6(inner) ? 41 : 4);
        put16(payload, 0);
    }
    put(payload, ip);
    PacketPlan outer;
    outer.protocol = tunnel.gue ? 17 : is_v6(inner) ? 41 : 4;
    outer.source = tunnel.six ? "2001:db8:9::ff00" : tunnel.source4;
    outer.destination = tunnel.six ? "2001:db8:8::7" : "203.0.113.7";
    return build_ip(outer, payload);
}

PacketPlan router_error(bool six, uint32_t mtu = 1420) {
    PacketPlan error;
    error.source = six ? "2001:db8:5::1" : "192.0.2.77";
    error.destination = six ? "2001:db8:9::ff00" : "10.9.0.240";
    error.protocol = six ? 58 : 1;
    error.icmp_type = six ? 2 : 3;
    error.icmp_code = six ? 0 : 4;
    error.icmp_word = mtu;
    return error;
}

Bytes error_about(const Tunnel& tunnel, const PacketPlan& inner, size_t quote,
                  uint32_t mtu = 1420) {
    PacketPlan error = router_error(tunnel.six, mtu);
    error.payload = encapsulated(tunnel, inner);
    error.payload.resize(std::min(error.payload.size(), quote));
    return build(error);
}

struct Found {
    weir_packet packet;
    bool found;
};

Found find(const Bytes& frame) {
    ExactCopy copy(frame);
    Found result{};
    EXPECT_EQ(weir_parse(copy.data(), copy.end(), &result.packet), WEIR_UNDECIDED);
    result.found = weir_parse_tunnel_error(copy.data(), copy.end(), &result.packet, be16(kGuePort));
    return result;
}

size_t outer_bytes(const Tunnel& tunnel) {
    return (tunnel.six ? 40u : 20u) + (tunnel.gue ? 12u : 0u);
}

template <typename Check> void for_each_pair(Check check) {
    for (unsigned pick = 0; pick < 8; pick++)
        check(Tunnel{(pick & 1) != 0, (pick & 2) != 0}, (pick & 4) != 0);
}

TEST(ParseTunnelError, FindsTheClientsPacketAsTheClientSentIt) {
    for_each_pair([](const Tunnel& tunnel, bool six) {
        for (const uint8_t protocol : {uint8_t{6}, uint8_t{17}}) {
            const PacketPlan inner = client_packet(six, protocol);
            const Bytes direct = build(inner);
            weir_packet want{};
            weir_parse(direct.data(), direct.data() + direct.size(), &want);
            const auto [packet, found] = find(error_about(tunnel, inner, 500));
            ASSERT_TRUE(found) << tunnel.gue << tunnel.six << six;
            EXPECT_EQ(packet.flags & (WEIR_PACKET_ICMP_ERROR | WEIR_PACKET_TUNNEL_ERROR),
                      WEIR_PACKET_TUNNEL_ERROR);
            EXPECT_EQ(packet.defect, WEIR_UNDECIDED);
            EXPECT_EQ(packet.flow.words, want.flow.words);
            for (unsigned i = 0; i < want.flow.words; i++)
                EXPECT_EQ(packet.flow.word[i], want.flow.word[i]) << i;
            EXPECT_EQ(packet.family, want.family);
            EXPECT_EQ(packet.protocol, protocol);
            EXPECT_EQ(packet.source_port, want.source_port);
            EXPECT_EQ(packet.destination_port, want.destination_port);
            EXPECT_EQ(packet.quoted_offset, 14 + (tunnel.six ? 40 : 20) + 8 + outer_bytes(tunnel));
            EXPECT_EQ(packet.quoted_l4_offset, packet.quoted_offset + (six ? 40 : 20));
        }
    });
}

TEST(ParseTunnelError, NeedsTheInnerHeaderAndEightBytes) {
    for_each_pair([](const Tunnel& tunnel, bool six) {
        const size_t least = outer_bytes(tunnel) + (six ? 48 : 28);
        for (size_t quote = 8; quote < least + 4; quote++)
            EXPECT_EQ(find(error_about(tunnel, client_packet(six), quote)).found, quote >= least)
                << tunnel.gue << tunnel.six << six << ' ' << quote;
    });
}

TEST(ParseTunnelError, LeavesWhatIsNotOurs) {
    const PacketPlan inner = client_packet(false);
    EXPECT_TRUE(find(error_about({true, false}, inner, 500)).found) << "negative control";
    EXPECT_FALSE(find(error_about({true, false, 0x20}, inner, 500)).found) << "a control message";
    EXPECT_FALSE(find(error_about({true, false, 0x40}, inner, 500)).found) << "variant 1";
    EXPECT_FALSE(find(error_about({true, false, 0x01}, inner, 500)).found) << "GUE with fields";
    EXPECT_FALSE(find(error_about({true, false, 0, 6081}, inner, 500)).found) << "another port";
    PacketPlan later = inner;
    later.v4_fragment = 0x0010;
    EXPECT_FALSE(find(error_about({false, false}, later, 500)).found);
    later.v4_fragment = 0x2000;
    EXPECT_TRUE(find(error_about({false, false}, later, 500)).found)
        << "a first fragment has ports";
    PacketPlan ping = inner;
    ping.protocol = 1;
    EXPECT_FALSE(find(error_about({false, false}, ping, 500)).found);
    EXPECT_FALSE(find(build(inner)).found);
    EXPECT_FALSE(find(build(ping)).found);

    // An ICMP error about a packet of a NAT connection stays one.
    PacketPlan error = router_error(false);
    PacketPlan sent = client_packet(false, 17);
    sent.source = "10.9.0.240";
    error.payload = build_ip(sent);
    error.payload.resize(64);
    const Found plain = find(build(error));
    EXPECT_FALSE(plain.found);
    EXPECT_TRUE(plain.packet.flags & WEIR_PACKET_ICMP_ERROR);
}

TEST(ParseTunnelError, AQuoteOfSomebodyElsesPacketIsImplausible) {
    for (const bool gue : {false, true}) {
        Tunnel tunnel{gue, false};
        tunnel.source4 = "10.9.0.99";
        const Found other = find(error_about(tunnel, client_packet(false), 500));
        EXPECT_TRUE(other.found);
        EXPECT_EQ(other.packet.defect, WEIR_DROP_ICMP_IMPLAUSIBLE);
    }
}

TEST(RelayedMtu, IsWhatTheTunnelLeaves) {
    auto told = [](const Tunnel& tunnel, bool six, uint32_t mtu) {
        const Bytes frame = error_about(tunnel, client_packet(six), 500, mtu);
        const Found found = find(frame);
        EXPECT_TRUE(found.found);
        return weir_relayed_mtu(frame.data(), frame.data() + frame.size(), &found.packet);
    };
    for_each_pair([&](const Tunnel& tunnel, bool six) {
        EXPECT_EQ(told(tunnel, six, 1420), 1420 - outer_bytes(tunnel));
        EXPECT_EQ(told(tunnel, six, 1280), six ? 1280 : 1280 - outer_bytes(tunnel));
        EXPECT_EQ(told(tunnel, six, 0), six ? 1280u : 68u) << "never wraps";
    });
    PacketPlan error = router_error(false);
    error.icmp_type = 11;
    error.icmp_code = 0;
    error.payload = encapsulated({false, false}, client_packet(false));
    const Bytes frame = build(error);
    const Found found = find(frame);
    EXPECT_TRUE(found.found);
    EXPECT_EQ(weir_relayed_mtu(frame.data(), frame.data() + frame.size(), &found.packet), 0u);
}

TEST(RelayedTooBig, IsTheErrorTheVipWouldSendItself) {
    for_each_pair([](const Tunnel& tunnel, bool six) {
        for (const size_t quote :
             {outer_bytes(tunnel) + (six ? 48 : 28), size_t{528}, size_t{1232}}) {
            const PacketPlan inner = client_packet(six);
            Bytes frame = error_about(tunnel, inner, quote);
            weir_packet packet = find(frame).packet;
            const uint32_t mtu =
                weir_relayed_mtu(frame.data(), frame.data() + frame.size(), &packet);
            const uint32_t cut = weir_relayed_head_cut(&packet);
            Bytes room(frame.begin() + cut, frame.end());
            room.resize(weir_relayed_frame_bytes(&packet));
            uint8_t* data = room.data();
            const uint8_t* end = data + room.size();
            ASSERT_EQ(weir_write_relayed_too_big(data, end, &packet, mtu), WEIR_UNDECIDED);
            const uint8_t to[6] = {0x0a, 1, 2, 3, 4, 5}, from[6] = {0x0a, 9, 8, 7, 6, 5};
            const weir_link link = {to, from, WEIR_NO_VLAN};
            ASSERT_EQ(weir_write_ethernet(data, end, &packet, &link), WEIR_UNDECIDED);

            PacketPlan want;
            want.destination_mac = {0x0a, 1, 2, 3, 4, 5};
            want.source_mac = {0x0a, 9, 8, 7, 6, 5};
            want.source = inner.destination;
            want.destination = inner.source;
            want.protocol = six ? 58 : 1;
            want.icmp_type = six ? 2 : 3;
            want.icmp_code = six ? 0 : 4;
            want.icmp_word = mtu;
            want.v4_id = 0;
            want.v4_fragment = 0x4000;
            want.payload = build_ip(inner);
            want.payload.resize(std::min(quote - outer_bytes(tunnel), size_t{six ? 1232u : 548u}));
            EXPECT_EQ(room, build(want)) << tunnel.gue << tunnel.six << six << ' ' << quote;

            weir_packet again{};
            ASSERT_EQ(weir_parse(data, end, &again), WEIR_UNDECIDED);
            EXPECT_EQ(packet.l3_length, again.l3_length);
            EXPECT_EQ(packet.l4_offset, again.l4_offset);
            EXPECT_EQ(packet.ethertype, again.ethertype);
            EXPECT_EQ(packet.icmp_type, again.icmp_type);
            EXPECT_EQ(packet.quoted_offset, again.quoted_offset);
            EXPECT_EQ(packet.quoted_l4_offset, again.quoted_l4_offset);
        }
    });
}

TEST(RelayedTooBig, GoesToOneHostOnly) {
    for (const char* client : {"ff02::1", "::1", "::ffff:192.0.2.1"}) {
        PacketPlan inner = client_packet(true);
        inner.source = client;
        Bytes frame = error_about({false, false}, inner, 300);
        weir_packet packet = find(frame).packet;
        const uint8_t* end = frame.data() + frame.size();
        EXPECT_EQ(weir_write_relayed_too_big(frame.data(), end, &packet, 1400),
                  WEIR_DROP_ICMP_IMPLAUSIBLE)
            << client;
    }
}

TEST(RelayedTooBig, NeverWritesPastACutPacket) {
    for_each_pair([](const Tunnel& tunnel, bool six) {
        const Bytes frame = error_about(tunnel, client_packet(six), 300);
        const weir_packet packet = find(frame).packet;
        Bytes room(frame.begin() + weir_relayed_head_cut(&packet), frame.end());
        room.resize(weir_relayed_frame_bytes(&packet));
        for (size_t size = 0; size < room.size(); size++) {
            ExactCopy copy(std::span<const uint8_t>(room).first(size));
            weir_packet again = packet;
            EXPECT_EQ(weir_write_relayed_too_big(copy.data(), copy.end(), &again, 1400),
                      WEIR_DROP_TRUNCATED);
        }
    });
}

} // namespace
