// SPDX-License-Identifier: BSD-3-Clause
// Text forms and arithmetic of the address types in address.hpp.
#include "config/address.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include <arpa/inet.h>

namespace weir::net {
namespace {

constexpr std::array<std::uint8_t, 12> kV4MappedPrefix = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

Error not_an_address(std::string_view text) {
    return Error{"'" + std::string(text) +
                 "' is not an IP address; write IPv4 as \"192.0.2.1\" or IPv6 as \"2001:db8::1\""};
}

// inet_pton wants a terminated string: copying into a buffer also refuses embedded NULs and
// anything too long to be an address.
template <std::size_t Size> bool copy_terminated(std::string_view text, char (&buffer)[Size]) {
    if (text.size() >= Size || text.find('\0') != std::string_view::npos) {
        return false;
    }
    std::copy(text.begin(), text.end(), buffer);
    buffer[text.size()] = '\0';
    return true;
}

unsigned bits_before_prefix(const IpAddress& address) {
    return address.is_v4() ? 96 : 0;
}

IpAddress with_host_bits(const IpAddress& address, unsigned prefix_bits, bool ones) {
    IpAddress::Bytes bytes = address.bytes();
    for (unsigned i = 0; i < bytes.size(); ++i) {
        const unsigned first_bit = i * 8;
        const unsigned kept =
            prefix_bits <= first_bit ? 0 : std::min<unsigned>(8, prefix_bits - first_bit);
        const auto mask = static_cast<std::uint8_t>(0xff00U >> kept);
        bytes[i] = static_cast<std::uint8_t>((bytes[i] & mask) | (ones ? ~mask & 0xff : 0));
    }
    return IpAddress::from_bytes(bytes);
}

std::optional<std::uint8_t> hex_octet(std::string_view two) {
    const auto digit = [](char c) -> int {
        if (c >= '0' && c <= '9') {
            return c - '0';
        }
        const char lower = static_cast<char>(c | 0x20);
        return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
    };
    const int high = digit(two[0]);
    const int low = digit(two[1]);
    if (high < 0 || low < 0) {
        return std::nullopt;
    }
    return static_cast<std::uint8_t>(high * 16 + low);
}

} // namespace

std::optional<std::uint32_t> parse_decimal(std::string_view text, std::uint32_t maximum) {
    if (text.empty() || text.size() > 10) {
        return std::nullopt;
    }
    std::uint64_t number = 0;
    for (const char c : text) {
        if (c < '0' || c > '9') {
            return std::nullopt;
        }
        number = number * 10 + static_cast<std::uint64_t>(c - '0');
    }
    if (number > maximum) {
        return std::nullopt;
    }
    return static_cast<std::uint32_t>(number);
}

IpAddress IpAddress::from(const in_addr& v4) {
    IpAddress address;
    std::copy(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), address.bytes_.begin());
    std::memcpy(address.bytes_.data() + kV4MappedPrefix.size(), &v4.s_addr, sizeof(v4.s_addr));
    return address;
}

IpAddress IpAddress::from(const in6_addr& v6) {
    IpAddress address;
    std::memcpy(address.bytes_.data(), v6.s6_addr, address.bytes_.size());
    return address;
}

Expected<IpAddress> IpAddress::parse(std::string_view text) {
    char buffer[INET6_ADDRSTRLEN];
    if (!copy_terminated(text, buffer)) {
        return not_an_address(text);
    }
    in_addr v4{};
    if (inet_pton(AF_INET, buffer, &v4) == 1) {
        return from(v4);
    }
    in6_addr v6{};
    if (inet_pton(AF_INET6, buffer, &v6) != 1) {
        return not_an_address(text);
    }
    const IpAddress address = from(v6);
    if (address.is_v4()) {
        return Error{"'" + std::string(text) +
                     "' is an IPv4 address in IPv6 notation; write it as \"" + address.to_string() +
                     "\""};
    }
    return address;
}

bool IpAddress::is_v4() const {
    return std::equal(kV4MappedPrefix.begin(), kV4MappedPrefix.end(), bytes_.begin());
}

bool IpAddress::is_unspecified() const {
    return std::all_of(bytes_.begin() + (is_v4() ? 12 : 0), bytes_.end(),
                       [](std::uint8_t byte) { return byte == 0; });
}

bool IpAddress::is_multicast() const {
    return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff;
}

bool IpAddress::is_loopback() const {
    if (is_v4()) {
        return bytes_[12] == 127;
    }
    return bytes_[15] == 1 && std::all_of(bytes_.begin(), bytes_.end() - 1,
                                          [](std::uint8_t byte) { return byte == 0; });
}

