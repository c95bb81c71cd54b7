// SPDX-License-Identifier: BSD-3-Clause
// Fragments through the real workers: every mode, both families, any order, any queue.
#include "dataplane/dpdk/worker_lab.hpp"

#include <algorithm>

namespace weir::dpdk {
namespace {

using forwarding_test::build_ip;
using forwarding_test::build_l4;
using forwarding_test::framed;
using forwarding_test::l4_checksum;

struct Piece {
    std::uint32_t offset;
    Bytes frame;
};

Bytes l4_of(const PacketPlan& plan) {
    return build_l4(plan, address_bytes(plan.source), address_bytes(plan.destination));
}

// The IP packet that `plan` describes, in pieces that hold the L4 bytes from `cuts[i]` to the next.
std::vector<Piece> in_pieces(PacketPlan plan, std::vector<std::uint32_t> cuts,
                             std::uint32_t id = 77) {
    const Bytes l4 = l4_of(plan);
    std::vector<Piece> pieces;
    cuts.push_back(static_cast<std::uint32_t>(l4.size()));
    for (std::size_t i = 0; i + 1 < cuts.size(); i++) {
        const bool more = i + 2 < cuts.size();
        const auto field = static_cast<std::uint16_t>(cuts[i] / 8);
        plan.v4_id = static_cast<std::uint16_t>(id);
        plan.v4_fragment = static_cast<std::uint16_t>(field | (more ? 0x2000 : 0));
        if (forwarding_test::is_v6(plan)) {
            Bytes body;
            forwarding_test::put8(body, 0);
            forwarding_test::put16(body, static_cast<unsigned>(field << 3 | (more ? 1 : 0)));
            forwarding_test::put32(body, id);
            plan.v6_extensions = {{44, body}};
        }
        const Bytes part(l4.begin() + cuts[i], l4.begin() + cuts[i + 1]);
        pieces.push_back({cuts[i], framed(plan, build_ip(plan, part))});
    }
    return pieces;
}

// Puts what a worker sent together again.
Bytes together(const std::vector<Sent>& sent, bool v6) {
    const std::size_t head = v6 ? 14 + 40 + 8 : 14 + 20;
    Bytes l4;
    for (const Sent& one : sent) {
        const std::size_t field =
            v6 ? get16(one.bytes, 14 + 42) & 0xfff8u : (get16(one.bytes, 14 + 6) & 0x1fffu) * 8;
        const std::size_t bytes = one.bytes.size() - head;
        l4.resize(std::max(l4.size(), field + bytes));
        std::copy(one.bytes.begin() + static_cast<std::ptrdiff_t>(head), one.bytes.end(),
                  l4.begin() + static_cast<std::ptrdiff_t>(field));
    }
    return l4;
}

PacketPlan big_datagram(const Plan& plan, std::uint16_t port = 30000) {
    PacketPlan packet = from_client(plan, 0, port);
    packet.payload.resize(3000);
    for (std::size_t i = 0; i < packet.payload.size(); i++)
        packet.payload[i] = static_cast<std::uint8_t>(i * 7);
    return packet;
}

struct FragmentCase {
    weir_forward_mode mode;
    bool v6;
    std::uint32_t workers;
};

class WorkerFragments : public ::testing::TestWithParam<FragmentCase> {
protected:
    Plan plan() const {
        const std::uint16_t port = GetParam().mode == WEIR_FORWARD_DSR_L2 ? 80 : 8080;
        return {GetParam().mode, GetParam().v6, 17, port};
    }
};

// What arrives at the backend, put together, is the datagram with the mode's addresses and a right
// checksum; and the same for the answer's way back.
void check_datagram(const std::vector<Sent>& sent, PacketPlan expected, bool v6) {
    ASSERT_EQ(sent.size(), 3u);
    for (const Sent& one : sent)
        EXPECT_TRUE(std::equal(one.bytes.begin(), one.bytes.begin() + 12, sent[0].bytes.begin()));
    const Bytes l4 = together(sent, v6);
    expected.source_port = static_cast<std::uint16_t>(get16(l4, 0));
    EXPECT_EQ(l4, l4_of(expected));
    EXPECT_EQ(
        l4_checksum(address_bytes(expected.source), address_bytes(expected.destination), 17, l4),
        0);
    for (const Sent& one : sent) {
        if (v6)
            continue;
        EXPECT_EQ(forwarding_test::full_checksum({one.bytes.data() + 14, 20}), 0);
    }
}

TEST_P(WorkerFragments, ArriveWholeInAnyOrderOnAnyQueue) {
    const Plan p = plan();
    std::vector<std::size_t> order = {0, 1, 2};
    Lab lab(p, GetParam().workers);
    std::uint16_t client_port = 30000;
    std::uint32_t id = 1;
    do {
        PacketPlan request = big_datagram(p, client_port++);
        const auto pieces = in_pieces(request, {0, 1440, 2880}, id++);
        for (std::size_t i = 0; i < 3; i++)
            lab.put(pieces[order[i]].frame,
                    (static_cast<std::uint32_t>(i) + id) % GetParam().workers);
        const std::vector<Sent> sent = lab.run();
        ASSERT_EQ(sent.size(), 3u) << order[0] << order[1] << order[2];
        PacketPlan expected = request;
        if (p.mode != WEIR_FORWARD_DSR_L2) {
            expected.destination = p.backend(backend_of(sent[0].bytes));
            expected.destination_port = p.backend_port;
        }
        if (p.mode == WEIR_FORWARD_FULL_NAT)
            expected.source = p.snat();
        check_datagram(sent, expected, p.v6);
        if (p.mode == WEIR_FORWARD_DSR_L2)
            continue;
        PacketPlan reply = expected;
        reply.source_port = static_cast<std::uint16_t>(get16(together(sent, p.v6), 0));
        std::swap(reply.source, reply.destination);
        std::swap(reply.source_port, reply.destination_port);
        const auto back = in_pieces(reply, {0, 1440, 2880}, id);
        for (std::size_t i = 0; i < 3; i++)
            lab.put(back[order[i]].frame, static_cast<std::uint32_t>(i) % GetParam().workers);
        PacketPlan to_client = reply;
        to_client.source = p.vip();
        to_client.destination = p.client();
        to_client.destination_port = request.source_port;
        const std::vector<Sent> returned = lab.run();
        ASSERT_EQ(returned.size(), 3u);
        to_client.source_port = 80;
        check_datagram(returned, to_client, p.v6);
        EXPECT_EQ(get16(together(returned, p.v6), 2), request.source_port);
    } while (std::next_permutation(order.begin(), order.end()));
    EXPECT_EQ(lab.connections(), 6u);
    if (GetParam().workers > 1) {
        EXPECT_GT(lab.verdicts(WEIR_HANDED_OVER), 0u);
    }
}

INSTANTIATE_TEST_SUITE_P(Modes, WorkerFragments,
                         ::testing::Values(FragmentCase{WEIR_FORWARD_DSR_L2, false, 1},
                                           FragmentCase{WEIR_FORWARD_DSR_L2, true, 2},
                                           FragmentCase{WEIR_FORWARD_NAT, false, 2},
                                           FragmentCase{WEIR_FORWARD_NAT, true, 2},
                                           FragmentCase{WEIR_FORWARD_FULL_NAT, false, 1},
                                           FragmentCase{WEIR_FORWARD_FULL_NAT, false, 2},
                                           FragmentCase{WEIR_FORWARD_FULL_NAT, true, 2}));

Plan nat() {
    return {WEIR_FORWARD_NAT, false, 17, 8080};
}

TEST(WorkerFragmentDrops, TheFirstIsWaitedFor200ms) {
    Lab lab(nat());
    const auto pieces = in_pieces(big_datagram(nat()), {0, 1480, 2960});
    EXPECT_TRUE(lab.send(pieces[1].frame).empty());
    EXPECT_EQ(lab.counters().read(0)->held, 1u);
    lab.pass(std::chrono::milliseconds(199));
    EXPECT_TRUE(lab.run().empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_FRAGMENT_NO_FIRST), 0u);
    lab.pass(std::chrono::milliseconds(1));
    EXPECT_TRUE(lab.run().empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_FRAGMENT_NO_FIRST), 1u);
    EXPECT_EQ(lab.counters().read(0)->held, 0u);
}

