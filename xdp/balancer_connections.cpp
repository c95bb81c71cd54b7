// SPDX-License-Identifier: BSD-3-Clause
// The balancer's connection table from outside: seeing it, sweeping it. In batches: a call a
// connection would cost ten times as much.
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>

#include <cerrno>
#include <cstring>

#include "dataplane/forwarding/connection_state.h"

namespace weir::xdp {
namespace {

constexpr uint32_t kLargestBatch = 1u << 16;

} // namespace

Expected<std::optional<uint32_t>> Balancer::see_connections(std::optional<uint32_t> place,
                                                            const See& see) const {
    std::vector<weir_connection_key> keys;
    std::vector<weir_connection> connections;
    // A step is whole buckets of the table. One that does not fit is no error yet.
    for (uint32_t room = kStep; room <= kLargestBatch; room *= 2) {
        keys.resize(room);
        connections.resize(room);
        uint32_t count = room;
        uint32_t next = 0;
        const int error = bpf_map_lookup_batch(map("connections"), place ? &*place : nullptr, &next,
                                               keys.data(), connections.data(), &count, nullptr);
        if (error == -ENOSPC)
            continue;
        if (error != 0 && error != -ENOENT)
            return kernel_error("read the balancer's connections", -error);
        for (uint32_t i = 0; i < count; i++)
            see(keys[i], connections[i]);
        return error == -ENOENT ? std::nullopt : std::optional(next);
    }
    return Error{"the balancer's connections lie in one bucket of their table"};
}

Expected<void> Balancer::for_each_connection(const See& see) const {
    std::optional<uint32_t> place;
    do {
        auto next = see_connections(place, see);
        if (!next)
            return next.error();
        place = *next;
    } while (place);
    return {};
}

Expected<bool> Balancer::sweep_step(SweepPass& pass, const lb::ForwardingState& state,
                                    uint64_t now_ns) {
    const auto now_s = static_cast<uint32_t>(now_ns / 1'000'000'000);
    const std::span<const weir_vip_row> vips = state.vips();
    pass.of_vip.resize(vip_active_.values());
    pass.of_backend.resize(backend_active_.values());
    std::vector<weir_connection_key> old;
    auto next = see_connections(
        pass.place, [&](const weir_connection_key& key, const weir_connection& connection) {
            // A packet may have renewed it after we looked at the clock.
            const auto age = static_cast<int32_t>(now_s - connection.last_seen_s);
            if (key.vip >= vips.size() || connection.backend >= pass.of_backend.size() ||
                age >= static_cast<int32_t>(
                           weir_state_timeout_s(connection.state, &vips[key.vip].timeouts))) {
                old.push_back(key);
                return;
            }
            pass.of_vip[key.vip]++;
            pass.of_backend[connection.backend]++;
            pass.swept.live++;
        });
    if (!next)
        return next.error();
    for (const weir_connection_key& key : old)
        pass.swept.expired += bpf_map_delete_elem(map("connections"), &key) == 0;
    pass.place = *next;
    if (pass.place)
        return false;
    for (uint32_t row = 0; row < pass.of_vip.size(); row++)
        std::memcpy(vip_active_.value(row), &pass.of_vip[row], sizeof(uint64_t));
    for (uint32_t row = 0; row < pass.of_backend.size(); row++)
        std::memcpy(backend_active_.value(row), &pass.of_backend[row], sizeof(uint64_t));
    return true;
}

Expected<Swept> Balancer::sweep(const lb::ForwardingState& state, uint64_t now_ns) {
    SweepPass pass;
    for (;;) {
        const auto done = sweep_step(pass, state, now_ns);
        if (!done)
            return done.error();
        if (*done)
            return pass.swept;
    }
}

} // namespace weir::xdp
