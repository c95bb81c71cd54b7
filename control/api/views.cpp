// SPDX-License-Identifier: BSD-3-Clause
#include "control/api/views.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <ctime>

namespace weir::control {
namespace {

using nlohmann::json;

double seconds_since(Instant then, Instant now) {
    return std::chrono::duration<double>(now - then).count();
}

double uptime_s(const channel::Hello& hello) {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const double now_s = static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
    return std::max(0.0, now_s - 1e-9 * static_cast<double>(hello.started_ns));
}

bool is_owned(const Snapshot& snapshot, std::size_t vip) {
    if (snapshot.config.ownership != config::OwnershipMode::kVrrp)
        return snapshot.ready;
    return std::any_of(snapshot.config.vrrp_groups.begin(), snapshot.config.vrrp_groups.end(),
                       [&](const config::VrrpGroupConfig& group) {
                           const auto& vips = group.vips;
                           return std::find(vips.begin(), vips.end(), vip) != vips.end() &&
                                  std::any_of(snapshot.election.groups.begin(),
                                              snapshot.election.groups.end(),
                                              [&](const vrrp::GroupStatus& status) {
                                                  return status.name == group.name &&
                                                         status.state == vrrp::State::kOwner;
                                              });
                       });
}

json vip_json(const Snapshot& snapshot, std::size_t index) {
    const config::VipConfig& vip = snapshot.config.vips[index];
    const UpCount up = count_up(snapshot, vip.pool);
    lb::VipCounters counters{};
    if (snapshot.compiled != nullptr && index < snapshot.compiled->vip_ids.size())
        counters = vip_counters(snapshot, snapshot.compiled->vip_ids[index]);
    return {{"name", vip.name},
            {"address", vip.address.to_string()},
            {"port", config::to_string(vip.ports)},
            {"protocol", config::to_string(vip.protocol)},
            {"forward", config::to_string(vip.forward)},
            {"pool", snapshot.config.pools[vip.pool].name},
            {"tracking", config::to_string(vip.tracking)},
            {"connections_estimated", vip.tracking == config::Tracking::kExceptions},
            {"owned", is_owned(snapshot, index)},
            {"backends_up", up.up},
            {"backends_total", up.total},
            {"connections", counters.connections_active},
            {"connections_opened", counters.connections_opened},
            {"packets", counters.packets},
            {"bytes", counters.bytes},
            {"reply_packets", counters.reply_packets},
            {"reply_bytes", counters.reply_bytes},
            {"drops", counters.drops},
            {"on_backend_down", config::to_string(vip.on_backend_down)},
            {"on_all_down", config::to_string(vip.on_all_down)},
            {"on_limit", config::to_string(vip.on_limit)},
            {"max_connections", vip.max_connections},
            {"mss_clamp", vip.mss_clamp && config::encapsulates(vip.forward)},
            {"packet_too_big", vip.packet_too_big}};
}

// Are the connections of a pool's backends counted, or estimated by SYNs, FINs and RSTs?
bool estimates(const Snapshot& snapshot, std::size_t pool) {
    return std::any_of(snapshot.config.vips.begin(), snapshot.config.vips.end(),
                       [&](const config::VipConfig& vip) {
                           return vip.pool == pool && vip.tracking == config::Tracking::kExceptions;
                       });
}

void add_traffic(json& entry, const lb::BackendCounters& counters) {
    entry["connections"] = counters.connections_active;
    entry["connections_opened"] = counters.connections_opened;
    entry["packets"] = counters.packets;
    entry["bytes"] = counters.bytes;
    entry["reply_packets"] = counters.reply_packets;
    entry["reply_bytes"] = counters.reply_bytes;
}

json next_hop_json(const Snapshot& snapshot, const net::IpAddress& address) {
    const auto found = snapshot.next_hops.find(address);
    if (found == snapshot.next_hops.end())
        return {{"resolved", false}, {"mac", ""}, {"interface", ""}, {"why_not", "not looked up"}};
    const NextHop& hop = found->second;
    return {{"resolved", hop.resolved},
            {"mac", hop.resolved ? hop.mac.to_string() : ""},
            {"interface", hop.interface},
            {"why_not", hop.why_not}};
}

const char* admin_word(AdminState state) {
    switch (state) {
    case AdminState::kDrain:
        return "drain";
    case AdminState::kDisable:
        return "disable";
    case AdminState::kReady:
        break;
    }
    return "ready";
}

void add_health(json& entry, const Snapshot& snapshot, const config::PoolConfig& pool,
                const config::BackendConfig& backend) {
    const auto found =
        std::find_if(snapshot.health.begin(), snapshot.health.end(), [&](const auto& candidate) {
            return candidate.pool == pool.name && candidate.backend == backend.address;
        });
    entry["health"] = "checking";
    entry["reason"] = "not probed yet";
    entry["last_result"] = "";
    entry["last_change_s"] = nullptr;
    entry["last_sample_s"] = nullptr;
    if (found == snapshot.health.end())
        return;
    entry["health"] = to_string(found->status);
    entry["reason"] = found->reason;
    entry["last_result"] = found->last_result;
    entry["last_change_s"] = seconds_since(found->last_change, snapshot.now);
    if (found->last_sample)
        entry["last_sample_s"] = seconds_since(*found->last_sample, snapshot.now);
}

json backend_json(const Snapshot& snapshot, std::size_t pool_index, std::size_t index,
                  std::uint64_t weights) {
    const config::PoolConfig& pool = snapshot.config.pools[pool_index];
    const config::BackendConfig& backend = pool.backends[index];
    BackendAdmin wish;
    if (const auto found = snapshot.admin.find({pool.name, backend.name});
        found != snapshot.admin.end())
        wish = found->second;
    json entry{{"name", backend.name},
               {"address", backend.address.to_string()},
               {"weight", wish.weight.value_or(backend.weight)},
               {"configured_weight", backend.weight},
               {"state", backend_state(snapshot, pool_index, index)},
               {"admin", admin_word(wish.state)},
               {"backup", backend.backup},
               {"max_connections", backend.max_connections},
               {"share", 0.0},
               {"next_hop", next_hop_json(snapshot, backend.address.address)}};
    add_health(entry, snapshot, pool, backend);
    lb::BackendCounters counters{};
    const CompiledState* compiled = snapshot.compiled;
    if (compiled != nullptr && pool_index < compiled->pools.size() &&
        index < compiled->pools[pool_index].backends.size()) {
        const MemberDecision& decision = compiled->pools[pool_index].backends[index];
        if (decision.member && weights > 0)
            entry["share"] =
                static_cast<double>(scheduling_weight(pool.scheduler, decision.weight)) /
                static_cast<double>(weights);
        counters = backend_counters(snapshot, compiled->backend_ids[pool_index][index]);
    }
    add_traffic(entry, counters);
    entry["connections_estimated"] = estimates(snapshot, pool_index);
    return entry;
}

json leaving_json(const Snapshot& snapshot, std::size_t pool) {
    json leaving = json::array();
    if (snapshot.compiled == nullptr || !snapshot.live)
        return leaving;
    for (const std::uint32_t row : snapshot.compiled->leaving) {
        const auto backends = snapshot.live->state().backends();
        if (row >= backends.size() || backends[row].pool != pool)
            continue;
        json entry{{"address", endpoint_of(backends[row].address, backends[row].port).to_string()},
                   {"state", backends[row].state == WEIR_BACKEND_DOWN ? "down" : "draining"}};
        add_traffic(entry, backend_counters(snapshot, row));
        leaving.push_back(std::move(entry));
    }
    return leaving;
}

json pool_json(const Snapshot& snapshot, std::size_t index) {
    const config::PoolConfig& pool = snapshot.config.pools[index];
    const CompiledState* compiled = snapshot.compiled;
    const bool decided = compiled != nullptr && index < compiled->pools.size();
    std::uint64_t weights = 0;
    if (decided)
        for (const MemberDecision& decision : compiled->pools[index].backends)
            weights += decision.member ? scheduling_weight(pool.scheduler, decision.weight) : 0;
    const UpCount up = count_up(snapshot, index);
    const auto counts = snapshot.counts.find(pool.name);
    json result{{"name", pool.name},
                {"scheduler", config::to_string(pool.scheduler)},
                {"maglev_size", pool.maglev_size},
                {"health", config::to_string(pool.health.type)},
                {"backends_up", up.up},
                {"backends_total", up.total},
                {"persistence", nullptr},
                {"on_backups", decided && compiled->pools[index].on_backups},
                {"panic", decided && compiled->pools[index].panic},
                {"alarm", counts != snapshot.counts.end() && counts->second.mass_failure},
                {"vips", json::array()},
                {"backends", json::array()},
                {"leaving", leaving_json(snapshot, index)}};
    if (pool.persistence)
        result["persistence"] = {{"timeout_s", pool.persistence->timeout.count()},
                                 {"prefix_v4", pool.persistence->prefix_v4},
                                 {"prefix_v6", pool.persistence->prefix_v6}};
    for (const config::VipConfig& vip : snapshot.config.vips)
        if (vip.pool == index)
            result["vips"].push_back(vip.name);
    for (std::size_t i = 0; i < pool.backends.size(); i++)
        result["backends"].push_back(backend_json(snapshot, index, i, weights));
    return result;
}

json engine_json(const Snapshot& snapshot) {
    json engine{{"mode", to_string(snapshot.choice.kind)},
                {"why", snapshot.choice.why},
                {"running", snapshot.engine != nullptr},
                {"pid", 0},
                {"workers", 0},
                {"hugepages", false},
                {"uptime_s", 0.0}};
    if (snapshot.engine != nullptr) {
        const channel::Hello& hello = snapshot.engine->hello;
        engine["pid"] = hello.pid;
        engine["standing_in"] = snapshot.choice.kind == EngineKind::kDpdk && hello.pid == 0;
        engine["workers"] = hello.workers;
        engine["hugepages"] = hello.hugepages != 0;
        engine["uptime_s"] = uptime_s(hello);
    }
    return engine;
}

json interfaces_json(const Snapshot& snapshot) {
    json interfaces = json::array();
    for (std::size_t i = 0; i < snapshot.config.interfaces.size(); i++) {
        const config::InterfaceConfig& interface = snapshot.config.interfaces[i];
        json entry{{"name", interface.name},
                   {"device", config::to_string(interface.device)},
                   {"kernel_interface", interface.kernel_interface},
                   {"driver", ""},
                   {"mac", ""},
                   {"bypassed", !interface.is_kernel_visible()},
                   {"queues", 0}};
        if (snapshot.engine != nullptr && i < snapshot.engine->hello.interfaces) {
            const channel::InterfaceInfo& info = snapshot.engine->hello.interface[i];
            net::MacAddress::Bytes mac;
            std::copy_n(info.mac, mac.size(), mac.begin());
            entry["driver"] = std::string(info.driver, ::strnlen(info.driver, sizeof(info.driver)));
            entry["mac"] = net::MacAddress::from_bytes(mac).to_string();
            entry["queues"] = info.queues;
        }
        interfaces.push_back(std::move(entry));
    }
    return interfaces;
}

} // namespace

json status_view(const Snapshot& snapshot) {
    const TotalCounters total = total_counters(snapshot);
    json vips = json::array();
    for (std::size_t i = 0; i < snapshot.config.vips.size(); i++)
        vips.push_back(vip_json(snapshot, i));
    UpCount backends;
    for (std::size_t i = 0; i < snapshot.config.pools.size(); i++) {
        const UpCount pool = count_up(snapshot, i);
        backends.up += pool.up;
        backends.total += pool.total;
    }
    return {{"ready", snapshot.ready},
            {"generation", snapshot.live ? snapshot.live->number() : 0},
            {"node", snapshot.config.node.name},
            {"version", WEIR_VERSION},
            {"engine", engine_json(snapshot)},
            {"ownership", config::to_string(snapshot.config.ownership)},
            {"drained", snapshot.drained},
            {"vrrp", vrrp_view(snapshot)},
            {"interfaces", interfaces_json(snapshot)},
            {"vips", std::move(vips)},
            {"backends", {{"up", backends.up}, {"total", backends.total}}},
            {"books", books_json(total.books, total.balanced && total.complete)},
            {"problems", snapshot.problems}};
}

json vips_view(const Snapshot& snapshot) {
    json vips = json::array();
    for (std::size_t i = 0; i < snapshot.config.vips.size(); i++)
        vips.push_back(vip_json(snapshot, i));
    return {{"vips", std::move(vips)}};
}

std::optional<json> vip_view(const Snapshot& snapshot, const std::string& name) {
    for (std::size_t i = 0; i < snapshot.config.vips.size(); i++) {
        if (snapshot.config.vips[i].name != name)
            continue;
        json vip = vip_json(snapshot, i);
        vip["backends"] = pool_json(snapshot, snapshot.config.vips[i].pool)["backends"];
        return vip;
    }
    return std::nullopt;
}

json pools_view(const Snapshot& snapshot) {
    json pools = json::array();
    for (std::size_t i = 0; i < snapshot.config.pools.size(); i++)
        pools.push_back(pool_json(snapshot, i));
    return {{"pools", std::move(pools)}};
}

std::optional<json> pool_view(const Snapshot& snapshot, const std::string& name) {
    for (std::size_t i = 0; i < snapshot.config.pools.size(); i++)
        if (snapshot.config.pools[i].name == name)
            return pool_json(snapshot, i);
    return std::nullopt;
}

json apply_view(const ReloadDecision& decision, std::uint64_t generation) {
    json diagnostics = json::array();
    for (const config::Diagnostic& diagnostic : decision.diagnostics)
        diagnostics.push_back({{"file", diagnostic.file},
                               {"line", diagnostic.line},
                               {"column", diagnostic.column},
                               {"message", diagnostic.message},
                               {"hint", diagnostic.hint},
                               {"source_line", diagnostic.source_line}});
    return {{"accepted", decision.config.has_value()},
            {"generation", generation},
            {"changes", decision.config ? decision.changes : std::vector<std::string>{}},
            {"restart_needed", decision.restart_needed},
            {"diagnostics", std::move(diagnostics)},
            {"text", config::format(decision.diagnostics)}};
}

} // namespace weir::control
