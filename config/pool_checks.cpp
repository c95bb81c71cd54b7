// SPDX-License-Identifier: BSD-3-Clause
// What must hold among the backends of a pool and between them and the node's own addresses; which
// port each health check goes to.
#include <algorithm>
#include <unordered_map>

#include "config/draft.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

// Address -> what of this node has it, for messages.
using OwnAddresses = std::unordered_map<net::IpAddress, std::string>;

OwnAddresses own_addresses(const Draft& draft) {
    OwnAddresses own;
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        if (draft.vips[i].address_read) {
            own.emplace(draft.config.vips[i].address, "[vip." + draft.config.vips[i].name + "]");
        }
    }
    for (const InterfaceConfig& interface : draft.config.interfaces) {
        for (const net::IpPrefix& prefix : interface.addresses) {
            own.emplace(prefix.address, "[interface." + interface.name + "]");
        }
    }
    return own;
}

std::string line_of(const Draft& draft, Span span) {
    return "line " + std::to_string(draft.diagnostics.source().line_of(span.begin));
}

void check_own_addresses(Draft& draft, std::size_t index, const OwnAddresses& own) {
    const PoolConfig& pool = draft.config.pools[index];
    const auto& snat = draft.config.snat.addresses;
    const auto& tunnel = draft.config.tunnel.sources;
    for (std::size_t i = 0; i < pool.backends.size(); ++i) {
        const net::IpAddress& address = pool.backends[i].address.address;
        const Span span = draft.pools[index].backends[i].address;
        if (const auto found = own.find(address); found != own.end()) {
            draft.diagnostics.add(span,
                                  "the backend " + quoted(pool.backends[i].name) +
                                      " has the address of " + found->second + " of this node",
                                  "a backend is another host: give the server's own address");
        } else if (std::any_of(snat.begin(), snat.end(), [&](const net::IpPrefix& prefix) {
                       return prefix.contains(address);
                   })) {
            draft.diagnostics.add(span,
                                  "the backend " + quoted(pool.backends[i].name) +
                                      " has an address of the SNAT range",
                                  "a backend is another host: give the server's own address");
        } else if (std::any_of(tunnel.begin(), tunnel.end(), [&](const net::IpPrefix& prefix) {
                       return prefix.contains(address);
                   })) {
            draft.diagnostics.add(span,
                                  "the backend " + quoted(pool.backends[i].name) +
                                      " has an address of the tunnel sources",
                                  "a backend is another host: give the server's own address");
        }
    }
}

void check_backups(Draft& draft, std::size_t index) {
    const PoolConfig& pool = draft.config.pools[index];
    const bool all_backup =
        std::all_of(pool.backends.begin(), pool.backends.end(),
                    [](const BackendConfig& backend) { return backend.backup; });
    if (pool.backends.empty() || !all_backup || draft.pools[index].backends_refused) {
        return;
    }
    draft.diagnostics.add(draft.pools[index].backends.front().backup,
                          "all backends of [pool." + pool.name + "] are backups",
                          "a backup takes over from others: leave \"backup\" out of those that "
                          "serve normally");
}

void check_duplicates(Draft& draft, std::size_t index) {
    const PoolConfig& pool = draft.config.pools[index];
    const PoolSource& source = draft.pools[index];
    std::unordered_map<net::Endpoint, std::size_t> endpoints;
    std::unordered_map<std::string_view, std::size_t> names;
    std::unordered_map<net::IpAddress, std::pair<bool, std::size_t>> ported;
    for (std::size_t i = 0; i < pool.backends.size(); ++i) {
        const BackendConfig& backend = pool.backends[i];
        const Span span = source.backends[i].address;
        const auto [endpoint, first] = endpoints.emplace(backend.address, i);
        if (!first) {
            draft.diagnostics.add(span,
                                  "the backend " + quoted(backend.address.to_string()) +
                                      " is already in this pool, on " +
                                      line_of(draft, source.backends[endpoint->second].address),
                                  "list it once and give it the weight of both");
            continue;
        }
        const bool has_port = backend.address.port.has_value();
        const auto [other, fresh] =
            ported.try_emplace(backend.address.address, std::pair(has_port, i));
        if (!fresh && other->second.first != has_port) {
            draft.diagnostics.add(
                span,
                backend.address.address.to_string() +
                    " is in this pool both with a port and without, see " +
                    line_of(draft, source.backends[other->second.second].address),
                "without a port it takes the VIP's: write the port on both, or list it once");
        }
        const auto [name, unused] = names.emplace(backend.name, i);
        if (!unused) {
            draft.diagnostics.add(source.backends[i].name,
                                  "another backend of this pool is named " + quoted(backend.name) +
                                      ", on " +
                                      line_of(draft, source.backends[name->second].address),
                                  "names must be unique in a pool");
        }
    }
}

struct PoolUse {
    std::size_t vips = 0;
    std::size_t tcp_vips = 0;
    bool one_port = true; // all VIPs so far have the same single port
    std::uint16_t port = 0;
    bool known = true; // every VIP that uses it was read
};

std::vector<PoolUse> pool_uses(const Draft& draft) {
    std::vector<PoolUse> uses(draft.config.pools.size());
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        if (!draft.vips[i].pool_found) {
            continue;
        }
        const VipConfig& vip = draft.config.vips[i];
        PoolUse& use = uses[vip.pool];
        use.one_port =
            use.one_port && vip.ports.is_single() && (use.vips == 0 || vip.ports.first == use.port);
        use.port = vip.ports.first;
        use.known = use.known && draft.vips[i].ports_read && draft.vips[i].protocol_read;
        ++use.vips;
        use.tcp_vips += vip.protocol == Protocol::kTcp ? 1 : 0;
    }
    return uses;
}

void resolve_probe_ports(Draft& draft, std::size_t index, const PoolUse& use) {
    PoolConfig& pool = draft.config.pools[index];
    const PoolSource& source = draft.pools[index];
    if (pool.health.type == HealthType::kNone || source.health_refused || !use.known) {
        return;
    }
    if (!source.health_type_given && use.vips > 0 && use.tcp_vips == 0 && !pool.health.port) {
        draft.diagnostics.add(source.health,
                              "[pool." + pool.name +
                                  "] serves only UDP, and its health check would be the default, "
                                  "a TCP connection",
                              "say so in [pool." + pool.name +
                                  ".health]: type = \"none\", or type = \"tcp\" and the \"port\" "
                                  "to check");
        return;
    }
    for (std::size_t i = 0; i < pool.backends.size(); ++i) {
        BackendConfig& backend = pool.backends[i];
        if (pool.health.port) {
            backend.probe_port = *pool.health.port;
        } else if (backend.address.port) {
            backend.probe_port = *backend.address.port;
        } else if (use.vips > 0 && use.one_port) {
            backend.probe_port = use.port;
        } else {
            draft.diagnostics.add(
                source.backends[i].address,
                "there is no one port to check the health of " + quoted(backend.name) + " on: " +
                    (use.vips == 0 ? "it has no port and no VIP uses the pool"
                                   : "it has no port and the pool's VIPs have several"),
                "set \"port\" in [pool." + pool.name + ".health], or type = \"none\"");
            return;
        }
    }
}

} // namespace

void check_pools(Draft& draft) {
    const OwnAddresses own = own_addresses(draft);
    const std::vector<PoolUse> uses = pool_uses(draft);
    for (std::size_t i = 0; i < draft.pools.size(); ++i) {
        check_own_addresses(draft, i, own);
        check_duplicates(draft, i);
        check_backups(draft, i);
        resolve_probe_ports(draft, i, uses[i]);
    }
}

} // namespace weir::config