// The packets behind one that waits move up in the burst, and what was read of them with them.
TEST(WorkerFragmentDrops, WhatStandsBehindAWaitingOneIsFoundAgain) {
    Lab lab(nat());
    lab.put(in_pieces(big_datagram(nat()), {0, 1480, 2960})[1].frame);
    std::vector<Bytes> behind;
    for (std::uint16_t port = 30001; port <= 30008; port++) {
        PacketPlan plain = from_client(nat(), 0, port);
        plain.payload.assign(40, 1);
        behind.push_back(build(plain));
        lab.put(behind.back());
    }
    EXPECT_EQ(lab.run().size(), 8u);
    for (const Bytes& frame : behind)
        EXPECT_EQ(lab.send(frame).size(), 1u);
    EXPECT_EQ(lab.counters().read(0)->connections_opened, 8u) << "each is known by its own hash";
}

TEST(WorkerFragmentDrops, WhatIsNobodysGoesToTheKernelInThePlaceOfItsFirst) {
    Lab lab(nat(), 1, true);
    PacketPlan to_node = big_datagram(nat());
    to_node.destination = "192.0.2.99";
    for (const Piece& piece : in_pieces(to_node, {0, 1480, 2960}))
        EXPECT_TRUE(lab.send(piece.frame).empty());
    EXPECT_EQ(lab.punted_data(), 3u);
    EXPECT_EQ(lab.verdicts(WEIR_PUNTED_OTHER), 3u);
}

