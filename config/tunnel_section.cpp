// SPDX-License-Identifier: BSD-3-Clause
// Reads [tunnel] and checks it against everything else that has addresses.
#include <algorithm>

#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

const char* family_name(bool v4) {
    return v4 ? "IPv4" : "IPv6";
}

const char* unusable_as_source(const net::IpPrefix& prefix) {
    const net::IpAddress& address = prefix.address;
    if (address.is_multicast() || address.is_unspecified() || address.is_loopback() ||
        address.is_broadcast() || prefix.length == 0) {
        return "cannot be used to send from";
    }
    return address.is_link_local() ? "is link-local: errors about tunnelled packets from beyond "
                                     "the link could not come back"
                                   : nullptr;
}

void read_source(const Node& item, Draft& draft) {
    TunnelConfig& tunnel = draft.config.tunnel;
    const auto prefix = parse_range(printable(item.text, 64));
    if (!prefix) {
        draft.diagnostics.add(item.value, prefix.error().sentence, "");
        return;
    }
    if (const char* why = unusable_as_source(*prefix)) {
        draft.diagnostics.add(item.value, quoted(item.text) + " " + why,
                              "give addresses that are routed to this node");
        return;
    }
    const bool v4 = prefix->address.is_v4();
    const unsigned host_bits = (v4 ? 32U : 128U) - prefix->length;
    if (host_bits > 8) {
        draft.diagnostics.add(item.value,
                              "too many tunnel sources: " + prefix->to_string() + " has over " +
                                  std::to_string(kMaxTunnelSources) + " addresses",
                              "use a range of at most " + std::to_string(kMaxTunnelSources) +
                                  ", such as an IPv4 /24 or an IPv6 /120; 16 are plenty");
        return;
    }
    const bool second =
        std::any_of(tunnel.sources.begin(), tunnel.sources.end(),
                    [v4](const net::IpPrefix& other) { return other.address.is_v4() == v4; });
    if (second) {
        draft.diagnostics.add(item.value,
                              std::string("a second ") + family_name(v4) + " range of sources",
                              "give at most one per family: one larger range does the same");
        return;
    }
    tunnel.sources.push_back(*prefix);
    draft.tunnel_sources.push_back(item.value);
}

void check_source(Draft& draft, std::size_t index) {
    const net::IpPrefix& range = draft.config.tunnel.sources[index];
    const Span span = draft.tunnel_sources[index];
    for (const net::IpPrefix& snat : draft.config.snat.addresses) {
        if (range.overlaps(snat)) {
            draft.diagnostics.add(
                span, range.to_string() + " overlaps " + snat.to_string() + " of [snat]",
                "give tunnels addresses of their own");
        }
    }
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        const VipConfig& vip = draft.config.vips[i];
        if (draft.vips[i].address_read && range.contains(vip.address)) {
            draft.diagnostics.add(span,
                                  range.to_string() + " contains " + vip.address.to_string() +
                                      ", the address of [vip." + vip.name + "]",
                                  "backends have the VIP's address too and would refuse packets "
                                  "from it: use a range without VIPs");
        }
    }
    for (const InterfaceConfig& interface : draft.config.interfaces) {
        for (const auto& gateway : {interface.gateway_v4, interface.gateway_v6}) {
            if (gateway && range.contains(*gateway)) {
                draft.diagnostics.add(span,
                                      range.to_string() + " contains " + gateway->to_string() +
                                          ", the gateway of [interface." + interface.name + "]",
                                      "give addresses that no other host has");
            }
        }
    }
}

bool interface_addresses_known(const Draft& draft) {
    return std::none_of(draft.interfaces.begin(), draft.interfaces.end(),
                        [](const InterfaceSource& source) { return source.addresses_refused; });
}

// An encapsulating VIP needs an outer source of each family that its backends are in.
void check_families(Draft& draft, std::size_t index) {
    const VipConfig& vip = draft.config.vips[index];
    const VipSource& source = draft.vips[index];
    for (const bool v4 : {true, false}) {
        const auto& backends = draft.config.pools[vip.pool].backends;
        const auto needs =
            std::find_if(backends.begin(), backends.end(), [v4](const BackendConfig& backend) {
                return backend.address.address.is_v4() == v4;
            });
        if (needs == backends.end()) {
            continue;
        }
        const std::string family = family_name(v4);
        const auto range = tunnel_source(draft.config, v4);
        if (!range) {
            draft.diagnostics.add(source.forward,
                                  std::string(to_string(vip.forward)) + " to backend " +
                                      quoted(needs->name) + " needs an " + family +
                                      " address to send from, and no interface has one",
                                  "add an " + family +
                                      " range to \"sources\" in [tunnel], or an address to "
                                      "\"addresses\" in [interface.NAME]");
        } else if (source.address_read && range->length == (v4 ? 32 : 128) &&
                   range->address == vip.address) {
            draft.diagnostics.add(source.address,
                                  std::string(to_string(vip.forward)) + " would send from " +
                                      vip.address.to_string() +
                                      ", the first address of an interface, which the backends "
                                      "have as the VIP's",
                                  "set \"sources\" in [tunnel] to other addresses of this node, "
                                  "or use another address for the VIP");
        }
    }
}

} // namespace

std::optional<net::IpPrefix> tunnel_source(const Config& config, bool v4) {
    for (const net::IpPrefix& prefix : config.tunnel.sources) {
        if (prefix.address.is_v4() == v4) {
            return net::IpPrefix{prefix.network(), prefix.length};
        }
    }
    for (const InterfaceConfig& interface : config.interfaces) {
        for (const net::IpPrefix& prefix : interface.addresses) {
            if (prefix.address.is_v4() == v4 && !prefix.address.is_link_local()) {
                return net::IpPrefix::host(prefix.address);
            }
        }
    }
    return std::nullopt;
}

void read_tunnel(const Node& root, Draft& draft) {
    const Node* table = root.find("tunnel");
    if (table == nullptr || !expect_kind(*table, Kind::kTable, "\"tunnel\"", draft.diagnostics)) {
        return;
    }
    const Section section(*table, "[tunnel]", "tunnel", draft.diagnostics);
    section.integer("gue_port", draft.config.tunnel.gue_port, 1, 65535);
    const Node* list = section.list("sources");
    if (list == nullptr) {
        draft.tunnel_refused = section.find("sources") != nullptr;
        return;
    }
    for (const Node* item : section.strings("sources")) {
        read_source(*item, draft);
    }
    draft.tunnel_refused = draft.config.tunnel.sources.size() != list->items.size();
}

void check_tunnel(Draft& draft) {
    for (std::size_t i = 0; i < draft.config.tunnel.sources.size(); ++i) {
        check_source(draft, i);
    }
    if (draft.tunnel_refused || !interface_addresses_known(draft)) {
        return;
    }
    for (std::size_t i = 0; i < draft.vips.size(); ++i) {
        if (draft.vips[i].pool_found && draft.vips[i].forward_read &&
            encapsulates(draft.config.vips[i].forward)) {
            check_families(draft, i);
        }
    }
}

} // namespace weir::config
