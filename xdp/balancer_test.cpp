// SPDX-License-Identifier: BSD-3-Clause
// Publishing to the balancer and reading back from it, on the loaded program. What each packet gets
// is the conformance suite's business.
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <optional>

#include "dataplane/forwarding/connection_state.h"
#include "dataplane/forwarding/test_packet.hpp"
#include "dataplane/lb/state_sample.hpp"
#include "xdp/test_lab.hpp"

namespace weir::xdp {
namespace {

using forwarding_test::Bytes;

constexpr uint64_t kSecond_ns = 1'000'000'000;
constexpr BalancerSizes kSizes = {
    .rows = {.vips = 4, .pools = 4, .members = 8, .backends = 8, .next_hops = 4, .slot_rows = 16},
    .connections = 4096,
    .injected = true};

// The sample's VIP, 203.0.113.10:80, by dsr-l2 to two backends behind one next hop.
class Generation : public lb::Sample {
public:
    explicit Generation(uint64_t number, uint8_t hop_mac) {
        tables.generation = number;
        tables.vips[0].address = weir_address_from_v4(0x0a7100cb);
        tables.vips[0].protocol = WEIR_IP_TCP;
        tables.vips[0].forward = WEIR_FORWARD_DSR_L2;
        tables.vips[0].timeouts = {30, 3600, 60, 10, 60};
        tables.next_hops[0].resolved = 1;
        tables.next_hops[0].mtu = 1500;
        tables.next_hops[0].vlan_tci = WEIR_NO_VLAN;
        tables.next_hops[0].destination_mac[5] = hop_mac;
    }
    const lb::ForwardingState& state() {
        root_.emplace(lb::build_root(tables));
        opened_ = lb::ForwardingState::open(root_->span(), std::span(&segment, 1), problem);
        EXPECT_TRUE(opened_) << problem;
        return *opened_;
    }

private:
    std::optional<lb::Root> root_;
    std::optional<lb::ForwardingState> opened_;
};

class BalancerMaps : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = xdp_test::missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        auto loaded = Balancer::load(kSizes);
        ASSERT_TRUE(loaded) << loaded.error().sentence;
        balancer_.emplace(std::move(*loaded));
    }
    void publish(Generation& generation) {
        const uint32_t loopback = 1;
        auto done = balancer_->publish(generation.state(), {&loopback, 1}, now_ns_);
        ASSERT_TRUE(done) << done.error().sentence;
    }
    // Runs a SYN through the program; the last byte of the MAC it leaves for, or minus its action.
    int syn(uint16_t source_port) {
        forwarding_test::PacketPlan plan;
        plan.destination = "203.0.113.10";
        plan.source_port = source_port;
        const Bytes frame = build(plan);
        Bytes out(frame.size() + 64);
        balancer_->injection().now_ns = now_ns_;
        balancer_->injection().interface = 0;
        LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(), .data_out = out.data(),
                    .data_size_in = static_cast<uint32_t>(frame.size()),
                    .data_size_out = static_cast<uint32_t>(out.size()), .repeat = 1);
        if (bpf_prog_test_run_opts(balancer_->program(), &run) != 0)
            return -1000;
        return run.retval == XDP_TX ? out[5] : -static_cast<int>(run.retval);
    }
    uint64_t connections() {
        uint64_t count = 0;
        EXPECT_TRUE(balancer_->for_each_connection([&](const auto&, const auto&) { count++; }));
        return count;
    }

    uint64_t now_ns_ = 1000 * kSecond_ns;
    std::optional<Balancer> balancer_;
};

TEST_F(BalancerMaps, EverythingGoesToTheKernelBeforeTheFirstPublication) {
    EXPECT_EQ(syn(1), -XDP_PASS);
    Generation first(1, 7);
    publish(first);
    EXPECT_EQ(syn(1), 7);
    ASSERT_TRUE(balancer_->withdraw());
    EXPECT_EQ(syn(1), -XDP_PASS);
    const auto counts = balancer_->counts();
    ASSERT_TRUE(counts);
    EXPECT_EQ(counts->verdicts[WEIR_DROP_NO_CONFIGURATION], 2u);
    EXPECT_EQ(counts->verdicts[WEIR_FORWARDED], 1u);
}

