// SPDX-License-Identifier: BSD-3-Clause
// Addresses as everything on the control side keeps them: an IPv4 or IPv6 address is always 16
// bytes in network order, IPv4 in its v4-mapped form (::ffff:a.b.c.d, RFC 4291 section 2.5.5.2), so
// that one key serves both families and is the one the forwarding tables use. Plain value types.
#pragma once

#include <array>
#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include <netinet/in.h>

#include "config/expected.hpp"

namespace weir::net {

class IpAddress {
public:
    using Bytes = std::array<std::uint8_t, 16>;

    constexpr IpAddress() = default; // the IPv6 unspecified address "::"
    static constexpr IpAddress from_bytes(const Bytes& network_order) {
        IpAddress address;
        address.bytes_ = network_order;
        return address;
    }
    static IpAddress from(const in_addr& v4);
    static IpAddress from(const in6_addr& v6); // a v4-mapped address becomes IPv4
    // "192.0.2.1" or "2001:db8::1". A v4-mapped text is refused: here it could only mean its IPv4.
    static Expected<IpAddress> parse(std::string_view text);

    [[nodiscard]] constexpr const Bytes& bytes() const { return bytes_; }
    [[nodiscard]] bool is_v4() const;
    [[nodiscard]] bool is_v6() const { return !is_v4(); }
    [[nodiscard]] bool is_unspecified() const; // 0.0.0.0 or ::
    [[nodiscard]] bool is_multicast() const;
    [[nodiscard]] bool is_loopback() const;
    [[nodiscard]] bool is_link_local() const;
    [[nodiscard]] bool is_broadcast() const; // 255.255.255.255

    [[nodiscard]] in_addr to_in_addr() const; // REQUIRES: is_v4()
    [[nodiscard]] in6_addr to_in6_addr() const;
    [[nodiscard]] std::uint32_t v4_be() const; // network byte order. REQUIRES: is_v4()
    [[nodiscard]] std::string to_string() const;

    friend auto operator<=>(const IpAddress&, const IpAddress&) = default;

private:
    Bytes bytes_{};
};

// An address with a prefix length in its own family (0..32 or 0..128). The host bits are kept, as
// in an interface's "192.0.2.2/24".
struct IpPrefix {
    IpAddress address;
    std::uint8_t length = 0;

    static Expected<IpPrefix> parse(std::string_view text); // the "/length" must be there
    static IpPrefix host(const IpAddress& address);         // /32 or /128

    [[nodiscard]] IpAddress network() const;
    [[nodiscard]] IpAddress last() const; // the highest address in the prefix
    [[nodiscard]] bool contains(const IpAddress& other) const;
    [[nodiscard]] bool overlaps(const IpPrefix& other) const;
    [[nodiscard]] std::string to_string() const;

    friend auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
};

class MacAddress {
public:
    using Bytes = std::array<std::uint8_t, 6>;

    constexpr MacAddress() = default;
    static constexpr MacAddress from_bytes(const Bytes& bytes) {
        MacAddress mac;
        mac.bytes_ = bytes;
        return mac;
    }
    static Expected<MacAddress> parse(std::string_view text); // "02:00:5e:10:00:01"

    [[nodiscard]] constexpr const Bytes& bytes() const { return bytes_; }
    [[nodiscard]] bool is_zero() const { return bytes_ == Bytes{}; }
    [[nodiscard]] bool is_multicast() const { return (bytes_[0] & 1) != 0; }
    [[nodiscard]] std::string to_string() const;

    friend auto operator<=>(const MacAddress&, const MacAddress&) = default;

private:
    Bytes bytes_{};
};

// "10.0.0.1:80", "[2001:db8::1]:80", or either address alone. The brackets are what separates a
// port from an IPv6 address: "2001:db8::1:80" is an address without a port.
struct Endpoint {
    IpAddress address;
    std::optional<std::uint16_t> port; // host byte order; never 0 when parsed

    static Expected<Endpoint> parse(std::string_view text);
    [[nodiscard]] std::string to_string() const;

    friend auto operator<=>(const Endpoint&, const Endpoint&) = default;
};

// Decimal digits only, no sign, no blanks; nothing when empty or above `maximum`.
std::optional<std::uint32_t> parse_decimal(std::string_view text, std::uint32_t maximum);

} // namespace weir::net

template <> struct std::hash<weir::net::IpAddress> {
    std::size_t operator()(const weir::net::IpAddress& address) const noexcept;
};
template <> struct std::hash<weir::net::MacAddress> {
    std::size_t operator()(const weir::net::MacAddress& mac) const noexcept;
};
template <> struct std::hash<weir::net::Endpoint> {
    std::size_t operator()(const weir::net::Endpoint& endpoint) const noexcept;
};
