// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/next_hop.hpp"

#include <algorithm>

namespace weir::control {
namespace {

struct Candidate {
    const Route* route = nullptr;
    const RouteHop* hop = nullptr;
    const Link* link = nullptr;
};

// The live hops of all routes to one prefix, as look_up() ranks them.
Candidate best_of(const std::vector<Route>& routes, const KernelTables& tables,
                  const std::set<std::string>& interfaces) {
    Candidate best;
    bool best_ours = false;
    for (const Route& route : routes) {
        if (!route.unicast) {
            if (best.route == nullptr || (!best_ours && route.metric < best.route->metric)) {
                best = {&route, nullptr, nullptr};
                best_ours = false;
            }
            continue;
        }
        for (const RouteHop& hop : route.hops) {
            const auto link = tables.links.find(hop.ifindex);
            if (hop.dead || link == tables.links.end()) {
                continue;
            }
            const bool ours = interfaces.contains(link->second.name);
            if (best.route == nullptr || (ours && !best_ours) ||
                (ours == best_ours && route.metric < best.route->metric)) {
                best = {&route, &hop, &link->second};
                best_ours = ours;
            }
        }
    }
    return best;
}

Candidate best_route(const KernelTables& tables, const net::IpAddress& target,
                     const std::set<std::string>& interfaces) {
    for (int length = target.is_v4() ? 32 : 128; length >= 0; length--) {
        const auto bits = static_cast<uint8_t>(length);
        const net::IpPrefix prefix{net::IpPrefix{target, bits}.network(), bits};
        const auto found = tables.routes.find(prefix);
        if (found == tables.routes.end()) {
            continue;
        }
        const Candidate best = best_of(found->second, tables, interfaces);
        if (best.route != nullptr) {
            return best;
        }
    }
    return {};
}

Lookup unreachable(const net::IpAddress& target, std::string why_not) {
    Lookup lookup;
    lookup.hop.via = target;
    lookup.hop.why_not = std::move(why_not);
    return lookup;
}

} // namespace

const Link* KernelTables::link_named(const std::string& name) const {
    const auto found = std::find_if(links.begin(), links.end(),
                                    [&](const auto& entry) { return entry.second.name == name; });
    return found == links.end() ? nullptr : &found->second;
}

Lookup look_up(const KernelTables& tables, const net::IpAddress& target,
               const std::set<std::string>& interfaces) {
    if (tables.own_addresses.contains(target)) {
        return unreachable(target, target.to_string() + " is an address of this host");
    }
    const Candidate best = best_route(tables, target, interfaces);
    if (best.route == nullptr) {
        return unreachable(target, "no route to " + target.to_string());
    }
    if (best.hop == nullptr) {
        return unreachable(target, "the route to " + target.to_string() + " forbids it");
    }
    const Link& link = *best.link;
    if (!interfaces.contains(link.name)) {
        return unreachable(target, "the route to " + target.to_string() + " goes through " +
                                       link.name + ", which is not an interface of ours");
    }
    Lookup lookup;
    NextHop& hop = lookup.hop;
    hop.via = best.hop->gateway.value_or(target);
    hop.source_mac = link.mac;
    hop.ifindex = link.index;
    hop.interface = link.name;
    hop.mtu = best.route->mtu != 0 ? std::min(best.route->mtu, link.mtu) : link.mtu;
    lookup.carrier = link.carrier;
    if (!link.up) {
        hop.why_not = "interface " + link.name + " is down";
        return lookup;
    }
    if (!link.ethernet) {
        hop.why_not = "interface " + link.name + " has no Ethernet neighbours";
        return lookup;
    }
    const auto neighbour = tables.neighbours.find({link.index, hop.via});
    lookup.neighbour =
        neighbour == tables.neighbours.end() ? NeighbourState::kUnknown : neighbour->second.state;
    if (*lookup.neighbour == NeighbourState::kValid ||
        *lookup.neighbour == NeighbourState::kStale) {
        hop.mac = neighbour->second.mac;
        hop.resolved = true;
    } else {
        hop.why_not = hop.via.to_string() + " does not answer " +
                      (hop.via.is_v4() ? "ARP" : "neighbour solicitations") + " on " + link.name;
    }
    return lookup;
}

} // namespace weir::control
