// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/addresses.hpp"

#include <libmnl/libmnl.h>
#include <linux/if_addr.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include "control/kernel/rtnetlink.hpp"

namespace weir::control {
namespace {

constexpr uint32_t kForever = 0xffff'ffff; // INFINITY_LIFE_TIME

// Present already, and to be renewed; or to be added.
enum class Put : uint16_t { kNew = NLM_F_CREATE | NLM_F_EXCL, kAgain = NLM_F_REPLACE };

uint8_t protocol_of(AddressKind kind) {
    switch (kind) {
    case AddressKind::kNode:
        return kNodeAddressProtocol;
    case AddressKind::kLeased:
        return kLeasedAddressProtocol;
    case AddressKind::kVip:
        break;
    }
    return kVipAddressProtocol;
}

bool is_within(AddressScope scope, const PresentAddress& address) {
    const bool leased = address.protocol == kLeasedAddressProtocol;
    const bool permanent =
        address.protocol == kNodeAddressProtocol || address.protocol == kVipAddressProtocol;
    return (leased && scope != AddressScope::kPermanent) ||
           (permanent && scope != AddressScope::kLeased);
}

void put_address(NetlinkMessage& message, uint16_t type, const net::IpAddress& address) {
    const size_t skip = address.is_v4() ? 12 : 0;
    message.put(type, address.bytes().data() + skip, address.bytes().size() - skip);
}

ifaddrmsg& address_body(NetlinkMessage& message, const net::IpPrefix& prefix, int ifindex) {
    auto& body = message.body<ifaddrmsg>();
    body.ifa_family = prefix.address.is_v4() ? AF_INET : AF_INET6;
    body.ifa_prefixlen = prefix.length;
    body.ifa_index = static_cast<uint32_t>(ifindex);
    return body;
}

NetlinkSocket::Failure write_address(NetlinkSocket& socket, const ManagedAddress& address,
                                     int ifindex, Put put) {
    const bool v4 = address.prefix.address.is_v4();
    const bool vip = address.kind != AddressKind::kNode;
    NetlinkMessage message(RTM_NEWADDR, static_cast<uint16_t>(put));
    address_body(message, address.prefix, ifindex).ifa_scope =
        v4 && vip ? RT_SCOPE_HOST : RT_SCOPE_UNIVERSE;
    put_address(message, IFA_LOCAL, address.prefix.address);
    put_address(message, IFA_ADDRESS, address.prefix.address);
    if (v4 && address.prefix.length < 31) {
        put_address(message, IFA_BROADCAST, address.prefix.last());
    }
    message.put_u32(IFA_FLAGS, IFA_F_NODAD | (vip ? IFA_F_NOPREFIXROUTE : 0U));
    message.put_u8(IFA_PROTO, protocol_of(address.kind));
    const bool leased = address.kind == AddressKind::kLeased;
    if (leased || (!v4 && vip)) {
        ifa_cacheinfo lifetime{};
        lifetime.ifa_valid = leased ? static_cast<uint32_t>(kLeaseLifetime.count()) : kForever;
        lifetime.ifa_prefered = v4 ? lifetime.ifa_valid : 0;
        message.put(IFA_CACHEINFO, &lifetime, sizeof(lifetime));
    }
    return socket.request(message);
}

NetlinkSocket::Failure remove_address(NetlinkSocket& socket, const PresentAddress& address,
                                      int ifindex) {
    NetlinkMessage message(RTM_DELADDR, 0);
    address_body(message, address.prefix, ifindex);
    put_address(message, IFA_LOCAL, address.prefix.address);
    put_address(message, IFA_ADDRESS, address.prefix.address);
    return socket.request(message);
}

void collect(const nlmsghdr* message, const std::map<int, Link>& links,
             std::vector<PresentAddress>& found) {
    const auto* info = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(message));
    const auto link = links.find(static_cast<int>(info->ifa_index));
    if (link == links.end()) {
        return;
    }
    PresentAddress address{.interface = link->second.name};
    uint32_t flags = info->ifa_flags;
    bool has_local = false;
    for (const nlattr* attribute : attributes_of(message, sizeof(*info))) {
        const uint16_t type = mnl_attr_get_type(attribute);
        if (type == IFA_FLAGS) {
            flags = mnl_attr_get_u32(attribute);
        } else if (type == IFA_PROTO) {
            address.protocol = mnl_attr_get_u8(attribute);
        } else if (type == IFA_LOCAL || (type == IFA_ADDRESS && !has_local)) {
            has_local = type == IFA_LOCAL;
            in6_addr v6{};
            in_addr v4{};
            if (info->ifa_family == AF_INET) {
                std::memcpy(&v4, mnl_attr_get_payload(attribute), sizeof(v4));
                address.prefix.address = net::IpAddress::from(v4);
            } else {
                std::memcpy(&v6, mnl_attr_get_payload(attribute), sizeof(v6));
                address.prefix.address = net::IpAddress::from(v6);
            }
        }
    }
    address.prefix.length = info->ifa_prefixlen;
    address.tentative = (flags & IFA_F_TENTATIVE) != 0;
    address.deprecated = (flags & IFA_F_DEPRECATED) != 0;
    found.push_back(address);
}

void renew(NetlinkSocket& socket, const std::vector<PresentAddress>& present,
           const KernelTables& tables, const std::vector<ManagedAddress>& wanted,
           AddressResult& result) {
    std::set<std::pair<std::string, net::IpPrefix>> there;
    for (const PresentAddress& address : present) {
        if (address.protocol == kLeasedAddressProtocol) {
            there.emplace(address.interface, address.prefix);
        }
    }
    for (const ManagedAddress& address : wanted) {
        const Link* link = tables.link_named(address.interface);
        if (link == nullptr || !there.contains({address.interface, address.prefix})) {
            continue;
        }
        const auto failure = write_address(socket, address, link->index, Put::kAgain);
        if (failure.error != 0) {
            result.errors.push_back({"renewing " + address.prefix.to_string() + " on " +
                                     address.interface + ": " + failure.reason});
        }
    }
}

Error refused(const char* what, const std::string& interface, const net::IpPrefix& prefix,
              const NetlinkSocket::Failure& failure) {
    return {std::string(what) + " " + prefix.to_string() + " on " + interface + ": " +
            failure.reason};
}

} // namespace

