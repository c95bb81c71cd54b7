// SPDX-License-Identifier: BSD-3-Clause
#include "control/wiring/connection_exchange.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>

#include "dataplane/forwarding/connection_state.h"
#include "dataplane/lb/state_sample.hpp"

namespace weir::control {
namespace {

constexpr std::uint32_t kNow_s = 200'000; // more than 65536 s after the boot
constexpr std::uint8_t kRouter[6] = {2, 0, 0, 0, 0, 7};

class ConnectionExchange : public testing::Test {
protected:
    ConnectionExchange() {
        sample_.tables.vips[0].timeouts = {30, 3600, 60, 10, 60};
        root_.emplace(lb::build_root(sample_.tables));
        state_ = lb::ForwardingState::open(root_->span(), {&sample_.segment, 1}, sample_.problem);
        found_.row.client = weir_address_from_v4(0x01020304);
        found_.row.client_port = weir_swap16(5000);
        found_.row.service_port = weir_swap16(80);
        found_.row.snat_port = weir_swap16(40'001);
        found_.row.backend = 1;
        found_.row.state = WEIR_STATE_ESTABLISHED;
        found_.row.last_seen_s = static_cast<std::uint16_t>(kNow_s - 100);
        found_.row.last_hop = hops_->acquire(lb::mac_word(kRouter), 42, 0);
        found_.cold.life.created_s = static_cast<std::uint16_t>(kNow_s - 1000);
    }
    [[nodiscard]] std::optional<xdp::Balancer::Given> given() const {
        return given_to_balancer(found_, *hops_, *state_, kNow_s);
    }

    lb::Sample sample_;
    std::optional<lb::Root> root_;
    std::optional<lb::ForwardingState> state_;
    std::unique_ptr<lb::LastHops> hops_ = std::make_unique<lb::LastHops>();
    lb::ConnectionReader::Connection found_{};
};

TEST_F(ConnectionExchange, ThereAndBackNothingIsLost) {
    const auto there = given();
    ASSERT_TRUE(there);
    EXPECT_EQ(there->connection.last_seen_s, kNow_s - 100);
    EXPECT_EQ(there->connection.created_s, kNow_s - 1000);
    const lb::GivenConnection back = given_to_dataplane(there->key, there->connection);
    EXPECT_TRUE(weir_address_equal(&back.row.client, &found_.row.client));
    EXPECT_EQ(back.row.client_port, found_.row.client_port);
    EXPECT_EQ(back.row.service_port, found_.row.service_port);
    EXPECT_EQ(back.row.vip, found_.row.vip);
    EXPECT_EQ(back.row.snat_port, found_.row.snat_port);
    EXPECT_EQ(back.row.snat_address, found_.row.snat_address);
    EXPECT_EQ(back.row.backend, found_.row.backend);
    EXPECT_EQ(back.row.state, found_.row.state);
    EXPECT_EQ(back.row.last_seen_s, found_.row.last_seen_s);
    EXPECT_NE(back.row.last_hop, lb::kNoLastHop);
    EXPECT_TRUE(std::ranges::equal(back.hop.mac, kRouter));
    EXPECT_EQ(back.hop.vlan_tci, 42);
}

TEST_F(ConnectionExchange, ALastHopThatIsNotKnownIsNotMadeUp) {
    found_.row.last_hop = lb::kNoLastHop;
    const auto there = given();
    ASSERT_TRUE(there);
    EXPECT_EQ(given_to_dataplane(there->key, there->connection).row.last_hop, lb::kNoLastHop);
}

TEST_F(ConnectionExchange, AClockALittleAheadIsNoAge) {
    found_.row.last_seen_s = static_cast<std::uint16_t>(kNow_s + 1);
    ASSERT_TRUE(given());
    EXPECT_EQ(given()->connection.last_seen_s, kNow_s);
}

TEST_F(ConnectionExchange, WhatNoLongerHoldsIsLeftOut) {
    ASSERT_TRUE(given());
    found_.row.last_seen_s = static_cast<std::uint16_t>(kNow_s - 3600);
    EXPECT_FALSE(given()) << "too old";
    found_.row.last_seen_s = static_cast<std::uint16_t>(kNow_s);
    found_.row.flags = lb::kRowProbation;
    EXPECT_FALSE(given()) << "half open";
    found_.row.flags = 0;
    found_.row.vip = 7;
    EXPECT_FALSE(given()) << "no such VIP";
}

TEST_F(ConnectionExchange, ANetworkIsTheSameThereAndBack) {
    const std::uint64_t identity = state_->backends()[1].identity;
    auto entry = lb::PersistenceTable::entry_of(77, 1, identity, kNow_s - 100);
    const auto there = network_to_balancer(entry, *state_, kNow_s);
    ASSERT_TRUE(there);
    EXPECT_EQ(there->key, 77u);
    EXPECT_EQ(there->remembered.backend, 1u);
    EXPECT_EQ(there->remembered.identity, identity);
    EXPECT_EQ(there->remembered.seen_s, kNow_s - 100);
    const lb::GivenNetwork back = network_to_dataplane(*there);
    EXPECT_EQ(back.key, entry.key);
    EXPECT_EQ(back.backend, entry.backend);
    EXPECT_EQ(back.check, entry.check);
    EXPECT_EQ(back.last_seen_s, entry.last_seen_s);

    entry.last_seen_s = static_cast<std::uint16_t>(kNow_s - lb::kLongestPersistence_s);
    EXPECT_FALSE(network_to_balancer(entry, *state_, kNow_s)) << "too old";
    entry = lb::PersistenceTable::entry_of(77, 1, identity + 1, kNow_s);
    EXPECT_FALSE(network_to_balancer(entry, *state_, kNow_s)) << "of a backend that had this row";
    entry.backend = 7777;
    EXPECT_FALSE(network_to_balancer(entry, *state_, kNow_s)) << "no such row";
    EXPECT_FALSE(network_to_balancer({}, *state_, kNow_s)) << "free";
}

} // namespace
} // namespace weir::control
