// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/wire.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <utility>

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

namespace weir::control::vrrp {
namespace {

constexpr int kInternetworkControl = 0xc0; // traffic class CS6, RFC 4594 section 3.1
constexpr int kControlPriority = 6;        // of the queueing discipline
constexpr int kReceiveBytes = 256 * 1024;

template <class Value> bool set(int fd, int level, int option, const Value& value) {
    return ::setsockopt(fd, level, option, &value, sizeof(value)) == 0;
}

bool set_up_v4(int fd, int ifindex) {
    ip_mreqn membership{};
    membership.imr_multiaddr = multicast_group(true).to_in_addr();
    membership.imr_ifindex = ifindex;
    return set(fd, IPPROTO_IP, IP_MULTICAST_TTL, int{kWholeHopLimit}) &&
           set(fd, IPPROTO_IP, IP_TTL, int{kWholeHopLimit}) &&
           set(fd, IPPROTO_IP, IP_MULTICAST_LOOP, 0) && set(fd, IPPROTO_IP, IP_MULTICAST_ALL, 0) &&
           set(fd, IPPROTO_IP, IP_TOS, kInternetworkControl) &&
           set(fd, IPPROTO_IP, IP_MULTICAST_IF, membership) &&
           set(fd, IPPROTO_IP, IP_ADD_MEMBERSHIP, membership);
}

bool set_up_v6(int fd, int ifindex) {
    ipv6_mreq membership{};
    membership.ipv6mr_multiaddr = multicast_group(false).to_in6_addr();
    membership.ipv6mr_interface = static_cast<unsigned>(ifindex);
    return set(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, int{kWholeHopLimit}) &&
           set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, int{kWholeHopLimit}) &&
           set(fd, IPPROTO_IPV6, IPV6_MULTICAST_LOOP, 0) &&
           set(fd, IPPROTO_IPV6, IPV6_MULTICAST_ALL, 0) &&
           set(fd, IPPROTO_IPV6, IPV6_TCLASS, kInternetworkControl) &&
           set(fd, IPPROTO_IPV6, IPV6_MULTICAST_IF, ifindex) &&
           set(fd, IPPROTO_IPV6, IPV6_RECVHOPLIMIT, 1) &&
           set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) &&
           set(fd, IPPROTO_IPV6, IPV6_JOIN_GROUP, membership);
}

Error failed(const std::string& interface) {
    return {"opening a VRRP socket on " + interface + ": " + std::strerror(errno) +
            "; CAP_NET_RAW is needed"};
}

template <class Info> void put_control(msghdr& header, int level, int type, const Info& info) {
    cmsghdr* control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = level;
    control->cmsg_type = type;
    control->cmsg_len = CMSG_LEN(sizeof(info));
    std::memcpy(CMSG_DATA(control), &info, sizeof(info));
    header.msg_controllen = CMSG_SPACE(sizeof(info));
}

std::optional<net::IpAddress> address_of(const sockaddr* address, bool v4) {
    if (address == nullptr || address->sa_family != (v4 ? AF_INET : AF_INET6))
        return std::nullopt;
    if (v4) {
        sockaddr_in in{};
        std::memcpy(&in, address, sizeof(in));
        return net::IpAddress::from(in.sin_addr);
    }
    sockaddr_in6 in6{};
    std::memcpy(&in6, address, sizeof(in6));
    return net::IpAddress::from(in6.sin6_addr);
}

} // namespace

net::IpAddress multicast_group(bool v4) {
    static const net::IpAddress kV4 = net::IpAddress::parse("224.0.0.18").value();
    static const net::IpAddress kV6 = net::IpAddress::parse("ff02::12").value();
    return v4 ? kV4 : kV6;
}

Expected<Wire> Wire::open(const std::string& interface, bool v4) {
    const auto ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    if (ifindex == 0)
        return Error{"there is no interface " + interface};
    const int fd =
        ::socket(v4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, kProtocol);
    if (fd < 0)
        return failed(interface);
    Wire wire(fd, ifindex, v4);
    set(fd, SOL_SOCKET, SO_RCVBUF, kReceiveBytes);
    set(fd, SOL_SOCKET, SO_PRIORITY, kControlPriority);
    set(fd, SOL_SOCKET, SO_TIMESTAMPNS, 1);
    if (::setsockopt(fd, SOL_SOCKET, SO_BINDTODEVICE, interface.data(),
                     static_cast<socklen_t>(interface.size())) != 0 ||
        !(v4 ? set_up_v4(fd, ifindex) : set_up_v6(fd, ifindex)))
        return failed(interface);
    return wire;
}

Wire::~Wire() {
    if (fd_ >= 0)
        ::close(fd_);
}

Wire::Wire(Wire&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), ifindex_(other.ifindex_), v4_(other.v4_),
      empty_at_(other.empty_at_) {}