bool IpAddress::is_link_local() const {
    if (is_v4()) {
        return bytes_[12] == 169 && bytes_[13] == 254;
    }
    return bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

bool IpAddress::is_broadcast() const {
    return is_v4() && std::all_of(bytes_.begin() + 12, bytes_.end(),
                                  [](std::uint8_t byte) { return byte == 0xff; });
}

in_addr IpAddress::to_in_addr() const {
    return in_addr{v4_be()};
}

in6_addr IpAddress::to_in6_addr() const {
    in6_addr v6{};
    std::memcpy(v6.s6_addr, bytes_.data(), bytes_.size());
    return v6;
}

std::uint32_t IpAddress::v4_be() const {
    std::uint32_t address_be = 0;
    std::memcpy(&address_be, bytes_.data() + 12, sizeof(address_be));
    return address_be;
}

std::string IpAddress::to_string() const {
    char buffer[INET6_ADDRSTRLEN] = {};
    const bool v4 = is_v4();
    inet_ntop(v4 ? AF_INET : AF_INET6, bytes_.data() + (v4 ? 12 : 0), buffer, sizeof(buffer));
    return buffer;
}

Expected<IpPrefix> IpPrefix::parse(std::string_view text) {
    const std::size_t slash = text.find('/');
    if (slash == std::string_view::npos) {
        return Error{"'" + std::string(text) +
                     "' has no prefix length; write it as \"192.0.2.2/24\" or \"2001:db8::2/64\""};
    }
    auto address = IpAddress::parse(text.substr(0, slash));
    if (!address) {
        return std::move(address).error();
    }
    const std::uint32_t maximum = address->is_v4() ? 32 : 128;
    const auto length = parse_decimal(text.substr(slash + 1), maximum);
    if (!length) {
        return Error{
            "'" + std::string(text.substr(slash)) + "' is not a prefix length for " +
            (address->is_v4() ? "IPv4; it goes from /0 to /32" : "IPv6; it goes from /0 to /128")};
    }
    return IpPrefix{*address, static_cast<std::uint8_t>(*length)};
}

IpPrefix IpPrefix::host(const IpAddress& address) {
    return IpPrefix{address, static_cast<std::uint8_t>(address.is_v4() ? 32 : 128)};
}

IpAddress IpPrefix::network() const {
    return with_host_bits(address, bits_before_prefix(address) + length, false);
}

IpAddress IpPrefix::last() const {
    return with_host_bits(address, bits_before_prefix(address) + length, true);
}

bool IpPrefix::contains(const IpAddress& other) const {
    return other.is_v4() == address.is_v4() && network() <= other && other <= last();
}

bool IpPrefix::overlaps(const IpPrefix& other) const {
    return contains(other.network()) || other.contains(network());
}

std::string IpPrefix::to_string() const {
    return address.to_string() + "/" + std::to_string(length);
}

Expected<MacAddress> MacAddress::parse(std::string_view text) {
    const Error error{"'" + std::string(text) +
                      "' is not a MAC address; write it as \"02:00:5e:10:00:01\""};
    MacAddress mac;
    if (text.size() != mac.bytes_.size() * 3 - 1) {
        return error;
    }
    for (std::size_t i = 0; i < mac.bytes_.size(); ++i) {
        const auto octet = hex_octet(text.substr(i * 3, 2));
        if (!octet || (i > 0 && text[i * 3 - 1] != ':')) {
            return error;
        }
        mac.bytes_[i] = *octet;
    }
    return mac;
}

std::string MacAddress::to_string() const {
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (const std::uint8_t byte : bytes_) {
        if (!text.empty()) {
            text += ':';
        }
        text += kDigits[byte >> 4];
        text += kDigits[byte & 15];
    }
    return text;
}

Expected<Endpoint> Endpoint::parse(std::string_view text) {
    std::string_view host = text;
    std::optional<std::string_view> port_text;
    if (text.starts_with('[')) {
        const std::size_t close = text.find(']');
        const std::string_view after =
            close == std::string_view::npos ? std::string_view{} : text.substr(close + 1);
        if (close == std::string_view::npos || (!after.empty() && after[0] != ':')) {
            return Error{"'" + std::string(text) +
                         "' is not an address; write IPv6 with a port as \"[2001:db8::1]:80\""};
        }
        host = text.substr(1, close - 1);
        if (!after.empty()) {
            port_text = after.substr(1);
        }
    } else if (std::count(text.begin(), text.end(), ':') == 1) {
        const std::size_t colon = text.find(':');
        host = text.substr(0, colon);
        port_text = text.substr(colon + 1);
    }
    auto address = IpAddress::parse(host);
    if (!address) {
        return std::move(address).error();
    }
    if (text.starts_with('[') && address->is_v4()) {
        return Error{"'" + std::string(text) + "' has brackets around an IPv4 address; write \"" +
                     address->to_string() + "\" without them"};
    }
    Endpoint endpoint{*address, std::nullopt};
    if (port_text) {
        const auto port = parse_decimal(*port_text, 65535);
        if (!port || *port == 0) {
            return Error{"'" + std::string(*port_text) + "' in '" + std::string(text) +
                         "' is not a port; ports go from 1 to 65535"};
        }
        endpoint.port = static_cast<std::uint16_t>(*port);
    }
    return endpoint;
}

std::string Endpoint::to_string() const {
    if (!port) {
        return address.to_string();
    }
    const std::string host =
        address.is_v4() ? address.to_string() : "[" + address.to_string() + "]";
    return host + ":" + std::to_string(*port);
}

} // namespace weir::net

std::size_t
std::hash<weir::net::IpAddress>::operator()(const weir::net::IpAddress& address) const noexcept {
    const auto& bytes = address.bytes();
    return std::hash<std::string_view>{}(
        std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::size_t
std::hash<weir::net::MacAddress>::operator()(const weir::net::MacAddress& mac) const noexcept {
    const auto& bytes = mac.bytes();
    return std::hash<std::string_view>{}(
        std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
}

std::size_t
std::hash<weir::net::Endpoint>::operator()(const weir::net::Endpoint& endpoint) const noexcept {
    const std::size_t port = endpoint.port ? *endpoint.port + 1U : 0U;
    return std::hash<weir::net::IpAddress>{}(endpoint.address) * 65599U + port;
}
