// SPDX-License-Identifier: BSD-3-Clause
// Windows of slots that changed: which pools have them, for how long, and across restarts.
#include "control/compile/sample.hpp"
#include "control/compile/windows.hpp"

namespace weir::control {
namespace {

using sample::World;

constexpr std::uint32_t kLength_s = 3600;

World direct_world(config::Tracking tracking = config::Tracking::kExceptions) {
    World world;
    world.config = sample::config(config::ForwardMode::kDsrL2);
    world.config.vips[0].tracking = tracking;
    return world;
}

void drain(World& world, std::size_t backend) {
    world.admin[{"web", world.config.pools[0].backends[backend].name}] = {AdminState::kDrain, {}};
}

// By backend row: how many slots had it before.
std::map<std::uint32_t, int> oldest_of(const World& world) {
    const weir_pool_row& pool = world.state->pools()[0];
    std::map<std::uint32_t, int> count;
    for (const std::uint16_t elder : world.state->oldest_slots(pool))
        if (elder != WEIR_NO_MEMBER)
            count[world.state->elders_of(pool)[elder]]++;
    return count;
}

TEST(CompileWindows, ADrainedBackendIsTheOldestOfAllItsSlots) {
    World world = direct_world();
    world.compile();
    EXPECT_TRUE(world.state->vips()[0].flags & WEIR_VIP_EXCEPTIONS);
    EXPECT_TRUE(oldest_of(world).empty());
    const int had = world.slots_of(0)[1];
    drain(world, 1);
    world.now_s = 100;
    const CompiledState compiled = world.compile();
    EXPECT_EQ(oldest_of(world)[1], had);
    EXPECT_EQ(compiled.next_close_s, 100 + kLength_s);
}

TEST(CompileWindows, CloseByTheClockAndWithAllThatNamesThem) {
    World world = direct_world();
    world.compile();
    drain(world, 1);
    world.now_s = 100;
    world.compile();
    world.now_s = 99 + kLength_s;
    world.compile();
    EXPECT_FALSE(oldest_of(world).empty());
    world.now_s = 100 + kLength_s;
    const CompiledState compiled = world.compile();
    EXPECT_TRUE(oldest_of(world).empty());
    EXPECT_EQ(world.state->pools()[0].elder_count, 0u);
    EXPECT_EQ(compiled.tables.segments.size(), 1u);
    EXPECT_FALSE(compiled.next_close_s);
}

TEST(CompileWindows, AreOnlyForPoolsOfWhichSomethingGoesUnrecorded) {
    World world = direct_world(config::Tracking::kFull);
    world.compile();
    drain(world, 1);
    const CompiledState compiled = world.compile();
    EXPECT_TRUE(oldest_of(world).empty());
    EXPECT_TRUE(compiled.windows.empty());
}

TEST(CompileWindows, LastAsLongAsTheLongestIdleTimeout) {
    World world = direct_world();
    config::VipConfig other = world.config.vips[0];
    other.name = "other";
    other.ports = {443, 443};
    other.timeouts.established = std::chrono::seconds(7200);
    world.config.vips.push_back(other);
    world.compile();
    drain(world, 1);
    world.now_s = 100;
    EXPECT_EQ(world.compile().next_close_s, 7300u);
}

TEST(CompileWindows, StayOpenWhenTheLastVipOfTheirKindIsGone) {
    World world = direct_world();
    world.compile();
    drain(world, 1);
    world.compile();
    world.config.vips[0].tracking = config::Tracking::kFull;
    world.compile();
    EXPECT_FALSE(oldest_of(world).empty());
}

TEST(CompileWindows, AreFoundInTheGenerationThatRuns) {
    World world = direct_world();
    world.compile();
    drain(world, 1);
    world.now_s = 100;
    world.compile();
    const auto before = oldest_of(world);
    world.history.windows = windows_of(*world.state); // control was restarted
    world.now_s = 50;                                 // and counts time anew
    const CompiledState compiled = world.compile();
    EXPECT_EQ(oldest_of(world), before);
    EXPECT_EQ(compiled.next_close_s, 50 + kLength_s);
}

TEST(CompileWindows, APoolThatStaysAsItIsSharesWhatItHad) {
    World world = direct_world();
    const CompiledState first = world.compile();
    const CompiledState second = world.compile();
    ASSERT_EQ(first.windows.size(), 1u);
    EXPECT_EQ(first.windows.begin()->second.slots, second.windows.begin()->second.slots);
}

} // namespace
} // namespace weir::control
