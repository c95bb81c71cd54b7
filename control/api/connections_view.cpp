// SPDX-License-Identifier: BSD-3-Clause
// Connections as the workers have them now, read from their tables while they write.
#include <nlohmann/json.hpp>

#include <ctime>
#include <map>

#include "control/api/connection_json.hpp"
#include "control/api/views.hpp"
#include "control/compile/identity.hpp"
#include "dataplane/lb/connection_lifetime.hpp"

namespace weir::control {
namespace {

using nlohmann::json;

constexpr std::size_t kMostListed = 10'000;

// What a filter means in rows.
struct RowFilter {
    std::optional<std::uint32_t> vip;
    std::optional<std::uint32_t> backend;

    [[nodiscard]] bool passes(const lb::HotRow& row) const {
        return (!vip || row.vip == *vip) && (!backend || row.backend == *backend);
    }
};

std::optional<std::uint32_t> find_backend(const Snapshot& snapshot, const std::string& full) {
    const std::size_t slash = full.find('/');
    if (slash == std::string::npos || snapshot.compiled == nullptr)
        return std::nullopt;
    const std::string pool = full.substr(0, slash);
    const std::string name = full.substr(slash + 1);
    const auto& pools = snapshot.config.pools;
    for (std::size_t i = 0; i < pools.size() && i < snapshot.compiled->backend_ids.size(); i++)
        for (std::size_t k = 0; pools[i].name == pool && k < pools[i].backends.size(); k++)
            if (pools[i].backends[k].name == name)
                return snapshot.compiled->backend_ids[i].at(k);
    return std::nullopt;
}

Expected<RowFilter> row_filter(const Snapshot& snapshot, const ConnectionFilter& filter) {
    RowFilter rows;
    if (!filter.vip.empty()) {
        for (std::size_t i = 0; i < snapshot.config.vips.size(); i++)
            if (snapshot.config.vips[i].name == filter.vip && snapshot.compiled != nullptr)
                rows.vip = snapshot.compiled->vip_ids.at(i);
        if (!rows.vip)
            return Error{"there is no VIP \"" + filter.vip + "\"; `weirctl vip list` shows them"};
    }
    if (!filter.backend.empty()) {
        rows.backend = find_backend(snapshot, filter.backend);
        if (!rows.backend)
            return Error{"there is no backend \"" + filter.backend +
                         "\"; write POOL/NAME, `weirctl pool list` shows them"};
    }
    return rows;
}

} // namespace

json connection_json(const Snapshot& snapshot, std::uint32_t worker,
                     const lb::ConnectionReader::Connection& connection) {
    const lb::HotRow& row = connection.row;
    json entry{{"worker", worker},
               {"vip", vip_name(snapshot, row.vip)},
               {"client", endpoint_of(row.client, row.client_port).to_string()},
               {"state", lb::state_name(static_cast<lb::ConnectionState>(row.state))},
               {"probation", (row.flags & lb::kRowProbation) != 0},
               {"protocol", ""},
               {"service", ""},
               {"snat", nullptr}};
    const lb::ForwardingState& state = snapshot.live->state();
    if (row.vip < state.vips().size()) {
        const weir_vip_row& vip = state.vips()[row.vip];
        entry["protocol"] = vip.protocol == 6 ? "tcp" : "udp";
        entry["service"] = endpoint_of(vip.address, row.service_port).to_string();
        if (vip.forward == WEIR_FORWARD_FULL_NAT && row.snat_address < state.snat().size())
            entry["snat"] =
                endpoint_of(state.snat()[row.snat_address].address, row.snat_port).to_string();
    }
    const BackendName backend = backend_name(snapshot, row.backend);
    entry["pool"] = backend.pool;
    entry["backend"] = backend.name;
    entry["backend_address"] = backend.address;
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto age =
        static_cast<std::uint16_t>(static_cast<std::uint16_t>(now.tv_sec) - row.last_seen_s);
    entry["idle_s"] = age > 0xff00 ? 0 : age; // the worker's clock may be a tick ahead of ours
    return entry;
}

Expected<json> connections_view(const Snapshot& snapshot, const ConnectionFilter& filter) {
    if (snapshot.engine == nullptr || !snapshot.live)
        return Error{"weir-dataplane is not connected: there are no connections to show"};
    const auto rows = row_filter(snapshot, filter);
    if (!rows)
        return rows.error();
    std::uint64_t count = 0;
    json list = json::array();
    for (const lb::ConnectionReader& table : snapshot.engine->connections) {
        table.for_each([&](const lb::ConnectionReader::Connection& connection) {
            if (!rows->passes(connection.row))
                return;
            count++;
            if (!filter.count_only && list.size() < kMostListed)
                list.push_back(connection_json(snapshot, table.worker(), connection));
        });
    }
    if (filter.count_only)
        return json{{"count", count}};
    return json{
        {"count", count}, {"truncated", count > list.size()}, {"connections", std::move(list)}};
}

} // namespace weir::control
