// SPDX-License-Identifier: BSD-3-Clause
// A port's receive side scaling as far as it is ours to control. Main thread.
//
// A wrong claim of control loses no packet: workers compute the owner of every packet and hand over
// what came to the wrong one. It costs those hand-overs.
#pragma once

#include "config/expected.hpp"
#include "dataplane/lb/spread.hpp"

#include <cstdint>

struct rte_eth_dev_info;

namespace weir::dpdk {

// What hashes a port is asked for, of those that it can: by addresses, and ports where there are.
std::uint64_t spread_by(const rte_eth_dev_info& info);

// Entries of the table that we can control on such a device; 0: none of it is. `hardware`: it is a
// PCI function. Of DPDK's software devices, several take a key and a table and leave packets where
// they are (net_null, net_tap), so there a sign is asked for that hashes are computed: that the
// device can report them.
std::uint32_t controllable_entries(const rte_eth_dev_info& info, bool hardware,
                                   std::uint32_t workers);

// Gives a started port the spread's key and table, and reads both back where the driver can.
// REQUIRES: the spread has no more entries than the port's table.
Expected<void> apply_spread(std::uint16_t port, const lb::Spread& spread);

} // namespace weir::dpdk
