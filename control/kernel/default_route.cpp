// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/default_route.hpp"

#include <libmnl/libmnl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "control/kernel/rtnetlink.hpp"

namespace weir::control {
namespace {

struct OurRoute {
    int ifindex = 0;
    net::IpAddress gateway;
    uint32_t metric = 0;
    friend bool operator==(const OurRoute&, const OurRoute&) = default;
};

// Default routes of ours in the main table.
void collect(const nlmsghdr* message, std::vector<OurRoute>& found) {
    const auto* info = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(message));
    if (info->rtm_dst_len != 0 || info->rtm_table != RT_TABLE_MAIN ||
        info->rtm_protocol != kRouteProtocol) {
        return;
    }
    OurRoute route;
    for (const nlattr* attribute : attributes_of(message, sizeof(*info))) {
        const uint16_t type = mnl_attr_get_type(attribute);
        if (type == RTA_OIF) {
            route.ifindex = static_cast<int>(mnl_attr_get_u32(attribute));
        } else if (type == RTA_PRIORITY) {
            route.metric = mnl_attr_get_u32(attribute);
        } else if (type == RTA_GATEWAY && info->rtm_family == AF_INET) {
            in_addr v4{};
            std::memcpy(&v4, mnl_attr_get_payload(attribute), sizeof(v4));
            route.gateway = net::IpAddress::from(v4);
        } else if (type == RTA_GATEWAY) {
            in6_addr v6{};
            std::memcpy(&v6, mnl_attr_get_payload(attribute), sizeof(v6));
            route.gateway = net::IpAddress::from(v6);
        }
    }
    found.push_back(route);
}

NetlinkSocket::Failure change(NetlinkSocket& socket, uint16_t type, uint16_t flags,
                              const OurRoute& route) {
    NetlinkMessage message(type, flags);
    auto& body = message.body<rtmsg>();
    const net::IpAddress& gateway = route.gateway;
    body.rtm_family = gateway.is_v4() ? AF_INET : AF_INET6;
    body.rtm_table = RT_TABLE_MAIN;
    body.rtm_protocol = kRouteProtocol;
    body.rtm_scope = RT_SCOPE_UNIVERSE;
    body.rtm_type = RTN_UNICAST;
    const size_t skip = gateway.is_v4() ? 12 : 0;
    message.put(RTA_GATEWAY, gateway.bytes().data() + skip, gateway.bytes().size() - skip);
    message.put_u32(RTA_OIF, static_cast<uint32_t>(route.ifindex));
    message.put_u32(RTA_PRIORITY, route.metric);
    return socket.request(message);
}

Expected<std::vector<OurRoute>> read_ours(NetlinkSocket& socket) {
    std::vector<OurRoute> all;
    for (const uint8_t family : {AF_INET, AF_INET6}) {
        std::vector<OurRoute> found;
        NetlinkMessage message(RTM_GETROUTE, 0);
        auto& body = message.body<rtmsg>();
        body.rtm_family = family;
        body.rtm_table = RT_TABLE_MAIN;
        Expected<void> read = socket.dump(
            message, [&] { found.clear(); },
            [&](const nlmsghdr* header) { collect(header, found); });
        if (!read) {
            return read.error();
        }
        all.insert(all.end(), found.begin(), found.end());
    }
    return all;
}

} // namespace

Expected<void> sync_default_routes(NetlinkSocket& socket, const std::vector<DefaultRoute>& wanted) {
    KernelTables tables;
    if (Expected<void> links = read_links(socket, tables); !links) {
        return links;
    }
    Expected<std::vector<OurRoute>> present = read_ours(socket);
    if (!present) {
        return present.error();
    }
    std::vector<OurRoute> want;
    uint32_t next_metric[2] = {kDefaultRouteMetric, kDefaultRouteMetric};
    for (const DefaultRoute& route : wanted) {
        const Link* link = tables.link_named(route.interface);
        if (link == nullptr) {
            return Error{"the gateway " + route.gateway.to_string() + " needs interface " +
                         route.interface + ", which is not there"};
        }
        want.push_back({link->index, route.gateway, next_metric[route.gateway.is_v4() ? 0 : 1]++});
    }
    for (const OurRoute& route : *present) {
        if (std::find(want.begin(), want.end(), route) == want.end()) {
            change(socket, RTM_DELROUTE, 0, route); // gone already is as good
        }
    }
    for (const OurRoute& route : want) {
        if (std::find(present->begin(), present->end(), route) != present->end()) {
            continue;
        }
        const auto failure = change(socket, RTM_NEWROUTE, NLM_F_CREATE | NLM_F_EXCL, route);
        if (failure.error != 0 && failure.error != EEXIST) {
            return Error{"putting the default route through " + route.gateway.to_string() + " on " +
                         tables.links[route.ifindex].name + ": " + failure.reason +
                         "; the gateway must be in one of the interface's own networks"};
        }
    }
    return {};
}

} // namespace weir::control
