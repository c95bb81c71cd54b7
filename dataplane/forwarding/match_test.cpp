// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forwarding/match.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/parse.h"
#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

struct Judged {
    uint32_t kind, index;
    bool ours;
};

Judged judge(const TestTable& table, const PacketPlan& plan) {
    const Bytes frame = build(plan);
    weir_packet packet{};
    EXPECT_EQ(weir_parse(frame.data(), frame.data() + frame.size(), &packet), WEIR_UNDECIDED);
    const weir_match_view view = table.view();
    const weir_match match = weir_match_packet(&view, &packet);
    return {match.kind, match.index, weir_match_is_ours(&match, &packet)};
}

PacketPlan to(const char* destination, unsigned port, uint8_t protocol = 6) {
    PacketPlan plan;
    if (std::string_view(destination).find(':') != std::string_view::npos)
        plan.source = kClient6;
    plan.destination = destination;
    plan.destination_port = static_cast<uint16_t>(port);
    plan.protocol = protocol;
    return plan;
}

constexpr uint8_t kTcp = 6, kUdp = 17;

weir_packet parsed(const PacketPlan& plan) {
    const Bytes frame = build(plan);
    weir_packet packet{};
    EXPECT_EQ(weir_parse(frame.data(), frame.data() + frame.size(), &packet), WEIR_UNDECIDED);
    return packet;
}

TEST(Match, SameEndpointIsAddressProtocolAndPortOfTheDestination) {
    const std::array<PacketPlan, 7> plans = {
        to(kVip4, 80), to(kVip4, 81),       to(kVip4, 80, kUdp),     to("203.0.113.99", 80),
        to(kVip6, 80), to(kVip6, 80, kUdp), to("2001:db8:f::99", 80)};
    for (std::size_t a = 0; a < plans.size(); a++)
        for (std::size_t b = 0; b < plans.size(); b++) {
            PacketPlan other = plans[b];
            other.source_port = 4711; // the client's side does not count
            const weir_packet of_a = parsed(plans[a]);
            const weir_packet of_b = parsed(other);
            EXPECT_EQ(weir_same_endpoint(&of_a.flow, &of_b.flow), a == b) << a << " and " << b;
        }
}

TEST(Match, ExactBeforeRangeBeforeAllPorts) {
    for (const char* vip : {kVip4, kVip6}) {
        TestTable table;
        table.address(vip, WEIR_MATCH_VIP_ADDRESS);
        table.serve(vip, kTcp, 443, 1);
        table.ranges(vip, kTcp,
                     {TestTable::range(400, 500, WEIR_MATCH_VIP, 2),
                      TestTable::range(450, 9000, WEIR_MATCH_VIP, 3)},
                     WEIR_MATCH_VIP, 4);
        const struct {
            unsigned port;
            uint32_t index;
        } cases[] = {{443, 1}, {400, 2},  {500, 2},  {442, 2},   {460, 2},
                     {501, 3}, {9000, 3}, {9001, 4}, {65535, 4}, {1, 4}};
        for (const auto& c : cases) {
            const Judged judged = judge(table, to(vip, c.port));
            EXPECT_EQ(judged.kind, WEIR_MATCH_VIP) << vip << c.port;
            EXPECT_EQ(judged.index, c.index) << vip << c.port;
            EXPECT_TRUE(judged.ours);
        }
        EXPECT_EQ(judge(table, to(vip, 443, kUdp)).kind, WEIR_MATCH_VIP_ADDRESS);
        EXPECT_FALSE(judge(table, to(vip, 443, kUdp)).ours) << "another protocol";
    }
}

TEST(Match, OutsideTheRangesAPortIsTheKernels) {
    TestTable table;
    table.address(kVip4, WEIR_MATCH_VIP_ADDRESS);
    table.ranges(kVip4, kTcp, {TestTable::range(400, 500, WEIR_MATCH_VIP, 2)});
    EXPECT_EQ(judge(table, to(kVip4, 399)).kind, WEIR_MATCH_VIP_ADDRESS);
    EXPECT_FALSE(judge(table, to(kVip4, 501)).ours);
    EXPECT_TRUE(judge(table, to(kVip4, 400)).ours);
}

