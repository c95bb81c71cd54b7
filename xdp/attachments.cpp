// SPDX-License-Identifier: BSD-3-Clause
#include "xdp/attachments.hpp"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_link.h>
#include <net/if.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "xdp/bpffs.hpp"

namespace weir::xdp {
namespace {

struct LinkFacts {
    uint32_t program = 0;
    uint32_t ifindex = 0; // 0: the device is gone, and the link dead
};

Expected<LinkFacts> facts_of(int link, const std::string& what) {
    bpf_link_info info{};
    uint32_t bytes = sizeof(info);
    if (bpf_obj_get_info_by_fd(link, &info, &bytes) != 0)
        return kernel_error("look at " + what, errno);
    if (info.type != BPF_LINK_TYPE_XDP)
        return Error{what + " is no link of an XDP program"};
    return LinkFacts{info.prog_id, info.xdp.ifindex};
}

uint32_t program_id_on(unsigned ifindex) {
    uint32_t id = 0;
    return bpf_xdp_query_id(static_cast<int>(ifindex), 0, &id) == 0 ? id : 0;
}

AttachMode mode_on(unsigned ifindex) {
    LIBBPF_OPTS(bpf_xdp_query_opts, query);
    const int error = bpf_xdp_query(static_cast<int>(ifindex), 0, &query);
    return error == 0 && query.attach_mode == XDP_ATTACHED_SKB ? AttachMode::kGeneric
                                                               : AttachMode::kNative;
}

Descriptor make_link(int program, unsigned ifindex, uint32_t flags) {
    LIBBPF_OPTS(bpf_link_create_opts, options, .flags = flags);
    return Descriptor(bpf_link_create(program, static_cast<int>(ifindex), BPF_XDP, &options));
}

} // namespace

std::string program_on(unsigned ifindex) {
    const uint32_t id = program_id_on(ifindex);
    const Descriptor program(id == 0 ? -1 : bpf_prog_get_fd_by_id(id));
    bpf_prog_info info{};
    uint32_t bytes = sizeof(info);
    if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &bytes) != 0)
        return "";
    return info.name;
}

std::string Attachments::pin_of(const std::string& name) const {
    return directory_ + "/" + pin_name(name);
}

std::set<std::string> Attachments::names() const {
    const auto found = names_in(directory_);
    return {found.begin(), found.end()};
}

std::set<uint32_t> Attachments::maps_of(const std::string& name) const {
    const std::string path = pin_of(name);
    const Descriptor link(bpf_obj_get(path.c_str()));
    const auto facts = link ? facts_of(link.get(), path) : kernel_error("open " + path, errno);
    if (!facts || facts->ifindex == 0)
        return {};
    const Descriptor program(bpf_prog_get_fd_by_id(facts->program));
    std::array<uint32_t, 64> ids{};
    bpf_prog_info info{};
    info.map_ids = reinterpret_cast<uint64_t>(ids.data());
    info.nr_map_ids = ids.size();
    uint32_t bytes = sizeof(info);
    if (!program || bpf_obj_get_info_by_fd(program.get(), &info, &bytes) != 0)
        return {};
    return {ids.begin(), ids.begin() + std::min<size_t>(info.nr_map_ids, ids.size())};
}

bool Attachments::intact(const std::string& name) const {
    const auto found = links_.find(name);
    if (found == links_.end())
        return false;
    const auto facts = facts_of(found->second.get(), name);
    return facts && facts->ifindex != 0 && facts->ifindex == if_nametoindex(name.c_str());
}

bool Attachments::is_here(const std::string& name) const {
    const Descriptor link(bpf_obj_get(pin_of(name).c_str()));
    const unsigned ifindex = if_nametoindex(interface_of_pin(name).c_str());
    const auto facts =
        link && ifindex != 0 ? facts_of(link.get(), name) : Expected<LinkFacts>(LinkFacts{});
    return facts && facts->ifindex != 0 && facts->ifindex == ifindex &&
           program_id_on(ifindex) == facts->program;
}

Expected<void> Attachments::replace(const std::string& name, int link, int program) {
    if (bpf_link_update(link, program, nullptr) != 0)
        return kernel_error("replace the balancer on " + name, errno);
    return {};
}

Expected<AttachMode> Attachments::create(const std::string& name, unsigned ifindex, int program) {
    Descriptor link = make_link(program, ifindex, XDP_FLAGS_DRV_MODE);
    const int native_error = link ? 0 : errno;
    AttachMode mode = AttachMode::kNative;
    // What has nothing to do with the driver would come again.
    if (!link && native_error != EBUSY && native_error != EEXIST && native_error != EPERM &&
        native_error != ENODEV) {
        mode = AttachMode::kGeneric;
        link = make_link(program, ifindex, XDP_FLAGS_SKB_MODE);
    }
    if (!link) {
        const std::string in_the_way = program_on(ifindex);
        if (!in_the_way.empty())
            return Error{"cannot attach the balancer to " + name + ": the XDP program '" +
                         in_the_way +
                         "' is there; end what attached it, or take it off with `ip "
                         "link set dev " +
                         name + " xdp off`"};
        return kernel_error("attach the balancer to " + name, errno);
    }
    const std::string path = pin_of(name);
    ::unlink(path.c_str()); // of a device that is gone
    if (bpf_obj_pin(link.get(), path.c_str()) != 0)
        return kernel_error("pin " + path, errno);
    links_[name] = std::move(link);
    return mode;
}

Expected<AttachMode> Attachments::attach(const std::string& name, int program) {
    const unsigned ifindex = if_nametoindex(name.c_str());
    if (ifindex == 0)
        return Error{"there is no interface " + name + " to attach the balancer to"};
    const std::string path = pin_of(name);
    Descriptor link(bpf_obj_get(path.c_str()));
    if (!link && errno != ENOENT)
        return kernel_error("open " + path, errno);
    const auto facts = link ? facts_of(link.get(), path) : Expected<LinkFacts>(LinkFacts{});
    if (!facts)
        return facts.error();
    if (facts->ifindex == 0)
        return create(name, ifindex, program);
    if (!is_here(name))
        return Error{path + " is the link of an interface elsewhere: each node needs a directory "
                            "of its own, see --bpffs"};
    if (auto replaced = replace(name, link.get(), program); !replaced)
        return replaced.error();
    links_[name] = std::move(link);
    return mode_on(ifindex);
}

void Attachments::release(const std::string& name) {
    const std::string path = pin_of(name);
    // Other references would keep the program where it is.
    if (const Descriptor link(bpf_obj_get(path.c_str())); link)
        bpf_link_detach(link.get());
    ::unlink(path.c_str());
    links_.erase(name);
}

} // namespace weir::xdp
