// SPDX-License-Identifier: BSD-3-Clause
// ForwardingState into the balancer's maps: into the half that no packet reads, then the flip.
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

namespace weir::xdp {
namespace {

template <class Row> std::span<const std::byte> bytes_of(std::span<const Row> rows) {
    return std::as_bytes(rows);
}

Error too_many(const char* what, size_t have, size_t room) {
    return Error{"the XDP balancer was loaded with room for " + std::to_string(room) + " " + what +
                 ", the configuration has " + std::to_string(have) +
                 "; restart weir-control to load it anew"};
}

} // namespace

Expected<void> Balancer::fits(const lb::ForwardingState& state) const {
    const weir_balancer_capacities& room = sizes_.rows;
    if (state.vips().size() > room.vips)
        return too_many("VIPs", state.vips().size(), room.vips);
    if (state.pools().size() > room.pools)
        return too_many("pools", state.pools().size(), room.pools);
    if (state.members().size() > room.members)
        return too_many("pool members", state.members().size(), room.members);
    if (state.backends().size() > room.backends)
        return too_many("backends", state.backends().size(), room.backends);
    if (state.next_hops().size() > room.next_hops)
        return too_many("next hops", state.next_hops().size(), room.next_hops);
    return {};
}

void Balancer::write_rows(uint32_t half, Rows which, std::span<const std::byte> rows,
                          size_t row_bytes) {
    const Mapping& mapping = rows_[which];
    const uint32_t capacity = mapping.values() / 2;
    const auto count = static_cast<uint32_t>(rows.size() / row_bytes);
    for (uint32_t row = 0; row < count; row++)
        std::memcpy(mapping.value(half * capacity + row), rows.data() + row * row_bytes, row_bytes);
    // What an earlier generation had behind them is no row of this one.
    if (uint32_t before = in_use_[half][which]; before > count)
        std::memset(mapping.value(half * capacity + count), 0, (before - count) * mapping.stride());
    in_use_[half][which] = count;
}

// The first slot row of a table, which is written when it is not there yet.
Expected<uint32_t> Balancer::place_slots(uint32_t half, uint64_t id,
                                         std::span<const uint16_t> slots) {
    const auto rows = slot_rows_of(slots.size());
    const auto place = arena_.place(id, rows, half);
    if (!place)
        return too_many("slots of pool tables", slots.size(),
                        size_t{sizes_.rows.slot_rows} * WEIR_SLOTS_A_ROW);
    if (place->fresh)
        std::memcpy(slots_.value(place->first), slots.data(), slots.size_bytes());
    return place->first;
}

// Pool rows go with them: in the maps, `segment` and `oldest_segment` are the first slot rows.
Expected<void> Balancer::write_slots(uint32_t half, const lb::ForwardingState& state) {
    arena_.begin(half);
    std::vector<weir_pool_row> pools(state.pools().begin(), state.pools().end());
    for (weir_pool_row& pool : pools) {
        if (pool.slot_count == 0)
            continue;
        auto slots = place_slots(half, state.segment_rows()[pool.segment].id, state.slots(pool));
        if (!slots)
            return slots.error();
        if (pool.elder_count != 0) {
            auto oldest = place_slots(half, state.segment_rows()[pool.oldest_segment].id,
                                      state.oldest_slots(pool));
            if (!oldest)
                return oldest.error();
            pool.oldest_segment = *oldest;
        }
        pool.segment = *slots;
    }
    write_rows(half, kPools, bytes_of(std::span<const weir_pool_row>(pools)),
               sizeof(weir_pool_row));
    return {};
}

Expected<void> Balancer::write_root(uint32_t half, const lb::ForwardingState& state) {
    const std::span<std::byte> room = root_in(half);
    const size_t bytes = state.header().total_bytes;
    if (bytes > room.size())
        return too_many("bytes of forwarding state", bytes, room.size());
    std::memcpy(room.data(), &state.header(), bytes);
    return {};
}

Expected<void> Balancer::write_head(uint32_t half, const lb::ForwardingState& state,
                                    std::span<const uint32_t> devices) {
    auto head = std::make_unique<weir_balancer_head>();
    head->hash_key = state.hash_key();
    head->node = state.node();
    head->grace_began_ns = grace_began_ns_;
    head->interface_count =
        static_cast<uint32_t>(std::min(state.interfaces().size(), devices.size()));
    std::copy_n(state.interfaces().begin(), head->interface_count, head->interface);
    std::copy_n(devices.begin(), head->interface_count, head->device);
    std::ranges::copy(state.snat(), head->snat);
    for (uint32_t row = 0; row < state.snat().size(); row++) {
        const uint32_t family = state.snat()[row].family == 4 ? 0 : 1;
        head->snat_rows[family][head->snat_of_family[family]++] = static_cast<uint8_t>(row);
    }
    const int out = map("devices");
    for (uint32_t row = 0; row < head->interface_count; row++)
        if (bpf_map_update_elem(out, &row, &devices[row], BPF_ANY) != 0)
            return kernel_error("send packets by " + interface_name(devices[row]), errno);
    if (bpf_map_update_elem(map("heads"), &half, head.get(), BPF_ANY) != 0)
        return kernel_error("write the balancer's state", errno);
    return {};
}

Expected<void> Balancer::publish(const lb::ForwardingState& state,
                                 std::span<const uint32_t> devices, uint64_t now_ns) {
    if (auto fit = fits(state); !fit)
        return fit;
    const auto half = blocks_.prepare();
    if (!half)
        return half.error();
    if (generation_ == 0)
        grace_began_ns_ = now_ns;
    if (starts_exceptions(state))
        assume_exceptions();
    if (auto written = write_slots(*half, state); !written)
        return written;
    write_rows(*half, kVips, bytes_of(state.vips()), sizeof(weir_vip_row));
    write_rows(*half, kMembers, bytes_of(state.members()), sizeof(uint32_t));
    write_rows(*half, kBackends, bytes_of(state.backends()), sizeof(weir_backend_row));
    write_rows(*half, kNextHops, bytes_of(state.next_hops()), sizeof(weir_next_hop_row));
    if (auto written = write_head(*half, state, devices); !written)
        return written;
    if (auto written = write_root(*half, state); !written)
        return written;
    const MatchTableView table{state.header().match, state.ranges(), state.match_rows()};
    if (auto flipped = blocks_.publish_prepared(*half, table, state.generation()); !flipped)
        return flipped;
    generation_ = state.generation();
    return {};
}

Expected<void> Balancer::withdraw() {
    generation_ = 0;
    return blocks_.withdraw();
}

} // namespace weir::xdp
