// SPDX-License-Identifier: BSD-3-Clause
#include "control/reload.hpp"

#include <algorithm>

#include "config/changes.hpp"
#include "config/parse.hpp"

namespace weir::control {
namespace {

template <class T> const T* named(const std::vector<T>& list, const std::string& name) {
    const auto found = std::find_if(list.begin(), list.end(),
                                    [&](const T& candidate) { return candidate.name == name; });
    return found == list.end() ? nullptr : &*found;
}

const config::BackendConfig* at_address(const config::PoolConfig& pool,
                                        const net::Endpoint& address) {
    const auto found =
        std::find_if(pool.backends.begin(), pool.backends.end(),
                     [&](const auto& candidate) { return candidate.address == address; });
    return found == pool.backends.end() ? nullptr : &*found;
}

std::pair<unsigned, unsigned> owning_prefixes(const config::PoolConfig& pool) {
    return pool.persistence ? std::pair<unsigned, unsigned>(pool.persistence->prefix_v4,
                                                            pool.persistence->prefix_v6)
                            : std::pair<unsigned, unsigned>(0, 0);
}

void compare_pools(const config::PoolConfig& before, const config::PoolConfig& after,
                   std::vector<std::string>& changes) {
    const std::string pool = "pool " + after.name + ": ";
    for (const config::BackendConfig& backend : after.backends) {
        const std::string name = pool + "backend " + backend.name + ": ";
        const config::BackendConfig* old = at_address(before, backend.address);
        if (old == nullptr)
            changes.push_back(name + "added");
        else if (old->weight != backend.weight)
            changes.push_back(name + "weight " + std::to_string(old->weight) + " -> " +
                              std::to_string(backend.weight));
        else if (!(*old == backend))
            changes.push_back(name + "changed");
    }
    for (const config::BackendConfig& backend : before.backends)
        if (at_address(after, backend.address) == nullptr)
            changes.push_back(pool + "backend " + backend.name +
                              ": removed; its connections finish");
    if (!(before.health == after.health))
        changes.push_back(pool + "health check changed");
    if (before.scheduler != after.scheduler || before.maglev_size != after.maglev_size ||
        before.panic_threshold_percent != after.panic_threshold_percent)
        changes.push_back(pool + "changed");
    // The client network says which worker has its connections, see owner.h.
    if (owning_prefixes(before) != owning_prefixes(after))
        changes.push_back(pool + "persistence changed; with several workers its connections start "
                                 "anew, as after a restart");
    else if (before.persistence != after.persistence)
        changes.push_back(pool + "persistence timeout changed");
}

// The pool's index depends on the order of the file; its name does not.
bool same_vip(const config::Config& before, const config::VipConfig& old,
              const config::Config& after, const config::VipConfig& vip) {
    config::VipConfig moved = old;
    moved.pool = vip.pool;
    return moved == vip && before.pools[old.pool].name == after.pools[vip.pool].name;
}

} // namespace

std::vector<std::string> describe_changes(const config::Config& before,
                                          const config::Config& after) {
    std::vector<std::string> changes;
    if (before.node.name != after.node.name)
        changes.push_back("node: name " + before.node.name + " -> " + after.node.name);
    for (const config::InterfaceConfig& interface : after.interfaces) {
        const auto* old = named(before.interfaces, interface.name);
        if (old != nullptr && !(*old == interface))
            changes.push_back("interface " + interface.name + ": changed");
    }
    if (!(before.engine == after.engine))
        changes.emplace_back("engine: changed");
    if (!(before.snat == after.snat))
        changes.emplace_back("snat: changed");
    if (!(before.tunnel == after.tunnel))
        changes.emplace_back("tunnel: changed");
    for (const config::PoolConfig& pool : after.pools) {
        if (const auto* old = named(before.pools, pool.name); old != nullptr)
            compare_pools(*old, pool, changes);
        else
            changes.push_back("pool " + pool.name + ": added");
    }
    for (const config::PoolConfig& pool : before.pools)
        if (named(after.pools, pool.name) == nullptr)
            changes.push_back("pool " + pool.name + ": removed");
    for (const config::VipConfig& vip : after.vips) {
        const auto* old = named(before.vips, vip.name);
        if (old == nullptr)
            changes.push_back("vip " + vip.name + ": added");
        else if (!same_vip(before, *old, after, vip))
            changes.push_back("vip " + vip.name + ": changed");
    }
    for (const config::VipConfig& vip : before.vips)
        if (named(after.vips, vip.name) == nullptr)
            changes.push_back("vip " + vip.name + ": removed");
    return changes;
}

ReloadDecision decide_reload(const config::Config& running, std::string_view text,
                             const std::string& file) {
    ReloadDecision decision;
    config::ParseResult parsed = config::parse_config(text, file);
    decision.diagnostics = std::move(parsed.diagnostics);
    if (!parsed.config)
        return decision;
    decision.changes = describe_changes(running, *parsed.config);
    decision.restart_needed = config::restart_needed(running, *parsed.config);
    if (decision.restart_needed.empty())
        decision.config = std::move(parsed.config);
    return decision;
}

} // namespace weir::control
