// SPDX-License-Identifier: BSD-3-Clause
// What a worker does with single kinds of packets: drops, punts, VLAN, SNAT ports, bursts.
#include "dataplane/dpdk/worker_lab.hpp"

namespace weir::dpdk {
namespace {

TEST(Worker, UnknownConnectionInFullNatIsNeverPickedAtRandom) {
    Lab lab({WEIR_FORWARD_FULL_NAT});
    EXPECT_TRUE(lab.send(build(from_client(lab.plan(), 0x10))).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONNECTION), 1u);
    PacketPlan stray = from_client(lab.plan(), 0x10);
    stray.source = lab.plan().backend(0);
    stray.source_port = 8080;
    stray.destination = lab.plan().snat();
    stray.destination_port = 40001;
    EXPECT_TRUE(lab.send(build(stray)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONNECTION), 2u);
}

TEST(Worker, SnatPortsRunOutByName) {
    Lab lab({WEIR_FORWARD_FULL_NAT});
    int forwarded = 0;
    for (std::uint16_t port = 1; port <= 300; port++)
        forwarded += static_cast<int>(lab.send(build(from_client(lab.plan(), 0x02, port))).size());
    EXPECT_EQ(forwarded, 128) << "64 ports towards each of two backends";
    EXPECT_EQ(lab.verdicts(WEIR_DROP_SNAT_EXHAUSTED), 300u - 128u);
}

// Far more connections than 2 x 64 ports, one after the other, closed by one side or the other.
class EndedConnections : public ::testing::TestWithParam<bool> {};

TEST_P(EndedConnections, LeaveTheirSnatPortsToNewOnes) {
    bool client_closes_first = GetParam();
    Lab lab({WEIR_FORWARD_FULL_NAT});
    const Plan& p = lab.plan();
    for (std::uint16_t port = 1; port <= 300; port++) {
        std::vector<Bytes> there = lab.send(build(from_client(p, 0x02, port)));
        ASSERT_EQ(there.size(), 1u) << "connection " << port;
        PacketPlan reply;
        reply.destination_mac = kOurMac;
        reply.source = p.backend(backend_of(there[0]));
        reply.source_port = p.backend_port;
        reply.destination = p.snat();
        reply.destination_port = source_port_of(there[0], p.v6);
        reply.tcp_flags = 0x12;
        lab.send(build(reply));
        lab.send(build(from_client(p, 0x10, port)));
        reply.tcp_flags = 0x11; // FIN
        if (!client_closes_first)
            lab.send(build(reply));
        lab.send(build(from_client(p, 0x11, port)));
        if (client_closes_first)
            lab.send(build(reply));
    }
    EXPECT_EQ(lab.verdicts(WEIR_DROP_SNAT_EXHAUSTED), 0u);
}

INSTANTIATE_TEST_SUITE_P(BothWays, EndedConnections, ::testing::Bool());

TEST(Worker, VlanTagGoesOnAndComesOff) {
    Lab lab({WEIR_FORWARD_NAT});
    const Plan& p = lab.plan();
    PacketPlan request = from_client(p);
    request.vlan_tci = 0x2064;
    std::vector<Bytes> there = lab.send(build(request));
    ASSERT_EQ(there.size(), 1u);
    std::uint32_t backend = backend_of(there[0]);
    PacketPlan expected = request;
    expected.vlan_tci.reset();
    expected.destination = p.backend(backend);
    expected.destination_port = 8080;
    EXPECT_EQ(there[0], hop_on(expected, backend_mac(backend))) << "the backend is untagged";
    PacketPlan reply = expected;
    std::swap(reply.source, reply.destination);
    std::swap(reply.source_port, reply.destination_port);
    std::vector<Bytes> back = lab.send(build(reply));
    ASSERT_EQ(back.size(), 1u);
    reply.source = p.vip();
    reply.source_port = 80;
    reply.vlan_tci = 0x2064;
    EXPECT_EQ(back[0], hop_on(reply, kRouterMac)) << "the client's tag is back";
}

TEST(Worker, TtlThatEndsHereIsNotForwardedByNat) {
    Lab lab({WEIR_FORWARD_NAT});
    PacketPlan packet = from_client(lab.plan());
    packet.ttl = 1;
    EXPECT_TRUE(lab.send(build(packet)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_TTL_EXPIRED), 1u);
}

TEST(Worker, MalformedForAVipIsDroppedForOthersPunted) {
    Lab lab({WEIR_FORWARD_NAT}, 1, true);
    PacketPlan bad = from_client(lab.plan(), 0x03); // SYN and FIN
    EXPECT_TRUE(lab.send(build(bad)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_BAD_TCP_FLAGS), 1u);
    bad.destination = "203.0.113.99";
    EXPECT_TRUE(lab.send(build(bad)).empty());
    EXPECT_EQ(lab.punted_data(), 1u);
    EXPECT_EQ(lab.verdicts(WEIR_PUNTED_OTHER), 1u);
}

TEST(Worker, PuntsByClassWhereTheKernelIsBypassedAndNowhereElse) {
    Bytes arp(60, 0);
    arp[12] = 0x08;
    arp[13] = 0x06;
    PacketPlan echo;
    echo.protocol = 1;
    echo.destination = "203.0.113.10";
    {
        Lab lab({WEIR_FORWARD_NAT}, 1, true);
        lab.put(arp);
        lab.put(build(echo));
        EXPECT_TRUE(lab.run().empty());
        EXPECT_EQ(lab.punted_control(), 1u);
        EXPECT_EQ(lab.punted_data(), 1u);
        EXPECT_EQ(lab.verdicts(WEIR_PUNTED_ECHO), 1u);
    }
    Lab lab({WEIR_FORWARD_NAT}, 1, false);
    lab.send(arp);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NOT_OURS), 1u);
}

