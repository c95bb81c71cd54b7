// SPDX-License-Identifier: BSD-3-Clause
// Another engine's connections on the loaded balancer: what is dropped before they are given, and
// where their packets go afterwards.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <vector>

#include "dataplane/forwarding/connection_state.h"
#include "dataplane/forwarding/test_table.hpp"
#include "xdp/balancer_sample.hpp"

namespace weir::xdp {
namespace {

constexpr uint64_t kSecond_ns = 1'000'000'000;
constexpr uint8_t kSyn = 0x02;
constexpr uint8_t kAck = 0x10;
constexpr uint8_t kFin = 0x11;
constexpr int kFirst = 1; // last byte of the backends' MACs
constexpr int kSecond = 2;
constexpr int kDropped = -XDP_DROP;

// The VIP of SampleGeneration on two backends with a next hop each; every slot is the first one's.
class GivenToBalancer : public InjectedBalancer {
protected:
    void publish(uint32_t vip_flags, uint8_t forward = WEIR_FORWARD_DSR_L2,
                 uint16_t persistence_s = 0) {
        lb::StateTables& tables = sample_.tables;
        tables.vips[0].flags = WEIR_VIP_SERVED | vip_flags;
        tables.vips[0].forward = forward;
        tables.pools[0].persistence_s = persistence_s;
        tables.pools[0].persistence_prefix_v4 = 32;
        tables.next_hops.resize(2, tables.next_hops[0]);
        for (uint8_t i = 0; i < 2; i++) {
            tables.next_hops[i].destination_mac[5] = static_cast<uint8_t>(kFirst + i);
            tables.backends[i].next_hop = i;
            tables.backends[i].pool = 0;
            tables.backends[i].identity = 1000u + i;
            tables.backends[i].state = WEIR_BACKEND_UP;
            tables.backends[i].weight = 1;
        }
        slots_.assign(7, 0);
        segment_ = lb::inspect_segment(lb::segment_id(slots_), slots_);
        tables.segments = {{segment_.id, 14}};
        root_.emplace(lb::build_root(tables));
        std::string problem;
        state_ = lb::ForwardingState::open(root_->span(), {&segment_, 1}, problem);
        ASSERT_TRUE(state_) << problem;
        const uint32_t loopback = 1;
        ASSERT_TRUE(balancer_->publish(*state_, {&loopback, 1}, kNow_ns));
    }
    int send(uint8_t flags, uint16_t source_port) {
        balancer_->injection().now_ns = kNow_ns;
        balancer_->injection().interface = 0;
        return run_segment(*balancer_, flags, source_port);
    }
    uint32_t verdict() const { return balancer_->injection().verdict; }
    uint64_t identity_of(uint32_t backend) const { return state_->backends()[backend].identity; }

    // The connection of run_segment()'s client from this port, by the second backend.
    static Balancer::Given connection_by_second(uint16_t source_port) {
        Balancer::Given given{};
        given.key = {.client = forwarding_test::address_of(forwarding_test::PacketPlan{}.source),
                     .client_port = weir_swap16(source_port),
                     .service_port = weir_swap16(80),
                     .vip = 0};
        given.connection.backend = 1;
        given.connection.state = WEIR_STATE_ESTABLISHED;
        given.connection.last_seen_s = given.connection.created_s = kNow_ns / kSecond_ns;
        given.connection.vlan_tci = WEIR_NO_VLAN;
        return given;
    }
    uint64_t give(const std::vector<Balancer::Given>& connections) {
        const auto given = balancer_->give(connections, *state_);
        EXPECT_TRUE(given) << (given ? "" : given.error().sentence);
        return given ? *given : 0;
    }