int Wire::send(const net::IpAddress& source, const net::IpAddress& destination,
               const Bytes& message) const {
    sockaddr_storage to{};
    alignas(cmsghdr) std::array<std::uint8_t, 64> control{};
    iovec part{const_cast<std::uint8_t*>(message.data()), message.size()};
    msghdr header{};
    header.msg_name = &to;
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    if (v4_) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr = destination.to_in_addr();
        std::memcpy(&to, &address, sizeof(address));
        header.msg_namelen = sizeof(address);
        in_pktinfo info{};
        info.ipi_ifindex = ifindex_;
        info.ipi_spec_dst = source.to_in_addr();
        put_control(header, IPPROTO_IP, IP_PKTINFO, info);
    } else {
        sockaddr_in6 address{};
        address.sin6_family = AF_INET6;
        address.sin6_addr = destination.to_in6_addr();
        address.sin6_scope_id = static_cast<std::uint32_t>(ifindex_);
        std::memcpy(&to, &address, sizeof(address));
        header.msg_namelen = sizeof(address);
        in6_pktinfo info{};
        info.ipi6_ifindex = static_cast<unsigned>(ifindex_);
        info.ipi6_addr = source.to_in6_addr();
        put_control(header, IPPROTO_IPV6, IPV6_PKTINFO, info);
    }
    return ::sendmsg(fd_, &header, MSG_NOSIGNAL) < 0 ? errno : 0;
}

// The stamp is of the wall clock, which somebody may set in between: a packet is never older than
// the last look into the empty socket.
Micros Wire::age_of(const msghdr& header, Moment now) const {
    const auto most = std::chrono::duration_cast<Micros>(now - empty_at_);
    for (const cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr;
         each = CMSG_NXTHDR(const_cast<msghdr*>(&header), const_cast<cmsghdr*>(each))) {
        if (each->cmsg_level != SOL_SOCKET || each->cmsg_type != SCM_TIMESTAMPNS)
            continue;
        timespec stamp{};
        timespec wall{};
        std::memcpy(&stamp, CMSG_DATA(each), sizeof(stamp));
        ::clock_gettime(CLOCK_REALTIME, &wall);
        const Micros age{(wall.tv_sec - stamp.tv_sec) * 1'000'000 +
                         (wall.tv_nsec - stamp.tv_nsec) / 1'000};
        return std::clamp(age, Micros{0}, std::max(most, Micros{0}));
    }
    return Micros{0};
}

std::optional<Received> Wire::receive() {
    const Moment now = std::chrono::steady_clock::now();
    sockaddr_storage from{};
    alignas(cmsghdr) std::array<std::uint8_t, 128> control{};
    iovec part{buffer_.data(), buffer_.size()};
    msghdr header{};
    header.msg_name = &from;
    header.msg_namelen = sizeof(from);
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const ssize_t got = ::recvmsg(fd_, &header, 0);
    if (got < 0) {
        empty_at_ = now;
        return std::nullopt;
    }
    const Micros age = age_of(header, now);
    const std::span<const std::uint8_t> bytes(buffer_.data(), static_cast<std::size_t>(got));
    if (v4_) {
        Received packet = split_ipv4(bytes).value_or(Received{});
        packet.age = age;
        return packet;
    }
    Received packet{.source = {}, .destination = {}, .hop_limit = 0, .message = bytes, .age = age};
    packet.source =
        address_of(reinterpret_cast<const sockaddr*>(&from), false).value_or(packet.source);
    for (cmsghdr* each = CMSG_FIRSTHDR(&header); each != nullptr;
         each = CMSG_NXTHDR(&header, each)) {
        if (each->cmsg_level != IPPROTO_IPV6)
            continue;
        if (each->cmsg_type == IPV6_HOPLIMIT) {
            int limit = 0;
            std::memcpy(&limit, CMSG_DATA(each), sizeof(limit));
            packet.hop_limit = static_cast<std::uint8_t>(limit);
        } else if (each->cmsg_type == IPV6_PKTINFO) {
            in6_pktinfo info{};
            std::memcpy(&info, CMSG_DATA(each), sizeof(info));
            packet.destination = net::IpAddress::from(info.ipi6_addr);
        }
    }
    return packet;
}

LinkState look_at_link(const std::string& interface) {
    LinkState state{.ifindex = static_cast<int>(::if_nametoindex(interface.c_str())),
                    .running = false};
    if (state.ifindex == 0)
        return state;
    const int fd = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    ifreq request{};
    interface.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
    if (fd >= 0 && ::ioctl(fd, SIOCGIFFLAGS, &request) == 0)
        state.running = (request.ifr_flags & IFF_UP) != 0 && (request.ifr_flags & IFF_RUNNING) != 0;
    if (fd >= 0)
        ::close(fd);
    return state;
}

PresentOn read_present_addresses() {
    PresentOn present;
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0)
        return present;
    for (const ifaddrs* each = list; each != nullptr; each = each->ifa_next)
        for (const bool v4 : {true, false})
            if (const auto address = address_of(each->ifa_addr, v4))
                present[each->ifa_name].push_back(*address);
    ::freeifaddrs(list);
    return present;
}

std::optional<net::IpAddress> choose_source(const PresentOn& present, const std::string& interface,
                                            bool v4, const std::vector<net::IpAddress>& wanted,
                                            const std::vector<net::IpAddress>& moving) {
    const auto found = present.find(interface);
    if (found == present.end())
        return std::nullopt;
    const auto is_in = [](const std::vector<net::IpAddress>& addresses, const net::IpAddress& one) {
        return std::find(addresses.begin(), addresses.end(), one) != addresses.end();
    };
    for (const net::IpAddress& address : wanted)
        if (is_in(found->second, address))
            return address;
    if (!wanted.empty())
        return std::nullopt; // it comes, or it is what peers do not expect
    std::optional<net::IpAddress> best;
    for (const net::IpAddress& address : found->second) {
        if (address.is_v4() != v4 || is_in(moving, address))
            continue;
        if (address.is_v6() && address.is_link_local())
            return address;
        if (!best)
            best = address;
    }
    return best;
}

} // namespace weir::control::vrrp
