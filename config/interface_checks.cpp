// SPDX-License-Identifier: BSD-3-Clause
// What must hold between interfaces, their addresses and gateways, and the SNAT ranges.
#include <algorithm>
#include <map>

#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

constexpr std::uint16_t kSmallestIpv6Mtu = 1280; // RFC 8200 section 5

std::string on_line(const Draft& draft, Span span) {
    return "line " + std::to_string(draft.diagnostics.source().line_of(span.begin));
}

void check_gateway(Draft& draft, std::size_t index, const std::optional<net::IpAddress>& gateway,
                   Span span) {
    const InterfaceConfig& interface = draft.config.interfaces[index];
    if (!gateway || draft.interfaces[index].addresses_refused ||
        (gateway->is_v6() && gateway->is_link_local())) {
        return;
    }
    bool inside = false;
    for (const net::IpPrefix& prefix : interface.addresses) {
        if (prefix.address == *gateway) {
            draft.diagnostics.add(span, gateway->to_string() + " is the interface's own address",
                                  "the gateway is another host: the router");
            return;
        }
        inside = inside || prefix.contains(*gateway);
    }
    if (!inside) {
        draft.diagnostics.add(span,
                              "the gateway " + gateway->to_string() +
                                  " is in none of the networks of [interface." + interface.name +
                                  "]",
                              interface.addresses.empty()
                                  ? "give the interface its \"addresses\" too"
                                  : "a gateway must be a neighbour; the first network here is " +
                                        interface.addresses.front().to_string());
    }
}

void check_mtu(Draft& draft, std::size_t index) {
    const InterfaceConfig& interface = draft.config.interfaces[index];
    const bool has_v6 = std::any_of(interface.addresses.begin(), interface.addresses.end(),
                                    [](const net::IpPrefix& p) { return p.address.is_v6(); });
    if (has_v6 && interface.mtu < kSmallestIpv6Mtu) {
        draft.diagnostics.add(draft.interfaces[index].mtu,
                              "an MTU of " + std::to_string(interface.mtu) +
                                  " is too small for the IPv6 addresses here",
                              "IPv6 needs at least 1280");
    }
}

// "auto" takes DPDK for these by itself.
void check_engine_drives(Draft& draft, std::size_t index) {
    const InterfaceConfig& interface = draft.config.interfaces[index];
    if (draft.config.engine.mode != EngineMode::kXdp || !draft.interfaces[index].device_read ||
        interface.is_kernel_visible()) {
        return;
    }
    const bool pci = std::holds_alternative<PciDevice>(interface.device);
    draft.diagnostics.add(
        draft.interfaces[index].device,
        "the XDP engine cannot drive " + quoted(to_string(interface.device)) +
            (pci ? ": the kernel does not see a device that is given away" : ": it is DPDK's own"),
        std::string("name the kernel's interface") +
            (pci ? " of this NIC, such as \"eth0\"," : ", such as \"eth0\",") +
            " or set mode = \"dpdk\" in [engine]");
}

void check_unique_devices(Draft& draft) {
    std::map<std::string, std::size_t> devices;
    std::map<std::string, std::size_t> kernel_names;
    for (std::size_t i = 0; i < draft.interfaces.size(); ++i) {
        const InterfaceConfig& interface = draft.config.interfaces[i];
        const InterfaceSource& source = draft.interfaces[i];
        if (!source.device_read) {
            continue;
        }
        const auto [device, first] = devices.emplace(to_string(interface.device), i);
        if (!first) {
            draft.diagnostics.add(source.device,
                                  "the device " + quoted(device->first) +
                                      " already belongs to [interface." +
                                      draft.config.interfaces[device->second].name + "]",
                                  "each device can be used once");
            continue;
        }
        const auto [name, unused] = kernel_names.emplace(interface.kernel_interface, i);
        if (!unused && !interface.kernel_interface.empty()) {
            draft.diagnostics.add(source.kernel_interface,
                                  "the kernel-side interface would be " + quoted(name->first) +
                                      ", as that of [interface." +
                                      draft.config.interfaces[name->second].name + "]",
                                  "set \"kernel_interface\" to another name of at most 15 "
                                  "characters");
        }
    }
}

