// SPDX-License-Identifier: BSD-3-Clause
// Publishing to the balancer and reading back from it, on the loaded program. What each packet gets
// is the conformance suite's business.
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <optional>

#include "dataplane/forwarding/connection_state.h"
#include "xdp/balancer_sample.hpp"

namespace weir::xdp {
namespace {

constexpr uint64_t kSecond_ns = 1'000'000'000;

class BalancerMaps : public InjectedBalancer {
protected:
    void publish(SampleGeneration& generation) {
        const uint32_t loopback = 1;
        auto done = balancer_->publish(generation.state(), {&loopback, 1}, now_ns_);
        ASSERT_TRUE(done) << done.error().sentence;
    }
    int send(uint8_t flags, uint16_t source_port) {
        balancer_->injection().now_ns = now_ns_;
        balancer_->injection().interface = 0;
        return run_segment(*balancer_, flags, source_port);
    }
    int syn(uint16_t source_port) { return send(WEIR_TCP_SYN, source_port); }
    uint64_t connections() { return connections_of(*balancer_); }

    uint64_t now_ns_ = 1000 * kSecond_ns;
};

TEST_F(BalancerMaps, EverythingGoesToTheKernelBeforeTheFirstPublication) {
    EXPECT_EQ(syn(1), -XDP_PASS);
    SampleGeneration first(1, 7);
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
        SampleGeneration next(number, static_cast<uint8_t>(10 + number));
        publish(next);
        EXPECT_EQ(syn(1), static_cast<int>(10 + number)) << "a known connection takes the new way";
        EXPECT_EQ(syn(static_cast<uint16_t>(100 + number)), static_cast<int>(10 + number));
    }
    EXPECT_EQ(connections(), 6u);
}

TEST_F(BalancerMaps, WhatDoesNotFitIsRefusedAndTheOldStateStays) {
    SampleGeneration first(1, 7);
    publish(first);
    SampleGeneration large(2, 8);
    large.tables.backends.resize(9, large.tables.backends[0]);
    const uint32_t loopback = 1;
    const auto refused = balancer_->publish(large.state(), {&loopback, 1}, now_ns_);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().sentence.find("room for 8 backends"), std::string::npos)
        << refused.error().sentence;
    EXPECT_EQ(syn(1), 7);
}

TEST_F(BalancerMaps, RowsThatAGenerationNoLongerHasAreGone) {
    SampleGeneration three(1, 7);
    three.tables.backends.resize(3, three.tables.backends[0]);
    three.tables.backends[0].state = three.tables.backends[1].state = WEIR_BACKEND_DOWN;
    three.tables.members = {2, 2};
    publish(three);
    EXPECT_EQ(syn(1), 7);
    for (uint64_t number = 2; number <= 3; number++) { // both halves
        SampleGeneration two(number, 7);
        publish(two);
    }
    EXPECT_EQ(syn(1), 7);
    uint32_t backend = WEIR_NO_ROW;
    EXPECT_TRUE(balancer_->for_each_connection(
        [&](const auto&, const weir_connection& connection) { backend = connection.backend; }));
    EXPECT_LT(backend, 2u) << "its SYN found row 2 gone and opened the connection anew";
}

TEST_F(BalancerMaps, ASweepRemovesWhatIsOldAndCountsTheRest) {
    SampleGeneration first(1, 7);
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

TEST_F(BalancerMaps, APacketDoesNotReviveWhatIsOld) {
    SampleGeneration first(1, 7);
    first.tables.vips[0].flags |= WEIR_VIP_HASH_RECOVERS;
    publish(first);
    const auto established = first.tables.vips[0].timeouts.established;
    const auto state_after = [&](uint64_t idle_s) {
        now_ns_ += idle_s * kSecond_ns;
        EXPECT_EQ(send(WEIR_TCP_ACK, 1), 7);
        uint8_t state = WEIR_STATE_FREE;
        EXPECT_TRUE(balancer_->for_each_connection(
            [&](const auto&, const weir_connection& connection) { state = connection.state; }));
        return state;
    };
    EXPECT_EQ(syn(1), 7);
    EXPECT_EQ(state_after(0), WEIR_STATE_ESTABLISHED);
    EXPECT_EQ(state_after(established - 1u), WEIR_STATE_ESTABLISHED);
    EXPECT_EQ(state_after(established - 1u), WEIR_STATE_ESTABLISHED) << "each begins it anew";
    EXPECT_EQ(state_after(established), WEIR_STATE_MIDSTREAM) << "another, found by hash";
    EXPECT_EQ(balancer_->counts()->connections_expired, 1u);
}

TEST_F(BalancerMaps, CountsByVipAndBackend) {
    SampleGeneration first(1, 7);
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
