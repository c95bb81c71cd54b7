// SPDX-License-Identifier: BSD-3-Clause
// What must hold between VIPs, and between a VIP and its pool, the interfaces and the SNAT range.
#include <algorithm>
#include <map>
#include <unordered_map>

#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

void resolve_pools(Draft& draft) {
    std::unordered_map<std::string_view, std::size_t> pools;
    std::vector<std::string_view> names;
    for (std::size_t i = 0; i < draft.config.pools.size(); ++i) {
        pools.emplace(draft.config.pools[i].name, i);
        names.emplace_back(draft.config.pools[i].name);
    }
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        VipSource& source = draft.vips[i];
        if (source.pool_name.empty()) {
            continue;
        }
        const auto found = pools.find(source.pool_name);
        if (found != pools.end()) {
            draft.config.vips[i].pool = found->second;
            source.pool_found = true;
            continue;
        }
        draft.diagnostics.add(source.pool, "there is no pool " + quoted(source.pool_name),
                              names.empty() ? "add a table [pool." + source.pool_name + "]"
                                            : suggestion(source.pool_name, names));
    }
}

std::string ports_in_words(const PortRange& ports) {
    return ports.is_all() ? "all ports" : "port " + to_string(ports);
}

void report_if_both_take(Draft& draft, std::size_t a, std::size_t b) {
    const auto& vips = draft.config.vips;
    if (vips[a].ports.is_all() != vips[b].ports.is_all() ||
        !vips[a].ports.overlaps(vips[b].ports)) {
        return;
    }
    const std::size_t later = std::max(a, b);
    const std::size_t earlier = std::min(a, b);
    draft.diagnostics.add(draft.vips[later].port,
                          "[vip." + vips[later].name + "] and [vip." + vips[earlier].name +
                              "] both take " + std::string(to_string(vips[a].protocol)) + " " +
                              ports_in_words(vips[later].ports) + " of " +
                              vips[a].address.to_string(),
                          "change the address, port or protocol of one of them");
}

// `members`: VIPs of one address and protocol. "All ports" may stand beside narrower ones: the
// narrower wins. Each VIP is compared with its neighbour and with the one that reaches furthest:
// enough to find every overlap, though not to name every pair of a crowd.
void check_overlaps(Draft& draft, std::vector<std::size_t>& members) {
    const auto& vips = draft.config.vips;
    std::sort(members.begin(), members.end(), [&](std::size_t a, std::size_t b) {
        return std::tuple(!vips[a].ports.is_all(), vips[a].ports.first, a) <
               std::tuple(!vips[b].ports.is_all(), vips[b].ports.first, b);
    });
    std::size_t furthest = members.front();
    for (std::size_t k = 1; k < members.size(); ++k) {
        const std::size_t i = members[k];
        report_if_both_take(draft, i, furthest);
        if (members[k - 1] != furthest) {
            report_if_both_take(draft, i, members[k - 1]);
        }
        if (vips[furthest].ports.is_all() || vips[i].ports.last > vips[furthest].ports.last) {
            furthest = i;
        }
    }
}

void check_tuples(Draft& draft) {
    std::map<std::pair<net::IpAddress, Protocol>, std::vector<std::size_t>> groups;
    const auto& vips = draft.config.vips;
    for (std::size_t i = 0; i < vips.size(); ++i) {
        if (draft.vips[i].tuple_read()) {
            groups[{vips[i].address, vips[i].protocol}].push_back(i);
        }
    }
    std::size_t ranges_in_total = 0;
    for (auto& [key, members] : groups) {
        check_overlaps(draft, members);
        std::size_t ranges = 0;
        for (const std::size_t i : members) {
            ranges += vips[i].ports.is_all() || vips[i].ports.is_single() ? 0 : 1;
            if (ranges > kMaxRangesPerAddress) {
                draft.diagnostics.add(draft.vips[i].port,
                                      "too many port ranges on " + key.first.to_string(),
                                      "use at most " + std::to_string(kMaxRangesPerAddress) +
                                          " per address and protocol");
                break;
            }
        }
        ranges_in_total += ranges;
    }
    if (ranges_in_total > kMaxPortRangeVips) {
        draft.diagnostics.add(draft.vips.back().port, "too many VIPs with a range of ports",
                              "use at most " + std::to_string(kMaxPortRangeVips));
    }
}

