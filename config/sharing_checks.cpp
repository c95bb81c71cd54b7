// SPDX-License-Identifier: BSD-3-Clause
// What must hold between the pools of `nat` VIPs that share a backend. A reply carries the backend
// and the client alone, and which worker it belongs to is computed from the part of the client's
// address that the pool's persistence looks at: it must be the same part in all of them.
#include <map>
#include <tuple>

#include "config/draft.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

constexpr unsigned kWholeEndpoint = 0; // no persistence: address and port count

struct Use {
    PortRange ports; // that the replies come from
    unsigned prefix = kWholeEndpoint;
    std::size_t pool = 0;
    std::size_t backend = 0;
};

unsigned prefix_of(const PoolConfig& pool, bool v4) {
    if (!pool.persistence) {
        return kWholeEndpoint;
    }
    return v4 ? pool.persistence->prefix_v4 : pool.persistence->prefix_v6;
}

using Uses = std::map<std::pair<net::IpAddress, Protocol>, std::vector<Use>>;

Uses nat_uses(const Draft& draft) {
    Uses uses;
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        const VipConfig& vip = draft.config.vips[i];
        const VipSource& source = draft.vips[i];
        if (!source.pool_found || !source.tuple_read() || !source.forward_read ||
            vip.forward != ForwardMode::kNat || draft.pools[vip.pool].persistence_refused) {
            continue;
        }
        const PoolConfig& pool = draft.config.pools[vip.pool];
        for (std::size_t b = 0; b < pool.backends.size(); ++b) {
            const net::Endpoint& address = pool.backends[b].address;
            const PortRange ports =
                address.port ? PortRange{*address.port, *address.port} : vip.ports;
            uses[{address.address, vip.protocol}].push_back(
                {ports, prefix_of(pool, address.address.is_v4()), vip.pool, b});
        }
    }
    return uses;
}

std::string prefix_in_words(unsigned prefix, bool v4) {
    if (prefix == kWholeEndpoint) {
        return "no persistence";
    }
    return std::string(v4 ? "prefix_v4 = " : "prefix_v6 = ") + std::to_string(prefix);
}

void report(Draft& draft, const Use& a, const Use& b) {
    const Use& later = a.pool > b.pool ? a : b;
    const Use& earlier = a.pool > b.pool ? b : a;
    const auto& pools = draft.config.pools;
    const bool v4 = pools[later.pool].backends[later.backend].address.address.is_v4();
    draft.diagnostics.add(
        draft.pools[later.pool].backends[later.backend].address,
        "\"nat\" VIPs share the backend " +
            quoted(pools[later.pool].backends[later.backend].address.to_string()) +
            " through [pool." + pools[earlier.pool].name + "] with " +
            prefix_in_words(earlier.prefix, v4) + " and [pool." + pools[later.pool].name +
            "] with " + prefix_in_words(later.prefix, v4),
        "replies could not be told apart: give both pools the same persistence, the backend "
        "another port in one of them, or one VIP \"full-nat\"");
}

void check_group(Draft& draft, const std::vector<Use>& uses) {
    for (std::size_t i = 1; i < uses.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (uses[i].prefix != uses[j].prefix && uses[i].ports.overlaps(uses[j].ports)) {
                report(draft, uses[i], uses[j]);
                return; // one sentence a backend
            }
        }
    }
}

} // namespace

void check_sharing(Draft& draft) {
    bool any = false;
    for (const PoolConfig& pool : draft.config.pools) {
        any = any || pool.persistence.has_value();
    }
    if (!any) {
        return;
    }
    for (const auto& [endpoint, uses] : nat_uses(draft)) {
        check_group(draft, uses);
    }
}

} // namespace weir::config
