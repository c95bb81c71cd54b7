// SPDX-License-Identifier: BSD-3-Clause
// A configuration being read: the plain Config and, beside it, where each part stood in the text,
// so that the checks across sections can point at it. Lives only within parse_config().
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "config/document.hpp"

namespace weir::config {

struct InterfaceSource {
    Span title;
    Span device;
    Span mtu;
    Span kernel_interface;       // the title when it is the default
    std::vector<Span> addresses; // parallel to InterfaceConfig::addresses
    Span gateway_v4;
    Span gateway_v6;
    bool device_read = false;
    bool addresses_refused = false; // some address was refused: do not judge what is missing
};

struct BackendSource {
    Span address;
    Span name;
    Span backup;
};

struct PoolSource {
    Span title;
    std::vector<BackendSource> backends; // parallel to PoolConfig::backends
    bool backends_refused = false;
    bool health_type_given = false;
    bool health_refused = false;
    Span health;                       // the health table, or the pool's title
    std::uint32_t max_connections = 0; // of its backends that do not say
    bool persistence_refused = false;
};

struct VipSource {
    Span title;
    Span address;
    Span port;
    Span protocol;
    Span forward;
    Span pool;
    Span tracking;
    std::string pool_name;
    bool pool_found = false;
    bool address_read = false;
    bool ports_read = false;
    bool protocol_read = false;
    bool forward_read = false;
    bool tracking_given = false;

    [[nodiscard]] bool tuple_read() const { return address_read && ports_read && protocol_read; }
};

struct VrrpGroupSource {
    Span title;
    Span vrid;
    Span advertise;
    std::optional<std::string> interface; // as written
    Span interface_span;
    std::optional<bool> snat; // as written
    std::optional<VrrpFamily> family;
    bool lists_vips = false;
    bool refused = false; // some key was: do not judge what is missing
    std::vector<std::pair<std::string, Span>> vips;
    std::vector<Span> peers; // parallel to VrrpGroupConfig::peers
    std::vector<std::pair<net::IpAddress, Span>> addresses;
    std::vector<std::pair<net::IpAddress, Span>> advertised;
};

struct Draft {
    explicit Draft(Diagnostics& collector) : diagnostics(collector) {}

    Config config;
    std::vector<InterfaceSource> interfaces; // these are parallel to the lists of Config
    std::vector<PoolSource> pools;
    std::vector<VipSource> vips;
    std::vector<Span> snat_addresses;
    Span snat_ports;
    Span ownership_mode;
    std::vector<VrrpGroupSource> vrrp_groups; // parallel to Config::vrrp_groups
    std::vector<Span> tunnel_sources;         // parallel to TunnelConfig::sources
    bool tunnel_refused = false; // some source was refused: do not judge what is missing
    Diagnostics& diagnostics;
};

// One per file of the same name; each reads its tables from the root and checks what can be checked
// within one table.
void read_node_wide(const Node& root, Draft& draft);  // engine_section.cpp
void read_interfaces(const Node& root, Draft& draft); // interface_section.cpp
void read_snat(const Node& root, Draft& draft);       // interface_section.cpp
void read_tunnel(const Node& root, Draft& draft);     // tunnel_section.cpp
void read_pools(const Node& root, Draft& draft);      // pool_section.cpp
void read_vips(const Node& root, Draft& draft);       // vip_section.cpp
void read_ownership(const Node& root, Draft& draft);  // ownership_section.cpp

// Checks across tables; each adds what it finds.
void check_interfaces(Draft& draft); // interface_checks.cpp
void check_snat(Draft& draft);       // interface_checks.cpp
void check_tunnel(Draft& draft);     // tunnel_section.cpp
void check_pools(Draft& draft);      // pool_checks.cpp: backends, resolves probe ports
void check_sharing(Draft& draft);    // sharing_checks.cpp: one backend in pools of several VIPs
void check_ownership(Draft& draft);  // ownership_checks.cpp: resolves groups, runs after the others
void check_vips(Draft& draft);       // vip_checks.cpp: resolves pools, runs before check_pools

} // namespace weir::config
