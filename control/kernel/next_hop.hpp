// SPDX-License-Identifier: BSD-3-Clause
// The kernel's links, addresses, routes and neighbours as plain tables, and the pure question put
// to them: through which interface and to which MAC does a packet for this address go? Only the
// main routing table counts; policy routing and VRFs do not. No I/O.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "config/address.hpp"

namespace weir::control {

struct Link {
    int index = 0;
    std::string name;
    net::MacAddress mac;
    uint32_t mtu = 0;
    bool up = false;      // administratively
    bool carrier = false; // and something at the other end
    bool ethernet = true; // has MACs and resolves neighbours
};

struct RouteHop {
    int ifindex = 0;
    std::optional<net::IpAddress> gateway; // none: the destination is on the link
    bool dead = false;
};

struct Route {
    uint32_t metric = 0;
    bool unicast = true; // false: blackhole, unreachable, prohibit
    uint32_t mtu = 0;    // 0: the interface's
    std::vector<RouteHop> hops;
};

enum class NeighbourState : uint8_t {
    kUnknown, // absent, or being asked for
    kFailed,  // asked, no answer
    kStale,   // usable, but not confirmed lately
    kValid
};

struct Neighbour {
    net::MacAddress mac;
    NeighbourState state = NeighbourState::kUnknown;
};

using NeighbourKey = std::pair<int, net::IpAddress>; // interface index, address

struct KernelTables {
    std::map<int, Link> links;
    std::set<net::IpAddress> own_addresses;
    std::map<net::IpPrefix, std::vector<Route>> routes; // host bits zero
    std::map<NeighbourKey, Neighbour> neighbours;

    [[nodiscard]] const Link* link_named(const std::string& name) const;
};

struct NextHop {
    net::IpAddress via; // whose MAC it is: the gateway, or the address itself
    net::MacAddress mac;
    net::MacAddress source_mac;
    int ifindex = 0;
    std::string interface;
    uint32_t mtu = 0; // bytes of L3
    bool resolved = false;
    std::string why_not; // a sentence fragment when not resolved

    friend bool operator==(const NextHop&, const NextHop&) = default;
};

struct Lookup {
    NextHop hop;
    // What to do for the neighbour (hop.ifindex, hop.via); empty when there is no way to it.
    std::optional<NeighbourState> neighbour;
    bool carrier = false;
};

// Longest prefix first; among routes of that length those through `interfaces` (the names of our
// kernel-side interfaces) come first, then the lowest metric; of several hops the first live one.
// A best route through another interface is an answer too: "not through us".
Lookup look_up(const KernelTables& tables, const net::IpAddress& target,
               const std::set<std::string>& interfaces);

} // namespace weir::control
