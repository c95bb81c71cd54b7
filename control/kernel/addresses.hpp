// SPDX-License-Identifier: BSD-3-Clause
// Puts node addresses and VIPs on kernel interfaces, and takes away those of ours that are no
// longer wanted. What is ours is known by the address's protocol number (IFA_PROTO, Linux >= 5.18),
// so a control process that restarts recognises its predecessor's addresses and never touches an
// operator's. Whether addresses are removed at exit is the caller's policy.
//
// A VIP is never chosen as a source address: IPv4 VIPs have host scope, which the kernel skips when
// it looks for a source for anything beyond this host; IPv6 VIPs have a preferred lifetime of zero
// (deprecated, RFC 6724 rule 3). Neither waits for duplicate address detection.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "config/address.hpp"
#include "control/kernel/netlink_socket.hpp"

namespace weir::control {

enum class AddressKind : uint8_t {
    kNode,
    kVip,   // here for good
    kLeased // a VIP, or what goes with one, while this node is its owner
};

inline constexpr uint8_t kNodeAddressProtocol = 0x57;
inline constexpr uint8_t kVipAddressProtocol = 0x58;
inline constexpr uint8_t kLeasedAddressProtocol = 0x59;

// A leased address leaves its interface this long after it was last put there or renewed, whatever
// has become of the process that did: the kernel sees to it.
inline constexpr std::chrono::seconds kLeaseLifetime{4};

// Whose addresses a call looks after; those of the other kinds are left alone. With kAll nothing
// else looks after any.
enum class AddressScope : uint8_t { kAll, kPermanent, kLeased };

struct ManagedAddress {
    std::string interface;
    net::IpPrefix prefix; // a VIP: /32 or /128
    AddressKind kind = AddressKind::kVip;

    friend auto operator<=>(const ManagedAddress&, const ManagedAddress&) = default;
};

// An address as the kernel has it.
struct PresentAddress {
    std::string interface;
    net::IpPrefix prefix;
    uint8_t protocol = 0; // 0: somebody else's
    bool tentative = false;
    bool deprecated = false;
};

struct AddressPlan {
    std::vector<PresentAddress> remove;
    std::vector<ManagedAddress> add; // node addresses first
};

// Pure. Addresses that are wanted and there, whoever put them there, stay as they are, except ours
// of the other kind, which are put anew.
AddressPlan plan_addresses(const std::vector<PresentAddress>& present,
                           const std::vector<ManagedAddress>& wanted,
                           AddressScope scope = AddressScope::kAll);

struct AddressResult {
    std::vector<ManagedAddress> added; // to be announced
    std::vector<PresentAddress> removed;
    std::vector<Error> errors; // what could not be done; the rest was
};

Expected<std::vector<PresentAddress>> read_addresses(NetlinkSocket& socket);
// With AddressScope::kLeased the lifetimes of those that are there are renewed.
Expected<AddressResult> sync_addresses(NetlinkSocket& socket,
                                       const std::vector<ManagedAddress>& wanted,
                                       AddressScope scope = AddressScope::kAll);

} // namespace weir::control
