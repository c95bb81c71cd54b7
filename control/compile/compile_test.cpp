// SPDX-License-Identifier: BSD-3-Clause
#include "control/compile/sample.hpp"

#include <algorithm>

namespace weir::control {
namespace {

using sample::backend;
using sample::ip;
using sample::World;

weir_match match(const World& world, const std::string& address, std::uint8_t protocol,
                 std::uint16_t port) {
    const weir_address wanted = to_weir(ip(address));
    return weir_match_endpoint(&world.state->match(), &wanted, protocol, weir_swap16(port));
}

std::uint32_t match_address(const World& world, const std::string& address) {
    const weir_address wanted = to_weir(ip(address));
    return weir_match_address(&world.state->match(), &wanted);
}

TEST(Compile, SameInputGivesSameBytes) {
    World a;
    World b;
    a.compile();
    b.compile();
    EXPECT_EQ(a.root, b.root);
    EXPECT_EQ(a.history.generation, 1u);
    b.compile();
    EXPECT_EQ(b.history.generation, 2u);
    EXPECT_EQ(b.slot_tables.built(), 1u) << "an unchanged pool keeps its table";
}

TEST(Compile, TheOrderOfTheListDoesNotMatter) {
    World a;
    World b;
    std::reverse(b.config.pools[0].backends.begin(), b.config.pools[0].backends.end());
    const CompiledState first = a.compile();
    const CompiledState second = b.compile();
    ASSERT_EQ(first.tables.segments.size(), 1u);
    EXPECT_EQ(first.tables.segments[0].id, second.tables.segments[0].id);
    for (std::uint64_t hash = 0; hash < 1000; hash++) {
        const std::uint64_t spread = hash * 0x9e3779b97f4a7c15u;
        const auto at = [&](const World& world) {
            return world.state->backends()[world.state->select(world.state->pools()[0], spread)]
                .identity;
        };
        EXPECT_EQ(at(a), at(b));
    }
}

TEST(Compile, MatchesWhatIsServed) {
    World world;
    config::VipConfig range = world.config.vips[0];
    range.name = "range";
    range.address = ip("203.0.113.11");
    range.ports = {8000, 8099};
    config::VipConfig all = range;
    all.name = "all";
    all.ports = config::kAllPorts;
    world.config.vips.push_back(range);
    world.config.vips.push_back(all);
    world.compile();
    EXPECT_EQ(match(world, "203.0.113.10", 6, 80).kind, WEIR_MATCH_VIP);
    EXPECT_EQ(match(world, "203.0.113.10", 6, 81).kind, WEIR_MATCH_EMPTY);
    EXPECT_EQ(match(world, "203.0.113.10", 17, 80).kind, WEIR_MATCH_EMPTY);
    EXPECT_EQ(match_address(world, "203.0.113.10"), WEIR_MATCH_VIP_ADDRESS);
    EXPECT_EQ(match(world, "203.0.113.11", 6, 8050).index, 1u);
    EXPECT_EQ(match(world, "203.0.113.11", 6, 8100).index, 2u);
    EXPECT_EQ(match_address(world, "192.0.2.2"), WEIR_MATCH_LOCAL);
}

TEST(Compile, FullNatTakesAPortRangeOfEachFamily) {
    World world;
    world.compile();
    ASSERT_EQ(world.state->snat().size(), 2u);
    EXPECT_EQ(world.state->snat()[1].family, 6);
    EXPECT_EQ(match(world, "192.0.2.2", 6, 40000).kind, WEIR_MATCH_SNAT);
    EXPECT_EQ(match(world, "192.0.2.2", 6, 59999).kind, WEIR_MATCH_SNAT);
    EXPECT_EQ(match(world, "192.0.2.2", 6, 60000).kind, WEIR_MATCH_EMPTY);
    EXPECT_EQ(match(world, "2001:db8::2", 17, 50000).index, 1u);
    world.config.vips[0].forward = config::ForwardMode::kDsrL2;
    world.compile();
    EXPECT_EQ(match(world, "192.0.2.2", 6, 40000).kind, WEIR_MATCH_EMPTY)
        << "nobody needs the ports: the kernel keeps them";
}

TEST(Compile, SnatPrefixesAreExpanded) {
    World world;
    world.config.snat.addresses = {net::IpPrefix::parse("192.0.2.64/30").value(),
                                   net::IpPrefix::parse("2001:db8::1:fffe/127").value()};
    world.compile();
    ASSERT_EQ(world.state->snat().size(), 6u);
    EXPECT_EQ(to_net(world.state->snat()[3].address), ip("192.0.2.67"));
    EXPECT_EQ(to_net(world.state->snat()[5].address), ip("2001:db8::1:ffff"));
    EXPECT_EQ(match(world, "192.0.2.66", 17, 45000).index, 2u);
}

TEST(Compile, SnatRowsKeepTheirIndex) {
    World world;
    const auto with = [&](const char* prefix) {
        world.config.snat.addresses = {net::IpPrefix::parse(prefix).value()};
        world.compile();
    };
    with("192.0.2.64/31");
    with("192.0.2.65/32");
    ASSERT_EQ(world.state->snat().size(), 2u);
    EXPECT_EQ(world.state->snat()[0].family, 0) << "no new ports from it";
    EXPECT_EQ(world.state->snat()[1].family, 4);
    EXPECT_EQ(match(world, "192.0.2.64", 6, 45000).kind, WEIR_MATCH_SNAT) << "old connections";
    with("192.0.2.66/32");
    EXPECT_EQ(match(world, "192.0.2.66", 6, 45000).index, 2u);
    with("192.0.2.64/32");
    EXPECT_EQ(world.state->snat().size(), 3u);
    EXPECT_EQ(match(world, "192.0.2.64", 6, 45000).index, 0u);
    world.config.snat.ports = {20000, 20999};
    world.compile();
    EXPECT_EQ(match(world, "192.0.2.64", 6, 20500).index, 3u);
    EXPECT_EQ(match(world, "192.0.2.64", 6, 45000).kind, WEIR_MATCH_EMPTY);
}

TEST(Compile, NatBackendsAreKnownAsSources) {
    World world;
    world.config.vips[0].forward = config::ForwardMode::kNat;
    world.config.pools[0].backends.push_back(backend("192.0.2.14"));
    world.compile();
    EXPECT_TRUE(world.state->match().flags & WEIR_MATCH_HAS_NAT);
    EXPECT_EQ(match(world, "192.0.2.11", 6, 80).kind, WEIR_MATCH_BACKEND);
    EXPECT_EQ(match(world, "192.0.2.14", 6, 80).kind, WEIR_MATCH_BACKEND) << "the VIP's port";
    EXPECT_EQ(match(world, "192.0.2.11", 17, 80).kind, WEIR_MATCH_EMPTY);
    world.config.pools[0].backends.erase(world.config.pools[0].backends.begin());
    world.compile();
    EXPECT_EQ(match(world, "192.0.2.11", 6, 80).kind, WEIR_MATCH_BACKEND)
        << "its connections finish";
    world.forget.backends = {0};
    world.compile();
    EXPECT_EQ(match(world, "192.0.2.11", 6, 80).kind, WEIR_MATCH_EMPTY);
}

TEST(Compile, ABackendThatIsDownHasNoSlots) {
    World world;
    world.health.down.insert({"web", world.config.pools[0].backends[1].address});
    world.compile();
    EXPECT_EQ(world.state->backends()[1].state, WEIR_BACKEND_DOWN);
    const auto slots = world.slots_of(0);
    EXPECT_EQ(slots.size(), 2u);
    EXPECT_FALSE(slots.contains(1));
}

TEST(Compile, AdminDecides) {
    World world;
    world.admin[{"web", "192.0.2.11:80"}] = {AdminState::kDrain, {}};
    world.admin[{"web", "192.0.2.12:80"}] = {AdminState::kDisable, {}};
    world.admin[{"web", "192.0.2.13:80"}] = {AdminState::kReady, 77};
    world.compile();
    EXPECT_EQ(world.state->backends()[0].state, WEIR_BACKEND_DRAINING);
    EXPECT_EQ(world.state->backends()[1].state, WEIR_BACKEND_DOWN);
    EXPECT_EQ(world.state->backends()[2].state, WEIR_BACKEND_UP);
    EXPECT_EQ(world.state->backends()[2].weight, 77u);
    EXPECT_EQ(world.slots_of(0).size(), 1u);
}

TEST(Compile, WeightZeroDrains) {
    World world;
    world.config.pools[0].backends[0].weight = 0;
    world.compile();
    EXPECT_EQ(world.state->backends()[0].state, WEIR_BACKEND_DRAINING);
    EXPECT_FALSE(world.slots_of(0).contains(0));
}

TEST(Compile, ARemovedBackendDrainsAndKeepsItsId) {
    World world;
    const std::uint32_t removed = world.compile().backend_ids[0][0];
    const config::BackendConfig gone = world.config.pools[0].backends.front();
    world.config.pools[0].backends.erase(world.config.pools[0].backends.begin());
    world.config.pools[0].backends.push_back(backend("192.0.2.20:80"));
    const CompiledState after = world.compile();
    EXPECT_EQ(after.leaving, std::vector{removed});
    EXPECT_EQ(world.state->backends()[removed].state, WEIR_BACKEND_DRAINING);
    EXPECT_EQ(world.state->backends()[removed].pool, 0u);
    EXPECT_FALSE(world.slots_of(0).contains(removed));
    EXPECT_EQ(after.backend_ids[0].back(), 3u) << "the id is not given away";
    world.config.pools[0].backends.push_back(gone);
    EXPECT_EQ(world.compile().backend_ids[0].back(), removed) << "it came back";
    EXPECT_EQ(world.state->backends()[removed].state, WEIR_BACKEND_UP);
}

TEST(Compile, AForgottenIdIsUsedAgain) {
    World world;
    world.compile();
    world.config.pools[0].backends.erase(world.config.pools[0].backends.begin());
    world.compile();
    world.forget.backends = {0};
    world.compile();
    EXPECT_EQ(world.state->backends()[0].state, WEIR_BACKEND_FREE);
    world.forget.backends.clear();
    world.config.pools[0].backends.push_back(backend("192.0.2.20:80"));
    EXPECT_EQ(world.compile().backend_ids[0].back(), 0u);
}

TEST(Compile, ARemovedVipKeepsItsIdAndIsNotServed) {
    World world;
    config::VipConfig second = world.config.vips[0];
    second.name = "second";
    second.ports = {81, 81};
    world.config.vips.push_back(second);
    world.compile();
    world.config.vips.erase(world.config.vips.begin());
    EXPECT_EQ(world.compile().vip_ids, std::vector{1u});
    EXPECT_FALSE(world.state->vips()[0].flags & WEIR_VIP_SERVED);
    EXPECT_EQ(match(world, "203.0.113.10", 6, 80).kind, WEIR_MATCH_EMPTY);
}

TEST(Compile, AVipThatMeansSomethingElseGetsAnotherId) {
    World world;
    EXPECT_EQ(world.compile().vip_ids[0], 0u);
    world.config.vips[0].ports = {8080, 8080};
    EXPECT_EQ(world.compile().vip_ids[0], 0u) << "the port is in the connection's key";
    world.config.vips[0].address = ip("203.0.113.99");
    EXPECT_EQ(world.compile().vip_ids[0], 1u);
    world.config.vips[0].forward = config::ForwardMode::kDsrL2;
    EXPECT_EQ(world.compile().vip_ids[0], 2u);
}

TEST(Compile, RemovedPoolLeavesItsBackendsWithoutOne) {
    World world;
    config::PoolConfig other = world.config.pools[0];
    other.name = "other";
    world.config.pools.insert(world.config.pools.begin(), other);
    world.compile();
    EXPECT_EQ(world.state->backends().size(), 6u) << "one endpoint in two pools is two backends";
    world.config.pools.erase(world.config.pools.begin());
    world.compile();
    EXPECT_EQ(world.state->backends()[0].pool, WEIR_NO_ROW);
    EXPECT_EQ(world.state->backends()[3].pool, 0u);
}

struct AllDown : ::testing::Test {
    void lose(std::size_t index) {
        world.health.down.insert({"web", world.config.pools[0].backends[index].address});
    }
    World world;
};

TEST_F(AllDown, OpenKeepsTheLastKnownSet) {
    lose(0);
    world.compile();
    lose(1);
    lose(2);
    EXPECT_TRUE(world.compile().pools[0].panic);
    const auto slots = world.slots_of(0);
    EXPECT_EQ(slots.size(), 2u);
    EXPECT_FALSE(slots.contains(0));
    EXPECT_EQ(world.state->backends()[0].state, WEIR_BACKEND_DOWN);
    EXPECT_EQ(world.state->backends()[1].state, WEIR_BACKEND_UP) << "it is trusted";
    world.compile();
    EXPECT_EQ(world.slots_of(0).size(), 2u) << "panic lasts without changing the set";
}

TEST_F(AllDown, OpenTakesAllWithoutHistory) {
    for (const std::size_t i : {0, 1, 2})
        lose(i);
    world.compile();
    EXPECT_EQ(world.slots_of(0).size(), 3u);
}

TEST_F(AllDown, OpenTakesAllAfterAMassFailure) {
    lose(0);
    lose(1);
    world.compile();
    lose(2);
    world.health.mass_failure.insert("web");
    world.compile();
    EXPECT_EQ(world.slots_of(0).size(), 3u) << "who fell last is no better than the others";
}

TEST_F(AllDown, DropLeavesNobody) {
    world.config.vips[0].on_all_down = config::OnAllDown::kDrop;
    for (const std::size_t i : {0, 1, 2})
        lose(i);
    world.compile();
    EXPECT_EQ(world.state->pools()[world.state->vips()[0].pool].slot_count, 0u);
}

TEST_F(AllDown, VipsOfOnePoolMayDiffer) {
    config::VipConfig second = world.config.vips[0];
    second.name = "second";
    second.ports = {81, 81};
    second.on_all_down = config::OnAllDown::kDrop;
    world.config.vips.push_back(second);
    for (const std::size_t i : {0, 1, 2})
        lose(i);
    world.compile();
    const auto slots = [&](std::size_t vip) {
        return world.state->pools()[world.state->vips()[vip].pool].slot_count;
    };
    EXPECT_EQ(slots(0), 251u);
    EXPECT_EQ(slots(1), 0u);
    world.compile();
    EXPECT_EQ(world.slots_of(0).size(), 3u);
}

TEST_F(AllDown, PanicThresholdCountsTheHealthyShare) {
    world.config.pools[0].panic_threshold_percent = 50;
    lose(0);
    EXPECT_FALSE(world.compile().pools[0].panic) << "two of three";
    lose(1);
    EXPECT_TRUE(world.compile().pools[0].panic) << "one of three";
    EXPECT_EQ(world.slots_of(0).size(), 2u);
}

TEST_F(AllDown, DrainedBackendsAreNotRevived) {
    world.admin[{"web", "192.0.2.11:80"}] = {AdminState::kDrain, {}};
    lose(1);
    lose(2);
    world.compile();
    EXPECT_FALSE(world.slots_of(0).contains(0));
}

TEST(Compile, NextHopsAreShared) {
    World world;
    const Hop gateway{0, net::MacAddress::parse("02:00:00:00:00:01").value(), 1400};
    world.adjacency.hops[ip("192.0.2.11")] = gateway;
    world.adjacency.hops[ip("192.0.2.12")] = gateway;
    world.compile();
    ASSERT_EQ(world.state->next_hops().size(), 1u);
    EXPECT_EQ(world.state->next_hops()[0].mtu, 1400);
    EXPECT_EQ(world.state->next_hops()[0].source_mac[5], 2);
    EXPECT_EQ(world.state->backends()[1].next_hop, 0u);
    EXPECT_EQ(world.state->backends()[2].next_hop, WEIR_NO_ROW);
}

TEST(Compile, HashRecoversOnlyWithoutPortTranslation) {
    World world;
    for (const auto& [mode, recovers] : {std::pair{config::ForwardMode::kDsrL2, true},
                                         {config::ForwardMode::kNat, true},
                                         {config::ForwardMode::kFullNat, false}}) {
        world.config.vips[0].forward = mode;
        const std::uint32_t id = world.compile().vip_ids[0];
        EXPECT_EQ((world.state->vips()[id].flags & WEIR_VIP_HASH_RECOVERS) != 0, recovers);
    }
}

// Fixed for all time: two releases in one cluster must agree.
TEST(Identity, IsPublished) {
    const net::Endpoint endpoint = net::Endpoint::parse("192.0.2.11:80").value();
    EXPECT_EQ(maglev_identity(endpoint).a, 14039368998703395519u);
    EXPECT_EQ(maglev_identity(endpoint).b, 6197440034894043772u);
    EXPECT_NE(maglev_identity(endpoint).a, maglev_identity(endpoint).b);
    EXPECT_NE(backend_identity("web", endpoint), backend_identity("api", endpoint));
    EXPECT_NE(name_identity("web"), name_identity("weba"));
    EXPECT_EQ(to_net(to_weir(ip("2001:db8::1"))), ip("2001:db8::1"));
    EXPECT_EQ(weir_address_v4(std::data({to_weir(ip("192.0.2.1"))})), ip("192.0.2.1").v4_be());
}

} // namespace
} // namespace weir::control