void check_unique_addresses(Draft& draft) {
    std::map<net::IpAddress, Span> seen;
    for (std::size_t i = 0; i < draft.interfaces.size(); ++i) {
        for (std::size_t j = 0; j < draft.interfaces[i].addresses.size(); ++j) {
            const Span span = draft.interfaces[i].addresses[j];
            const auto [other, first] =
                seen.emplace(draft.config.interfaces[i].addresses[j].address, span);
            if (!first) {
                draft.diagnostics.add(span,
                                      "the address " + other->first.to_string() +
                                          " is already given on " + on_line(draft, other->second),
                                      "each address belongs to one interface, once");
            }
        }
    }
}

// How many addresses a prefix holds, saturated well above every limit.
std::size_t address_count(const net::IpPrefix& prefix) {
    const unsigned host_bits = (prefix.address.is_v4() ? 32U : 128U) - prefix.length;
    return std::size_t{1} << std::min(host_bits, 30U);
}

bool addresses_missing(const Draft& draft, bool v4) {
    const auto is_family = [&](const net::IpPrefix& p) { return p.address.is_v4() == v4; };
    const SnatConfig& snat = draft.config.snat;
    if (draft.snat_addresses.size() != snat.addresses.size()) {
        return false;
    }
    if (!snat.addresses.empty()) {
        return std::none_of(snat.addresses.begin(), snat.addresses.end(), is_family);
    }
    // A kernel interface may carry addresses that the configuration does not mention.
    for (std::size_t i = 0; i < draft.interfaces.size(); ++i) {
        const InterfaceConfig& interface = draft.config.interfaces[i];
        const InterfaceSource& source = draft.interfaces[i];
        if (!source.device_read || source.addresses_refused || interface.is_kernel_visible() ||
            std::any_of(interface.addresses.begin(), interface.addresses.end(), is_family)) {
            return false;
        }
    }
    return !draft.interfaces.empty();
}

void check_snat_families(Draft& draft) {
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        const VipConfig& vip = draft.config.vips[i];
        const VipSource& source = draft.vips[i];
        if (!source.forward_read || !source.address_read || vip.forward != ForwardMode::kFullNat ||
            !addresses_missing(draft, vip.address.is_v4())) {
            continue;
        }
        const std::string family = vip.address.is_v4() ? "IPv4" : "IPv6";
        draft.diagnostics.add(
            source.forward,
            "full-nat needs an " + family + " address to send from, and " +
                (draft.config.snat.addresses.empty() ? "no interface" : "[snat]") + " has one",
            "add an " + family + " address to \"addresses\" in " +
                (draft.config.snat.addresses.empty() ? "[interface.NAME] or [snat]" : "[snat]"));
    }
}

} // namespace

void check_interfaces(Draft& draft) {
    for (std::size_t i = 0; i < draft.interfaces.size(); ++i) {
        check_gateway(draft, i, draft.config.interfaces[i].gateway_v4,
                      draft.interfaces[i].gateway_v4);
        check_gateway(draft, i, draft.config.interfaces[i].gateway_v6,
                      draft.interfaces[i].gateway_v6);
        check_mtu(draft, i);
        check_engine_drives(draft, i);
    }
    check_unique_devices(draft);
    check_unique_addresses(draft);
}

void check_snat(Draft& draft) {
    const SnatConfig& snat = draft.config.snat;
    std::size_t total = 0;
    for (std::size_t i = 0; i < snat.addresses.size(); ++i) {
        const net::IpPrefix& prefix = snat.addresses[i];
        const Span span = draft.snat_addresses[i];
        total += address_count(prefix);
        if (total > kMaxSnatAddresses) {
            draft.diagnostics.add(span, "too many SNAT addresses",
                                  "use at most " + std::to_string(kMaxSnatAddresses) +
                                      " in total, such as one IPv4 /24");
            break;
        }
        if (prefix.address.is_multicast() || prefix.contains(net::IpAddress{}) ||
            prefix.address.is_loopback()) {
            draft.diagnostics.add(span, prefix.to_string() + " cannot be used to send from",
                                  "give addresses that are routed to this node");
        }
        for (std::size_t j = 0; j < i; ++j) {
            if (prefix.overlaps(snat.addresses[j])) {
                draft.diagnostics.add(
                    span, prefix.to_string() + " overlaps " + snat.addresses[j].to_string(),
                    "list each address once");
            }
        }
    }
    check_snat_families(draft);
}

} // namespace weir::config