TEST(Match, SixteenRangesAreLookedAt) {
    TestTable table;
    std::vector<weir_range_row> ranges;
    for (uint32_t i = 0; i < WEIR_MAX_RANGES_PER_ADDRESS; i++)
        ranges.push_back(TestTable::range(100 * i + 1, 100 * i + 50, WEIR_MATCH_VIP, i));
    table.ranges(kVip4, kUdp, ranges);
    for (uint32_t i = 0; i < WEIR_MAX_RANGES_PER_ADDRESS; i++) {
        EXPECT_EQ(judge(table, to(kVip4, 100 * i + 50, kUdp)).index, i);
        EXPECT_EQ(judge(table, to(kVip4, 100 * i + 51, kUdp)).kind, WEIR_MATCH_EMPTY);
    }
}

TEST(Match, OtherTrafficToAVipIsKnownButNotOurs) {
    TestTable table;
    table.address(kVip4, WEIR_MATCH_VIP_ADDRESS);
    table.serve(kVip4, kTcp, 80, 1);
    PacketPlan echo = to(kVip4, 0, 1);
    EXPECT_EQ(judge(table, echo).kind, WEIR_MATCH_VIP_ADDRESS);
    EXPECT_FALSE(judge(table, echo).ours);
    PacketPlan later = to(kVip4, 80);
    later.v4_fragment = 100;
    EXPECT_TRUE(judge(table, later).ours) << "the balancer has to say what becomes of it";
    later.protocol = 1;
    EXPECT_FALSE(judge(table, later).ours);
    EXPECT_EQ(judge(table, to("203.0.113.1", 80)).kind, WEIR_MATCH_EMPTY);
}

TEST(Match, NatBackendsAreFoundBySource) {
    TestTable table;
    table.address(kVip4, WEIR_MATCH_VIP_ADDRESS);
    table.address("192.0.2.2", WEIR_MATCH_LOCAL);
    table.serve(kVip4, kTcp, 80, 1);
    table.backend("192.0.2.1", kTcp, 40000);
    EXPECT_EQ(judge(table, to("203.0.113.1", 5000)).kind, WEIR_MATCH_BACKEND);
    EXPECT_TRUE(judge(table, to("203.0.113.1", 5000)).ours);
    EXPECT_EQ(judge(table, to("192.0.2.2", 5000)).kind, WEIR_MATCH_LOCAL)
        << "what a backend answers to a probe is the node's";
    EXPECT_FALSE(judge(table, to("192.0.2.2", 5000)).ours);
    EXPECT_EQ(judge(table, to(kVip4, 80)).kind, WEIR_MATCH_VIP) << "a backend may be a client";
    PacketPlan other_port = to("203.0.113.1", 5000);
    other_port.source_port = 40001;
    EXPECT_EQ(judge(table, other_port).kind, WEIR_MATCH_EMPTY);
    EXPECT_EQ(judge(table, to("203.0.113.1", 5000, kUdp)).kind, WEIR_MATCH_EMPTY);
}

TEST(Match, ASourceThatIsAVipIsNoBackend) {
    TestTable table;
    table.serve(kVip4, kTcp, 80, 1);
    table.backend("192.0.2.9", kTcp, 1); // sources are looked at
    PacketPlan plan = to("203.0.113.1", 5000);
    plan.source = kVip4;
    plan.source_port = 80;
    EXPECT_EQ(judge(table, plan).kind, WEIR_MATCH_EMPTY);
    EXPECT_FALSE(judge(table, plan).ours);
}

TEST(Match, SnatPortsAreOursOnTheNodesOwnAddress) {
    TestTable table;
    table.address("192.0.2.2", WEIR_MATCH_LOCAL);
    table.ranges("192.0.2.2", kTcp, {TestTable::range(40000, 59999, WEIR_MATCH_SNAT, 9)});
    EXPECT_EQ(judge(table, to("192.0.2.2", 40000)).kind, WEIR_MATCH_SNAT);
    EXPECT_EQ(judge(table, to("192.0.2.2", 59999)).index, 9u);
    EXPECT_TRUE(judge(table, to("192.0.2.2", 59999)).ours);
    EXPECT_EQ(judge(table, to("192.0.2.2", 22)).kind, WEIR_MATCH_LOCAL);
    EXPECT_FALSE(judge(table, to("192.0.2.2", 60000)).ours);
}