AddressPlan plan_addresses(const std::vector<PresentAddress>& present,
                           const std::vector<ManagedAddress>& wanted, AddressScope scope) {
    using Place = std::pair<std::string, net::IpPrefix>;
    std::map<Place, AddressKind> want;
    for (const ManagedAddress& address : wanted) {
        want.emplace(Place{address.interface, address.prefix}, address.kind);
    }
    AddressPlan plan;
    std::set<Place> there;
    for (const PresentAddress& address : present) {
        const Place place{address.interface, address.prefix};
        const auto found = want.find(place);
        if (is_within(scope, address) &&
            (found == want.end() || protocol_of(found->second) != address.protocol)) {
            plan.remove.push_back(address);
        } else {
            there.insert(place);
        }
    }
    for (const AddressKind kind : {AddressKind::kNode, AddressKind::kVip, AddressKind::kLeased}) {
        for (const auto& [place, wanted_kind] : want) {
            if (wanted_kind == kind && !there.contains(place)) {
                plan.add.push_back({place.first, place.second, kind});
            }
        }
    }
    return plan;
}

Expected<std::vector<PresentAddress>> read_addresses(NetlinkSocket& socket) {
    KernelTables tables;
    if (Expected<void> links = read_links(socket, tables); !links) {
        return links.error();
    }
    std::vector<PresentAddress> found;
    NetlinkMessage message(RTM_GETADDR, 0);
    message.body<ifaddrmsg>() = ifaddrmsg{};
    Expected<void> read = socket.dump(
        message, [&] { found.clear(); },
        [&](const nlmsghdr* header) { collect(header, tables.links, found); });
    if (!read) {
        return read.error();
    }
    return found;
}

Expected<AddressResult> sync_addresses(NetlinkSocket& socket,
                                       const std::vector<ManagedAddress>& wanted,
                                       AddressScope scope) {
    KernelTables tables;
    if (Expected<void> links = read_links(socket, tables); !links) {
        return links.error();
    }
    Expected<std::vector<PresentAddress>> present = read_addresses(socket);
    if (!present) {
        return present.error();
    }
    AddressResult result;
    for (const PresentAddress& address : plan_addresses(*present, wanted, scope).remove) {
        const Link* link = tables.link_named(address.interface);
        const auto failure = link == nullptr ? NetlinkSocket::Failure{}
                                             : remove_address(socket, address, link->index);
        // A secondary address goes with its primary, so it may be gone already.
        if (failure.error != 0 && failure.error != EADDRNOTAVAIL) {
            result.errors.push_back(
                refused("removing", address.interface, address.prefix, failure));
        } else {
            result.removed.push_back(address);
        }
    }
    // Read anew: a secondary that is still wanted may have gone with its primary.
    present = read_addresses(socket);
    if (!present) {
        return present.error();
    }
    for (const ManagedAddress& address : plan_addresses(*present, wanted, scope).add) {
        const Link* link = tables.link_named(address.interface);
        if (link == nullptr) {
            result.errors.push_back({"putting " + address.prefix.to_string() + " on " +
                                     address.interface + ": there is no such interface"});
            continue;
        }
        const auto failure = write_address(socket, address, link->index, Put::kNew);
        if (failure.error == 0) {
            result.added.push_back(address);
        } else if (failure.error != EEXIST) { // somebody else was quicker: it is there
            result.errors.push_back(refused("putting", address.interface, address.prefix, failure));
        }
    }
    if (scope == AddressScope::kLeased)
        renew(socket, *present, tables, wanted, result);
    return result;
}

} // namespace weir::control
