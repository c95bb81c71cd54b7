// SPDX-License-Identifier: BSD-3-Clause
// Kernel parameters of this network namespace that owning VIPs and SNAT ports needs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "config/expected.hpp"

namespace weir::control {

// `name` with slashes: "net/ipv4/conf/eth0.7/arp_ignore".
Expected<std::string> read_sysctl(const std::string& name);
// Does not write what is there already, so a read-only /proc that is set up right is fine.
Expected<void> write_sysctl(const std::string& name, const std::string& value);

// arp_ignore=1 and arp_announce=2 (only the interface that has an address answers for it, and the
// node's own address asks), no redirects (in `nat` the backends' way back through us is on
// purpose), secondary addresses outlive their primary.
Expected<void> prepare_interface(const std::string& interface);

// No IPv6 duplicate address detection on an interface that is ours alone (a TAP).
Expected<void> disable_dad(const std::string& interface);

// Keeps the kernel from choosing these ports for its own connections; what is reserved already
// stays reserved.
Expected<void> reserve_local_ports(const config::PortRange& ports);

// Pure part of the above: lists in the form "1000-1999,8080", normalised. An unreadable entry is
// an error rather than lost.
Expected<std::string> merge_port_lists(const std::string& present, const config::PortRange& added);

} // namespace weir::control
