// SPDX-License-Identifier: BSD-3-Clause
// Looks at and sets up one kernel interface by netlink.
#pragma once

#include <optional>
#include <string>

#include "control/kernel/netlink_socket.hpp"
#include "control/kernel/next_hop.hpp"

namespace weir::control {

struct LinkSettings {
    std::optional<net::MacAddress> mac;
    std::optional<uint32_t> mtu;
    bool up = true;
};

Expected<Link> find_link(NetlinkSocket& socket, const std::string& name);
Expected<void> set_link(NetlinkSocket& socket, const Link& link, const LinkSettings& settings);

} // namespace weir::control
