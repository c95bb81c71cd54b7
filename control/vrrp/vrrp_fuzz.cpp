// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer target: any bytes are accepted or refused for one reason, and what is accepted is what
// encode() would send. The first byte chooses family, version and key; the rest is a VRRP message,
// or a whole IPv4 packet.
#include <cstdlib>
#include <string_view>

#include "control/vrrp/packet.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    using namespace weir::control::vrrp;
    if (size == 0)
        return 0;
    const unsigned choice = data[0];
    const std::span<const std::uint8_t> rest(data + 1, size - 1);
    const bool v6 = (choice & 1U) != 0;
    const auto source = weir::net::IpAddress::parse(v6 ? "fe80::1" : "192.0.2.2").value();
    const auto destination = weir::net::IpAddress::parse(v6 ? "ff02::12" : "224.0.0.18").value();
    Received packet{source, destination, kWholeHopLimit, rest};
    if ((choice & 2U) != 0) {
        const auto split = split_ipv4(rest);
        if (!split)
            return 0;
        packet = *split;
    }
    const Demands demands{.version = (choice & 4U) != 0 ? Version::k2 : Version::k3,
                          .vrid = 51,
                          .interval = std::chrono::seconds{1},
                          .key = (choice & 8U) != 0 ? std::string_view("0123456789abcdef")
                                                    : std::string_view{}};
    const auto result = decode(packet, demands);
    if (const auto* reason = std::get_if<Reject>(&result)) {
        if (static_cast<std::size_t>(*reason) >= kRejects)
            std::abort();
        return 0;
    }
    const auto& accepted = std::get<Accepted>(result);
    Sending how{.version = demands.version,
                .source = packet.source,
                .destination = packet.destination,
                .checksum = ChecksumForm::kPseudoHeader,
                .signature = {}};
    if (accepted.sequence)
        how.signature = Signed{*accepted.sequence, demands.key};
    const Bytes again = encode(accepted.advert, how);
    if (again.size() != packet.message.size())
        std::abort();
    const auto twice = decode({packet.source, packet.destination, kWholeHopLimit, again}, demands);
    if (!std::holds_alternative<Accepted>(twice) ||
        !(std::get<Accepted>(twice).advert == accepted.advert))
        std::abort();
    return 0;
}
