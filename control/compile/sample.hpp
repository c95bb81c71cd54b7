// SPDX-License-Identifier: BSD-3-Clause
// A small configuration and the compiler's other inputs, for the tests of this directory and of
// those that work on compiled states.
#pragma once

#include <string>

#include <gtest/gtest.h>

#include "control/compile/compile.hpp"
#include "control/compile/identity.hpp"

namespace weir::control::sample {

inline net::IpAddress ip(const std::string& text) {
    return net::IpAddress::parse(text).value();
}

inline config::BackendConfig backend(const std::string& endpoint, std::uint16_t weight = 10) {
    config::BackendConfig result;
    result.name = endpoint;
    result.address = net::Endpoint::parse(endpoint).value();
    result.weight = weight;
    return result;
}

// One interface, pool "web" of three backends, VIP "web" on port 80.
inline config::Config config(config::ForwardMode mode = config::ForwardMode::kFullNat) {
    config::Config result;
    config::InterfaceConfig interface;
    interface.name = "uplink";
    interface.device = config::KernelInterface{"eth1"};
    interface.kernel_interface = "eth1";
    interface.addresses = {net::IpPrefix::parse("192.0.2.2/24").value(),
                           net::IpPrefix::parse("2001:db8::2/64").value()};
    result.interfaces.push_back(interface);
    config::PoolConfig pool;
    pool.name = "web";
    pool.maglev_size = 251;
    pool.backends = {backend("192.0.2.11:80"), backend("192.0.2.12:80"), backend("192.0.2.13:80")};
    result.pools.push_back(pool);
    config::VipConfig vip;
    vip.name = "web";
    vip.address = ip("203.0.113.10");
    vip.ports = {80, 80};
    vip.forward = mode;
    result.vips.push_back(vip);
    return result;
}

// Inputs that a test changes, and the state compiled last.
struct World {
    config::Config config = sample::config();
    Health health;
    Adjacency adjacency;
    Admin admin;
    History history;
    Forget forget;
    std::vector<InterfaceFacts> interfaces{
        {net::MacAddress::parse("02:00:00:00:00:02").value(), 1500, false}};
    std::uint32_t now_s = 1;
    SlotTables slot_tables;

    // What compile() makes of the inputs; checked by the engine's own validator; becomes history.
    CompiledState compile() {
        auto compiled = control::compile({config, health, adjacency, admin, history, forget,
                                          interfaces, weir_hash_key{1, 2}, now_s},
                                         slot_tables);
        EXPECT_TRUE(compiled) << (compiled ? "" : compiled.error().sentence);
        root = lb::build_root(compiled->tables);
        aligned.assign(root.size() / sizeof(Line) + 1, Line{});
        std::copy(root.begin(), root.end(), reinterpret_cast<std::byte*>(aligned.data()));
        std::vector<lb::Segment> segments;
        for (const auto& table : compiled->segments)
            segments.push_back(lb::inspect_segment(table->id, table->slots));
        std::string problem;
        auto opened = lb::ForwardingState::open(
            {reinterpret_cast<const std::byte*>(aligned.data()), root.size()}, segments, problem);
        EXPECT_TRUE(opened) << problem;
        history = history_of(*opened);
        history.windows = compiled->windows;
        state = std::move(opened);
        kept = compiled->segments;
        return std::move(*compiled);
    }

    // Share of a pool's slots by backend row.
    std::map<std::uint32_t, int> slots_of(std::uint32_t pool) const {
        std::map<std::uint32_t, int> count;
        const weir_pool_row& row = state->pools()[pool];
        if (row.slot_count == 0)
            return count;
        for (const std::uint16_t slot : state->slots(row))
            count[state->members()[row.member_first + slot]]++;
        return count;
    }

    struct alignas(64) Line {
        std::byte bytes[64];
    };
    std::vector<std::byte> root;
    std::vector<Line> aligned;
    std::vector<std::shared_ptr<const SlotTable>> kept;
    std::optional<lb::ForwardingState> state;
};

} // namespace weir::control::sample
