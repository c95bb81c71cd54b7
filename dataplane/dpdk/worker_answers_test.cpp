// SPDX-License-Identifier: BSD-3-Clause
// What the worker answers itself: resets, unreachables, too big, time exceeded. Every answer is
// compared byte by byte with one built independently.
#include "dataplane/dpdk/worker_lab.hpp"

namespace weir::dpdk {
namespace {

using forwarding_test::build_ip;

constexpr std::uint16_t kGrace_s = 30;

void with_answers(lb::StateTables& tables) {
    tables.node.answers_pps = 10'000;
    tables.node.icmp_pps = 10'000;
    tables.node.reset_grace_s = kGrace_s;
    tables.vips[0].flags |= WEIR_VIP_ANSWER_TOO_BIG;
}

void with_nobody(lb::StateTables& tables) {
    with_answers(tables);
    tables.pools[0].slot_count = 0;
    tables.pools[0].member_count = 0;
    tables.vips[0].flags |= WEIR_VIP_DROP_ALL_DOWN | WEIR_VIP_REJECT_ALL_DOWN;
}

Plan plan_of(weir_forward_mode mode, bool v6, std::uint8_t protocol = 6) {
    return {mode, v6, protocol, 8080};
}

// The packet turned round: what an answer to it looks like before its own fields are set.
PacketPlan back(const PacketPlan& packet) {
    PacketPlan answer = packet;
    std::swap(answer.source, answer.destination);
    std::swap(answer.source_port, answer.destination_port);
    std::swap(answer.source_mac, answer.destination_mac);
    answer.ttl = 64;
    answer.tos = 0;
    answer.v4_id = 0;
    answer.v4_fragment = 0x4000;
    answer.v4_options.clear();
    answer.v6_extensions.clear();
    answer.tcp_options.clear();
    answer.payload.clear();
    return answer;
}

PacketPlan reset_to(const PacketPlan& packet, std::uint32_t sequence, std::uint32_t acknowledged,
                    std::uint8_t flags) {
    PacketPlan reset = back(packet);
    reset.tcp_sequence = sequence;
    reset.tcp_acknowledged = acknowledged;
    reset.tcp_flags = flags;
    reset.tcp_window = 0;
    return reset;
}

PacketPlan error_about(const PacketPlan& packet, std::uint8_t type, std::uint8_t code,
                       std::uint32_t word) {
    PacketPlan error = back(packet);
    const bool v6 = forwarding_test::is_v6(packet);
    error.protocol = v6 ? 58 : 1;
    error.icmp_type = type;
    error.icmp_code = code;
    error.icmp_word = word;
    error.payload = build_ip(packet);
    error.payload.resize(std::min<std::size_t>(error.payload.size(), v6 ? 1232 : 548));
    return error;
}

class WorkerAnswers : public ::testing::TestWithParam<bool> {
protected:
    bool v6() const { return GetParam(); }
};

TEST_P(WorkerAnswers, AnUnknownSegmentIsResetOnlyAfterTheGrace) {
    Lab lab(plan_of(WEIR_FORWARD_FULL_NAT, v6()));
    lab.change(with_answers);
    PacketPlan segment = from_client(lab.plan(), 0x10);
    EXPECT_TRUE(lab.send(build(segment)).empty());
    lab.pass(std::chrono::seconds(kGrace_s));
    const auto sent = lab.send(build(segment));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0], build(reset_to(segment, segment.tcp_acknowledged, 0, 0x04)));
    EXPECT_EQ(lab.verdicts(WEIR_ANSWERED_RESET), 1u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONNECTION), 1u);
    segment.tcp_flags = 0x04;
    EXPECT_TRUE(lab.send(build(segment)).empty()) << "a reset is never answered";
}

TEST_P(WorkerAnswers, ABackendsUnknownSegmentIsResetToo) {
    Lab lab(plan_of(WEIR_FORWARD_FULL_NAT, v6()));
    lab.change(with_answers);
    lab.run(); // the grace begins with the first generation
    lab.pass(std::chrono::seconds(kGrace_s));
    PacketPlan segment = from_client(lab.plan(), 0x10);
    segment.source = lab.plan().backend(0);
    segment.destination = lab.plan().snat();
    segment.source_port = 8080;
    segment.destination_port = 40001;
    segment.vlan_tci = 5;
    const auto sent = lab.send(build(segment));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0], build(reset_to(segment, segment.tcp_acknowledged, 0, 0x04)));
}

TEST_P(WorkerAnswers, AllDownIsRefusedWhereItIsToBe) {
    Lab tcp(plan_of(WEIR_FORWARD_NAT, v6()));
    tcp.change(with_nobody);
    const PacketPlan syn = from_client(tcp.plan());
    auto sent = tcp.send(build(syn));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0], build(reset_to(syn, 0, syn.tcp_sequence + 1 + 5, 0x14)));

    Lab udp(plan_of(WEIR_FORWARD_NAT, v6(), 17));
    udp.change(with_nobody);
    const PacketPlan datagram = from_client(udp.plan());
    sent = udp.send(build(datagram));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0], build(error_about(datagram, v6() ? 1 : 3, v6() ? std::uint8_t{4} : 3, 0)));
    EXPECT_EQ(udp.verdicts(WEIR_ANSWERED_UNREACHABLE), 1u);

    udp.change([](lb::StateTables& tables) {
        with_nobody(tables);
        tables.vips[0].flags &= static_cast<std::uint8_t>(~WEIR_VIP_REJECT_ALL_DOWN);
    });
    EXPECT_TRUE(udp.send(build(datagram)).empty());
    EXPECT_EQ(udp.verdicts(WEIR_DROP_NO_BACKEND), 1u);
}