TEST_F(BalancerMaps, EveryGenerationTakesThePlaceOfTheOneBefore) {
    for (uint64_t number = 1; number <= 5; number++) {
        Generation next(number, static_cast<uint8_t>(10 + number));
        publish(next);
        EXPECT_EQ(syn(1), static_cast<int>(10 + number)) << "a known connection takes the new way";
        EXPECT_EQ(syn(static_cast<uint16_t>(100 + number)), static_cast<int>(10 + number));
    }
    EXPECT_EQ(connections(), 6u);
}

TEST_F(BalancerMaps, WhatDoesNotFitIsRefusedAndTheOldStateStays) {
    Generation first(1, 7);
    publish(first);
    Generation large(2, 8);
    large.tables.backends.resize(9, large.tables.backends[0]);
    const uint32_t loopback = 1;
    const auto refused = balancer_->publish(large.state(), {&loopback, 1}, now_ns_);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().sentence.find("room for 8 backends"), std::string::npos)
        << refused.error().sentence;
    EXPECT_EQ(syn(1), 7);
}

TEST_F(BalancerMaps, RowsThatAGenerationNoLongerHasAreGone) {
    Generation three(1, 7);
    three.tables.backends.resize(3, three.tables.backends[0]);
    three.tables.backends[0].state = three.tables.backends[1].state = WEIR_BACKEND_DOWN;
    three.tables.members = {2, 2};
    publish(three);
    EXPECT_EQ(syn(1), 7);
    for (uint64_t number = 2; number <= 3; number++) { // both halves
        Generation two(number, 7);
        publish(two);
    }
    EXPECT_EQ(syn(1), 7);
    uint32_t backend = WEIR_NO_ROW;
    EXPECT_TRUE(balancer_->for_each_connection(
        [&](const auto&, const weir_connection& connection) { backend = connection.backend; }));
    EXPECT_LT(backend, 2u) << "its SYN found row 2 gone and opened the connection anew";
}

TEST_F(BalancerMaps, ASweepRemovesWhatIsOldAndCountsTheRest) {
    Generation first(1, 7);
    first.tables.vips[0].max_connections = 3;
    publish(first);
    for (uint16_t port = 1; port <= 3; port++)
        EXPECT_EQ(syn(port), 7);
    EXPECT_EQ(syn(4), -XDP_DROP) << "over the VIP's quota";
    now_ns_ += 20 * kSecond_ns;
    auto early = balancer_->sweep(first.state(), now_ns_);
    ASSERT_TRUE(early);
    EXPECT_EQ(early->live, 3u);
    EXPECT_EQ(early->expired, 0u);
    now_ns_ += 11 * kSecond_ns;
    auto late = balancer_->sweep(first.state(), now_ns_);
    ASSERT_TRUE(late);
    EXPECT_EQ(late->expired, 3u);
    EXPECT_EQ(connections(), 0u);
    EXPECT_EQ(syn(4), 7) << "the quota is free again";
}

TEST_F(BalancerMaps, CountsByVipAndBackend) {
    Generation first(1, 7);
    publish(first);
    for (uint16_t port = 1; port <= 64; port++)
        syn(port);
    const auto vip = balancer_->vip_counts(0);
    const auto one = balancer_->backend_counts(0);
    const auto other = balancer_->backend_counts(1);
    ASSERT_TRUE(vip && one && other);
    EXPECT_EQ(vip->packets, 64u);
    EXPECT_EQ(vip->connections_opened, 64u);
    EXPECT_EQ(one->packets + other->packets, 64u);
    EXPECT_GT(one->packets, 0u);
    EXPECT_GT(other->packets, 0u);
    ASSERT_TRUE(balancer_->forget_all());
    EXPECT_EQ(connections(), 0u);
    EXPECT_EQ(balancer_->vip_counts(0)->packets, 0u);
}

} // namespace
} // namespace weir::xdp
