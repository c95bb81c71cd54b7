// SPDX-License-Identifier: BSD-3-Clause
// The list of keys.hpp.
#include "config/keys.hpp"

#include <algorithm>
#include <array>

namespace weir::config {
namespace {

using enum Effect;
constexpr Availability kNotYet = Availability::kNotYet;

constexpr std::string_view kTop;
constexpr std::string_view kInterface = "interface.NAME";
constexpr std::string_view kPunt = "interface.NAME.punt";
constexpr std::string_view kPool = "pool.NAME";
constexpr std::string_view kPersistence = "pool.NAME.persistence";
constexpr std::string_view kBackend = "pool.NAME.backends";
constexpr std::string_view kHealth = "pool.NAME.health";
constexpr std::string_view kVip = "vip.NAME";
constexpr std::string_view kTimeouts = "vip.NAME.timeouts";
constexpr std::string_view kGroup = "ownership.group.NAME";
constexpr std::string_view kTrack = "ownership.group.NAME.track";

constexpr Key kKeys[] = {
    {kTop, "node", kTable},
    {kTop, "engine", kTable},
    {kTop, "interface", kTable},
    {kTop, "snat", kTable},
    {kTop, "tunnel", kTable},
    {kTop, "pool", kTable},
    {kTop, "vip", kTable},
    {kTop, "ownership", kTable},
    {kTop, "api", kTable},
    {kTop, "cluster", kTable},

    {"node", "name", kLive},

    {"engine", "mode", kRestart},
    {"engine", "workers", kRestart},
    {"engine", "idle", kRestart},
    {"engine", "connections", kRestart},
    {"engine", "hugepages", kRestart},
    {"engine", "reset_grace", kLive},
    {"engine", "answers_pps", kLive},
    {"engine", "icmp_pps", kLive},

    {kInterface, "device", kRestart},
    {kInterface, "addresses", kLive},
    {kInterface, "gateway", kLive},
    {kInterface, "mtu", kRestart},
    {kInterface, "vlan", kRestart},
    {kInterface, "kernel_interface", kRestart},
    {kInterface, "punt", kTable},
    {kPunt, "control_pps", kRestart},
    {kPunt, "echo_pps", kRestart},
    {kPunt, "other_pps", kRestart},

    {"snat", "addresses", kLive},
    {"snat", "ports", kRestart},

    {"tunnel", "sources", kLive},
    {"tunnel", "gue_port", kLive},

    {kPool, "scheduler", kLive},
    {kPool, "maglev_size", kLive},
    {kPool, "backends", kTable},
    {kPool, "health", kTable},
    {kPool, "panic_threshold", kLive},
    {kPool, "persistence", kTable},
    {kPool, "max_connections", kLive},
    {kPersistence, "timeout", kLive},
    {kPersistence, "prefix_v4", kLive},
    {kPersistence, "prefix_v6", kLive},
    {kBackend, "address", kLive},
    {kBackend, "name", kLive},
    {kBackend, "weight", kLive},
    {kBackend, "backup", kLive},
    {kBackend, "max_connections", kLive},
    {kHealth, "type", kLive},
    {kHealth, "path", kLive},
    {kHealth, "host", kLive},
    {kHealth, "expect_status", kLive},
    {kHealth, "expect_body", kLive},
    {kHealth, "port", kLive},
    {kHealth, "interval", kLive},
    {kHealth, "timeout", kLive},
    {kHealth, "rise", kLive},
    {kHealth, "fall", kLive},
    {kHealth, "sni", kLive, kNotYet},
    {kHealth, "ca_file", kLive, kNotYet},
    {kHealth, "verify", kLive, kNotYet},
    {kHealth, "query", kLive, kNotYet},

    {kVip, "address", kLive},
    {kVip, "port", kLive},
    {kVip, "protocol", kLive},
    {kVip, "forward", kLive},
    {kVip, "pool", kLive},
    {kVip, "tracking", kLive},
    {kVip, "timeouts", kTable},
    {kVip, "on_backend_down", kLive},
    {kVip, "on_all_down", kLive},
    {kVip, "on_limit", kLive},
    {kVip, "max_connections", kLive},
    {kVip, "mss_clamp", kLive},
    {kVip, "packet_too_big", kLive},
    {kTimeouts, "syn", kLive},
    {kTimeouts, "established", kLive},
    {kTimeouts, "fin", kLive},
    {kTimeouts, "rst", kLive},
    {kTimeouts, "udp", kLive},

    {"ownership", "mode", kLive},
    {"ownership", "group", kTable},
    {kGroup, "vrid", kLive},
    {kGroup, "interface", kLive},
    {kGroup, "priority", kLive},
    {kGroup, "version", kLive},
    {kGroup, "family", kLive},
    {kGroup, "advert_interval", kLive},
    {kGroup, "preempt", kLive},
    {kGroup, "preempt_delay", kLive},
    {kGroup, "peers", kLive},
    {kGroup, "checksum", kLive},
    {kGroup, "secret_file", kLive},
    {kGroup, "vips", kLive},
    {kGroup, "snat", kLive},
    {kGroup, "addresses", kLive},
    {kGroup, "advertise", kLive},
    {kGroup, "track", kTable},
    {kTrack, "interface_down", kLive},
    {kTrack, "worker_stalled", kLive},
    {kTrack, "below_quorum", kLive},
    {kTrack, "quorum", kLive},

    {"api", "listen", kRestart},

    {"cluster", "hash_key_file", kRestart},
};

} // namespace

std::span<const Key> all_keys() {
    return kKeys;
}

const Key* find_key(std::string_view section, std::string_view name) {
    const auto* found = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const Key& key) {
        return key.section == section && key.name == name;
    });
    return found != std::end(kKeys) ? found : nullptr;
}

std::vector<std::string_view> available_keys(std::string_view section) {
    std::vector<std::string_view> names;
    for (const Key& key : kKeys) {
        if (key.section == section && key.availability == Availability::kNow) {
            names.push_back(key.name);
        }
    }
    return names;
}

std::string_view section_with(std::string_view name) {
    const auto* found = std::find_if(std::begin(kKeys), std::end(kKeys), [&](const Key& key) {
        return key.name == name && key.availability == Availability::kNow && !key.section.empty();
    });
    return found != std::end(kKeys) ? found->section : std::string_view{};
}

} // namespace weir::config
