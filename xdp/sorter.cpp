// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/sorter.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <cerrno>
#include <utility>

#include "xdp/objects.hpp"

namespace weir::xdp {

void Sorter::CloseObject::operator()(bpf_object* object) const {
    bpf_object__close(object);
}

Sorter::Sorter(Object object, MatchBlocks blocks, Descriptor counts)
    : object_(std::move(object)), blocks_(std::move(blocks)), counts_(std::move(counts)),
      program_(bpf_program__fd(bpf_object__find_program_by_name(object_.get(), "weir_sort"))) {}

Expected<Sorter> Sorter::load() {
    const std::span<const char> bytes = sorter_object();
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "weir_sorter");
    Object object(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
    if (!object)
        return kernel_error("open the sorter", errno);
    if (int error = bpf_object__load(object.get()); error != 0)
        return kernel_error("load the sorter", -error);
    auto match = copy_of_map(object.get(), "match_blocks");
    auto state = copy_of_map(object.get(), "steer_state");
    auto counts = copy_of_map(object.get(), "steer_counts");
    for (const auto* map : {&match, &state, &counts})
        if (!*map)
            return map->error();
    auto blocks = MatchBlocks::open(std::move(*match), std::move(*state));
    if (!blocks)
        return blocks.error();
    return Sorter(std::move(object), std::move(*blocks), std::move(*counts));
}

Expected<void> Sorter::balance_in_place(bool in_place) {
    const uint32_t first = 0;
    const uint32_t way = in_place ? WEIR_STEER_IN_PLACE : WEIR_STEER_TO_ENGINE;
    if (bpf_map_update_elem(bpf_object__find_map_fd_by_name(object_.get(), "steer_way"), &first,
                            &way, BPF_ANY) != 0)
        return kernel_error("turn packets to the engine or to the balancer", errno);
    return {};
}

Expected<SorterCounters> Sorter::counters() const {
    auto counts = read_counts(counts_, WEIR_STEER_COUNTS);
    if (!counts)
        return counts.error();
    return SorterCounters{.ours = (*counts)[WEIR_STEER_OURS],
                          .passed = (*counts)[WEIR_STEER_PASSED],
                          .unparsed = (*counts)[WEIR_STEER_UNPARSED],
                          .unpublished = (*counts)[WEIR_STEER_UNPUBLISHED]};
}

} // namespace weir::xdp
