// SPDX-License-Identifier: BSD-3-Clause
// What holds in every forwarding mode, family and protocol, with one worker and with two.
#include "dataplane/dpdk/worker_lab.hpp"

namespace weir::dpdk {
namespace {

struct ModeCase {
    weir_forward_mode mode;
    bool v6;
    std::uint8_t protocol;
};

class WorkerModes : public ::testing::TestWithParam<ModeCase> {
protected:
    Plan plan() const {
        return {GetParam().mode, GetParam().v6, GetParam().protocol,
                static_cast<std::uint16_t>(GetParam().mode == WEIR_FORWARD_DSR_L2 ? 80 : 8080)};
    }
};

TEST_P(WorkerModes, EveryByteIsRightThereAndBack) {
    Lab lab(plan());
    const Plan& p = lab.plan();
    PacketPlan request = from_client(p);
    std::vector<Bytes> there = lab.send(build(request));
    ASSERT_EQ(there.size(), 1u);
    std::uint32_t backend = backend_of(there[0]);
    EXPECT_EQ(lab.verdicts(WEIR_FORWARDED), 1u);
    EXPECT_EQ(lab.connections(), 1u);

    if (p.mode == WEIR_FORWARD_DSR_L2) {
        request.destination_mac = backend_mac(backend);
        request.source_mac = kOurMac;
        EXPECT_EQ(there[0], build(request)) << "nothing but the MACs changes, not even the TTL";
        return;
    }
    PacketPlan expected = request;
    expected.destination = p.backend(backend);
    expected.destination_port = p.backend_port;
    if (p.mode == WEIR_FORWARD_FULL_NAT) {
        expected.source = p.snat();
        expected.source_port = source_port_of(there[0], p.v6);
        EXPECT_GE(expected.source_port, 40000);
        EXPECT_LE(expected.source_port, 40063);
    }
    EXPECT_EQ(there[0], hop_on(expected, backend_mac(backend)));

    PacketPlan reply = expected;
    std::swap(reply.source, reply.destination);
    std::swap(reply.source_port, reply.destination_port);
    reply.source_mac = backend_mac(backend);
    reply.destination_mac = kOurMac;
    reply.tcp_flags = 0x12;
    std::vector<Bytes> back = lab.send(build(reply));
    ASSERT_EQ(back.size(), 1u);
    reply.source = p.vip();
    reply.source_port = 80;
    reply.destination = p.client();
    reply.destination_port = request.source_port;
    EXPECT_EQ(back[0], hop_on(reply, kRouterMac)) << "by the way its packets came";
    EXPECT_EQ(lab.verdicts(WEIR_REPLIED), 1u);
}

TEST_P(WorkerModes, FlowsStayAndSpread) {
    Lab lab(plan());
    std::map<std::uint32_t, int> spread;
    std::map<std::uint16_t, std::uint32_t> first;
    for (std::uint16_t port = 20000; port < 20060; port++) {
        std::vector<Bytes> out = lab.send(build(from_client(lab.plan(), 0x02, port)));
        ASSERT_EQ(out.size(), 1u);
        first[port] = backend_of(out[0]);
        spread[first[port]]++;
    }
    EXPECT_GT(spread[0], 10);
    EXPECT_GT(spread[1], 10);
    for (auto [port, backend] : first) {
        std::vector<Bytes> out = lab.send(build(from_client(lab.plan(), 0x10, port)));
        ASSERT_EQ(out.size(), 1u);
        EXPECT_EQ(backend_of(out[0]), backend);
    }
    EXPECT_EQ(lab.connections(), 60u);
}

TEST_P(WorkerModes, TwoWorkersAgreeWhoOwnsAConnection) {
    Lab lab(plan(), 2);
    const Plan& p = lab.plan();
    int handed_over = 0;
    for (std::uint16_t port = 25000; port < 25020; port++) {
        // Each packet arrives at the worker that did not get the one before.
        lab.put(build(from_client(p, 0x02, port)), 0);
        std::vector<Sent> there = lab.run();
        ASSERT_EQ(there.size(), 1u);
        lab.put(build(from_client(p, 0x10, port)), 1);
        std::vector<Sent> again = lab.run();
        ASSERT_EQ(again.size(), 1u);
        EXPECT_EQ(there[0].worker, again[0].worker) << "the owner sends";
        EXPECT_EQ(backend_of(there[0].bytes), backend_of(again[0].bytes));
        handed_over += there[0].worker == 1;
        if (p.mode == WEIR_FORWARD_DSR_L2)
            continue;
        PacketPlan reply;
        reply.destination_mac = kOurMac;
        reply.source = p.backend(backend_of(there[0].bytes));
        reply.source_port = p.backend_port;
        reply.destination = p.mode == WEIR_FORWARD_NAT ? p.client() : p.snat();
        reply.destination_port =
            p.mode == WEIR_FORWARD_NAT ? port : source_port_of(there[0].bytes, p.v6);
        reply.protocol = p.protocol;
        reply.tcp_flags = 0x12;
        lab.put(build(reply), 1 - there[0].worker); // at the other one
        std::vector<Sent> back = lab.run();
        ASSERT_EQ(back.size(), 1u);
        EXPECT_EQ(back[0].worker, there[0].worker);
    }
    EXPECT_GT(handed_over, 2);
    EXPECT_LT(handed_over, 18);
    EXPECT_EQ(lab.connections(), 20u) << "each is known to one worker only";
    EXPECT_GT(lab.verdicts(WEIR_HANDED_OVER), 0u);
}

TEST_P(WorkerModes, DrainingKeepsOldConnections) {
    Lab lab(plan());
    std::vector<Bytes> out = lab.send(build(from_client(lab.plan())));
    ASSERT_EQ(out.size(), 1u);
    std::uint32_t backend = backend_of(out[0]);
    std::array<weir_backend_state, 2> states = {WEIR_BACKEND_UP, WEIR_BACKEND_UP};
    states[backend] = WEIR_BACKEND_DRAINING;
    lab.publish(states);
    out = lab.send(build(from_client(lab.plan(), 0x10)));
    ASSERT_EQ(out.size(), 1u);
    EXPECT_EQ(backend_of(out[0]), backend);
}

TEST_P(WorkerModes, BackendDownIsReselectedOrDropped) {
    Lab lab(plan());
    const Plan& p = lab.plan();
    std::vector<Bytes> out = lab.send(build(from_client(p)));
    ASSERT_EQ(out.size(), 1u);
    std::array<weir_backend_state, 2> states = {WEIR_BACKEND_UP, WEIR_BACKEND_UP};
    states[backend_of(out[0])] = WEIR_BACKEND_DOWN;
    lab.publish(states);
    out = lab.send(build(from_client(p, 0x10)));
    bool reselects = p.protocol == 17 || p.mode == WEIR_FORWARD_DSR_L2;
    EXPECT_EQ(out.size(), reselects ? 1u : 0u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_BACKEND_DOWN), reselects ? 0u : 1u);
}

// One burst: packets are matched in the light of those before them, and each is still its own.
TEST(WorkerMatch, ServicesPortsAndStrangersAmidReplies) {
    for (const bool v6 : {false, true}) {
        Lab lab({WEIR_FORWARD_FULL_NAT, v6});
        const Plan& p = lab.plan();
        constexpr std::uint16_t kServed = 40063; // of a VIP, among the ports of the SNAT address
        lab.change([&](lb::StateTables& tables) {
            std::string problem;
            lb::MatchTableBuilder builder = State::match_table(p);
            builder.add_port(to_address(p.snat()), p.protocol, weir_swap16(kServed), WEIR_MATCH_VIP,
                             0);
            tables.match = *builder.build(problem);
        });
        std::vector<PacketPlan> replies;
        for (std::uint16_t port = 20000; port < 20003; port++) {
            const std::vector<Bytes> out = lab.send(build(from_client(p, 0x02, port)));
            ASSERT_EQ(out.size(), 1u);
            PacketPlan reply;
            reply.destination_mac = kOurMac;
            reply.source = p.backend(backend_of(out[0]));
            reply.source_port = p.backend_port;
            reply.destination = p.snat();
            reply.destination_port = source_port_of(out[0], v6);
            reply.tcp_flags = 0x12;
            replies.push_back(reply);
        }
        PacketPlan to_service = from_client(p, 0x02, 21000);
        to_service.destination = p.snat();
        to_service.destination_port = kServed;
        PacketPlan stranger = replies[0];
        stranger.destination_port = 39999;
        for (const PacketPlan& packet : {replies[0], replies[1], to_service, stranger,
                                         from_client(p, 0x02, 22000), replies[2]})
            lab.put(build(packet));
        const std::vector<Sent> sent = lab.run();
        EXPECT_EQ(sent.size(), 5u);
        EXPECT_EQ(lab.verdicts(WEIR_REPLIED), 3u);
        EXPECT_EQ(lab.verdicts(WEIR_FORWARDED), 5u) << "three before, the service, the VIP";
    }
}

std::string mode_name(const ::testing::TestParamInfo<ModeCase>& info) {
    const char* mode = info.param.mode == WEIR_FORWARD_DSR_L2 ? "DsrL2"
                       : info.param.mode == WEIR_FORWARD_NAT  ? "Nat"
                                                              : "FullNat";
    return std::string(mode) + (info.param.v6 ? "V6" : "V4") +
           (info.param.protocol == 6 ? "Tcp" : "Udp");
}

INSTANTIATE_TEST_SUITE_P(
    All, WorkerModes,
    ::testing::Values(
        ModeCase{WEIR_FORWARD_DSR_L2, false, 6}, ModeCase{WEIR_FORWARD_DSR_L2, true, 17},
        ModeCase{WEIR_FORWARD_DSR_L2, true, 6}, ModeCase{WEIR_FORWARD_DSR_L2, false, 17},
        ModeCase{WEIR_FORWARD_NAT, false, 6}, ModeCase{WEIR_FORWARD_NAT, true, 6},
        ModeCase{WEIR_FORWARD_NAT, false, 17}, ModeCase{WEIR_FORWARD_NAT, true, 17},
        ModeCase{WEIR_FORWARD_FULL_NAT, false, 6}, ModeCase{WEIR_FORWARD_FULL_NAT, true, 6},
        ModeCase{WEIR_FORWARD_FULL_NAT, false, 17}, ModeCase{WEIR_FORWARD_FULL_NAT, true, 17}),
    mode_name);

} // namespace
} // namespace weir::dpdk