TEST(Worker, FullQueueToTheKernelIsANamedDrop) {
    Lab lab({WEIR_FORWARD_NAT}, 1, true);
    Bytes arp(60, 0);
    arp[12] = 0x08;
    arp[13] = 0x06;
    for (int i = 0; i < 1100; i += 100) { // the ring holds 1023
        for (int k = 0; k < 100; k++)
            lab.put(arp);
        lab.run();
    }
    EXPECT_EQ(lab.verdicts(WEIR_PUNTED_CONTROL), 1023u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_PUNT_QUEUE_FULL), 1100u - 1023u);
}

TEST(Worker, KernelsPacketsLeaveAsTheyAre) {
    Lab lab({WEIR_FORWARD_NAT}, 1, true);
    Bytes frame = build(from_client(lab.plan(), 0x02));
    lab.put_from_kernel(frame);
    std::vector<Sent> sent = lab.run();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].bytes, frame) << "even what looks like a VIP's packet";
    EXPECT_EQ(lab.verdicts(WEIR_FROM_KERNEL), 1u);
}

TEST(Worker, BurstOfOneNewFlowOpensOneConnection) {
    Lab lab({WEIR_FORWARD_FULL_NAT, false, 17});
    for (int i = 0; i < 32; i++)
        lab.put(build(from_client(lab.plan())));
    std::vector<Sent> sent = lab.run();
    ASSERT_EQ(sent.size(), 32u);
    for (const Sent& packet : sent)
        EXPECT_EQ(packet.bytes, sent[0].bytes) << "one backend, one source port";
    EXPECT_EQ(lab.connections(), 1u);
    EXPECT_EQ(lab.counters().vip(0, 0).connections_active, 1u);
}

TEST(Worker, BurstThatOpensAConnectionGoesOnInIt) {
    Lab lab({WEIR_FORWARD_FULL_NAT, false, 6});
    for (std::uint8_t flags : {0x02, 0x10, 0x18, 0x11}) // SYN, ACK, data, FIN
        lab.put(build(from_client(lab.plan(), flags)));
    std::vector<Sent> sent = lab.run();
    ASSERT_EQ(sent.size(), 4u) << "none is a stranger to be reset";
    for (const Sent& packet : sent)
        EXPECT_EQ(source_port_of(packet.bytes, false), source_port_of(sent[0].bytes, false));
    EXPECT_EQ(lab.connections(), 1u);
}