TEST_P(WorkerAnswers, ABackendThatDiesResetsBothEnds) {
    Lab lab(plan_of(WEIR_FORWARD_NAT, v6()));
    const auto reset = [](lb::StateTables& tables) {
        with_answers(tables);
        tables.vips[0].on_backend_down = WEIR_BACKEND_DOWN_RESET;
    };
    lab.change(reset);
    const auto opened = lab.send(build(from_client(lab.plan())));
    ASSERT_EQ(opened.size(), 1u);
    const std::uint32_t backend = backend_of(opened[0]);
    lab.publish({WEIR_BACKEND_DOWN, WEIR_BACKEND_DOWN}, reset);
    const PacketPlan segment = from_client(lab.plan(), 0x10);
    const auto sent = lab.send(build(segment));
    ASSERT_EQ(sent.size(), 2u);
    EXPECT_EQ(sent[0], build(reset_to(segment, segment.tcp_acknowledged, 0, 0x04)));
    PacketPlan onward = segment;
    onward.destination = lab.plan().backend(backend);
    onward.destination_port = 8080;
    PacketPlan second = reset_to(segment, segment.tcp_sequence, 0, 0x04);
    second.source = onward.source;
    second.destination = onward.destination;
    second.source_port = onward.source_port;
    second.destination_port = onward.destination_port;
    second.source_mac = kOurMac;
    second.destination_mac = backend_mac(backend);
    EXPECT_EQ(sent[1], build(second));
    EXPECT_EQ(lab.counters().read(0)->generated, 1u);
    lab.publish({WEIR_BACKEND_UP, WEIR_BACKEND_UP}, reset);
    EXPECT_EQ(lab.send(build(from_client(lab.plan()))).size(), 1u) << "and a SYN starts anew";
    EXPECT_EQ(lab.connections(), 1u);
}

TEST_P(WorkerAnswers, ADirectReturnsConnectionIsNotResetByHalfItsNumbers) {
    Lab lab(plan_of(WEIR_FORWARD_DSR_L2, v6()));
    const auto reset = [](lb::StateTables& tables) {
        with_answers(tables);
        tables.vips[0].on_backend_down = WEIR_BACKEND_DOWN_RESET;
    };
    lab.change(reset);
    ASSERT_EQ(lab.send(build(from_client(lab.plan()))).size(), 1u);
    lab.publish({WEIR_BACKEND_DOWN, WEIR_BACKEND_DOWN}, reset);
    EXPECT_TRUE(lab.send(build(from_client(lab.plan(), 0x10))).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_BACKEND_DOWN), 1u);
}

TEST_P(WorkerAnswers, ALastHopIsNotSilent) {
    Lab lab(plan_of(WEIR_FORWARD_NAT, v6()));
    lab.change(with_answers);
    PacketPlan dying = from_client(lab.plan());
    dying.ttl = 1;
    const auto sent = lab.send(build(dying));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0], build(error_about(dying, v6() ? 3 : 11, 0, 0)));
    EXPECT_EQ(lab.verdicts(WEIR_ANSWERED_TIME_EXCEEDED), 1u);
    dying.ttl = 0;
    EXPECT_TRUE(lab.send(build(dying)).empty());
}

TEST_P(WorkerAnswers, WhatDoesNotFitSaysWhatDoes) {
    Lab lab(plan_of(WEIR_FORWARD_NAT, v6()));
    lab.change([](lb::StateTables& tables) {
        with_answers(tables);
        for (weir_next_hop_row& hop : tables.next_hops)
            hop.mtu = 1400;
    });
    PacketPlan big = from_client(lab.plan());
    big.v4_fragment = 0x4000;
    big.payload.resize(1420);
    const auto sent = lab.send(build(big));
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0], build(error_about(big, v6() ? 2 : 3, v6() ? std::uint8_t{0} : 4, 1400)));
    EXPECT_EQ(lab.verdicts(WEIR_ANSWERED_TOO_BIG), 1u);
}

TEST_P(WorkerAnswers, AreRateLimited) {
    Lab lab(plan_of(WEIR_FORWARD_FULL_NAT, v6()));
    lab.change([](lb::StateTables& tables) {
        with_answers(tables);
        tables.node.answers_pps = 50; // 5 at once
    });
    lab.run();
    lab.pass(std::chrono::seconds(kGrace_s));
    for (int i = 0; i < 20; i++)
        lab.put(build(from_client(lab.plan(), 0x10)));
    EXPECT_EQ(lab.run().size(), 5u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONNECTION), 15u);
}

INSTANTIATE_TEST_SUITE_P(Families, WorkerAnswers, ::testing::Bool());

} // namespace
} // namespace weir::dpdk
