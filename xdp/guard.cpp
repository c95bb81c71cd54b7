// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/guard.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include <array>
#include <cerrno>
#include <string>
#include <utility>

#include "xdp/objects.hpp"

namespace weir::xdp {
namespace {

// Where Weir's filters sit among others on clsact: early, and always at the same place, so
// that a new control replaces the old one's.
constexpr uint32_t kFilterPriority = 7;
constexpr uint32_t kFilterHandle = 1;

bpf_tc_hook hook_of(unsigned ifindex, bpf_tc_attach_point point) {
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex), .attach_point = point);
    return hook;
}

bpf_tc_opts our_filter() {
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = kFilterHandle, .priority = kFilterPriority);
    return options;
}

// 0: no program there.
Expected<uint32_t> attached_program(unsigned ifindex, bpf_tc_attach_point point) {
    bpf_tc_hook hook = hook_of(ifindex, point);
    bpf_tc_opts options = our_filter();
    const int error = bpf_tc_query(&hook, &options);
    if (error == -ENOENT || error == -EINVAL) // no such filter; no clsact at all
        return uint32_t{0};
    if (error != 0)
        return kernel_error("ask for the guard on " + interface_name(ifindex), -error);
    return options.prog_id;
}

Expected<bool> is_attached(unsigned ifindex, bpf_tc_attach_point point, int program) {
    auto there = attached_program(ifindex, point);
    if (!there)
        return there.error();
    bpf_prog_info info{};
    uint32_t bytes = sizeof(info);
    if (bpf_obj_get_info_by_fd(program, &info, &bytes) != 0)
        return kernel_error("look at the guard program", errno);
    return *there == info.id;
}

// Where one of the two is.
struct Place {
    bpf_tc_attach_point point;
    const char* program;
};
// Outbound first: it only looks at what the kernel says of itself.
constexpr std::array<Place, 2> kPlaces{
    {{BPF_TC_EGRESS, "weir_guard_out"}, {BPF_TC_INGRESS, "weir_guard_in"}}};

Expected<void> use_leases(bpf_object* object, const Leases& leases) {
    const std::pair<const char*, int> maps[] = {{"lease_addresses", leases.addresses_map().get()},
                                                {"lease_deadlines", leases.deadlines_map().get()}};
    for (const auto& [name, fd] : maps) {
        bpf_map* map = bpf_object__find_map_by_name(object, name);
        if (const int error = map ? bpf_map__reuse_fd(map, fd) : -ENOENT; error != 0)
            return kernel_error(std::string("give the guard its map ") + name, -error);
    }
    return {};
}

} // namespace

void Guard::CloseObject::operator()(bpf_object* object) const {
    bpf_object__close(object);
}

Guard::Guard(unsigned ifindex, Object object, MatchBlocks blocks, Descriptor counts)
    : ifindex_(ifindex), object_(std::move(object)), blocks_(std::move(blocks)),
      counts_(std::move(counts)) {}

Expected<Guard> Guard::load(unsigned ifindex, const Leases* leases) {
    const std::string what = "load the guard for " + interface_name(ifindex);
    const std::span<const char> bytes = guard_object();
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "weir_guard");
    Object object(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
    if (!object)
        return kernel_error(what, errno);
    if (leases)
        if (auto used = use_leases(object.get(), *leases); !used)
            return used.error();
    if (int error = bpf_object__load(object.get()); error != 0)
        return kernel_error(what, -error);
    auto blocks = copy_of_map(object.get(), "match_blocks");
    auto state = copy_of_map(object.get(), "steer_state");
    auto counts = copy_of_map(object.get(), "guard_counts");
    for (const auto* map : {&blocks, &state, &counts})
        if (!*map)
            return map->error();
    auto published = MatchBlocks::open(std::move(*blocks), std::move(*state));
    if (!published)
        return published.error();
    return Guard(ifindex, std::move(object), std::move(*published), std::move(*counts));
}

int Guard::program(const char* name) const {
    return bpf_program__fd(bpf_object__find_program_by_name(object_.get(), name));
}

Expected<void> Guard::publish(const MatchTableView& table, uint64_t generation) {
    return blocks_.publish(table, generation);
}

Expected<void> Guard::attach() {
    auto published = blocks_.generation();
    if (!published)
        return published.error();
    if (*published == 0)
        return Error{"the guard for " + interface_name(ifindex_) +
                     " has no match table yet; publish one before attaching it"};
    const std::string what = "put the guard on " + interface_name(ifindex_);
    for (const Place& place : kPlaces) {
        const int program = this->program(place.program);
        auto in_place = is_attached(ifindex_, place.point, program);
        if (!in_place)
            return in_place.error();
        if (*in_place)
            continue;
        bpf_tc_hook hook = hook_of(ifindex_, place.point);
        if (int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST)
            return kernel_error(what, -error);
        bpf_tc_opts filter = our_filter();
        filter.prog_fd = program;
        filter.flags = BPF_TC_F_REPLACE;
        if (int error = bpf_tc_attach(&hook, &filter); error != 0)
            return kernel_error(what, -error);
    }
    return {};
}

Expected<void> Guard::detach(unsigned ifindex) {
    for (const Place& place : kPlaces) {
        auto program = attached_program(ifindex, place.point);
        if (!program)
            return program.error();
        if (*program == 0)
            continue;
        bpf_tc_hook hook = hook_of(ifindex, place.point);
        bpf_tc_opts filter = our_filter();
        if (int error = bpf_tc_detach(&hook, &filter); error != 0)
            return kernel_error("take the guard off " + interface_name(ifindex), -error);
    }
    return {};
}

Expected<bool> Guard::attached() const {
    for (const Place& place : kPlaces) {
        auto there = is_attached(ifindex_, place.point, program(place.program));
        if (!there || !*there)
            return there;
    }
    return true;
}

Expected<GuardCounters> Guard::counters() const {
    auto counts = read_counts(counts_, WEIR_GUARD_COUNTS);
    if (!counts)
        return counts.error();
    return GuardCounters{.dropped_vip = (*counts)[WEIR_GUARD_DROPPED_VIP],
                         .dropped_snat = (*counts)[WEIR_GUARD_DROPPED_SNAT],
                         .dropped_backend = (*counts)[WEIR_GUARD_DROPPED_BACKEND],
                         .dropped_unreadable = (*counts)[WEIR_GUARD_DROPPED_UNREADABLE],
                         .passed = (*counts)[WEIR_GUARD_PASSED],
                         .unpublished = (*counts)[WEIR_GUARD_UNPUBLISHED],
                         .dropped_question = (*counts)[WEIR_GUARD_DROPPED_QUESTION],
                         .dropped_claim = (*counts)[WEIR_GUARD_DROPPED_CLAIM]};
}

} // namespace weir::xdp