TEST(Worker, BurstThatEndsAConnectionAndBeginsItAnew) {
    Lab lab({WEIR_FORWARD_DSR_L2, false, 6, 80});
    lab.send(build(from_client(lab.plan(), 0x02)));
    lab.send(build(from_client(lab.plan(), 0x10)));
    for (std::uint8_t flags : {0x04, 0x02, 0x10}) // RST, and the same client port again
        lab.put(build(from_client(lab.plan(), flags)));
    EXPECT_EQ(lab.run().size(), 3u);
    EXPECT_EQ(lab.connections(), 1u);
    EXPECT_EQ(lab.verdicts(WEIR_FORWARDED), 5u);
    EXPECT_EQ(lab.counters().vip(0, 0).connections_opened, 2u);
}

TEST(Worker, NatRefusesASecondConnectionWithTheSameReplies) {
    Lab lab({WEIR_FORWARD_NAT});
    int forwarded = 0;
    for (std::uint16_t port = 80; port < 90; port++) { // one VIP, ten ports, one port behind it
        PacketPlan packet = from_client(lab.plan());
        packet.destination_port = port;
        forwarded += static_cast<int>(lab.send(build(packet)).size());
    }
    EXPECT_EQ(forwarded, 2)
        << "one to each backend; a second one's replies could not be told apart";
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NAT_CONFLICT), 8u);
}

TEST(Worker, NothingIsForwardedBeforeTheFirstGeneration) {
    Lab lab({WEIR_FORWARD_NAT});
    lab.unpublish();
    EXPECT_TRUE(lab.send(build(from_client(lab.plan()))).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONFIGURATION), 1u);
}

TEST(Worker, PoolWithoutBackendsNoWayAndTooSmallAWayAreNamed) {
    Lab lab({WEIR_FORWARD_DSR_L2, false, 6, 80});
    Bytes syn = build(from_client(lab.plan()));
    lab.change([](lb::StateTables& tables) { tables.pools[0].slot_count = 0; });
    EXPECT_TRUE(lab.send(syn).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_BACKEND), 1u);
    lab.change([](lb::StateTables& tables) {
        for (weir_next_hop_row& hop : tables.next_hops)
            hop.resolved = 0;
    });
    EXPECT_TRUE(lab.send(syn).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_NEXT_HOP), 1u);
    lab.change([](lb::StateTables& tables) {
        for (weir_next_hop_row& hop : tables.next_hops)
            hop.mtu = 27; // no room for 8 bytes behind the header
    });
    EXPECT_TRUE(lab.send(syn).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_TOO_BIG), 1u);
    lab.change([](lb::StateTables&) {});
    EXPECT_EQ(lab.send(syn).size(), 1u);
}

TEST(Worker, VipBeyondItsQuotaIsRefusedByName) {
    Lab lab({WEIR_FORWARD_DSR_L2, false, 6, 80});
    lab.change([](lb::StateTables& tables) { tables.vips[0].max_connections = 1; });
    for (std::uint8_t flags : {0x02, 0x10}) // a half-open connection would give way
        EXPECT_EQ(lab.send(build(from_client(lab.plan(), flags, 1))).size(), 1u);
    EXPECT_TRUE(lab.send(build(from_client(lab.plan(), 0x02, 2))).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_VIP_QUOTA), 1u);
}

TEST(Worker, FullTableRefusesNewConnectionsByNameAndKeepsTheOld) {
    Lab lab({WEIR_FORWARD_DSR_L2, false, 6, 80});
    std::uint16_t port = 0;
    while (lab.verdicts(WEIR_DROP_TABLE_FULL) == 0 && port < 5000) {
        port++;
        lab.put(build(from_client(lab.plan(), 0x02, port)));
        lab.put(build(from_client(lab.plan(), 0x10, port)));
        lab.run();
    }
    EXPECT_EQ(lab.connections(), 4096u);
    EXPECT_EQ(port, 4097);
    EXPECT_EQ(lab.send(build(from_client(lab.plan(), 0x10, 1))).size(), 1u);
}

TEST(Worker, FullTransmitQueueIsANamedDrop) {
    Lab lab({WEIR_FORWARD_DSR_L2, false, 6, 80});
    Bytes syn = build(from_client(lab.plan()));
    for (int i = 0; i < 1100; i++) { // the ring holds 1023
        lab.put(syn);
        if (i % 100 == 99)
            lab.poll_all();
    }
    EXPECT_EQ(lab.run().size(), 1023u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_TX_FULL), 1100u - 1023u);
}

} // namespace
} // namespace weir::dpdk
