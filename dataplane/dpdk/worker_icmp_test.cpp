// SPDX-License-Identifier: BSD-3-Clause
// ICMP errors about forwarded connections: from routers in the middle and from the ends, in both
// directions, across workers.
#include "dataplane/dpdk/worker_lab.hpp"

namespace weir::dpdk {
namespace {

using forwarding_test::build_ip;

struct IcmpCase {
    weir_forward_mode mode;
    bool v6;
    std::uint8_t protocol;
};

std::string router(bool v6) {
    return v6 ? "2001:db8:e::1" : "198.51.100.254";
}

// "Too big for 1400" about `about`, whose sender it goes to.
PacketPlan too_big(const PacketPlan& about, const std::string& from, std::size_t quoted = 100) {
    PacketPlan error;
    const bool v6 = forwarding_test::is_v6(about);
    error.source = from;
    error.destination = about.source;
    error.source_mac = kRouterMac;
    error.destination_mac = kOurMac;
    error.protocol = v6 ? 58 : 1;
    error.icmp_type = v6 ? 2 : 3;
    error.icmp_code = v6 ? 0 : 4;
    error.icmp_word = 1400;
    error.payload = build_ip(about);
    error.payload.resize(std::min(error.payload.size(), quoted));
    return error;
}

void with_rates(lb::StateTables& tables) {
    tables.node.icmp_pps = 10'000;
}

class WorkerIcmp : public ::testing::TestWithParam<IcmpCase> {
protected:
    Plan plan() const {
        const std::uint16_t port = GetParam().mode == WEIR_FORWARD_DSR_L2 ? 80 : 8080;
        return {GetParam().mode, GetParam().v6, GetParam().protocol, port};
    }
    // What the backend sees of the client's packets.
    PacketPlan as_forwarded(const Plan& p, const PacketPlan& request, const Bytes& frame) const {
        PacketPlan seen = request;
        if (p.mode != WEIR_FORWARD_DSR_L2) {
            seen.destination = p.backend(backend_of(frame));
            seen.destination_port = p.backend_port;
        }
        if (p.mode == WEIR_FORWARD_FULL_NAT) {
            seen.source = p.snat();
            seen.source_port = source_port_of(frame, p.v6);
        }
        return seen;
    }
};

PacketPlan turned(PacketPlan packet) {
    std::swap(packet.source, packet.destination);
    std::swap(packet.source_port, packet.destination_port);
    packet.payload.resize(700);
    return packet;
}

TEST_P(WorkerIcmp, AboutARepliesWayReachesTheBackendThatSentIt) {
    const Plan p = plan();
    for (std::uint16_t port = 30000; port < 30008; port++) {
        Lab lab(p, 2);
        lab.change(with_rates);
        const PacketPlan request = from_client(p, 0x02, port);
        const auto opened = lab.send(build(request));
        ASSERT_EQ(opened.size(), 1u);
        const PacketPlan seen = as_forwarded(p, request, opened[0]);
        const PacketPlan reply_to_client = turned(request); // VIP -> client, too big on its way
        for (std::uint32_t worker : {0u, 1u}) {
            PacketPlan error = too_big(reply_to_client, router(p.v6));
            error.destination = p.vip();
            const auto sent = lab.send(build(error), worker);
            ASSERT_EQ(sent.size(), 1u);
            PacketPlan expected = too_big(turned(seen), router(p.v6));
            expected.destination =
                p.mode == WEIR_FORWARD_DSR_L2 ? p.vip() : p.backend(backend_of(opened[0]));
            if (p.mode == WEIR_FORWARD_FULL_NAT)
                expected.source = p.snat();
            expected.source_mac = kOurMac;
            expected.destination_mac = backend_mac(backend_of(opened[0]));
            if (p.mode != WEIR_FORWARD_DSR_L2)
                expected.ttl--;
            EXPECT_EQ(sent[0], build(expected)) << port << " worker " << worker;
        }
        EXPECT_EQ(lab.verdicts(WEIR_ICMP_RELAYED), 2u);
        EXPECT_EQ(lab.connections(), 1u);
    }
}

TEST_P(WorkerIcmp, AboutARequestsWayReachesTheClient) {
    const Plan p = plan();
    if (p.mode == WEIR_FORWARD_DSR_L2)
        return; // it has the client's own addresses and never comes here
    for (std::uint16_t port = 30000; port < 30008; port++) {
        Lab lab(p, 2);
        const PacketPlan request = from_client(p, 0x02, port);
        const auto opened = lab.send(build(request));
        ASSERT_EQ(opened.size(), 1u);
        const PacketPlan seen = as_forwarded(p, request, opened[0]);
        for (const std::string& speaker : {router(p.v6), p.backend(backend_of(opened[0]))}) {
            const auto sent = lab.send(build(too_big(seen, speaker)), port % 2);
            ASSERT_EQ(sent.size(), 1u);
            PacketPlan expected = too_big(request, p.vip());
            expected.destination = p.client();
            expected.source_mac = kOurMac;
            expected.destination_mac = kRouterMac;
            expected.ttl--;
            EXPECT_EQ(sent[0], build(expected)) << port << " from " << speaker;
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Modes, WorkerIcmp,
                         ::testing::Values(IcmpCase{WEIR_FORWARD_DSR_L2, false, 6},
                                           IcmpCase{WEIR_FORWARD_DSR_L2, true, 17},
                                           IcmpCase{WEIR_FORWARD_NAT, false, 6},
                                           IcmpCase{WEIR_FORWARD_NAT, false, 17},
                                           IcmpCase{WEIR_FORWARD_NAT, true, 6},
                                           IcmpCase{WEIR_FORWARD_NAT, true, 17},
                                           IcmpCase{WEIR_FORWARD_FULL_NAT, false, 6},
                                           IcmpCase{WEIR_FORWARD_FULL_NAT, false, 17},
                                           IcmpCase{WEIR_FORWARD_FULL_NAT, true, 6},
                                           IcmpCase{WEIR_FORWARD_FULL_NAT, true, 17}));

TEST(WorkerIcmpDrops, WhatNobodyVouchesFor) {
    const Plan full_nat{WEIR_FORWARD_FULL_NAT, false, 6, 8080};
    Lab lab(full_nat);
    PacketPlan error = too_big(turned(from_client(full_nat)), router(false));
    EXPECT_TRUE(lab.send(build(error)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_ICMP_NO_CONNECTION), 1u);
    error.icmp_word = 575;
    EXPECT_TRUE(lab.send(build(error)).empty());
    error.icmp_word = 1400;
    error.destination = "203.0.113.11"; // not whom the quoted packet comes from
    EXPECT_TRUE(lab.send(build(error)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_ICMP_IMPLAUSIBLE), 2u);
}

TEST(WorkerIcmpDrops, UnrecordedOnesFollowTheHashAtALimitedRate) {
    const Plan dsr{WEIR_FORWARD_DSR_L2, false, 6, 80};
    Lab lab(dsr);
    lab.change([](lb::StateTables& tables) { tables.node.icmp_pps = 30; }); // 3 at once
    for (int i = 0; i < 10; i++)
        lab.put(build(too_big(turned(from_client(dsr)), router(false))));
    EXPECT_EQ(lab.run().size(), 3u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_ICMP_RATE), 7u);
    EXPECT_EQ(lab.connections(), 0u);
}

} // namespace
} // namespace weir::dpdk
