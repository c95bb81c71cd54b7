// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/link.hpp"

#include <linux/if.h>

#include "control/kernel/rtnetlink.hpp"

namespace weir::control {

Expected<Link> find_link(NetlinkSocket& socket, const std::string& name) {
    KernelTables tables;
    if (Expected<void> read = read_links(socket, tables); !read) {
        return read.error();
    }
    if (const Link* link = tables.link_named(name)) {
        return *link;
    }
    return Error{"there is no network interface " + name +
                 " here; `ip link` lists those of this network namespace"};
}

Expected<void> set_link(NetlinkSocket& socket, const Link& link, const LinkSettings& settings) {
    NetlinkMessage message(RTM_NEWLINK, 0);
    auto& body = message.body<ifinfomsg>();
    body.ifi_family = AF_UNSPEC;
    body.ifi_index = link.index;
    body.ifi_change = IFF_UP;
    body.ifi_flags = settings.up ? static_cast<unsigned>(IFF_UP) : 0U;
    if (settings.mac && *settings.mac != link.mac) {
        message.put(IFLA_ADDRESS, settings.mac->bytes().data(), settings.mac->bytes().size());
    }
    if (settings.mtu && *settings.mtu != link.mtu) {
        message.put_u32(IFLA_MTU, *settings.mtu);
    }
    if (const auto failure = socket.request(message); failure.error != 0) {
        return Error{"setting up interface " + link.name + ": " + failure.reason};
    }
    return {};
}

} // namespace weir::control
