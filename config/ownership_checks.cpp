// SPDX-License-Identifier: BSD-3-Clause
// Resolves what the groups of [ownership] refer to, and checks them against each other and against
// everything else that has addresses.
#include <algorithm>
#include <map>

#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

bool is_v4(const VrrpGroupConfig& group) {
    return group.family == VrrpFamily::kIpv4;
}

std::string title_of(const VrrpGroupConfig& group) {
    return "[ownership.group." + group.name + "]";
}

void resolve_interface(Draft& draft, std::size_t index) {
    const VrrpGroupSource& source = draft.vrrp_groups[index];
    if (!source.interface) {
        return;
    }
    std::vector<std::string_view> names;
    for (std::size_t i = 0; i < draft.config.interfaces.size(); ++i) {
        names.emplace_back(draft.config.interfaces[i].name);
        if (draft.config.interfaces[i].name == *source.interface) {
            draft.config.vrrp_groups[index].interface = i;
            return;
        }
    }
    draft.diagnostics.add(source.interface_span,
                          "there is no interface " + quoted(*source.interface),
                          suggestion(*source.interface, names));
}

using Owners = std::map<net::IpAddress, std::size_t>; // which group an address moves with

void add_address(Draft& draft, std::size_t index, const net::IpAddress& address, Span span,
                 Owners& owners) {
    const auto [found, first] = owners.emplace(address, index);
    if (!first && found->second != index) {
        draft.diagnostics.add(span,
                              address.to_string() + " already moves with " +
                                  title_of(draft.config.vrrp_groups[found->second]),
                              "an address belongs to one group: put all VIPs on it there");
        return;
    }
    if (first) {
        draft.config.vrrp_groups[index].addresses.push_back(address);
    }
}

void resolve_listed_vips(Draft& draft, std::size_t index, std::vector<bool>& taken,
                         Owners& owners) {
    std::vector<std::string_view> names;
    for (const VipConfig& vip : draft.config.vips) {
        names.emplace_back(vip.name);
    }
    for (const auto& [name, span] : draft.vrrp_groups[index].vips) {
        const auto found = std::find(names.begin(), names.end(), name);
        if (found == names.end()) {
            draft.diagnostics.add(span, "there is no VIP " + quoted(name), suggestion(name, names));
            draft.vrrp_groups[index].refused = true;
            continue;
        }
        const auto vip = static_cast<std::size_t>(found - names.begin());
        if (taken[vip]) {
            draft.diagnostics.add(span, quoted(name) + " is listed twice",
                                  "a VIP belongs to one group");
            continue;
        }
        taken[vip] = true;
        draft.config.vrrp_groups[index].vips.push_back(vip);
        if (draft.vips[vip].address_read) {
            add_address(draft, index, draft.config.vips[vip].address, span, owners);
        }
    }
}

// The group that lists no VIPs has all that no other lists.
void resolve_vips(Draft& draft, Owners& owners) {
    std::vector<bool> taken(draft.config.vips.size());
    std::optional<std::size_t> rest;
    for (std::size_t i = 0; i < draft.vrrp_groups.size(); ++i) {
        if (draft.vrrp_groups[i].lists_vips) {
            resolve_listed_vips(draft, i, taken, owners);
        } else if (!rest) {
            rest = i;
        } else {
            draft.diagnostics.add(
                draft.vrrp_groups[i].title,
                title_of(draft.config.vrrp_groups[i]) + " lists no \"vips\", and " +
                    title_of(draft.config.vrrp_groups[*rest]) + " has all that are not listed",
                "list the VIPs of all groups but one");
        }
    }
    for (std::size_t vip = 0; vip < taken.size(); ++vip) {
        if (taken[vip]) {
            continue;
        }
        if (rest) {
            draft.config.vrrp_groups[*rest].vips.push_back(vip);
            if (draft.vips[vip].address_read) {
                add_address(draft, *rest, draft.config.vips[vip].address, draft.vips[vip].address,
                            owners);
            }
        } else {
            draft.diagnostics.add(draft.vips[vip].title,
                                  "[vip." + draft.config.vips[vip].name + "] is in no group",
                                  "add it to \"vips\" of one, or leave \"vips\" out in one group");
        }
    }
    for (std::size_t i = 0; i < draft.vrrp_groups.size(); ++i) {
        for (const auto& [address, span] : draft.vrrp_groups[i].addresses) {
            add_address(draft, i, address, span, owners);
        }
    }
}

void resolve_family(Draft& draft, std::size_t index) {
    VrrpGroupConfig& group = draft.config.vrrp_groups[index];
    const VrrpGroupSource& source = draft.vrrp_groups[index];
    if (!source.family && !group.addresses.empty()) {
        const bool any_v4 = std::any_of(group.addresses.begin(), group.addresses.end(),
                                        [](const net::IpAddress& a) { return a.is_v4(); });
        group.family = any_v4 ? VrrpFamily::kIpv4 : VrrpFamily::kIpv6;
    }
    if (group.version == 2 && !is_v4(group)) {
        draft.diagnostics.add(source.title, title_of(group) + ": VRRP version 2 has no IPv6",
                              "use version 3");
    }
    if (group.version == 2 && !group.secret_file.empty()) {
        draft.diagnostics.add(source.title,
                              title_of(group) + ": adverts of version 2 cannot be signed",
                              "use version 3 with a \"secret_file\"");
    }
    for (std::size_t i = 0; i < group.peers.size(); ++i) {
        if (group.peers[i].is_v4() != is_v4(group)) {
            draft.diagnostics.add(
                source.peers[i],
                "the peer " + group.peers[i].to_string() + " is not of the group's family",
                std::string("adverts of this group are ") + std::string(to_string(group.family)) +
                    ": set \"family\", or give the peer's address in it");
        }
    }
}

