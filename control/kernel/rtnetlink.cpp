// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/rtnetlink.hpp"

#include <libmnl/libmnl.h>
#include <linux/if.h>
#include <linux/if_addr.h>
#include <linux/if_arp.h>
#include <linux/neighbour.h>

#include <cstring>

namespace weir::control {
namespace {

// An address attribute of either family, by its length.
std::optional<net::IpAddress> address_of(const nlattr* attribute) {
    const void* payload = mnl_attr_get_payload(attribute);
    if (mnl_attr_get_payload_len(attribute) == sizeof(in_addr)) {
        in_addr v4{};
        std::memcpy(&v4, payload, sizeof(v4));
        return net::IpAddress::from(v4);
    }
    if (mnl_attr_get_payload_len(attribute) == sizeof(in6_addr)) {
        in6_addr v6{};
        std::memcpy(&v6, payload, sizeof(v6));
        return net::IpAddress::from(v6);
    }
    return std::nullopt;
}

std::optional<net::MacAddress> mac_of(const nlattr* attribute) {
    net::MacAddress::Bytes bytes{};
    if (mnl_attr_get_payload_len(attribute) != bytes.size()) {
        return std::nullopt;
    }
    std::memcpy(bytes.data(), mnl_attr_get_payload(attribute), bytes.size());
    return net::MacAddress::from_bytes(bytes);
}

// RTA_VIA: a gateway of the other family (IPv4 routes through an IPv6 next hop).
std::optional<net::IpAddress> via_of(const nlattr* attribute) {
    const auto* via = static_cast<const rtvia*>(mnl_attr_get_payload(attribute));
    const size_t length = mnl_attr_get_payload_len(attribute);
    if (via->rtvia_family == AF_INET6 && length >= sizeof(*via) + sizeof(in6_addr)) {
        in6_addr v6{};
        std::memcpy(&v6, via->rtvia_addr, sizeof(v6));
        return net::IpAddress::from(v6);
    }
    return std::nullopt;
}

NeighbourState state_of(uint16_t nud) {
    if ((nud & (NUD_REACHABLE | NUD_PERMANENT)) != 0) {
        return NeighbourState::kValid;
    }
    if ((nud & (NUD_STALE | NUD_DELAY | NUD_PROBE)) != 0) {
        return NeighbourState::kStale;
    }
    return (nud & NUD_FAILED) != 0 ? NeighbourState::kFailed : NeighbourState::kUnknown;
}

void apply_link(KernelTables& tables, const nlmsghdr* message, bool removed) {
    const auto* info = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(message));
    if (info->ifi_family != AF_UNSPEC) {
        return; // a bridge's view of its port
    }
    if (removed) {
        tables.links.erase(info->ifi_index);
        return;
    }
    Link link{.index = info->ifi_index,
              .up = (info->ifi_flags & IFF_UP) != 0,
              .carrier = (info->ifi_flags & IFF_LOWER_UP) != 0,
              .ethernet = info->ifi_type == ARPHRD_ETHER && (info->ifi_flags & IFF_NOARP) == 0};
    for (const nlattr* attribute : attributes_of(message, sizeof(*info))) {
        switch (mnl_attr_get_type(attribute)) {
        case IFLA_IFNAME:
            link.name = mnl_attr_get_str(attribute);
            break;
        case IFLA_MTU:
            link.mtu = mnl_attr_get_u32(attribute);
            break;
        case IFLA_ADDRESS:
            link.mac = mac_of(attribute).value_or(net::MacAddress{});
            break;
        default:
            break;
        }
    }
    tables.links[link.index] = link;
}

void apply_address(KernelTables& tables, const nlmsghdr* message) {
    const auto* info = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    std::optional<net::IpAddress> address;
    std::optional<net::IpAddress> local; // differs from IFA_ADDRESS on point-to-point links
    for (const nlattr* attribute : attributes_of(message, sizeof(*info))) {
        if (mnl_attr_get_type(attribute) == IFA_ADDRESS) {
            address = address_of(attribute);
        } else if (mnl_attr_get_type(attribute) == IFA_LOCAL) {
            local = address_of(attribute);
        }
    }
    if (local || address) {
        tables.own_addresses.insert(local ? *local : *address);
    }
}

std::vector<RouteHop> multipath_of(const nlattr* attribute) {
    std::vector<RouteHop> hops;
    const auto* hop = static_cast<const rtnexthop*>(mnl_attr_get_payload(attribute));
    int left = mnl_attr_get_payload_len(attribute);
    while (left >= static_cast<int>(sizeof(*hop)) && hop->rtnh_len >= sizeof(*hop) &&
           hop->rtnh_len <= left) {
        RouteHop parsed{.ifindex = hop->rtnh_ifindex, .dead = (hop->rtnh_flags & RTNH_F_DEAD) != 0};
        const char* end = reinterpret_cast<const char*>(hop) + hop->rtnh_len;
        for (const nlattr* inner :
             Attributes(reinterpret_cast<const nlattr*>(RTNH_DATA(hop)), end)) {
            if (mnl_attr_get_type(inner) == RTA_GATEWAY) {
                parsed.gateway = address_of(inner);
            } else if (mnl_attr_get_type(inner) == RTA_VIA) {
                parsed.gateway = via_of(inner);
            }
        }
        hops.push_back(parsed);
        left -= static_cast<int>(RTNH_ALIGN(hop->rtnh_len));
        hop = RTNH_NEXT(hop);
    }
    return hops;
}

uint32_t metrics_mtu(const nlattr* attribute) {
    for (const nlattr* inner : nested_in(attribute)) {
        if (mnl_attr_get_type(inner) == RTAX_MTU) {
            return mnl_attr_get_u32(inner);
        }
    }
    return 0;
}

void apply_route(KernelTables& tables, const nlmsghdr* message) {
    const auto* info = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
    if ((info->rtm_family != AF_INET && info->rtm_family != AF_INET6) ||
        info->rtm_table != RT_TABLE_MAIN || (info->rtm_flags & RTM_F_CLONED) != 0 ||
        info->rtm_type == RTN_MULTICAST || info->rtm_type == RTN_LOCAL ||
        info->rtm_type == RTN_BROADCAST || info->rtm_type == RTN_ANYCAST ||
        info->rtm_type == RTN_THROW) {
        return;
    }
    net::IpAddress destination = // of a default route, which has no RTA_DST
        info->rtm_family == AF_INET ? net::IpAddress::from(in_addr{}) : net::IpAddress{};
    Route route{.unicast = info->rtm_type == RTN_UNICAST};
    RouteHop single{.dead = (info->rtm_flags & RTNH_F_DEAD) != 0};
    for (const nlattr* attribute : attributes_of(message, sizeof(*info))) {
        switch (mnl_attr_get_type(attribute)) {
        case RTA_DST:
            destination = address_of(attribute).value_or(destination);
            break;
        case RTA_OIF:
            single.ifindex = static_cast<int>(mnl_attr_get_u32(attribute));
            break;
        case RTA_GATEWAY:
            single.gateway = address_of(attribute);
            break;
        case RTA_VIA:
            single.gateway = via_of(attribute);
            break;
        case RTA_PRIORITY:
            route.metric = mnl_attr_get_u32(attribute);
            break;
        case RTA_MULTIPATH:
            route.hops = multipath_of(attribute);
            break;
        case RTA_METRICS:
            route.mtu = metrics_mtu(attribute);
            break;
        default:
            break;
        }
    }
    if (route.hops.empty() && single.ifindex != 0) {
        route.hops.push_back(single);
    }
    tables.routes[{destination, info->rtm_dst_len}].push_back(std::move(route));
}

TableChange apply_neighbour(KernelTables& tables, const nlmsghdr* message, bool removed) {
    const auto* info = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(message));
    if (info->ndm_family != AF_INET && info->ndm_family != AF_INET6) {
        return TableChange::kNone; // a bridge's forwarding table
    }
    std::optional<net::IpAddress> address;
    Neighbour neighbour{.state = state_of(info->ndm_state)};
    for (const nlattr* attribute : attributes_of(message, sizeof(*info))) {
        if (mnl_attr_get_type(attribute) == NDA_DST) {
            address = address_of(attribute);
        } else if (mnl_attr_get_type(attribute) == NDA_LLADDR) {
            neighbour.mac = mac_of(attribute).value_or(net::MacAddress{});
        }
    }
    if (!address || (info->ndm_state & NUD_NOARP) != 0) {
        return TableChange::kNone; // multicast, broadcast, own addresses
    }
    const NeighbourKey key{info->ndm_ifindex, *address};
    if (removed) {
        tables.neighbours.erase(key);
    } else {
        tables.neighbours[key] = neighbour;
    }
    return TableChange::kApplied;
}

