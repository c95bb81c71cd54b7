// SPDX-License-Identifier: BSD-3-Clause
// What schedulers, backups, limits, tunnels and the VIPs' policies become.
#include "control/compile/sample.hpp"

#include <algorithm>

#include "control/compile/row_ids.hpp"

namespace weir::control {
namespace {

using config::ForwardMode;
using config::Scheduler;
using sample::backend;
using sample::ip;
using sample::World;

std::vector<std::uint32_t> round_of(const World& world) {
    const weir_pool_row& row = world.state->pools()[0];
    std::vector<std::uint32_t> ids;
    for (const std::uint16_t slot : world.state->slots(row))
        ids.push_back(world.state->members()[row.member_first + slot]);
    return ids;
}

TEST(Scheduler, TurnsTakeARoundInsteadOfAMaglevTable) {
    World world;
    world.config.pools[0].backends[2].weight = 20;
    for (const auto& [scheduler, row, slots] :
         {std::tuple{Scheduler::kMaglev, WEIR_SCHEDULE_MAGLEV, 251u},
          {Scheduler::kSourceHash, WEIR_SCHEDULE_SOURCE_HASH, 251u},
          {Scheduler::kRoundRobin, WEIR_SCHEDULE_ROUND_ROBIN, 3u},
          {Scheduler::kWeightedRoundRobin, WEIR_SCHEDULE_ROUND_ROBIN, 4u},
          {Scheduler::kLeastConnections, WEIR_SCHEDULE_LEAST, 3u},
          {Scheduler::kWeightedLeastConnections, WEIR_SCHEDULE_LEAST, 4u}}) {
        world.config.pools[0].scheduler = scheduler;
        world.compile();
        EXPECT_EQ(world.state->pools()[0].scheduler, row) << to_string(scheduler);
        EXPECT_EQ(world.state->pools()[0].slot_count, slots) << to_string(scheduler);
    }
}

TEST(Scheduler, ARoundGivesEachItsTurns) {
    World world;
    world.config.pools[0].scheduler = Scheduler::kWeightedRoundRobin;
    world.config.pools[0].backends[2].weight = 20;
    world.compile();
    EXPECT_EQ(world.slots_of(0), (std::map<std::uint32_t, int>{{0, 1}, {1, 1}, {2, 2}}));
    const std::vector<std::uint32_t> first = round_of(world);
    EXPECT_TRUE((first[0] == 2) != (first[1] == 2)) << "its two turns are apart";
    std::reverse(world.config.pools[0].backends.begin(), world.config.pools[0].backends.end());
    world.compile();
    EXPECT_EQ(round_of(world), first) << "whatever the order of the list";
    EXPECT_EQ(world.slot_tables.built(), 1u);
}

TEST(Scheduler, EqualOnesKnowNoWeightButZero) {
    World world;
    world.config.pools[0].backends[0].weight = 0;
    for (const Scheduler scheduler : {Scheduler::kRoundRobin, Scheduler::kLeastConnections}) {
        world.config.pools[0].scheduler = scheduler;
        world.compile();
        EXPECT_EQ(world.slots_of(0), (std::map<std::uint32_t, int>{{1, 1}, {2, 1}}));
        EXPECT_EQ(world.state->pools()[0].flags, WEIR_POOL_IGNORES_WEIGHTS);
    }
    world.config.pools[0].scheduler = Scheduler::kWeightedLeastConnections;
    world.compile();
    EXPECT_EQ(world.state->pools()[0].flags, 0);
}

TEST(Scheduler, OnlyAHashRecovers) {
    World world;
    for (const auto& [scheduler, hashes] : {std::pair{Scheduler::kMaglev, true},
                                            {Scheduler::kSourceHash, true},
                                            {Scheduler::kRoundRobin, false},
                                            {Scheduler::kWeightedRoundRobin, false},
                                            {Scheduler::kLeastConnections, false},
                                            {Scheduler::kWeightedLeastConnections, false}})
        for (const auto& [mode, keeps_port] : {std::pair{ForwardMode::kDsrL2, true},
                                               {ForwardMode::kDsrIpip, true},
                                               {ForwardMode::kDsrGue, true},
                                               {ForwardMode::kNat, true},
                                               {ForwardMode::kFullNat, false}}) {
            world.config.pools[0].scheduler = scheduler;
            world.config.vips[0].forward = mode;
            const std::uint32_t id = world.compile().vip_ids[0];
            EXPECT_EQ((world.state->vips()[id].flags & WEIR_VIP_HASH_RECOVERS) != 0,
                      hashes && keeps_port)
                << to_string(scheduler) << " " << to_string(mode);
        }
}

TEST(Pool, LimitsAndPersistenceAreInTheRows) {
    World world;
    world.compile();
    EXPECT_EQ(world.state->pools()[0].persistence_s, 0);
    EXPECT_EQ(world.state->pools()[0].flags, 0);
    world.config.pools[0].persistence = {std::chrono::minutes(10), 24, 64};
    world.config.pools[0].backends[1].max_connections = 1000;
    world.compile();
    const weir_pool_row& row = world.state->pools()[0];
    EXPECT_EQ(row.persistence_s, 600);
    EXPECT_EQ(row.persistence_prefix_v4, 24);
    EXPECT_EQ(row.persistence_prefix_v6, 64);
    EXPECT_EQ(row.flags, WEIR_POOL_HAS_LIMITS);
    EXPECT_EQ(world.state->backends()[0].max_connections, 0u);
    EXPECT_EQ(world.state->backends()[1].max_connections, 1000u);
}

struct Backups : ::testing::Test {
    Backups() { world.config.pools[0].backends[2].backup = true; }
    void lose(std::size_t index) {
        world.health.down.insert({"web", world.config.pools[0].backends[index].address});
    }
    std::vector<std::uint32_t> members() {
        decision = world.compile().pools[0];
        std::vector<std::uint32_t> ids;
        for (const auto& [id, slots] : world.slots_of(0))
            ids.push_back(id);
        return ids;
    }
    using Ids = std::vector<std::uint32_t>;
    World world;
    PoolDecision decision;
};

TEST_F(Backups, WaitUntilNoOtherIsUp) {
    EXPECT_EQ(members(), (Ids{0, 1}));
    EXPECT_EQ(world.state->backends()[2].state, WEIR_BACKEND_DRAINING) << "nothing new";
    lose(0);
    EXPECT_EQ(members(), Ids{1});
    lose(1);
    EXPECT_EQ(members(), Ids{2});
    EXPECT_EQ(world.state->backends()[2].state, WEIR_BACKEND_UP);
    EXPECT_TRUE(decision.on_backups);
    EXPECT_FALSE(decision.panic) << "before on_all_down";
    EXPECT_EQ(world.state->backends()[0].state, WEIR_BACKEND_DOWN);
    world.health.down.clear();
    EXPECT_EQ(members(), (Ids{0, 1}));
    EXPECT_FALSE(decision.on_backups);
}

TEST_F(Backups, StandBesideThePrimariesBelowTheThreshold) {
    world.config.pools[0].panic_threshold_percent = 60;
    lose(0);
    EXPECT_EQ(members(), (Ids{1, 2}));
    EXPECT_FALSE(decision.panic);
}

TEST_F(Backups, TakeOverFromDrainedPrimaries) {
    world.admin[{"web", "192.0.2.11:80"}] = {AdminState::kDrain, {}};
    world.config.pools[0].backends[1].weight = 0;
    EXPECT_EQ(members(), Ids{2});
}

TEST_F(Backups, PanicFollowsWhenTheyAreDownToo) {
    lose(0);
    lose(1);
    EXPECT_EQ(members(), Ids{2});
    lose(2);
    EXPECT_EQ(members(), Ids{2}) << "the last known set";
    EXPECT_TRUE(decision.panic);
    world.history = {};
    EXPECT_EQ(members(), (Ids{0, 1})) << "nobody is known to have served: not the backup";
    world.health.mass_failure.insert("web");
    world.config.vips[0].on_all_down = config::OnAllDown::kReject;
    EXPECT_EQ(members(), Ids{});
}

TEST_F(Backups, ADrainedBackupDoesNotTakeOver) {
    world.admin[{"web", "192.0.2.13:80"}] = {AdminState::kDrain, {}};
    members();
    lose(0);
    lose(1);
    EXPECT_EQ(members(), (Ids{0, 1}));
    EXPECT_TRUE(decision.panic);
}

TEST(Vip, PoliciesAreFlags) {
    World world;
    config::VipConfig& vip = world.config.vips[0];
    const auto flags = [&] {
        const std::uint32_t id = world.compile().vip_ids[0];
        return world.state->vips()[id].flags;
    };
    const unsigned served = WEIR_VIP_SERVED;
    EXPECT_EQ(flags(), served | WEIR_VIP_REJECT_AT_LIMIT | WEIR_VIP_ANSWER_TOO_BIG);
    vip.on_limit = config::OnLimit::kDrop;
    vip.packet_too_big = false;
    EXPECT_EQ(flags(), served);
    vip.on_all_down = config::OnAllDown::kDrop;
    EXPECT_EQ(flags(), served | WEIR_VIP_DROP_ALL_DOWN);
    vip.on_all_down = config::OnAllDown::kReject;
    EXPECT_EQ(flags(), served | WEIR_VIP_DROP_ALL_DOWN | WEIR_VIP_REJECT_ALL_DOWN);
    vip.on_all_down = config::OnAllDown::kOpen;
    vip.forward = ForwardMode::kDsrGue;
    EXPECT_EQ(flags(), served | WEIR_VIP_HASH_RECOVERS | WEIR_VIP_CLAMP_MSS);
    vip.protocol = config::Protocol::kUdp;
    EXPECT_EQ(flags(), served | WEIR_VIP_HASH_RECOVERS);
}

TEST(Vip, ModesAndQuotasAreInTheRow) {
    World world;
    world.config.vips[0].max_connections = 77;
    for (const auto& [mode, row] : {std::pair{ForwardMode::kDsrL2, WEIR_FORWARD_DSR_L2},
                                    {ForwardMode::kDsrIpip, WEIR_FORWARD_DSR_IPIP},
                                    {ForwardMode::kDsrGue, WEIR_FORWARD_DSR_GUE},
                                    {ForwardMode::kNat, WEIR_FORWARD_NAT},
                                    {ForwardMode::kFullNat, WEIR_FORWARD_FULL_NAT}}) {
        world.config.vips[0].forward = mode;
        const std::uint32_t id = world.compile().vip_ids[0];
        EXPECT_EQ(world.state->vips()[id].forward, row);
        EXPECT_EQ(world.state->vips()[id].max_connections, 77u);
    }
}

TEST(Node, TunnelSourcesAreTheInterfacesByDefault) {
    World world;
    world.config.vips[0].forward = ForwardMode::kDsrIpip;
    world.compile();
    const weir_node_row& node = world.state->node();
    EXPECT_EQ(to_net(node.tunnel_source_v4), ip("192.0.2.2"));
    EXPECT_EQ(node.tunnel_source_v4_count, 1u);
    EXPECT_EQ(to_net(node.tunnel_source_v6), ip("2001:db8::2"));
    EXPECT_EQ(node.tunnel_source_v6_count, 1u);
    EXPECT_TRUE(tunnel_addresses(world.config).empty()) << "the interface has it";
}

TEST(Node, TunnelSourcesOfARangeBelongToTheNode) {
    World world;
    world.config.tunnel.sources = {net::IpPrefix::parse("198.18.0.5/30").value()};
    const auto is_local = [&](const char* address) {
        const weir_address wanted = to_weir(ip(address));
        return weir_match_address(&world.state->match(), &wanted) == WEIR_MATCH_LOCAL;
    };
    world.compile();
    EXPECT_FALSE(is_local("198.18.0.4")) << "no VIP encapsulates";
    world.config.vips[0].forward = ForwardMode::kDsrGue;
    world.compile();
    EXPECT_EQ(to_net(world.state->node().tunnel_source_v4), ip("198.18.0.4"));
    EXPECT_EQ(world.state->node().tunnel_source_v4_count, 4u);
    EXPECT_TRUE(is_local("198.18.0.4"));
    EXPECT_TRUE(is_local("198.18.0.7"));
    EXPECT_FALSE(is_local("198.18.0.8"));
    EXPECT_EQ(tunnel_addresses(world.config).size(), 4u);
}

TEST(Node, RatesAndPortAreInTheRow) {
    World world;
    world.config.tunnel.gue_port = 6081;
    world.config.engine.reset_grace = std::chrono::seconds(5);
    world.config.engine.answers_pps = 7;
    world.config.engine.icmp_pps = 8;
    world.compile();
    const weir_node_row& node = world.state->node();
    EXPECT_EQ(node.gue_port, weir_swap16(6081));
    EXPECT_EQ(node.reset_grace_s, 5);
    EXPECT_EQ(node.answers_pps, 7u);
    EXPECT_EQ(node.icmp_pps, 8u);
}

} // namespace
} // namespace weir::control
