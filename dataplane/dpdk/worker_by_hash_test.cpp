// SPDX-License-Identifier: BSD-3-Clause
// The short way of packets that nothing but the hash decides (stage_by_hash.cpp): it is taken, and
// what leaves, and is counted, is what would have left by the long way.
#include "dataplane/dpdk/worker_lab.hpp"

#include <random>
#include <tuple>

namespace weir::dpdk {
namespace {

using Case = std::tuple<weir_forward_mode, bool, std::uint8_t, std::uint32_t>;

void with_exceptions(lb::StateTables& tables) {
    tables.vips[0].flags |= WEIR_VIP_EXCEPTIONS;
    tables.node.answers_pps = tables.node.icmp_pps = 1'000'000;
    tables.node.tunnel_source_v4 = to_address("192.0.2.1");
    tables.node.tunnel_source_v6 = to_address("2001:db8:a::1");
    tables.node.tunnel_source_v4_count = tables.node.tunnel_source_v6_count = 4;
}

// While a capture is on, the long way is everybody's. It is after what never comes.
void go_the_long_way(Lab& lab) {
    lab.capture_order().start(1, lb::CaptureFilter{lb::verdict_bit(WEIR_DROP_RING_FULL)},
                              UINT64_MAX);
}

// Mostly data of known connections; of the rest some of everything.
class Mixture {
public:
    explicit Mixture(const Plan& plan) : plan_(plan) {}

    Bytes next() {
        PacketPlan packet =
            from_client(plan_, 0x10, static_cast<std::uint16_t>(1000 + random_() % 5000));
        packet.payload.assign(random_() % 100, 7);
        if (random_() % 6 == 0)
            vary(packet);
        Bytes frame = build(packet);
        if (random_() % 50 == 0)
            frame.resize(random_() % frame.size());
        if (random_() % 50 == 0 && frame.size() > 60)
            frame[14 + random_() % 40] ^= static_cast<std::uint8_t>(1u << random_() % 8);
        return frame;
    }

private:
    void vary(PacketPlan& packet) {
        switch (random_() % 10) {
        case 0:
        case 1:
            packet.tcp_flags = 0x02;
            break;
        case 2:
            packet.tcp_flags = 0x11;
            break;
        case 3:
            packet.tcp_flags = 0x04;
            break;
        case 4:
            packet.payload.resize(1440 + random_() % 30);
            break;
        case 5:
            packet.ttl = 0;
            break;
        case 6:
            packet.vlan_tci = 7;
            break;
        case 7:
            packet.destination_port++;
            break;
        case 8:
            packet.v4_fragment = 0x2000;
            break;
        default:
            packet.protocol ^= 6 ^ 17;
        }
    }

