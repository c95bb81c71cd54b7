// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/guard.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <cerrno>
#include <string>

#include "xdp/objects.hpp"

namespace weir::xdp {
namespace {

// Where Weir's filter sits among others on clsact ingress: early, and always at the same place, so
// that a new control replaces the old one's.
constexpr uint32_t kFilterPriority = 7;
constexpr uint32_t kFilterHandle = 1;

bpf_tc_hook ingress_of(unsigned ifindex) {
    LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(ifindex),
                .attach_point = BPF_TC_INGRESS);
    return hook;
}

bpf_tc_opts our_filter() {
    LIBBPF_OPTS(bpf_tc_opts, options, .handle = kFilterHandle, .priority = kFilterPriority);
    return options;
}

// A descriptor of its own for a map that `object` holds.
Expected<Descriptor> map_of(const bpf_object* object, const char* name) {
    const int fd = bpf_object__find_map_fd_by_name(object, name);
    if (fd < 0)
        return kernel_error(std::string("find the guard's map ") + name, -fd);
    Descriptor own(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!own)
        return kernel_error(std::string("keep the guard's map ") + name, errno);
    return own;
}

// 0: no program there.
Expected<uint32_t> attached_program(unsigned ifindex) {
    bpf_tc_hook hook = ingress_of(ifindex);
    bpf_tc_opts options = our_filter();
    const int error = bpf_tc_query(&hook, &options);
    if (error == -ENOENT || error == -EINVAL) // no such filter; no clsact at all
        return uint32_t{0};
    if (error != 0)
        return kernel_error("ask for the guard on " + interface_name(ifindex), -error);
    return options.prog_id;
}

} // namespace

void Guard::CloseObject::operator()(bpf_object* object) const {
    bpf_object__close(object);
}

Guard::Guard(unsigned ifindex, Object object, int program, MatchBlocks blocks, Descriptor counts)
    : ifindex_(ifindex), object_(std::move(object)), program_(program), blocks_(std::move(blocks)),
      counts_(std::move(counts)) {}

Expected<Guard> Guard::load(unsigned ifindex) {
    const std::string what = "load the guard for " + interface_name(ifindex);
    const std::span<const char> bytes = guard_object();
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "weir_guard");
    Object object(bpf_object__open_mem(bytes.data(), bytes.size(), &options));
    if (!object)
        return kernel_error(what, errno);
    if (int error = bpf_object__load(object.get()); error != 0)
        return kernel_error(what, -error);
    bpf_program* program = bpf_object__find_program_by_name(object.get(), "weir_guard_in");
    if (!program)
        return kernel_error(what, ENOENT);
    auto blocks = map_of(object.get(), "match_blocks");
    auto state = map_of(object.get(), "steer_state");
    auto counts = map_of(object.get(), "guard_counts");
    for (const auto* map : {&blocks, &state, &counts})
        if (!*map)
            return map->error();
    auto published = MatchBlocks::open(std::move(*blocks), std::move(*state));
    if (!published)
        return published.error();
    return Guard(ifindex, std::move(object), bpf_program__fd(program), std::move(*published),
                 std::move(*counts));
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
    auto in_place = attached();
    if (!in_place)
        return in_place.error();
    if (*in_place)
        return {};
    const std::string what = "put the guard on " + interface_name(ifindex_);
    bpf_tc_hook hook = ingress_of(ifindex_);
    if (int error = bpf_tc_hook_create(&hook); error != 0 && error != -EEXIST)
        return kernel_error(what, -error);
    bpf_tc_opts filter = our_filter();
    filter.prog_fd = program_;
    filter.flags = BPF_TC_F_REPLACE;
    if (int error = bpf_tc_attach(&hook, &filter); error != 0)
        return kernel_error(what, -error);
    return {};
}

Expected<void> Guard::detach(unsigned ifindex) {
    auto program = attached_program(ifindex);
    if (!program)
        return program.error();
    if (*program == 0)
        return {};
    bpf_tc_hook hook = ingress_of(ifindex);
    bpf_tc_opts filter = our_filter();
    if (int error = bpf_tc_detach(&hook, &filter); error != 0)
        return kernel_error("take the guard off " + interface_name(ifindex), -error);
    return {};
}

Expected<bool> Guard::attached() const {
    auto there = attached_program(ifindex_);
    if (!there)
        return there.error();
    bpf_prog_info info{};
    uint32_t bytes = sizeof(info);
    if (bpf_obj_get_info_by_fd(program_, &info, &bytes) != 0)
        return kernel_error("look at the guard program", errno);
    return *there == info.id;
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
                         .unpublished = (*counts)[WEIR_GUARD_UNPUBLISHED]};
}

} // namespace weir::xdp
