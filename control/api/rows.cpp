// SPDX-License-Identifier: BSD-3-Clause
// From rows and counters to what the views say of them.
#include <algorithm>
#include <string_view>
#include <vector>

#include "config/suggest.hpp"
#include "control/api/views.hpp"
#include "control/compile/identity.hpp"

namespace weir::control {

TotalCounters total_counters(const Snapshot& snapshot) {
    TotalCounters total;
    if (snapshot.engine == nullptr || !snapshot.engine->counters) {
        total.complete = false;
        return total;
    }
    const lb::CountersView& counters = *snapshot.engine->counters;
    for (std::uint32_t i = 0; i < counters.blocks(); i++) {
        auto block = counters.read(i);
        if (block) {
            const lb::Books books = lb::books_of(*block);
            total.balanced = total.balanced && books.balanced();
            total.books += books;
        } else {
            total.complete = false;
        }
        total.blocks.push_back(block);
    }
    return total;
}

Expected<std::uint32_t> vip_row(const Snapshot& snapshot, const std::string& name) {
    std::vector<std::string_view> known;
    for (std::size_t i = 0; i < snapshot.config.vips.size(); i++) {
        known.emplace_back(snapshot.config.vips[i].name);
        if (known.back() == name && i < snapshot.compiled->vip_ids.size())
            return std::uint32_t{snapshot.compiled->vip_ids[i]};
    }
    return Error{"there is no VIP \"" + name + "\"; " + config::suggestion(name, known)};
}

lb::VipCounters vip_counters(const Snapshot& snapshot, std::uint32_t row) {
    lb::VipCounters sum{};
    if (snapshot.engine == nullptr || !snapshot.engine->counters || row >= WEIR_MAX_VIPS)
        return sum;
    const lb::CountersView& counters = *snapshot.engine->counters;
    for (std::uint32_t i = 0; i < counters.blocks(); i++) {
        const lb::VipCounters& part = counters.vip(i, row);
        sum.packets += part.packets;
        sum.bytes += part.bytes;
        sum.connections_opened += part.connections_opened;
        sum.connections_active += part.connections_active;
        sum.drops += part.drops;
        sum.reply_packets += part.reply_packets;
        sum.reply_bytes += part.reply_bytes;
    }
    return sum;
}

lb::BackendCounters backend_counters(const Snapshot& snapshot, std::uint32_t row) {
    lb::BackendCounters sum{};
    if (snapshot.engine == nullptr || !snapshot.engine->counters || row >= WEIR_MAX_BACKENDS)
        return sum;
    const lb::CountersView& counters = *snapshot.engine->counters;
    for (std::uint32_t i = 0; i < counters.blocks(); i++) {
        const lb::BackendCounters& part = counters.backend(i, row);
        sum.packets += part.packets;
        sum.bytes += part.bytes;
        sum.connections_opened += part.connections_opened;
        sum.connections_active += part.connections_active;
        sum.reply_packets += part.reply_packets;
        sum.reply_bytes += part.reply_bytes;
    }
    return sum;
}

std::string backend_state(const Snapshot& snapshot, std::size_t pool, std::size_t backend) {
    const config::PoolConfig& settings = snapshot.config.pools[pool];
    const config::BackendConfig& member = settings.backends[backend];
    BackendAdmin wish;
    if (const auto found = snapshot.admin.find({settings.name, member.name});
        found != snapshot.admin.end())
        wish = found->second;
    if (wish.state == AdminState::kDisable)
        return "disabled";
    const auto health =
        std::find_if(snapshot.health.begin(), snapshot.health.end(), [&](const auto& candidate) {
            return candidate.pool == settings.name && candidate.backend == member.address;
        });
    const HealthStatus status =
        health != snapshot.health.end() ? health->status : HealthStatus::kChecking;
    if (status == HealthStatus::kDown)
        return "down";
    if (wish.state == AdminState::kDrain || wish.weight.value_or(member.weight) == 0)
        return "draining";
    if (settings.health.type == config::HealthType::kNone)
        return "up";
    return std::string(to_string(status));
}

UpCount count_up(const Snapshot& snapshot, std::size_t pool) {
    UpCount count;
    count.total = snapshot.config.pools[pool].backends.size();
    for (std::size_t i = 0; i < count.total; i++)
        count.up += backend_state(snapshot, pool, i) == "up";
    return count;
}

std::string vip_name(const Snapshot& snapshot, std::uint32_t row) {
    if (snapshot.compiled != nullptr) {
        const auto& ids = snapshot.compiled->vip_ids;
        const auto found = std::find(ids.begin(), ids.end(), row);
        const auto index = static_cast<std::size_t>(found - ids.begin());
        if (found != ids.end() && index < snapshot.config.vips.size())
            return snapshot.config.vips[index].name;
    }
    return "(removed)";
}

BackendName backend_name(const Snapshot& snapshot, std::uint32_t row) {
    BackendName result{"(removed)", "", "", "draining"};
    if (snapshot.live && row < snapshot.live->state().backends().size()) {
        const weir_backend_row& backend = snapshot.live->state().backends()[row];
        result.address = endpoint_of(backend.address, backend.port).to_string();
    }
    result.name = result.address;
    if (snapshot.compiled == nullptr)
        return result;
    const auto& pools = snapshot.compiled->backend_ids;
    for (std::size_t pool = 0; pool < pools.size() && pool < snapshot.config.pools.size(); pool++) {
        const auto found = std::find(pools[pool].begin(), pools[pool].end(), row);
        const auto index = static_cast<std::size_t>(found - pools[pool].begin());
        if (found == pools[pool].end() || index >= snapshot.config.pools[pool].backends.size())
            continue;
        result.pool = snapshot.config.pools[pool].name;
        result.name = snapshot.config.pools[pool].backends[index].name;
        result.state = backend_state(snapshot, pool, index);
        break;
    }
    return result;
}

net::Endpoint endpoint_of(const weir_address& address, weir_be16 port) {
    net::Endpoint endpoint{to_net(address), {}};
    if (port != 0)
        endpoint.port = weir_swap16(port);
    return endpoint;
}

} // namespace weir::control