void check_against_interfaces(Draft& draft) {
    std::unordered_map<net::IpAddress, const InterfaceConfig*> own;
    for (const InterfaceConfig& interface : draft.config.interfaces) {
        for (const net::IpPrefix& prefix : interface.addresses) {
            own.emplace(prefix.address, &interface);
        }
    }
    const SnatConfig& snat = draft.config.snat;
    const bool uses_snat =
        std::any_of(draft.config.vips.begin(), draft.config.vips.end(),
                    [](const VipConfig& vip) { return vip.forward == ForwardMode::kFullNat; });
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        const VipConfig& vip = draft.config.vips[i];
        const VipSource& source = draft.vips[i];
        if (!source.address_read || !source.ports_read) {
            continue;
        }
        const auto interface = own.find(vip.address);
        if (interface != own.end() && vip.ports.is_all()) {
            draft.diagnostics.add(source.port,
                                  "all ports of " + vip.address.to_string() +
                                      ", the address of [interface." + interface->second->name +
                                      "] itself, would include the node's own traffic",
                                  "name the ports to serve, or use another address");
            continue;
        }
        const bool sends_from =
            std::any_of(snat.addresses.begin(), snat.addresses.end(),
                        [&](const net::IpPrefix& p) { return p.contains(vip.address); }) ||
            (snat.addresses.empty() && interface != own.end());
        if (uses_snat && sends_from && vip.ports.overlaps(snat.ports)) {
            draft.diagnostics.add(source.port,
                                  ports_in_words(vip.ports) + " of " + vip.address.to_string() +
                                      " is also in the SNAT range " + to_string(snat.ports),
                                  "set \"ports\" in [snat] to a range that leaves it out, or use "
                                  "another address");
        }
    }
}

void check_backend_ports(Draft& draft, std::size_t index) {
    const VipConfig& vip = draft.config.vips[index];
    const VipSource& source = draft.vips[index];
    const PoolConfig& pool = draft.config.pools[vip.pool];
    if (!source.forward_read || !source.ports_read || !is_dsr(vip.forward)) {
        return;
    }
    for (const BackendConfig& backend : pool.backends) {
        const auto& port = backend.address.port;
        if (port && (!vip.ports.is_single() || *port != vip.ports.first)) {
            draft.diagnostics.add(
                source.forward,
                std::string(to_string(vip.forward)) + " cannot change the port, but backend " +
                    quoted(backend.name) + " of [pool." + pool.name + "] has port " +
                    std::to_string(*port) + " and the VIP has port " + to_string(vip.ports),
                "leave the port out of the backend's address, or use "
                "\"nat\" or \"full-nat\"");
            return;
        }
    }
}

void check_families(Draft& draft, std::size_t index) {
    const VipConfig& vip = draft.config.vips[index];
    const VipSource& source = draft.vips[index];
    const PoolConfig& pool = draft.config.pools[vip.pool];
    if (!source.address_read || !source.forward_read || encapsulates(vip.forward)) {
        return;
    }
    for (const BackendConfig& backend : pool.backends) {
        if (backend.address.address.is_v4() != vip.address.is_v4()) {
            draft.diagnostics.add(source.pool,
                                  "the VIP is " +
                                      std::string(vip.address.is_v4() ? "IPv4" : "IPv6") +
                                      " but backend " + quoted(backend.name) + " of [pool." +
                                      pool.name + "] is " + (vip.address.is_v4() ? "IPv6" : "IPv4"),
                                  std::string(to_string(vip.forward)) +
                                      " keeps the family: give each family a pool of its own, or "
                                      "encapsulate with \"dsr-ipip\" or \"dsr-gue\"");
            return;
        }
    }
}

// What of this VIP needs an entry for every connection; empty when nothing does.
std::string needs_full_tracking(const VipConfig& vip, const PoolConfig& pool) {
    const std::string of_pool = " of [pool." + pool.name + "]";
    if (!is_dsr(vip.forward)) {
        return "forward = " + quoted(std::string(to_string(vip.forward)));
    }
    if (pool.scheduler != Scheduler::kMaglev && pool.scheduler != Scheduler::kSourceHash) {
        return "scheduler = " + quoted(std::string(to_string(pool.scheduler))) + of_pool;
    }
    if (pool.persistence) {
        return "persistence" + of_pool;
    }
    if (vip.max_connections != 0) {
        return "max_connections";
    }
    for (const BackendConfig& backend : pool.backends) {
        if (backend.max_connections != 0) {
            return "max_connections of backend " + quoted(backend.name) + of_pool;
        }
    }
    return {};
}

// Exceptions are enough where the hash finds a connection's backend again, and what is not recorded
// cannot fill a table; so that is the default.
void decide_tracking(Draft& draft, std::size_t index) {
    VipConfig& vip = draft.config.vips[index];
    const VipSource& source = draft.vips[index];
    const std::string need = needs_full_tracking(vip, draft.config.pools[vip.pool]);
    if (!source.tracking_given) {
        vip.tracking = need.empty() ? Tracking::kExceptions : Tracking::kFull;
    } else if (vip.tracking == Tracking::kExceptions && !need.empty() && source.forward_read) {
        draft.diagnostics.add(source.tracking,
                              "\"exceptions\" records few connections, but " + need +
                                  " needs a record of every one",
                              "use \"full\", or leave tracking out");
    }
}

} // namespace

void check_vips(Draft& draft) {
    resolve_pools(draft);
    check_tuples(draft);
    check_against_interfaces(draft);
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        if (draft.vips[i].pool_found) {
            check_backend_ports(draft, i);
            check_families(draft, i);
            decide_tracking(draft, i);
        }
    }
}

} // namespace weir::config
