// SPDX-License-Identifier: BSD-3-Clause
// Connections written under one generation and by one number of workers, taken over under another.
#include "dataplane/lb/takeover_fixture.hpp"

#include <set>

namespace weir::lb {
namespace {

TEST_F(TakeoverTest, TheSameWorkersGoOnWithEverything) {
    leave(2);
    Process next(2);
    const Takeover::Numbers numbers = next.take_over(left, after.state());
    EXPECT_EQ(numbers.adopted, kConnections);
    EXPECT_EQ(numbers.moved, 0u);
    EXPECT_EQ(numbers.refused, 0u);
    std::uint64_t of_backends = 0;
    std::uint64_t of_vips = 0;
    for (std::uint32_t worker = 0; worker < 2; worker++) {
        EXPECT_EQ(next.counters().worker(worker).connections_adopted,
                  next.part(worker).table.entries());
        for (std::uint32_t row = 0; row < 2; row++)
            of_backends += next.counters().backend(worker, row).connections_active;
        for (std::uint32_t row = 0; row < 3; row++)
            of_vips += next.counters().vip(worker, row).connections_active;
    }
    EXPECT_EQ(of_backends, kConnections);
    EXPECT_EQ(of_vips, kConnections);
    const HotRow row = next.find(after.state(), 0)->second;
    const LastHop* hop = next.part(next.find(after.state(), 0)->first)
                             .last_hops->find(static_cast<std::uint16_t>(row.last_hop));
    ASSERT_NE(hop, nullptr);
    EXPECT_EQ(std::memcmp(hop->mac, kRouter, 6), 0);
}

TEST_F(TakeoverTest, LastHopsAreFreeAgainWithTheirLastConnection) {
    leave(1);
    Process next(1);
    next.take_over(left, after.state());
    WorkerMemory& part = next.part(0);
    const auto hop = static_cast<std::uint16_t>(next.find(after.state(), 0)->second.last_hop);
    for (std::uint32_t i = 0; i < kConnections; i++)
        part.last_hops->release(hop);
    EXPECT_EQ(part.last_hops->find(hop), nullptr);
}

class OtherWorkers : public TakeoverTest,
                     public ::testing::WithParamInterface<std::pair<std::uint32_t, std::uint32_t>> {
};

TEST_P(OtherWorkers, EveryConnectionGoesToItsOwnerAndKeepsBackendAndPort) {
    const auto [from, to] = GetParam();
    leave(from);
    Process witness(from); // what there was
    witness.take_over(left, before.state());
    Process next(to);
    const Takeover::Numbers numbers = next.take_over(left, after.state());
    EXPECT_EQ(numbers.adopted, kConnections);
    EXPECT_GT(numbers.moved, 0u);
    const Workers workers{to, nullptr};
    std::uint32_t strays = 0;
    std::uint16_t ports = 0;
    for (std::uint32_t n = 0; n < kConnections; n++) {
        const auto found = next.find(after.state(), n);
        ASSERT_TRUE(found) << n;
        const auto& [holder, row] = *found;
        EXPECT_EQ(holder, owner_of_row(after.state(), workers, row));
        EXPECT_EQ(row.backend, n / 3 % 2);
        EXPECT_EQ(row.last_seen_s, static_cast<std::uint16_t>(kNow_s - 5));
        EXPECT_NE(next.part(holder).last_hops->find(static_cast<std::uint16_t>(row.last_hop)),
                  nullptr);
        ports += row.snat_port != 0;
        const weir_flow reply = reply_flow(after.state(), row);
        const auto stray = next.strays.holder(weir_flow_hash(&after.state().hash_key(), &reply));
        const bool elsewhere = owner_of_replies(after.state(), workers, row) != holder;
        EXPECT_EQ(stray, elsewhere ? std::optional(holder) : std::nullopt);
        EXPECT_EQ((row.flags & kRowStrayReplies) != 0, elsewhere);
        strays += elsewhere;
    }
    EXPECT_EQ(ports, (kConnections + 1) / 3);
    if (to == 1)
        EXPECT_EQ(strays, 0u);
    else
        EXPECT_GT(strays, 10u);
}

INSTANTIATE_TEST_SUITE_P(Workers, OtherWorkers,
                         ::testing::Values(std::pair(1u, 2u), std::pair(2u, 1u), std::pair(2u, 3u),
                                           std::pair(4u, 2u)));

TEST_F(TakeoverTest, StrayConnectionsStayKnownWhenTheNextProcessDiesToo) {
    leave(1);
    Process second(2);
    second.take_over(left, after.state());
    Process third(2);
    EXPECT_EQ(third.take_over(left, after.state()).adopted, kConnections);
    for (std::uint32_t n = 1; n < kConnections; n += 3) {
        const auto found = third.find(after.state(), n);
        ASSERT_TRUE(found);
        const weir_flow reply = reply_flow(after.state(), found->second);
        const std::uint64_t hash = weir_flow_hash(&after.state().hash_key(), &reply);
        EXPECT_EQ(third.strays.holder(hash), second.strays.holder(hash));
    }
}

// Of `refused`: the connections that the change concerns, and no other.
void expect_refused(Left& left, Generation& after, std::uint64_t refused) {
    Process next(1);
    const Takeover::Numbers numbers = next.take_over(left, after.state());
    EXPECT_EQ(numbers.refused, refused);
    EXPECT_EQ(numbers.adopted, kConnections - refused);
}

TEST_F(TakeoverTest, RowsOfABackendThatIsAnotherNowAreRefused) {
    leave(1);
    after.sample.tables.backends[1].identity = 999;
    std::uint64_t of_backend = 0;
    for (std::uint32_t n = 0; n < kConnections; n++)
        of_backend += n / 3 % 2;
    expect_refused(left, after, of_backend);
}

TEST_F(TakeoverTest, BackendsThatHaveChangedPlacesGetNobodysConnections) {
    leave(1);
    std::swap(after.sample.tables.backends[0], after.sample.tables.backends[1]);
    expect_refused(left, after, kConnections);
}

TEST_F(TakeoverTest, RowsOfAVipThatIsGoneAreRefused) {
    leave(1);
    after.sample.tables.vips[0].identity = 0;
    expect_refused(left, after, (kConnections + 2) / 3);
}

TEST_F(TakeoverTest, RowsOfAVipInAnotherModeAreRefused) {
    leave(1);
    after.sample.tables.vips[0].forward = WEIR_FORWARD_DSR_L2;
    expect_refused(left, after, (kConnections + 2) / 3);
}

TEST_F(TakeoverTest, FullNatRowsOfAnotherSnatAddressAreRefused) {
    leave(1);
    after.sample.tables.snat[0].address = weir_address_from_v4(0x6500000a);
    expect_refused(left, after, (kConnections + 1) / 3);
}

TEST_F(TakeoverTest, NothingGoesOnUnderAnotherHashKey) {
    leave(1);
    after.sample.tables.hash_key = {3, 4};
    expect_refused(left, after, kConnections);
}

TEST_F(TakeoverTest, ADamagedRowCostsItselfOnly) {
    leave(1);
    Process probe(1);
    probe.take_over(left, before.state());
    for (EntryIndex entry = 0; entry < 3; entry++)
        const_cast<HotRow&>(probe.part(0).table.row(entry)).client_port ^= 1;
    expect_refused(left, after, 3);
}

TEST_F(TakeoverTest, AgesGoOnOverTheGapAndWhatIsTooOldIsRefused) {
    leave(1);
    Process soon(1);
    EXPECT_EQ(soon.take_over(left, after.state(), kNow_s + 3600).adopted, kConnections);
    EXPECT_EQ(soon.find(after.state(), 0)->second.last_seen_s,
              static_cast<std::uint16_t>(kNow_s - 5));
    left.rows().alive_s = kNow_s;
    Process late(1);
    const auto numbers = late.take_over(left, after.state(), kNow_s + kLongestTimeout_s - 4);
    EXPECT_EQ(numbers.refused, kConnections);
}

TEST_F(TakeoverTest, LastHopsOfAnotherInterfaceAreForgotten) {
    leave(1);
    after.sample.tables.interfaces[0].identity = 301;
    Process next(1);
    EXPECT_EQ(next.take_over(left, after.state()).adopted, kConnections);
    EXPECT_EQ(next.find(after.state(), 0)->second.last_hop, kNoLastHop);
}

TEST_F(TakeoverTest, ALegendOfAnotherBootOrReleaseIsNone) {
    BootId other = kBoot;
    other[3] = std::byte{1};
    EXPECT_EQ(adopt_legend(left.legend.span(), other), nullptr);
    left.rows().version++;
    EXPECT_EQ(adopt_legend(left.legend.span(), kBoot), nullptr);
    EXPECT_EQ(adopt_legend(left.legend.span().first(64), kBoot), nullptr);
}

TEST_F(TakeoverTest, EveryWorkerKnowsTheNetworksThatAnyKnew) {
    leave(2);
    Process witness(2);
    witness.take_over(left, before.state());
    witness.part(0).persistence->remember(11, 0, 200, static_cast<std::uint16_t>(kNow_s));
    witness.part(1).persistence->remember(12, 1, 201, static_cast<std::uint16_t>(kNow_s));
    Process next(3);
    next.take_over(left, after.state(), kNow_s + 10);
    for (std::uint32_t worker = 0; worker < 3; worker++)
        for (const std::uint64_t network : {11u, 12u}) {
            const auto* entry = next.part(worker).persistence->find(
                network, static_cast<std::uint16_t>(kNow_s + 10), 60);
            ASSERT_NE(entry, nullptr);
            EXPECT_EQ(entry->backend, network - 11);
        }
}

TEST_F(TakeoverTest, AStrayThatHasEndedIsNoneAnyMore) {
    StrayReplies strays;
    EXPECT_FALSE(strays.holder(5));
    const StrayReplies::Stray all[] = {{5, 1}, {9, 0}, {5 + (1u << 20), 1}};
    strays.fill(all);
    EXPECT_EQ(strays.holder(5), 1u);
    EXPECT_EQ(strays.holder(5 + (1u << 20)), 1u);
    strays.remove(5);
    EXPECT_FALSE(strays.holder(5));
    EXPECT_EQ(strays.holder(9), 0u);
    EXPECT_EQ(strays.holder(5 + (1u << 20)), 1u);
    EXPECT_FALSE(strays.holder(6));
}

} // namespace
} // namespace weir::lb