void resolve_advertised(Draft& draft, std::size_t index) {
    VrrpGroupConfig& group = draft.config.vrrp_groups[index];
    const VrrpGroupSource& source = draft.vrrp_groups[index];
    for (const auto& [address, span] : source.advertised) {
        const bool known = std::find(group.addresses.begin(), group.addresses.end(), address) !=
                           group.addresses.end();
        if (!known || address.is_v4() != is_v4(group)) {
            draft.diagnostics.add(span,
                                  address.to_string() + (known ? " is not of the group's family"
                                                               : " does not move with the group"),
                                  "advertise addresses of its VIPs or of \"addresses\"");
            return;
        }
        group.advertised.push_back(address);
    }
    if (source.advertised.empty()) {
        std::copy_if(group.addresses.begin(), group.addresses.end(),
                     std::back_inserter(group.advertised),
                     [&](const net::IpAddress& a) { return a.is_v4() == is_v4(group); });
    }
    // RFC 9568 section 5.2.9: of IPv6 addresses the first is link-local, where there is one.
    std::stable_partition(group.advertised.begin(), group.advertised.end(),
                          [](const net::IpAddress& a) { return a.is_v6() && a.is_link_local(); });
    const std::size_t most = is_v4(group) ? kMaxAdvertisedV4 : kMaxAdvertisedV6;
    if (group.advertised.size() > most) {
        draft.diagnostics.add(source.title,
                              title_of(group) + " would advertise " +
                                  std::to_string(group.advertised.size()) + " addresses",
                              "an advert has room for " + std::to_string(most) +
                                  ": list some of them in \"advertise\", the same on every node; "
                                  "all move");
    }
    if (group.advertised.empty() && !source.refused) {
        draft.diagnostics.add(source.title, title_of(group) + " has no address to advertise",
                              std::string("give it a VIP, or one of \"addresses\", that is ") +
                                  std::string(to_string(group.family)));
    }
}

void check_own_addresses(Draft& draft) {
    for (const VrrpGroupConfig& group : draft.config.vrrp_groups) {
        const VrrpGroupSource& source =
            draft.vrrp_groups[static_cast<std::size_t>(&group - draft.config.vrrp_groups.data())];
        for (const InterfaceConfig& interface : draft.config.interfaces) {
            for (const net::IpPrefix& own : interface.addresses) {
                if (std::find(group.addresses.begin(), group.addresses.end(), own.address) !=
                    group.addresses.end()) {
                    draft.diagnostics.add(source.title,
                                          own.address.to_string() +
                                              " is the node's own address and cannot move",
                                          "use another address for what moves between nodes");
                }
                for (std::size_t i = 0; i < group.peers.size(); ++i) {
                    if (group.peers[i] == own.address) {
                        draft.diagnostics.add(source.peers[i],
                                              "the peer " + own.address.to_string() +
                                                  " is this node itself",
                                              "list the other nodes only");
                    }
                }
            }
        }
    }
}

void check_vrids(Draft& draft) {
    const auto& groups = draft.config.vrrp_groups;
    for (std::size_t i = 0; i < groups.size(); ++i) {
        for (std::size_t j = 0; j < i; ++j) {
            if (!draft.vrrp_groups[i].refused && groups[i].vrid == groups[j].vrid &&
                groups[i].interface == groups[j].interface &&
                groups[i].family == groups[j].family) {
                draft.diagnostics.add(draft.vrrp_groups[i].vrid,
                                      "VRID " + std::to_string(groups[i].vrid) +
                                          " already belongs to " + title_of(groups[j]),
                                      "give each group of an interface a number of its own");
                break;
            }
        }
    }
}

} // namespace

void check_ownership(Draft& draft) {
    if (draft.config.ownership != OwnershipMode::kVrrp) {
        return;
    }
    if (draft.vrrp_groups.empty()) {
        draft.diagnostics.add(draft.ownership_mode, "ownership by VRRP needs a group",
                              "add [ownership.group.NAME] with a \"vrid\"");
        return;
    }
    Owners owners;
    resolve_vips(draft, owners);
    for (std::size_t i = 0; i < draft.vrrp_groups.size(); ++i) {
        resolve_interface(draft, i);
        resolve_family(draft, i);
        resolve_advertised(draft, i);
        if (!draft.vrrp_groups[i].snat) {
            draft.config.vrrp_groups[i].snat = draft.vrrp_groups.size() == 1;
        }
    }
    check_own_addresses(draft);
    check_vrids(draft);
}

} // namespace weir::config
