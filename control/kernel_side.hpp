// SPDX-License-Identifier: BSD-3-Clause
// The kernel-side interfaces as the configuration wants them: up, with node addresses, VIPs, SNAT
// addresses, default routes and kernel parameters; TAPs for bypassed devices; announcements of
// addresses that came. Everything is idempotent, so the controller simply calls it again. One
// thread, the network namespace of the process.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"
#include "control/kernel/announce.hpp"
#include "control/kernel/netlink_socket.hpp"
#include "control/packet_steering.hpp"

namespace weir::control {

class KernelSide {
public:
    explicit KernelSide(boost::asio::io_context& io) : announcer_(io) {}
    Expected<void> open();

    // Sentences about what could not be done; the rest was. Addresses that move between nodes
    // (ownership by VRRP) are not looked after here. With `vips_follow` the VIPs are exactly
    // those of the configuration; without, those that are there stay and none is added: before the
    // engine forwards nobody shall be told that they are here.
    std::vector<std::string> sync(const config::Config& config, bool vips_follow);

    Expected<void> make_tap(const config::InterfaceConfig& interface, const net::MacAddress& mac);

    // Those that exist now.
    std::vector<SteeredInterface> interfaces(const config::Config& config);

private:
    void sync_interface(const config::InterfaceConfig& interface,
                        std::vector<std::string>& problems);

    std::optional<NetlinkSocket> socket_;
    Announcer announcer_;
};

// Where an address that belongs to the node as a whole is put: the first interface with a prefix
// around it, else the first.
const config::InterfaceConfig& home_of(const config::Config& config, const net::IpAddress& address);

} // namespace weir::control