    static constexpr uint64_t kNow_ns = 1000 * kSecond_ns;
    static constexpr uint32_t kMany = 1u << 18;

private:
    SampleGeneration sample_{1, 0};
    std::vector<uint16_t> slots_;
    lb::Segment segment_;
    std::optional<lb::Root> root_;
    std::optional<lb::ForwardingState> state_;
};

TEST_F(GivenToBalancer, WhatIsUnknownToAHeldVipIsDroppedByNameAndOnlyThat) {
    publish(WEIR_VIP_HASH_RECOVERS);
    balancer_->hold(0, true);
    for (const uint8_t flags : {kSyn, kAck}) {
        EXPECT_EQ(send(flags, 5000), kDropped);
        EXPECT_EQ(verdict(), uint32_t{WEIR_DROP_STANDING_IN});
    }
    EXPECT_EQ(connections_of(*balancer_), 0u);
    EXPECT_EQ(give({connection_by_second(5000)}), 1u);
    EXPECT_EQ(send(kAck, 5000), kSecond);
    EXPECT_EQ(send(kAck, 5001), kDropped);
    balancer_->hold(0, false);
    EXPECT_EQ(send(kAck, 5001), kFirst);
    EXPECT_EQ(send(kAck, 5000), kSecond);
    EXPECT_EQ(balancer_->vip_active(0), 2u);
}

// A flow of a VIP that records exceptions only is found by its slot, unless it is one.
TEST_F(GivenToBalancer, GivenExceptionsAreFoundAndOthersNotLookedFor) {
    publish(WEIR_VIP_HASH_RECOVERS | WEIR_VIP_EXCEPTIONS);
    balancer_->begin_giving();
    EXPECT_EQ(send(kAck, 5001), kFirst) << "it is not held";
    EXPECT_EQ(give({connection_by_second(5000)}), 1u);
    EXPECT_EQ(send(kAck, 5000), kSecond) << "every flow is looked for";
    balancer_->end_giving();
    EXPECT_EQ(send(kAck, 5000), kSecond);
    EXPECT_EQ(send(kAck, 5001), kFirst);
    // Held, it shows who is looked for: of a settled VIP nobody but those that were given.
    balancer_->hold(0, true);
    EXPECT_EQ(send(kAck, 5000), kSecond);
    EXPECT_EQ(send(kAck, 5001), kFirst);
}

TEST_F(GivenToBalancer, OneThatIsGivenAgainTakesTheOldOnesPlace) {
    publish(WEIR_VIP_HASH_RECOVERS);
    EXPECT_EQ(send(kSyn, 5000), kFirst);
    EXPECT_EQ(give({connection_by_second(5000)}), 1u);
    EXPECT_EQ(send(kAck, 5000), kSecond);
    EXPECT_EQ(connections_of(*balancer_), 1u);
}

TEST_F(GivenToBalancer, WhatNamesNothingOfTheGenerationIsLeftOut) {
    publish(WEIR_VIP_HASH_RECOVERS);
    std::vector<Balancer::Given> given(5, connection_by_second(5000));
    given[0].key.vip = 77;
    given[1].connection.backend = 77;
    given[2].connection.interface = 77;
    given[3].connection.snat_port = 1; // in direct return
    EXPECT_EQ(give(given), 1u);
    EXPECT_EQ(give({}), 0u);
}

// Each CPU looks at the clock for itself: another one may have seen a packet a second later.
TEST_F(GivenToBalancer, WhatAClockAheadHasSeenIsNotOld) {
    publish(WEIR_VIP_HASH_RECOVERS, WEIR_FORWARD_DSR_L2, 60);
    Balancer::Given ahead = connection_by_second(5000);
    ahead.connection.last_seen_s++;
    EXPECT_EQ(give({ahead}), 1u);
    for (const uint8_t flags : {kAck, kFin}) // by the short way, and by the stages
        EXPECT_EQ(send(flags, 5000), kSecond);
    EXPECT_EQ(send(kSyn, 5001), kFirst);
    auto networks = balancer_->networks();
    ASSERT_TRUE(networks && networks->size() == 1);
    networks->front().remembered = {identity_of(1), 1, uint32_t{kNow_ns / kSecond_ns} + 1};
    ASSERT_TRUE(balancer_->give_networks(*networks));
    EXPECT_EQ(send(kSyn, 5002), kSecond);
}

TEST_F(GivenToBalancer, NetworksThatAreGivenGoWhereTheyWent) {
    publish(WEIR_VIP_HASH_RECOVERS, WEIR_FORWARD_DSR_L2, 60);
    EXPECT_EQ(send(kSyn, 5000), kFirst);
    auto networks = balancer_->networks();
    ASSERT_TRUE(networks) << networks.error().sentence;
    ASSERT_EQ(networks->size(), 1u);
    weir_remembered& remembered = networks->front().remembered;
    EXPECT_EQ(remembered.backend, 0u);
    EXPECT_EQ(remembered.seen_s, uint32_t{kNow_ns / kSecond_ns});
    remembered.backend = 1;
    remembered.identity = identity_of(1);
    networks->push_back({~networks->front().key, remembered}); // of somebody else
    ASSERT_TRUE(balancer_->give_networks(*networks));
    EXPECT_EQ(send(kSyn, 5001), kSecond);
    EXPECT_EQ(balancer_->networks()->size(), 2u);
    ASSERT_TRUE(balancer_->give_networks({}));
}

// Says how fast, for docs/xdp.md; holds nobody to it.
TEST_F(GivenToBalancer, TakesManyAtOnce) {
    load(kMany);
    for (const uint8_t forward : {WEIR_FORWARD_DSR_L2, WEIR_FORWARD_FULL_NAT}) {
        publish(WEIR_VIP_HASH_RECOVERS, forward);
        std::vector<Balancer::Given> many(kMany / 2, connection_by_second(5000));
        for (uint32_t i = 0; i < many.size(); i++) {
            many[i].key.client = weir_address_from_v4(i * 2654435761u);
            many[i].connection.snat_port =
                static_cast<weir_be16>(forward == WEIR_FORWARD_FULL_NAT ? i % 60'000 + 1 : 0);
        }
        const auto began = std::chrono::steady_clock::now();
        EXPECT_EQ(give(many), many.size());
        const std::chrono::duration<double> took = std::chrono::steady_clock::now() - began;
        printf("%s: %.2f million a second\n",
               forward == WEIR_FORWARD_FULL_NAT ? "full-nat" : "dsr-l2",
               static_cast<double>(many.size()) / took.count() / 1e6);
        EXPECT_GT(connections_of(*balancer_), many.size() * 9 / 10) << "and keeps nearly all";
    }
}

} // namespace
} // namespace weir::xdp
