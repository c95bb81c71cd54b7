// SPDX-License-Identifier: BSD-3-Clause
// Gives VIPs and backends the row ids that connections know them by. An id stays with its owner
// for as long as the owner exists, and goes to nobody else until it is forgotten. Pure; called by
// the compiler.
#pragma once

#include <cstdint>
#include <vector>

#include "config/expected.hpp"
#include "control/compile/inputs.hpp"

namespace weir::control {

struct VipRows {
    std::vector<weir_vip_row> rows; // SERVED cleared in all; those of `ids` are still to be filled
    std::vector<std::uint32_t> ids; // by index into Config::vips
};

// A VIP keeps its id while name, address, protocol and forwarding mode stay: a connection recorded
// under the id would mean something else otherwise.
Expected<VipRows> assign_vips(const config::Config& config, const History& history,
                              const Forget& forget);

struct BackendRows {
    std::vector<weir_backend_row> rows;
    std::vector<std::vector<std::uint32_t>> ids; // by indices of pool and backend
    std::vector<std::uint32_t> leaving;          // rows that the configuration no longer names
};
Expected<BackendRows> assign_backends(const config::Config& config, const History& history,
                                      const Forget& forget);

// SNAT rows keep their index, because connections hold it. One that is no longer wanted has family
// 0: nobody takes new ports from it, and the replies of its connections are still known.
Expected<std::vector<weir_snat_row>> assign_snat(const config::Config& config,
                                                 const History& history);

// The source addresses of full-nat: those of [snat], else the first address of each family that an
// interface has.
std::vector<net::IpAddress> snat_addresses(const config::Config& config);

// The addresses of [tunnel] while a VIP encapsulates; the node's own by default, which it has
// anyway, are not among them.
std::vector<net::IpAddress> tunnel_addresses(const config::Config& config);

} // namespace weir::control