template <class Body>
Expected<void> dump_one(NetlinkSocket& socket, uint16_t type, const Body& body,
                        const std::function<void()>& clear, const NetlinkSocket::OnMessage& apply) {
    NetlinkMessage message(type, 0);
    message.body<Body>() = body;
    return socket.dump(message, clear, apply);
}

} // namespace

Expected<void> read_links(NetlinkSocket& socket, KernelTables& tables) {
    return dump_one(
        socket, RTM_GETLINK, ifinfomsg{}, [&] { tables.links.clear(); },
        [&](const nlmsghdr* message) { apply_link(tables, message, false); });
}

Expected<void> read_tables(NetlinkSocket& socket, KernelTables& tables) {
    Expected<void> done = read_links(socket, tables);
    if (done) {
        done = dump_one(
            socket, RTM_GETADDR, ifaddrmsg{}, [&] { tables.own_addresses.clear(); },
            [&](const nlmsghdr* message) { apply_address(tables, message); });
    }
    KernelTables routes[2];
    for (int i = 0; i < 2 && done; i++) {
        rtmsg body{};
        body.rtm_family = i == 0 ? AF_INET : AF_INET6;
        body.rtm_table = RT_TABLE_MAIN;
        done = dump_one(
            socket, RTM_GETROUTE, body, [&] { routes[i].routes.clear(); },
            [&](const nlmsghdr* message) { apply_route(routes[i], message); });
    }
    if (done) {
        tables.routes = std::move(routes[0].routes);
        tables.routes.merge(routes[1].routes);
        done = dump_one(
            socket, RTM_GETNEIGH, ndmsg{}, [&] { tables.neighbours.clear(); },
            [&](const nlmsghdr* message) { apply_neighbour(tables, message, false); });
    }
    return done;
}

TableChange apply_notification(KernelTables& tables, const nlmsghdr* message) {
    switch (message->nlmsg_type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
        apply_link(tables, message, message->nlmsg_type == RTM_DELLINK);
        return TableChange::kReadAgain;
    case RTM_NEWADDR:
    case RTM_DELADDR:
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
        return TableChange::kReadAgain;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH:
        return apply_neighbour(tables, message, message->nlmsg_type == RTM_DELNEIGH);
    default:
        return TableChange::kNone;
    }
}

NetlinkSocket::Failure trigger_resolution(NetlinkSocket& socket, const NeighbourKey& neighbour) {
    NetlinkMessage message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
    auto& body = message.body<ndmsg>();
    const net::IpAddress& address = neighbour.second;
    body.ndm_family = address.is_v4() ? AF_INET : AF_INET6;
    body.ndm_ifindex = neighbour.first;
    body.ndm_state = NUD_NONE;
    body.ndm_flags = NTF_USE;
    const size_t skip = address.is_v4() ? 12 : 0;
    message.put(NDA_DST, address.bytes().data() + skip, address.bytes().size() - skip);
    return socket.request(message);
}

} // namespace weir::control