TEST(Match, AFullNeighbourhoodIsStillSearchedToItsEnd) {
    // A table of 8 rows, all full: every key is found within the 8 probes, none beyond is invented.
    TestTable table(8);
    for (uint32_t port = 1; port <= 8; port++)
        table.serve(kVip4, kTcp, port, port);
    for (uint32_t port = 1; port <= 8; port++)
        EXPECT_EQ(judge(table, to(kVip4, port)).index, port);
    EXPECT_EQ(judge(table, to(kVip4, 9)).kind, WEIR_MATCH_EMPTY);
}

TEST(Match, AgreesWithAListOfKeys) {
    std::mt19937_64 random(11);
    TestTable table(4096, 3);
    struct Key {
        std::string address;
        uint8_t protocol;
        unsigned port;
    };
    std::vector<Key> keys;
    for (uint32_t i = 0; i < 500; i++) {
        Key key{"10.0." + std::to_string(random() % 4) + "." + std::to_string(i % 250),
                random() % 2 ? kTcp : kUdp, static_cast<unsigned>(1 + i)};
        table.serve(key.address, key.protocol, key.port, i);
        keys.push_back(key);
    }
    for (uint32_t i = 0; i < keys.size(); i++) {
        const Judged judged =
            judge(table, to(keys[i].address.c_str(), keys[i].port, keys[i].protocol));
        EXPECT_EQ(judged.kind, WEIR_MATCH_VIP);
        EXPECT_EQ(judged.index, i);
        EXPECT_EQ(
            judge(table, to(keys[i].address.c_str(), keys[i].port + 1000, keys[i].protocol)).kind,
            WEIR_MATCH_EMPTY);
    }
}

// What the planes do with a match: ours and sound goes on, ours and defect is dropped, the rest is
// punted in its class.
TEST(Admit, SortsPackets) {
    TestTable table;
    table.address(kVip4, WEIR_MATCH_VIP_ADDRESS);
    table.serve(kVip4, kTcp, 80, 1);
    table.serve(kVip4, kTcp, 179, 2);
    auto admit = [&](const PacketPlan& plan) {
        const Bytes frame = build(plan);
        weir_packet packet{};
        weir_parse(frame.data(), frame.data() + frame.size(), &packet);
        const weir_match_view view = table.view();
        const weir_match match = weir_match_packet(&view, &packet);
        return weir_admit(&packet, &match);
    };
    EXPECT_EQ(admit(to(kVip4, 80)), WEIR_UNDECIDED);
    EXPECT_EQ(admit(to(kVip4, 179)), WEIR_UNDECIDED) << "a served BGP port is a VIP's";
    PacketPlan bad = to(kVip4, 80);
    bad.tcp_flags = 0;
    EXPECT_EQ(admit(bad), WEIR_DROP_BAD_TCP_FLAGS);
    bad.destination_port = 81;
    EXPECT_EQ(admit(bad), WEIR_PUNTED_OTHER) << "not ours: the kernel may have it";
    PacketPlan first = to(kVip4, 80);
    first.v4_fragment = 0x2000;
    first.payload = {1, 2, 3, 4}; // whole units of 8 bytes with the TCP header
    EXPECT_EQ(admit(first), WEIR_UNDECIDED) << "a first fragment decides for its datagram";
    PacketPlan later = to(kVip4, 80);
    later.v4_fragment = 0x2010;
    later.payload = {1, 2, 3, 4};
    EXPECT_EQ(admit(later), WEIR_DROP_FRAGMENT_NO_FIRST) << "nobody has given it ports";
    EXPECT_EQ(admit(to("192.0.2.2", 179)), WEIR_PUNTED_CONTROL);
    EXPECT_EQ(admit(to("192.0.2.2", 3784, kUdp)), WEIR_PUNTED_CONTROL);
    EXPECT_EQ(admit(to("192.0.2.2", 0, 1)), WEIR_PUNTED_ECHO);
    EXPECT_EQ(admit(to("224.0.0.18", 0, 112)), WEIR_PUNTED_CONTROL);
    PacketPlan neighbour = to("2001:db8::2", 0, 58);
    neighbour.icmp_type = 135;
    EXPECT_EQ(admit(neighbour), WEIR_PUNTED_CONTROL);
    neighbour.icmp_type = 128;
    EXPECT_EQ(admit(neighbour), WEIR_PUNTED_ECHO);
    neighbour.icmp_type = 1;
    EXPECT_EQ(admit(neighbour), WEIR_PUNTED_OTHER);
}

} // namespace
