// SPDX-License-Identifier: BSD-3-Clause
// The default routes that the configuration's `gateway` keys ask for, marked as ours by their
// protocol number, so that a restart recognises them. They have a high metric: a default route that
// the host already uses for its management stays the preferred one of the kernel, while next hops
// for forwarding come through our interfaces all the same (next_hop.hpp).
#pragma once

#include <string>
#include <vector>

#include "config/address.hpp"
#include "control/kernel/netlink_socket.hpp"

namespace weir::control {

inline constexpr uint8_t kRouteProtocol = 0x57;
inline constexpr uint32_t kDefaultRouteMetric = 1024;

struct DefaultRoute {
    std::string interface;
    net::IpAddress gateway;
    friend auto operator<=>(const DefaultRoute&, const DefaultRoute&) = default;
};

// Adds the missing ones and removes those of ours that are not wanted. Several gateways of one
// family get metrics kDefaultRouteMetric, +1, ... in the order given.
Expected<void> sync_default_routes(NetlinkSocket& socket, const std::vector<DefaultRoute>& wanted);

} // namespace weir::control
