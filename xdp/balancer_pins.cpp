// SPDX-License-Identifier: BSD-3-Clause
// The balancer's maps outlive their control: pinned, and taken up again by the next one.
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>

namespace weir::xdp {
namespace {

// The program's own: settings, what tests inject, the scratch memory of a packet.
bool outlives_control(const bpf_map* map) {
    return !bpf_map__is_internal(map) && std::string_view(bpf_map__name(map)) != "work_of_cpu";
}

std::string path_of(const std::string& directory, const bpf_map* map) {
    return directory + "/" + bpf_map__name(map);
}

Expected<bpf_map_info> info_of(int map, const std::string& what) {
    bpf_map_info info{};
    uint32_t bytes = sizeof(info);
    if (bpf_obj_get_info_by_fd(map, &info, &bytes) != 0)
        return kernel_error("look at " + what, errno);
    return info;
}

Expected<uint32_t> reuse(bpf_map* map, const std::string& path) {
    const Descriptor pinned(bpf_obj_get(path.c_str()));
    if (!pinned)
        return kernel_error("open " + path, errno);
    const auto info = info_of(pinned.get(), path);
    if (!info)
        return info.error();
    if (info->type != static_cast<uint32_t>(bpf_map__type(map)) ||
        info->key_size != bpf_map__key_size(map) || info->value_size != bpf_map__value_size(map))
        return Error{path + " has another layout than this version's"};
    if (const int error = bpf_map__reuse_fd(map, pinned.get()); error != 0)
        return kernel_error("use " + path + " again", -error);
    return info->max_entries;
}

} // namespace

Expected<Balancer> Balancer::adopt(const std::string& directory) {
    auto object = open_object();
    if (!object)
        return object.error();
    std::map<std::string_view, uint32_t> entries;
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object->get()) {
        if (!outlives_control(map))
            continue;
        const auto reused = reuse(map, path_of(directory, map));
        if (!reused)
            return reused.error();
        entries[bpf_map__name(map)] = *reused;
    }
    const BalancerSizes sizes = {.rows = {.vips = entries["vip_rows"] / 2,
                                          .pools = entries["pool_rows"] / 2,
                                          .members = entries["member_rows"] / 2,
                                          .backends = entries["backend_rows"] / 2,
                                          .next_hops = entries["next_hop_rows"] / 2,
                                          .slot_rows = entries["slot_rows"]},
                                 .connections = entries["connections"]};
    auto balancer = start(std::move(*object), sizes);
    if (!balancer)
        return balancer;
    if (auto taken = balancer->take_up(); !taken)
        return taken.error();
    return balancer;
}

// What an earlier control had in its own memory.
Expected<void> Balancer::take_up() {
    for (auto& half : in_use_)
        for (uint32_t which = 0; which < kRowMaps; which++)
            half[which] = rows_[which].values() / 2;
    const auto state = blocks_.read_state();
    if (!state)
        return state.error();
    if (state->generation == 0)
        return {};
    const uint32_t half = state->active;
    auto head = std::make_unique<weir_balancer_head>();
    if (bpf_map_lookup_elem(map("heads"), &half, head.get()) != 0)
        return kernel_error("read the balancer's state", errno);
    const auto running = published();
    if (!running)
        return running.error();
    grace_began_ns_ = head->grace_began_ns;
    generation_ = state->generation;
    for (uint32_t row = 0; row < sizes_.rows.pools; row++) {
        weir_pool_row pool;
        std::memcpy(&pool, rows_[kPools].value(half * sizes_.rows.pools + row), sizeof(pool));
        const auto remember = [&](uint32_t first) {
            const auto* slots = reinterpret_cast<const uint16_t*>(slots_.value(first));
            for (const auto& [id, table] : (*running)->slot_tables)
                if (table.size() >= pool.slot_count &&
                    std::equal(table.begin(), table.end(), slots))
                    arena_.remember(id, first, slot_rows_of(table.size()), half);
        };
        if (pool.slot_count != 0)
            remember(pool.segment);
        if (pool.slot_count != 0 && pool.elder_count != 0)
            remember(pool.oldest_segment);
    }
    return {};
}

std::vector<uint32_t> Balancer::devices() const {
    auto head = std::make_unique<weir_balancer_head>();
    const auto state = blocks_.read_state();
    if (!state || state->generation == 0)
        return {};
    const uint32_t half = state->active;
    if (bpf_map_lookup_elem(map("heads"), &half, head.get()) != 0)
        return {};
    return {head->device, head->device + std::min(head->interface_count, WEIR_MAX_INTERFACES)};
}

Expected<void> Balancer::pin(const std::string& directory) const {
    bpf_map* map = nullptr;
    bpf_object__for_each_map(map, object_.get()) {
        if (!outlives_control(map))
            continue;
        const std::string path = path_of(directory, map);
        if (bpf_obj_pin(bpf_map__fd(map), path.c_str()) != 0)
            return kernel_error("pin " + path, errno);
    }
    return {};
}

std::span<std::byte> Balancer::root_in(uint32_t half) const {
    const uint32_t pages = roots_.values() / 2;
    return {roots_.value(half * pages), size_t{pages} * WEIR_ROOT_PAGE_BYTES};
}

// The root names its slot tables by id and length; where they lie, the pool rows in the maps say.
Expected<std::optional<PublishedState>> Balancer::published() const {
    const auto state = blocks_.read_state();
    if (!state)
        return state.error();
    if (state->generation == 0)
        return std::optional<PublishedState>{};
    PublishedState result;
    const std::span<std::byte> room = root_in(state->active);
    const auto* header = reinterpret_cast<const lb::StateHeader*>(room.data());
    std::string problem;
    const auto segments = lb::ForwardingState::segments_of(room, problem);
    if (!segments || header->total_bytes > room.size())
        return Error{"what the pinned maps have published is not whole: " + problem};
    result.root = room.first(header->total_bytes);
    const lb::TableDescriptor& table = header->pools;
    if (table.count > sizes_.rows.pools || table.row_bytes != sizeof(weir_pool_row) ||
        table.offset + uint64_t{table.count} * table.row_bytes > result.root.size())
        return Error{"what the pinned maps have published is not whole: its pools"};
    const auto take = [&](uint32_t segment, uint32_t first) {
        if (segment >= segments->size())
            return false;
        const lb::SegmentRow& row = (*segments)[segment];
        const size_t slots = row.bytes / sizeof(uint16_t);
        if (first >= slots_.values() || slot_rows_of(slots) > slots_.values() - first)
            return false;
        const auto* begin = reinterpret_cast<const uint16_t*>(slots_.value(first));
        result.slot_tables.try_emplace(row.id, begin, begin + slots);
        return true;
    };
    for (uint32_t row = 0; row < table.count; row++) {
        weir_pool_row named;
        weir_pool_row placed;
        std::memcpy(&named, result.root.data() + table.offset + row * sizeof(named), sizeof(named));
        std::memcpy(&placed, rows_[kPools].value(state->active * sizes_.rows.pools + row),
                    sizeof(placed));
        if (named.slot_count == 0)
            continue;
        if (!take(named.segment, placed.segment) ||
            (named.elder_count != 0 && !take(named.oldest_segment, placed.oldest_segment)))
            return Error{"what the pinned maps have published is not whole: a slot table"};
    }
    return std::optional(std::move(result));
}

} // namespace weir::xdp
