// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel_side.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "control/compile/match_rows.hpp"
#include "control/compile/row_ids.hpp"
#include "control/kernel/addresses.hpp"
#include "control/kernel/default_route.hpp"
#include "control/kernel/link.hpp"
#include "control/kernel/sysctl.hpp"
#include "control/kernel/tap.hpp"
#include "control/ownership.hpp"

namespace weir::control {
namespace {

std::vector<ManagedAddress> node_addresses(const config::Config& config) {
    std::vector<ManagedAddress> wanted;
    for (const config::InterfaceConfig& interface : config.interfaces)
        for (const net::IpPrefix& prefix : interface.addresses)
            wanted.push_back({interface.kernel_interface, prefix, AddressKind::kNode});
    return wanted;
}

bool is_node_address(const config::Config& config, const net::IpAddress& address) {
    for (const config::InterfaceConfig& interface : config.interfaces)
        for (const net::IpPrefix& prefix : interface.addresses)
            if (prefix.address == address)
                return true;
    return false;
}

void add_vip_like(const config::Config& config, const net::IpAddress& address,
                  std::vector<ManagedAddress>& wanted) {
    if (is_node_address(config, address))
        return;
    ManagedAddress managed{home_of(config, address).kernel_interface, net::IpPrefix::host(address),
                           AddressKind::kVip};
    if (std::find(wanted.begin(), wanted.end(), managed) == wanted.end())
        wanted.push_back(std::move(managed));
}

std::vector<DefaultRoute> default_routes(const config::Config& config) {
    std::vector<DefaultRoute> routes;
    for (const config::InterfaceConfig& interface : config.interfaces)
        for (const auto& gateway : {interface.gateway_v4, interface.gateway_v6})
            if (gateway)
                routes.push_back({interface.kernel_interface, *gateway});
    return routes;
}

} // namespace

const config::InterfaceConfig& home_of(const config::Config& config,
                                       const net::IpAddress& address) {
    for (const config::InterfaceConfig& interface : config.interfaces)
        for (const net::IpPrefix& prefix : interface.addresses)
            if (prefix.contains(address))
                return interface;
    return config.interfaces.front();
}

Expected<void> KernelSide::open() {
    auto socket = NetlinkSocket::open();
    if (!socket)
        return socket.error();
    socket_.emplace(std::move(*socket));
    return {};
}

void KernelSide::sync_interface(const config::InterfaceConfig& interface,
                                std::vector<std::string>& problems) {
    const auto link = find_link(*socket_, interface.kernel_interface);
    if (!link) {
        // A TAP comes with the engine that has the device.
        if (interface.is_kernel_visible())
            problems.push_back("interface " + interface.name + ": " + link.error().sentence);
        return;
    }
    if (!link->up || link->mtu < interface.mtu) {
        LinkSettings settings{.mac = {}, .mtu = {}, .up = true};
        if (link->mtu < interface.mtu)
            settings.mtu = interface.mtu;
        if (auto set = set_link(*socket_, *link, settings); !set)
            problems.push_back(set.error().sentence);
    }
    if (auto prepared = prepare_interface(interface.kernel_interface); !prepared)
        problems.push_back(prepared.error().sentence);
}

std::vector<std::string> KernelSide::sync(const config::Config& config, bool vips_follow) {
    std::vector<std::string> problems;
    for (const config::InterfaceConfig& interface : config.interfaces)
        sync_interface(interface, problems);

    std::vector<ManagedAddress> wanted = node_addresses(config);
    if (vips_follow) {
        for (const config::VipConfig& vip : config.vips)
            add_vip_like(config, vip.address, wanted);
        if (uses_full_nat(config))
            for (const net::IpAddress& address : snat_addresses(config))
                add_vip_like(config, address, wanted);
        for (const net::IpAddress& address : tunnel_addresses(config))
            add_vip_like(config, address, wanted);
    } else if (auto present = read_addresses(*socket_)) {
        for (const PresentAddress& address : *present)
            if (address.protocol == kVipAddressProtocol)
                wanted.push_back({address.interface, address.prefix, AddressKind::kVip});
    }
    // What moves between nodes is the owner's business.
    const bool moving = config.ownership == config::OwnershipMode::kVrrp;
    std::set<net::IpPrefix> elsewhere;
    for (const ManagedAddress& address : moving_addresses(config))
        elsewhere.insert(address.prefix);
    std::erase_if(wanted, [&](const ManagedAddress& address) {
        return address.kind != AddressKind::kNode && elsewhere.contains(address.prefix);
    });
    // What belongs on an interface that is not there yet is no error now.
    std::set<std::string> present_links;
    for (const SteeredInterface& interface : interfaces(config))
        present_links.insert(interface.name);
    std::erase_if(wanted, [&](const ManagedAddress& address) {
        return !present_links.contains(address.interface);
    });
    auto result =
        sync_addresses(*socket_, wanted, moving ? AddressScope::kPermanent : AddressScope::kAll);
    if (!result) {
        problems.push_back(result.error().sentence);
        return problems;
    }
    for (const Error& error : result->errors)
        problems.push_back(error.sentence);
    std::vector<Announcement> announcements;
    for (const ManagedAddress& address : result->added) {
        spdlog::info("{} is on {}", address.prefix.to_string(), address.interface);
        if (const auto link = find_link(*socket_, address.interface); link && link->ethernet)
            announcements.push_back({link->index, link->mac, address.prefix.address});
    }
    for (const PresentAddress& address : result->removed) {
        spdlog::info("{} is off {}", address.prefix.to_string(), address.interface);
        announcer_.forget(address.prefix.address);
    }
    if (!announcements.empty())
        announcer_.announce(std::move(announcements));

    std::vector<DefaultRoute> routes = default_routes(config);
    std::erase_if(routes, [&](const DefaultRoute& route) {
        return !present_links.contains(route.interface);
    });
    if (auto routed = sync_default_routes(*socket_, routes); !routed)
        problems.push_back(routed.error().sentence);
    if (uses_full_nat(config))
        if (auto reserved = reserve_local_ports(config.snat.ports); !reserved)
            problems.push_back(reserved.error().sentence);
    return problems;
}

Expected<void> KernelSide::make_tap(const config::InterfaceConfig& interface,
                                    const net::MacAddress& mac) {
    const auto link = ensure_tap(
        *socket_, {.name = interface.kernel_interface, .mac = mac, .mtu = interface.mtu});
    if (!link)
        return link.error();
    return {};
}

std::vector<SteeredInterface> KernelSide::interfaces(const config::Config& config) {
    std::vector<SteeredInterface> result;
    for (const config::InterfaceConfig& interface : config.interfaces)
        if (const auto link = find_link(*socket_, interface.kernel_interface))
            result.push_back({interface.kernel_interface, static_cast<unsigned>(link->index),
                              !interface.is_kernel_visible()});
    return result;
}

} // namespace weir::control
