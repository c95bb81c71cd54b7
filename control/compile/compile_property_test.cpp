// SPDX-License-Identifier: BSD-3-Clause
// Random configurations, edited at random for many generations: whatever the compiler makes, the
// engine accepts, and nobody's id ever goes to somebody else.
#include <map>
#include <random>

#include "control/compile/sample.hpp"

namespace weir::control {
namespace {

using sample::World;

class RandomWorld {
public:
    explicit RandomWorld(std::uint32_t seed) : random_(seed) {
        world.config.pools.clear();
        world.config.vips.clear();
        for (std::size_t i = 0; i < 4; i++)
            add_pool(i);
        edit();
    }

    void edit() {
        for (config::PoolConfig& pool : world.config.pools) {
            std::erase_if(pool.backends, [&](const auto&) { return below(6) == 0; });
            for (std::uint32_t i = below(4); i > 0; i--)
                add_backend(pool);
            for (config::BackendConfig& backend : pool.backends)
                if (below(5) == 0)
                    backend.weight = static_cast<std::uint16_t>(below(100));
            for (config::BackendConfig& backend : pool.backends)
                backend.backup = below(5) == 0;
            std::shuffle(pool.backends.begin(), pool.backends.end(), random_);
            judge(pool);
        }
        std::erase_if(world.config.vips, [&](const auto&) { return below(5) == 0; });
        for (std::uint32_t i = below(4); i > 0; i--)
            add_vip();
        std::shuffle(world.config.vips.begin(), world.config.vips.end(), random_);
    }

    World world;

private:
    std::uint32_t below(std::uint32_t limit) {
        return static_cast<std::uint32_t>(random_() % limit);
    }

    void add_pool(std::size_t index) {
        config::PoolConfig pool;
        pool.name = "pool" + std::to_string(index);
        pool.maglev_size = index % 2 == 0 ? 251 : 1021;
        pool.scheduler = std::array{config::Scheduler::kMaglev, config::Scheduler::kSourceHash,
                                    config::Scheduler::kWeightedRoundRobin,
                                    config::Scheduler::kWeightedLeastConnections}[index];
        pool.panic_threshold_percent = static_cast<std::uint8_t>(below(60));
        world.config.pools.push_back(pool);
    }

    void add_backend(config::PoolConfig& pool) {
        const std::string endpoint =
            "192.0.2." + std::to_string(10 + below(40)) + ":" + std::to_string(80 + below(3));
        for (const config::BackendConfig& present : pool.backends)
            if (present.name == endpoint)
                return;
        pool.backends.push_back(sample::backend(endpoint));
    }

    void add_vip() {
        config::VipConfig vip;
        const std::uint32_t number = below(40);
        vip.name = "vip" + std::to_string(number);
        for (const config::VipConfig& present : world.config.vips)
            if (present.name == vip.name)
                return;
        vip.address = sample::ip("203.0.113." + std::to_string(number));
        vip.protocol = below(2) == 0 ? config::Protocol::kTcp : config::Protocol::kUdp;
        vip.forward = std::array{config::ForwardMode::kDsrL2, config::ForwardMode::kNat,
                                 config::ForwardMode::kFullNat, config::ForwardMode::kDsrIpip,
                                 config::ForwardMode::kDsrGue}[below(5)];
        vip.ports = std::array{config::PortRange{80, 80}, config::PortRange{8000, 8099},
                               config::kAllPorts}[below(3)];
        vip.pool = below(4);
        vip.on_all_down = below(2) == 0 ? config::OnAllDown::kOpen : config::OnAllDown::kDrop;
        world.config.vips.push_back(vip);
    }

    void judge(const config::PoolConfig& pool) {
        for (const config::BackendConfig& backend : pool.backends) {
            world.health.down.erase({pool.name, backend.address});
            if (below(4) == 0)
                world.health.down.insert({pool.name, backend.address});
            world.admin[{pool.name, backend.name}].state =
                std::array{AdminState::kReady, AdminState::kReady, AdminState::kDrain,
                           AdminState::kDisable}[below(4)];
            if (below(3) == 0)
                world.adjacency.hops[backend.address.address] = {
                    0, net::MacAddress::from_bytes({2, 0, 0, 0, 0, std::uint8_t(below(9))}), 1500};
        }
    }

    std::mt19937 random_;
};

TEST(CompileProperty, EverythingIsAcceptedAndIdsStay) {
    for (std::uint32_t seed = 0; seed < 20; seed++) {
        RandomWorld random(seed);
        std::map<std::uint32_t, std::uint64_t> owner_of_backend;
        std::map<std::uint32_t, std::uint64_t> owner_of_vip;
        for (int generation = 1; generation <= 25; generation++) {
            random.edit();
            random.world.compile(); // expects the validator's consent
            ASSERT_FALSE(::testing::Test::HasFailure()) << "seed " << seed;
            const auto& state = *random.world.state;
            EXPECT_EQ(state.generation(), static_cast<std::uint64_t>(generation));
            for (std::uint32_t id = 0; id < state.backends().size(); id++) {
                const auto [entry, added] =
                    owner_of_backend.emplace(id, state.backends()[id].identity);
                ASSERT_EQ(entry->second, state.backends()[id].identity) << "seed " << seed;
            }
            for (std::uint32_t id = 0; id < state.vips().size(); id++) {
                const auto [entry, added] = owner_of_vip.emplace(id, state.vips()[id].identity);
                ASSERT_EQ(entry->second, state.vips()[id].identity) << "seed " << seed;
            }
        }
    }
}

TEST(CompileProperty, NoSlotNamesABackendThatMayNotHaveOne) {
    for (std::uint32_t seed = 100; seed < 120; seed++) {
        RandomWorld random(seed);
        for (int generation = 1; generation <= 10; generation++) {
            random.edit();
            random.world.compile();
            const auto& state = *random.world.state;
            for (std::uint32_t pool = 0; pool < state.pools().size(); pool++)
                for (const auto& [backend, slots] : random.world.slots_of(pool))
                    ASSERT_EQ(state.backends()[backend].state, WEIR_BACKEND_UP) << "seed " << seed;
        }
    }
}

// A control process that restarts knows only the running generation; what it compiles must be what
// the one before would have compiled.
TEST(CompileProperty, HistoryFromTheGenerationIsEnough) {
    RandomWorld random(7);
    for (int generation = 0; generation < 10; generation++) {
        random.edit();
        random.world.compile();
    }
    World fresh;
    fresh.config = random.world.config;
    fresh.health = random.world.health;
    fresh.adjacency = random.world.adjacency;
    fresh.admin = random.world.admin;
    fresh.history = history_of(*random.world.state);
    fresh.compile();
    random.world.compile();
    EXPECT_EQ(fresh.root, random.world.root);
}

} // namespace
} // namespace weir::control