TEST(WorkerFragmentDrops, Overlaps) {
    Lab lab(nat());
    const auto honest = in_pieces(big_datagram(nat()), {0, 1480, 2960});
    const auto teardrop = in_pieces(big_datagram(nat()), {0, 1472, 2960});
    EXPECT_EQ(lab.send(honest[0].frame).size(), 1u);
    EXPECT_TRUE(lab.send(teardrop[1].frame).empty());
    EXPECT_TRUE(lab.send(honest[2].frame).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_FRAGMENT_OVERLAP), 2u);
}

TEST(WorkerFragmentDrops, TinyAndImpossibleOnes) {
    Plan tcp{WEIR_FORWARD_NAT, false, 6, 8080};
    Lab lab(tcp);
    PacketPlan segment = from_client(tcp);
    segment.payload.resize(40);
    const auto tiny = in_pieces(segment, {0, 16});
    EXPECT_TRUE(lab.send(tiny[0].frame).empty()) << "without the whole header";
    EXPECT_TRUE(lab.send(tiny[1].frame).empty()) << "inside the header";
    EXPECT_EQ(lab.verdicts(WEIR_DROP_FRAGMENT_TINY), 2u);
    PacketPlan uneven = from_client(tcp);
    uneven.payload.resize(21);
    uneven.v4_fragment = 0x2000;
    EXPECT_TRUE(lab.send(build(uneven)).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_FRAGMENT_BAD), 1u);
}

TEST(WorkerFragmentDrops, WaitingOnesAreBounded) {
    Lab lab(nat());
    PacketPlan plan = big_datagram(nat());
    for (std::uint32_t id = 0; id < lb::kFragmentsHeld + 10; id++) {
        lab.put(in_pieces(plan, {0, 1480, 2960}, id)[1].frame);
        if (id % 32 == 31)
            lab.run();
    }
    lab.run();
    EXPECT_EQ(lab.verdicts(WEIR_DROP_FRAGMENT_QUEUE_FULL), 10u);
    EXPECT_EQ(lab.counters().read(0)->held, lb::kFragmentsHeld);
}

// What is larger than the way to the backend is cut, the later pieces in buffers of their own.
TEST(WorkerFragmentDrops, WithoutABufferForEachPieceNoneIsSent) {
    const Plan udp{WEIR_FORWARD_NAT, false, 17, 8080};
    Lab lab(udp);
    lab.change([](lb::StateTables& tables) {
        for (weir_next_hop_row& hop : tables.next_hops)
            hop.mtu = 600;
    });
    PacketPlan large = from_client(udp);
    large.payload.resize(1400);
    std::vector<rte_mbuf*> taken;
    const auto take = [&](std::size_t but) {
        while (rte_mbuf* mbuf = rte_pktmbuf_alloc(start_eal()))
            taken.push_back(mbuf);
        for (; but > 0; but--, taken.pop_back())
            rte_pktmbuf_free(taken.back());
    };
    for (const std::size_t left : {0, 1}) { // two are needed
        lab.put(build(large));
        take(left);
        EXPECT_TRUE(lab.run().empty()) << left;
        for (; !taken.empty(); taken.pop_back())
            rte_pktmbuf_free(taken.back());
        EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_BUFFER), left + 1);
    }
    EXPECT_EQ(lab.send(build(large)).size(), 3u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_BUFFER), 2u);
}

} // namespace
} // namespace weir::dpdk
