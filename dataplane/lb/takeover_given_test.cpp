// SPDX-License-Identifier: BSD-3-Clause
// What another engine has made while there was no dataplane, beside what the dataplane before left.
#include "dataplane/lb/takeover_fixture.hpp"

namespace weir::lb {
namespace {

constexpr std::uint8_t kOtherRouter[6] = {2, 0, 0, 0, 0, 9};

// The n-th client's connection, by a backend and with a SNAT port of the other engine's choice.
GivenConnection given_of(const ForwardingState& state, std::uint32_t n, std::uint32_t backend,
                         std::uint16_t port) {
    GivenConnection given{};
    given.row = row_of(connection_of(state, n, weir_swap16(port)));
    given.row.backend = backend;
    given.row.state = WEIR_STATE_ESTABLISHED;
    given.row.last_seen_s = static_cast<std::uint16_t>(kNow_s);
    std::copy_n(kOtherRouter, 6, given.hop.mac);
    given.hop.vlan_tci = WEIR_NO_VLAN;
    return given;
}

TEST_F(TakeoverTest, WhatAnotherEngineMadeGoesOnWithItsOwnerAndKeepsItsPort) {
    const ForwardingState& state = after.state();
    std::vector<GivenConnection> given;
    for (std::uint32_t n = 0; n < 60; n++)
        given.push_back(given_of(state, n, 1, static_cast<std::uint16_t>(40'000 + n)));
    Process next(2);
    next.start_anew(left);
    const Takeover::Numbers numbers = next.take_over(left, state, kNow_s, given);
    EXPECT_EQ(numbers.given, 60u);
    EXPECT_EQ(numbers.adopted, 60u);
    EXPECT_EQ(numbers.refused, 0u);
    std::uint32_t strays = 0;
    for (std::uint32_t n = 0; n < 60; n++) {
        const auto found = next.find(state, n);
        ASSERT_TRUE(found) << n;
        const auto& [worker, row] = *found;
        EXPECT_EQ(worker, owner_of_row(state, {2, nullptr}, row));
        EXPECT_EQ(row.backend, 1u);
        EXPECT_EQ(row.snat_port, given[n].row.snat_port);
        const LastHop* hop =
            next.part(worker).last_hops->find(static_cast<std::uint16_t>(row.last_hop));
        ASSERT_NE(hop, nullptr);
        EXPECT_EQ(std::memcmp(hop->mac, kOtherRouter, 6), 0);
        if (row.snat_port == 0)
            continue;
        const weir_flow reply = reply_flow(state, row);
        const std::uint64_t hash = weir_flow_hash(&state.hash_key(), &reply);
        EXPECT_NE(next.part(worker).table.find_reply(
                      index_hash(hash), [&](const HotRow& other) { return other.vip == row.vip; }),
                  kNoEntry);
        const auto holder = next.strays.holder(hash);
        EXPECT_EQ(holder.has_value(), owner_of_replies(state, {2, nullptr}, row) != worker);
        strays += holder.has_value();
    }
    EXPECT_GT(strays, 0u) << "no port was the other worker's: this has shown nothing";
}

TEST_F(TakeoverTest, NetworksThatAnotherEngineRemembersAreKnownToEveryWorker) {
    Process next(2);
    next.start_anew(left);
    const std::vector<GivenNetwork> networks = {PersistenceTable::entry_of(77, 1, 123, kNow_s)};
    next.take_over(left, after.state(), kNow_s, {}, networks);
    for (std::uint32_t worker : {0u, 1u}) {
        const auto* entry =
            next.part(worker).persistence->find(77, static_cast<std::uint16_t>(kNow_s), 60);
        ASSERT_NE(entry, nullptr);
        EXPECT_EQ(entry->backend, 1u);
        EXPECT_TRUE(PersistenceTable::is_of(*entry, 123));
    }
}

TEST_F(TakeoverTest, ANewerConnectionOfTheSameClientTakesTheOldOnesPlace) {
    leave(1);
    const ForwardingState& state = after.state();
    Process next(1);
    // Client 1 (full-nat) has opened anew by the other backend, client 4 has only gone on.
    const std::uint32_t other = 1 - row_of(connection_of(state, 1, 0)).backend;
    GivenConnection opened = given_of(state, 1, other, 50'000);
    GivenConnection ended = given_of(state, 4, row_of(connection_of(state, 4, 0)).backend, 0);
    ended.row.state = WEIR_STATE_CLOSING_CLIENT;
    {
        Process before_it(1);
        before_it.take_over(left, state);
        ended.row.snat_port = before_it.find(state, 4)->second.snat_port;
    }
    const std::vector<GivenConnection> given = {opened, ended};
    const Takeover::Numbers numbers = next.take_over(left, state, kNow_s, given);
    EXPECT_EQ(numbers.adopted, kConnections);
    EXPECT_EQ(numbers.given, 1u);
    const HotRow row = next.find(state, 1)->second;
    EXPECT_EQ(row.backend, other);
    EXPECT_EQ(row.snat_port, weir_swap16(50'000));
    EXPECT_EQ(next.find(state, 4)->second.state, WEIR_STATE_CLOSING_CLIENT);
    // As young as it was there: that of client 7, which only the table had, is five seconds old.
    EXPECT_EQ(next.find(state, 4)->second.last_seen_s, static_cast<std::uint16_t>(kNow_s));
    EXPECT_EQ(next.find(state, 7)->second.last_seen_s, static_cast<std::uint16_t>(kNow_s - 5));
    std::uint64_t active = 0;
    for (std::uint32_t backend = 0; backend < 2; backend++)
        active += next.counters().backend(0, backend).connections_active;
    EXPECT_EQ(active, kConnections);
    EXPECT_TRUE(next.part(0).table.consistent());
}

TEST_F(TakeoverTest, WhatNamesNothingOfTheGenerationIsRefused) {
    const ForwardingState& state = after.state();
    std::vector<GivenConnection> given(6, given_of(state, 1, 0, 40'000));
    given[0].row.vip = 77;
    given[1].row.backend = 77;
    given[2].row.snat_address = 77;
    given[3].row.state = kRowFree;
    given[4].row.snat_port = 0; // in full-nat
    Process next(1);
    next.start_anew(left);
    const Takeover::Numbers numbers = next.take_over(left, state, kNow_s, given);
    EXPECT_EQ(numbers.refused, 5u);
    EXPECT_EQ(numbers.given, 1u);
}

TEST(GivenConnections, OtherMemoryIsNoArrayOfThem) {
    alignas(64) std::byte memory[129] = {};
    EXPECT_FALSE(given_in<GivenConnection>({memory, 129}));
    EXPECT_FALSE(given_in<GivenConnection>({memory + 8, 64}));
    EXPECT_EQ(given_in<GivenConnection>({memory, 128})->size(), 2u);
    EXPECT_TRUE(given_in<GivenConnection>({})->empty());
}

} // namespace
} // namespace weir::lb
