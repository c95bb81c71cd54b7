// SPDX-License-Identifier: BSD-3-Clause
// VRRP advertisements as bytes: version 3 (RFC 9568, IPv4 and IPv6) and version 2 (RFC 3768, IPv4).
// Pure, no I/O. Every advert that is not accepted is refused for one named reason.
//
// Two things differ from the RFCs' letter because they have to:
// - The checksum of a v3 advert over IPv4. RFC 9568 section 5.2.8 leaves the pseudo-header out,
//   keepalived sends and demands it. Both are accepted; which one is sent is a setting.
// - Between pairs of our own an advert can be signed. The signature stands behind the addresses,
//   where only a receiver that expects it finds it: 4 bytes "WeiR", a 64-bit sequence, and the
//   first 16 bytes of HMAC-SHA256 over the sender's address and the advert up to there (its
//   checksum field taken as zero).
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "config/address.hpp"

namespace weir::control::vrrp {

using Micros = std::chrono::microseconds;
using Bytes = std::vector<std::uint8_t>;

inline constexpr std::uint8_t kProtocol = 112;      // IANA
inline constexpr std::uint8_t kWholeHopLimit = 255; // section 5.1.1.3: not from beyond the link
inline constexpr std::uint8_t kOwnerPriority = 255;
inline constexpr std::uint8_t kReleasePriority = 0;
inline constexpr std::size_t kMostAddresses = 255; // the count is one byte

enum class Version : std::uint8_t { k2 = 2, k3 = 3 };
enum class ChecksumForm : std::uint8_t { kPseudoHeader, kPlain }; // of v3 over IPv4

struct Advert {
    std::uint8_t vrid = 0;
    std::uint8_t priority = 0;
    Micros interval{}; // v3: multiples of 10 ms up to 40.95 s; v2: whole seconds up to 255
    std::vector<net::IpAddress> addresses; // of one family
    friend bool operator==(const Advert&, const Advert&) = default;
};

struct Signed {
    std::uint64_t sequence = 0;
    std::string_view key;
};

struct Sending {
    Version version = Version::k3;
    net::IpAddress source;
    net::IpAddress destination;
    ChecksumForm checksum = ChecksumForm::kPseudoHeader;
    std::optional<Signed> signature; // v3 only
};

// REQUIRES: values within the bounds above; all addresses of the family of `source`.
Bytes encode(const Advert& advert, const Sending& how);

enum class Reject : std::uint8_t {
    kShort,     // ends before what it announces
    kLength,    // has bytes behind what it announces
    kHopLimit,  // TTL or hop limit is not 255
    kVersion,   // neither 2 nor 3, not the group's, or not of this family
    kType,      // not an advertisement
    kVrid,      // no group of ours
    kChecksum,  //
    kAuthType,  // v2 with an authentication type, RFC 3768 section 7.1
    kInterval,  // zero, or in v2 another one than ours
    kAddresses, // not those of the group
    kSender,    // not one of the configured peers, or ourselves
    kUnsigned,  // the group has a key, the advert no signature
    kSignature, // made with another key, or tampered with
    kReplayed,  // a sequence that was heard already
};
inline constexpr std::size_t kRejects = static_cast<std::size_t>(Reject::kReplayed) + 1;

std::string_view to_string(Reject reason);      // as counters are named: "hop_limit"
std::string_view sentence_about(Reject reason); // for operators

struct Received {
    net::IpAddress source;
    net::IpAddress destination;
    std::uint8_t hop_limit = 0;
    std::span<const std::uint8_t> message; // from the VRRP header on
    Micros age{};                          // since the kernel got it
};

// What a raw IPv4 socket returns, split at the end of the IP header. Nothing when the packet does
// not hold its own header: it is kShort.
std::optional<Received> split_ipv4(std::span<const std::uint8_t> packet);

// The VRID, for whoever has to know which group is meant; nothing when there is none.
std::optional<std::uint8_t> vrid_of(std::span<const std::uint8_t> message);

// What a group demands of an advert. The sequence is not judged here: see Replay.
struct Demands {
    Version version = Version::k3;
    std::uint8_t vrid = 0;
    Micros interval{};    // v2: both sides have the same
    std::string_view key; // empty: adverts are not signed
};

struct Accepted {
    Advert advert;
    std::optional<std::uint64_t> sequence; // of a signed one
};

std::variant<Accepted, Reject> decode(const Received& packet, const Demands& demands);

// The same addresses, in whatever order.
bool same_addresses(std::vector<net::IpAddress> left, std::vector<net::IpAddress> right);

} // namespace weir::control::vrrp
