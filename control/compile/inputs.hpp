// SPDX-License-Identifier: BSD-3-Clause
// What the compiler is told besides the configuration. Plain data: the controller fills it in from
// probes, netlink, operators and the generation that runs.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/config.hpp"
#include "dataplane/forwarding/hash.h"
#include "dataplane/lb/forwarding_state.hpp"
#include "dataplane/lb/slot_windows.hpp"

namespace weir::control {

// Backends and pools that the probes speak against. Who is not named is usable.
struct Health {
    std::set<std::pair<std::string, net::Endpoint>> down; // pool, backend
    // Pools that lost more than half of their backends at once: the probe path is suspect.
    std::set<std::string> mass_failure;
};

struct Hop {
    std::uint32_t interface = 0; // index into Config::interfaces
    net::MacAddress mac;
    std::uint16_t mtu = 1500;
    friend bool operator==(const Hop&, const Hop&) = default;
};

// Resolved next hops, by the address to be reached. What is missing cannot be reached now.
struct Adjacency {
    std::map<net::IpAddress, Hop> hops;
    std::set<net::IpAddress> own_addresses; // of this host, as the kernel has them
};

enum class AdminState : std::uint8_t { kReady, kDrain, kDisable };

struct BackendAdmin {
    AdminState state = AdminState::kReady;
    std::optional<std::uint16_t> weight; // instead of the configured one
    friend bool operator==(const BackendAdmin&, const BackendAdmin&) = default;
};
using Admin = std::map<std::pair<std::string, std::string>, BackendAdmin>; // pool, backend name

// What only the engine knows of an interface; in the order of Config::interfaces.
struct InterfaceFacts {
    net::MacAddress mac;
    std::uint16_t mtu = 1500;
    bool bypassed = false;
};

// Slots that changed of late. Shared, because most pools stay as they are.
struct PoolWindows {
    std::uint64_t table_id = 0; // of the slots that they follow
    std::shared_ptr<const lb::SlotWindows> slots;
};
// By identity of the pool.
using Windows = std::map<std::uint64_t, PoolWindows>;

// The tables of the generation before: which row ids are taken and by whom, and which backends each
// pool was balanced over.
struct History {
    std::uint64_t generation = 0;
    std::vector<weir_vip_row> vips;
    std::vector<weir_pool_row> pools;
    std::vector<std::uint32_t> members;
    std::vector<weir_backend_row> backends;
    std::vector<weir_snat_row> snat;
    Windows windows; // not by history_of()
};
History history_of(const lb::ForwardingState& state);

// Row ids that no connection names any more, as the caller has made sure.
struct Forget {
    std::set<std::uint32_t> vips;
    std::set<std::uint32_t> backends;
};

} // namespace weir::control
