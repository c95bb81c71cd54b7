// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/steering.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "xdp/maps.h"
#include "xdp/objects.hpp"

namespace weir::xdp {
namespace {

// The program's map of programs, by name; its size tells a program of another version.
Expected<Descriptor> programs_among(std::span<const uint32_t> ids) {
    for (uint32_t id : ids) {
        Descriptor map(bpf_map_get_fd_by_id(id));
        bpf_map_info info{};
        uint32_t bytes = sizeof(info);
        if (!map || bpf_obj_get_info_by_fd(map.get(), &info, &bytes) != 0)
            return kernel_error("look at a map of the steering program", errno);
        if (std::string_view("steer_programs") == info.name &&
            info.max_entries == WEIR_STEER_PROGRAMS)
            return map;
    }
    return Descriptor();
}

Expected<void> enter(const Descriptor& programs, uint32_t which, int program) {
    const int error = program >= 0 ? bpf_map_update_elem(programs.get(), &which, &program, BPF_ANY)
                                   : bpf_map_delete_elem(programs.get(), &which);
    if (error != 0 && !(program < 0 && errno == ENOENT))
        return kernel_error("enter a program into the steering program", errno);
    return {};
}

struct CloseObject {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
};

} // namespace

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
    auto programs = programs_among(std::span(map_ids).first(map_count));
    if (!programs)
        return programs.error();
    if (!*programs)
        return Error{"the XDP program '" + std::string(info.name) + "' on " +
                     interface_name(ifindex_) +
                     " is not this version of Weir's; detach it (`ip link set dev " +
                     interface_name(ifindex_) + " xdp off`) and restart the dataplane"};
    return Program{
        .id = program_id, .descriptor = std::move(descriptor), .programs = std::move(*programs)};
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

void Steering::unpin() const {
    if (!pin_.empty())
        ::unlink(pin_.c_str());
}

Expected<void> Steering::pin() {
    if (pin_.empty() || std::exchange(program_->pin_tried, true))
        return {};
    unpin();
    if (bpf_obj_pin(program_->programs.get(), pin_.c_str()) != 0)
        return kernel_error("pin " + pin_, errno);
    return {};
}

Expected<void> Steering::connect(const SteeringTargets& targets) {
    auto found = find();
    if (!found)
        return found.error();
    if (*found == SteeringProgram::kAbsent)
        return Error{"no XDP program is attached to " + interface_name(ifindex_) +
                     "; the dataplane attaches it when it starts"};
    // The balancer first: the sorter may send packets there at once.
    if (targets.balancer)
        if (auto entered = enter(program_->programs, WEIR_STEER_BALANCER, *targets.balancer);
            !entered)
            return entered;
    return enter(program_->programs, WEIR_STEER_SORTER, targets.sorter);
}

Expected<void> Steering::attach() {
    const std::span<const char> bytes = steer_object();
    LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "weir_steering");
    const std::unique_ptr<bpf_object, CloseObject> object(
        bpf_object__open_mem(bytes.data(), bytes.size(), &options));
    if (!object)
        return kernel_error("open the steering program", errno);
    int error = bpf_object__load(object.get());
    if (error == 0)
        error = bpf_xdp_attach(static_cast<int>(ifindex_),
                               bpf_program__fd(bpf_object__next_program(object.get(), nullptr)),
                               XDP_FLAGS_UPDATE_IF_NOEXIST, nullptr);
    if (error != 0)
        return kernel_error("attach the steering program to " + interface_name(ifindex_), -error);
    auto found = find();
    return found ? Expected<void>() : found.error();
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