    const Plan& plan_;
    std::mt19937 random_{7};
};

class ByHash : public ::testing::TestWithParam<Case> {};

TEST_P(ByHash, SendsAndCountsWhatTheLongWayDoes) {
    const auto [mode, v6, protocol, workers] = GetParam();
    const Plan plan{mode, v6, protocol, 80};
    Lab shortly(plan, workers);
    Lab slowly(plan, workers);
    for (Lab* lab : {&shortly, &slowly})
        lab->change(with_exceptions);
    go_the_long_way(slowly);
    Mixture mixture(plan);
    std::uint32_t tried = 0;
    for (int round = 0; round < 300; round++) {
        for (std::uint32_t i = 0; i < 30; i++) {
            const Bytes frame = mixture.next();
            for (Lab* lab : {&shortly, &slowly})
                lab->put(frame, i % workers);
        }
        tried += shortly.worker(0).hash_decides;
        const std::vector<Sent> sent = shortly.run();
        const std::vector<Sent> expected = slowly.run();
        ASSERT_EQ(sent.size(), expected.size()) << "round " << round;
        for (std::size_t i = 0; i < sent.size(); i++) {
            ASSERT_EQ(sent[i].worker, expected[i].worker) << "round " << round;
            ASSERT_EQ(sent[i].bytes, expected[i].bytes) << "round " << round;
        }
    }
    EXPECT_GT(tried, 200u);
    EXPECT_TRUE(slowly.worker(0).capture.on());
    for (std::uint32_t verdict = 0; verdict < WEIR_VERDICT_COUNT; verdict++)
        EXPECT_EQ(shortly.verdicts(static_cast<weir_verdict>(verdict)),
                  slowly.verdicts(static_cast<weir_verdict>(verdict)))
            << lb::verdict_info(verdict).name;
    for (std::uint32_t worker = 0; worker < workers; worker++) {
        const lb::VipCounters &ours = shortly.counters().vip(worker, 0),
                              &theirs = slowly.counters().vip(worker, 0);
        EXPECT_EQ(std::memcmp(&ours, &theirs, sizeof(ours)), 0);
        for (std::uint32_t backend : {0, 1})
            EXPECT_EQ(std::memcmp(&shortly.counters().backend(worker, backend),
                                  &slowly.counters().backend(worker, backend),
                                  sizeof(lb::BackendCounters)),
                      0);
    }
}

// What is plain and of known connections it takes itself, all of it, and the rest it leaves.
class OneWorkerByHash
    : public ::testing::TestWithParam<std::tuple<weir_forward_mode, bool, std::uint8_t>> {};

TEST_P(OneWorkerByHash, TakesDataAndLeavesTheRest) {
    const auto [mode, v6, protocol] = GetParam();
    const Plan plan{mode, v6, protocol, 80};
    Lab lab(plan);
    lab.change(with_exceptions);
    PacketPlan data = from_client(plan, 0x10);
    data.payload.assign(40, 7);
    lab.send(build(data));
    ASSERT_TRUE(lab.worker(0).hash_decides);
    const bool learns =
        protocol == 17 && mode != WEIR_FORWARD_DSR_L2; // where a tunnel's clients are
    const auto one_burst = [&](const PacketPlan& odd) {
        for (int i = 0; i < 8; i++)
            lab.put(build(i == 3 ? odd : data));
        Burst burst{};
        lab.worker(0).hash_decides = true;
        EXPECT_TRUE(receive_from_port(lab.worker(0), lab.worker(0).context.ports[0], burst));
        const bool all = forward_by_hash(lab.worker(0), burst);
        EXPECT_EQ(std::count(burst.verdict, burst.verdict + 8, WEIR_FORWARDED), learns ? 0
                                                                                : all  ? 8
                                                                                       : 7);
        for (std::uint32_t i = 0; i < 8; i++)
            rte_pktmbuf_free(burst.mbuf[i]);
        return all;
    };
    EXPECT_EQ(one_burst(data), !learns);
    PacketPlan odd = data;
    odd.vlan_tci = 7;
    EXPECT_FALSE(one_burst(odd));
}

// A generation that is taken away leaves nobody who could decide.
TEST(ByHash, WithoutConfigurationNothingIsSent) {
    const Plan plan{WEIR_FORWARD_DSR_L2, false, 6, 80};
    Lab lab(plan);
    lab.change(with_exceptions);
    const Bytes data = build(from_client(plan, 0x10));
    EXPECT_EQ(lab.send(data).size(), 1u);
    ASSERT_TRUE(lab.worker(0).hash_decides);
    lab.unpublish();
    EXPECT_TRUE(lab.send(data).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONFIGURATION), 1u);
}

const auto kModes =
    ::testing::Values(WEIR_FORWARD_DSR_L2, WEIR_FORWARD_DSR_IPIP, WEIR_FORWARD_DSR_GUE);
INSTANTIATE_TEST_SUITE_P(Cases, ByHash,
                         ::testing::Combine(kModes, ::testing::Bool(), ::testing::Values(6, 17),
                                            ::testing::Values(1u, 2u)));
INSTANTIATE_TEST_SUITE_P(Cases, OneWorkerByHash,
                         ::testing::Combine(kModes, ::testing::Bool(), ::testing::Values(6, 17)));

// Nothing of this is for a VIP that records every connection.
TEST(ByHash, IsNotTriedWhereEverythingIsRecorded) {
    const Plan plan{WEIR_FORWARD_DSR_L2, false, 6, 80};
    Lab lab(plan);
    for (std::uint8_t flags : {0x02, 0x10, 0x10}) {
        lab.send(build(from_client(plan, flags)));
        EXPECT_FALSE(lab.worker(0).hash_decides);
    }
}

} // namespace
} // namespace weir::dpdk
