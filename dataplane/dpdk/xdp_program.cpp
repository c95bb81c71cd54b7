// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/xdp_program.hpp"

#include "dataplane/channel/sealed_memory.hpp"

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace weir::dpdk {
namespace {

using channel::Descriptor;

constexpr const char* kSocketMap = "xsks_map";
constexpr std::size_t kMostMaps = 32;

long bpf(bpf_cmd command, bpf_attr& attributes) {
    return ::syscall(SYS_bpf, command, &attributes, sizeof(attributes));
}

Descriptor object_by_id(bpf_cmd command, std::uint32_t id) {
    bpf_attr attributes{};
    attributes.prog_id = id; // map_id is the same member of the union
    return Descriptor(static_cast<int>(bpf(command, attributes)));
}

template <class Info> bool read_info(const Descriptor& object, Info& info) {
    bpf_attr attributes{};
    attributes.info.bpf_fd = static_cast<std::uint32_t>(object.get());
    attributes.info.info_len = sizeof(info);
    attributes.info.info = reinterpret_cast<std::uintptr_t>(&info);
    return bpf(BPF_OBJ_GET_INFO_BY_FD, attributes) == 0;
}

struct LinkMessage {
    nlmsghdr header;
    ifinfomsg link;
    std::array<char, 64> attributes;
};

LinkMessage link_message(std::uint16_t type, std::uint16_t flags, unsigned ifindex) {
    LinkMessage message{};
    message.header.nlmsg_len = NLMSG_LENGTH(sizeof(ifinfomsg));
    message.header.nlmsg_type = type;
    message.header.nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
    message.link.ifi_family = AF_UNSPEC;
    message.link.ifi_index = static_cast<int>(ifindex);
    return message;
}

// Sends one request and returns the answer's bytes, or the error number.
struct Answer {
    int error = 0;
    std::vector<char> bytes;
};
Answer ask(const LinkMessage& message) {
    const Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
    if (!socket || ::send(socket.get(), &message, message.header.nlmsg_len, 0) < 0)
        return {errno, {}};
    Answer answer;
    answer.bytes.resize(std::size_t{64} << 10);
    const ssize_t got = ::recv(socket.get(), answer.bytes.data(), answer.bytes.size(), 0);
    if (got < static_cast<ssize_t>(sizeof(nlmsghdr)))
        return {got < 0 ? errno : EBADMSG, {}};
    answer.bytes.resize(static_cast<std::size_t>(got));
    nlmsghdr header;
    std::memcpy(&header, answer.bytes.data(), sizeof(header));
    if (header.nlmsg_type == NLMSG_ERROR) {
        nlmsgerr error{};
        std::memcpy(&error, answer.bytes.data() + NLMSG_HDRLEN,
                    std::min(sizeof(error), answer.bytes.size() - NLMSG_HDRLEN));
        answer.error = -error.error;
    }
    return answer;
}

// The attribute's payload within a run of attributes, or empty.
std::vector<char> attribute(const char* bytes, std::size_t length, unsigned short wanted) {
    std::size_t at = 0;
    while (at + sizeof(rtattr) <= length) {
        rtattr header;
        std::memcpy(&header, bytes + at, sizeof(header));
        if (header.rta_len < sizeof(rtattr) || at + header.rta_len > length)
            break;
        if ((header.rta_type & NLA_TYPE_MASK) == wanted)
            return {bytes + at + RTA_LENGTH(0), bytes + at + header.rta_len};
        at += RTA_ALIGN(header.rta_len);
    }
    return {};
}

int detach(unsigned ifindex) {
    LinkMessage message = link_message(RTM_SETLINK, NLM_F_ACK, ifindex);
    const std::int32_t none = -1;
    const rtattr inner{RTA_LENGTH(sizeof(none)), IFLA_XDP_FD};
    const rtattr outer{static_cast<unsigned short>(RTA_LENGTH(inner.rta_len)),
                       IFLA_XDP | NLA_F_NESTED};
    char* at = message.attributes.data();
    std::memcpy(at, &outer, sizeof(outer));
    std::memcpy(at + RTA_LENGTH(0), &inner, sizeof(inner));
    std::memcpy(at + 2 * RTA_LENGTH(0), &none, sizeof(none));
    message.header.nlmsg_len += static_cast<std::uint32_t>(RTA_ALIGN(outer.rta_len));
    return ask(message).error;
}

Error failed(const std::string& what, int error) {
    return {"cannot " + what + ": " + std::strerror(error)};
}

// The map of that name among a program's maps.
Expected<Descriptor> map_of(std::uint32_t program_id, const std::string& interface) {
    const Descriptor program = object_by_id(BPF_PROG_GET_FD_BY_ID, program_id);
    std::array<std::uint32_t, kMostMaps> ids{};
    bpf_prog_info info{};
    info.nr_map_ids = kMostMaps;
    info.map_ids = reinterpret_cast<std::uintptr_t>(ids.data());
    if (!program || !read_info(program, info))
        return failed("look at the XDP program on '" + interface + "'", errno);
    for (std::size_t i = 0; i < std::min<std::size_t>(info.nr_map_ids, kMostMaps); i++) {
        Descriptor map = object_by_id(BPF_MAP_GET_FD_BY_ID, ids[i]);
        bpf_map_info map_info{};
        if (map && read_info(map, map_info) && std::strcmp(map_info.name, kSocketMap) == 0)
            return map;
    }
    return Error{"the XDP program on '" + interface + "' has no map '" + kSocketMap + "'"};
}

} // namespace

Expected<std::uint32_t> attached_program(unsigned ifindex) {
    const Answer answer = ask(link_message(RTM_GETLINK, 0, ifindex));
    if (answer.error != 0)
        return failed("ask for the XDP program of interface " + std::to_string(ifindex),
                      answer.error);
    const std::size_t skip = NLMSG_LENGTH(sizeof(ifinfomsg));
    if (answer.bytes.size() < skip)
        return 0u;
    const std::vector<char> xdp =
        attribute(answer.bytes.data() + skip, answer.bytes.size() - skip, IFLA_XDP);
    const std::vector<char> id = attribute(xdp.data(), xdp.size(), IFLA_XDP_PROG_ID);
    std::uint32_t program = 0;
    if (id.size() == sizeof(program))
        std::memcpy(&program, id.data(), sizeof(program));
    return program;
}

Expected<bool> detach_stale_program(unsigned ifindex, const std::string& interface) {
    auto id = attached_program(ifindex);
    if (!id)
        return id.error();
    if (*id == 0)
        return false;
    const Descriptor program = object_by_id(BPF_PROG_GET_FD_BY_ID, *id);
    bpf_prog_info info{};
    if (!program || !read_info(program, info))
        return failed("look at the XDP program on '" + interface + "'", errno);
    if (std::strcmp(info.name, kSteeringProgram) != 0)
        return Error{"interface '" + interface + "' has the XDP program '" + info.name +
                     "', which is not Weir's: remove it with `ip link set dev " + interface +
                     " xdp off` or choose another interface"};
    if (int error = detach(ifindex); error != 0)
        return failed("take the old XDP program off '" + interface + "'", error);
    return true;
}

Expected<void> enter_sockets(unsigned ifindex, const std::string& interface,
                             const std::vector<QueueSocket>& sockets) {
    auto id = attached_program(ifindex);
    if (!id)
        return id.error();
    auto map = map_of(*id, interface);
    if (!map)
        return map.error();
    for (const QueueSocket& socket : sockets) {
        bpf_attr attributes{};
        attributes.map_fd = static_cast<std::uint32_t>(map->get());
        attributes.key = reinterpret_cast<std::uintptr_t>(&socket.queue);
        attributes.value = reinterpret_cast<std::uintptr_t>(&socket.descriptor);
        if (bpf(BPF_MAP_UPDATE_ELEM, attributes) != 0)
            return failed("give queue " + std::to_string(socket.queue) + " of '" + interface +
                              "' its socket",
                          errno);
    }
    return {};
}

std::vector<int> xdp_sockets() {
    std::vector<int> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", ignored)) {
        const int descriptor = std::atoi(entry.path().filename().c_str());
        int domain = 0;
        socklen_t length = sizeof(domain);
        if (::getsockopt(descriptor, SOL_SOCKET, SO_DOMAIN, &domain, &length) == 0 &&
            domain == AF_XDP)
            found.push_back(descriptor);
    }
    return found;
}

} // namespace weir::dpdk
