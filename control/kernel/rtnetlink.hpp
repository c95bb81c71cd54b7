// SPDX-License-Identifier: BSD-3-Clause
// From route-netlink messages to KernelTables: whole tables by dumps, single changes by
// notifications. Called by the neighbourhood, in its thread.
#pragma once

#include "control/kernel/netlink_socket.hpp"
#include "control/kernel/next_hop.hpp"

namespace weir::control {

enum class TableChange : uint8_t {
    kNone,     // nothing that matters here
    kApplied,  // the tables are up to date
    kReadAgain // routes or addresses moved: their notifications are incomplete (a link that goes
               // down takes its IPv4 routes along silently), so the tables must be dumped
};

Expected<void> read_links(NetlinkSocket& socket, KernelTables& tables);
Expected<void> read_tables(NetlinkSocket& socket, KernelTables& tables);
TableChange apply_notification(KernelTables& tables, const nlmsghdr* message);

// Asks the kernel to resolve a neighbour, or to confirm a stale one (NTF_USE: what sending a
// packet to it would do). Works for IPv4 and IPv6.
NetlinkSocket::Failure trigger_resolution(NetlinkSocket& socket, const NeighbourKey& neighbour);

} // namespace weir::control
