// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/steering.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>

#include <array>
#include <cerrno>
#include <string>
#include <string_view>

namespace weir::xdp {
namespace {

struct OpenMap {
    Descriptor descriptor;
    bpf_map_info info{};
};

Expected<OpenMap> open_map(uint32_t id) {
    OpenMap map;
    map.descriptor = Descriptor(bpf_map_get_fd_by_id(id));
    if (!map.descriptor)
        return kernel_error("open a map of the steering program", errno);
    uint32_t bytes = sizeof(map.info);
    if (bpf_obj_get_info_by_fd(map.descriptor.get(), &map.info, &bytes) != 0)
        return kernel_error("look at a map of the steering program", errno);
    return map;
}

// The maps this needs, by name; the sizes tell a program of another version.
struct SteeringMaps {
    Descriptor blocks, state, counts;
};

bool is(const OpenMap& map, std::string_view name, uint32_t value_bytes, uint32_t entries) {
    return name == map.info.name && map.info.value_size == value_bytes &&
           map.info.max_entries == entries;
}

Expected<SteeringMaps> open_maps(std::span<const uint32_t> ids) {
    SteeringMaps maps;
    for (uint32_t id : ids) {
        auto map = open_map(id);
        if (!map)
            return map.error();
        if (is(*map, "match_blocks", sizeof(weir_match_block), WEIR_MATCH_BLOCKS))
            maps.blocks = std::move(map->descriptor);
        else if (is(*map, "steer_state", sizeof(weir_steer_state), 1))
            maps.state = std::move(map->descriptor);
        else if (is(*map, "steer_counts", sizeof(uint64_t), WEIR_STEER_COUNTS))
            maps.counts = std::move(map->descriptor);
    }
    return maps;
}

} // namespace

Error Steering::nothing_attached() const {
    return Error{"no XDP program is attached to " + interface_name(ifindex_) +
                 "; the dataplane attaches it when it starts"};
}

Expected<Steering::Program> Steering::open(uint32_t program_id) const {
    Descriptor descriptor(bpf_prog_get_fd_by_id(program_id));
    if (!descriptor)
        return kernel_error("open the XDP program on " + interface_name(ifindex_), errno);
    std::array<uint32_t, 16> map_ids{};
    bpf_prog_info info{};
    info.map_ids = reinterpret_cast<uint64_t>(map_ids.data());
    info.nr_map_ids = map_ids.size();
    uint32_t bytes = sizeof(info);
    if (bpf_obj_get_info_by_fd(descriptor.get(), &info, &bytes) != 0)
        return kernel_error("look at the XDP program on " + interface_name(ifindex_), errno);
    const size_t map_count = std::min<size_t>(info.nr_map_ids, map_ids.size());
    auto maps = open_maps(std::span(map_ids).first(map_count));
    if (!maps)
        return maps.error();
    if (!maps->blocks || !maps->state || !maps->counts)
        return Error{"the XDP program '" + std::string(info.name) + "' on " +
                     interface_name(ifindex_) +
                     " is not this version of Weir's; detach it (`ip link set dev " +
                     interface_name(ifindex_) + " xdp off`) and restart the dataplane"};
    auto blocks = MatchBlocks::open(std::move(maps->blocks), std::move(maps->state));
    if (!blocks)
        return blocks.error();
    return Program{program_id, std::move(descriptor), std::move(*blocks), std::move(maps->counts)};
}

Expected<SteeringProgram> Steering::find() {
    uint32_t id = 0;
    if (int error = bpf_xdp_query_id(static_cast<int>(ifindex_), 0, &id); error != 0) {
        program_.reset();
        return kernel_error("ask for the XDP program on " + interface_name(ifindex_), -error);
    }
    if (id == 0) {
        program_.reset();
        return SteeringProgram::kAbsent;
    }
    if (program_ && program_->id == id)
        return SteeringProgram::kKnown;
    program_.reset();
    auto program = open(id);
    if (!program)
        return program.error();
    program_.emplace(std::move(*program));
    return SteeringProgram::kChanged;
}

Expected<void> Steering::publish(const MatchTableView& table, uint64_t generation) {
    auto found = find();
    if (!found)
        return found.error();
    if (*found == SteeringProgram::kAbsent)
        return nothing_attached();
    return program_->blocks.publish(table, generation);
}

Expected<uint64_t> Steering::generation() const {
    if (!program_)
        return nothing_attached();
    return program_->blocks.generation();
}

Expected<SteeringCounters> Steering::counters() const {
    if (!program_)
        return nothing_attached();
    auto counts = read_counts(program_->counts, WEIR_STEER_COUNTS);
    if (!counts)
        return counts.error();
    return SteeringCounters{.to_socket = (*counts)[WEIR_STEER_TO_SOCKET],
                            .no_socket = (*counts)[WEIR_STEER_NO_SOCKET],
                            .passed = (*counts)[WEIR_STEER_PASSED],
                            .unparsed = (*counts)[WEIR_STEER_UNPARSED],
                            .unpublished = (*counts)[WEIR_STEER_UNPUBLISHED]};
}

Expected<bool> Steering::detach() {
    auto found = find();
    if (!found)
        return found.error();
    if (*found == SteeringProgram::kAbsent)
        return false;
    // The expected program goes along, so that one attached a moment ago is not taken off.
    LIBBPF_OPTS(bpf_xdp_attach_opts, options, .old_prog_fd = program_->descriptor.get());
    int error = bpf_xdp_detach(static_cast<int>(ifindex_), 0, &options);
    program_.reset();
    if (error != 0)
        return kernel_error("detach the XDP program from " + interface_name(ifindex_), -error);
    return true;
}

} // namespace weir::xdp
