// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/packet.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>

namespace weir::control::vrrp {
namespace {

constexpr std::size_t kHeader = 8;
constexpr std::size_t kV2Authentication = 8; // RFC 3768 section 5.3.10: there, and zero
constexpr std::size_t kChecksumAt = 6;
constexpr std::uint8_t kAdvertisement = 1;
constexpr Micros kCentisecond{10'000};
constexpr Micros kSecond{1'000'000};
constexpr std::array<std::uint8_t, 4> kMark{'W', 'e', 'i', 'R'};
constexpr std::size_t kDigest = 16;
constexpr std::size_t kTrailer = kMark.size() + sizeof(std::uint64_t) + kDigest;

std::size_t address_bytes(bool v4) {
    return v4 ? 4 : 16;
}

void append_address(Bytes& out, const net::IpAddress& address) {
    const net::IpAddress::Bytes& bytes = address.bytes();
    out.insert(out.end(), bytes.end() - static_cast<std::ptrdiff_t>(address_bytes(address.is_v4())),
               bytes.end());
}

std::uint32_t sum_of(std::span<const std::uint8_t> bytes) {
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < bytes.size(); i++)
        sum += i % 2 == 0 ? std::uint32_t{bytes[i]} << 8U : bytes[i];
    return sum;
}

std::uint16_t folded(std::uint32_t sum) {
    while (sum > 0xffff)
        sum = (sum & 0xffff) + (sum >> 16U);
    return static_cast<std::uint16_t>(sum);
}

// RFC 768's pseudo-header and RFC 8200's section 8.1 have the same sum: the addresses, the length
// and the protocol, with zeros in between.
std::uint32_t pseudo_header(const net::IpAddress& source, const net::IpAddress& destination,
                            std::size_t length) {
    Bytes bytes;
    append_address(bytes, source);
    append_address(bytes, destination);
    return sum_of(bytes) + static_cast<std::uint32_t>(length) + kProtocol;
}

using Digest = std::array<std::uint8_t, kDigest>;

// Over the message up to the signature's own digest. The receiver has already been told the
// checksum by then; the sender not yet.
Digest digest_of(std::string_view key, const net::IpAddress& source,
                 std::span<const std::uint8_t> covered) {
    Bytes text(source.bytes().begin(), source.bytes().end());
    const std::size_t start = text.size();
    text.insert(text.end(), covered.begin(), covered.end());
    text[start + kChecksumAt] = 0;
    text[start + kChecksumAt + 1] = 0;
    std::array<std::uint8_t, EVP_MAX_MD_SIZE> whole{};
    unsigned length = 0;
    HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), text.data(), text.size(),
         whole.data(), &length);
    Digest digest{};
    std::copy_n(whole.begin(), digest.size(), digest.begin());
    return digest;
}

void append_signature(Bytes& out, const Signed& signature, const net::IpAddress& source) {
    out.insert(out.end(), kMark.begin(), kMark.end());
    for (unsigned shift = 64; shift != 0;) {
        shift -= 8;
        out.push_back(static_cast<std::uint8_t>(signature.sequence >> shift));
    }
    const Digest digest = digest_of(signature.key, source, out);
    out.insert(out.end(), digest.begin(), digest.end());
}

bool checksum_holds(const Received& packet, Version version) {
    const std::uint32_t sum = sum_of(packet.message);
    const bool with_pseudo_header = folded(sum + pseudo_header(packet.source, packet.destination,
                                                               packet.message.size())) == 0xffff;
    if (packet.source.is_v6())
        return with_pseudo_header;
    const bool plain = folded(sum) == 0xffff;
    return version == Version::k2 ? plain : plain || with_pseudo_header;
}

std::vector<net::IpAddress> read_addresses(std::span<const std::uint8_t> bytes, bool v4) {
    std::vector<net::IpAddress> found;
    const std::size_t size = address_bytes(v4);
    for (std::size_t at = 0; at + size <= bytes.size(); at += size) {
        net::IpAddress::Bytes address{};
        if (v4)
            address[10] = address[11] = 0xff; // v4-mapped, see net::IpAddress
        std::copy_n(bytes.begin() + static_cast<std::ptrdiff_t>(at), size,
                    address.end() - static_cast<std::ptrdiff_t>(size));
        found.push_back(net::IpAddress::from_bytes(address));
    }
    return found;
}

std::variant<std::uint64_t, Reject> check_signature(const Received& packet, std::string_view key,
                                                    std::size_t at) {
    const auto trailer = packet.message.subspan(at);
    if (!std::equal(kMark.begin(), kMark.end(), trailer.begin()))
        return Reject::kUnsigned;
    std::uint64_t sequence = 0;
    for (std::size_t i = 0; i < sizeof(sequence); i++)
        sequence = sequence << 8U | trailer[kMark.size() + i];
    const std::size_t covered = at + kTrailer - kDigest;
    const Digest wanted = digest_of(key, packet.source, packet.message.first(covered));
    if (CRYPTO_memcmp(wanted.data(), packet.message.data() + covered, kDigest) != 0)
        return Reject::kSignature;
    return sequence;
}

// What the fixed header says, or why it cannot be used.
std::variant<Advert, Reject> read_header(const Received& packet, const Demands& demands) {
    const auto& message = packet.message;
    if (packet.hop_limit != kWholeHopLimit)
        return Reject::kHopLimit;
    if (message.size() < kHeader)
        return Reject::kShort;
    if (message[0] >> 4U != static_cast<unsigned>(demands.version) ||
        (demands.version == Version::k2 && packet.source.is_v6()))
        return Reject::kVersion;
    if ((message[0] & 0x0fU) != kAdvertisement)
        return Reject::kType;
    if (message[1] != demands.vrid)
        return Reject::kVrid;
    Advert advert{.vrid = message[1], .priority = message[2], .interval = {}, .addresses = {}};
    if (demands.version == Version::k2) {
        if (message[4] != 0)
            return Reject::kAuthType;
        advert.interval = kSecond * message[5];
    } else {
        advert.interval = kCentisecond * ((message[4] & 0x0fU) << 8U | message[5]);
    }
    return advert;
}

} // namespace

Bytes encode(const Advert& advert, const Sending& how) {
    const bool v2 = how.version == Version::k2;
    Bytes out{static_cast<std::uint8_t>(static_cast<unsigned>(how.version) << 4U | kAdvertisement),
              advert.vrid, advert.priority, static_cast<std::uint8_t>(advert.addresses.size())};
    if (v2) {
        out.push_back(0); // no authentication
        out.push_back(static_cast<std::uint8_t>(advert.interval / kSecond));
    } else {
        const auto interval = static_cast<std::uint16_t>(advert.interval / kCentisecond);
        out.push_back(static_cast<std::uint8_t>(interval >> 8U));
        out.push_back(static_cast<std::uint8_t>(interval));
    }
    out.push_back(0);
    out.push_back(0);
    for (const net::IpAddress& address : advert.addresses)
        append_address(out, address);
    if (v2)
        out.resize(out.size() + kV2Authentication);
    else if (how.signature)
        append_signature(out, *how.signature, how.source);
    std::uint32_t sum = sum_of(out);
    if (how.source.is_v6() || (!v2 && how.checksum == ChecksumForm::kPseudoHeader))
        sum += pseudo_header(how.source, how.destination, out.size());
    const auto checksum = static_cast<std::uint16_t>(~folded(sum));
    out[kChecksumAt] = static_cast<std::uint8_t>(checksum >> 8U);
    out[kChecksumAt + 1] = static_cast<std::uint8_t>(checksum);
    return out;
}

std::variant<Accepted, Reject> decode(const Received& packet, const Demands& demands) {
    auto header = read_header(packet, demands);
    if (const auto* reason = std::get_if<Reject>(&header))
        return *reason;
    auto& advert = std::get<Advert>(header);
    const auto& message = packet.message;
    const bool v4 = packet.source.is_v4();
    const std::size_t addresses = std::size_t{message[3]} * address_bytes(v4);
    const std::size_t body =
        kHeader + addresses + (demands.version == Version::k2 ? kV2Authentication : 0);
    if (message.size() < body)
        return Reject::kShort;
    if (!checksum_holds(packet, demands.version))
        return Reject::kChecksum;
    const bool is_signed = demands.version == Version::k3 && message.size() == body + kTrailer;
    if (message.size() != body && !(is_signed && !demands.key.empty()))
        return Reject::kLength;
    std::optional<std::uint64_t> sequence;
    if (!demands.key.empty()) {
        if (!is_signed)
            return Reject::kUnsigned;
        const auto checked = check_signature(packet, demands.key, body);
        if (const auto* reason = std::get_if<Reject>(&checked))
            return *reason;
        sequence = std::get<std::uint64_t>(checked);
    }
    if (advert.interval <= Micros{0} ||
        (demands.version == Version::k2 && advert.interval != demands.interval))
        return Reject::kInterval;
    advert.addresses = read_addresses(message.subspan(kHeader, addresses), v4);
    if (advert.addresses.empty())
        return Reject::kAddresses;
    return Accepted{std::move(advert), sequence};
}

std::optional<Received> split_ipv4(std::span<const std::uint8_t> packet) {
    constexpr std::size_t kSmallest = 20;
    if (packet.size() < kSmallest || packet[0] >> 4U != 4)
        return std::nullopt;
    const std::size_t header = (packet[0] & 0x0fU) * std::size_t{4};
    const std::size_t total = std::size_t{packet[2]} << 8U | packet[3];
    if (header < kSmallest || total < header || packet.size() < total)
        return std::nullopt;
    const auto ends = read_addresses(packet.subspan(12, 8), true);
    return Received{ends[0], ends[1], packet[8], packet.subspan(header, total - header)};
}

std::optional<std::uint8_t> vrid_of(std::span<const std::uint8_t> message) {
    if (message.size() < 2)
        return std::nullopt;
    return message[1];
}

bool same_addresses(std::vector<net::IpAddress> left, std::vector<net::IpAddress> right) {
    std::sort(left.begin(), left.end());
    std::sort(right.begin(), right.end());
    return left == right;
}

namespace {

struct Naming {
    std::string_view name;
    std::string_view sentence;
};

constexpr std::array<Naming, kRejects> kNamings{{
    {"short", "ends before what it announces"},
    {"length", "has bytes behind what it announces"},
    {"hop_limit", "its TTL or hop limit is not 255: it comes from beyond the link"},
    {"version", "another version of VRRP than the group's"},
    {"type", "is not an advertisement"},
    {"vrid", "belongs to no group here"},
    {"checksum", "its checksum is wrong"},
    {"auth_type", "asks for an authentication that VRRP has given up"},
    {"interval", "its interval is zero, or in version 2 another one than ours"},
    {"addresses", "its addresses are not those of the group"},
    {"sender", "its sender is none of the group's peers"},
    {"unsigned", "it is not signed, and the group has a secret"},
    {"signature", "its signature was made with another secret"},
    {"replayed", "it was heard before"},
}};

} // namespace

std::string_view to_string(Reject reason) {
    return kNamings[static_cast<std::size_t>(reason)].name;
}

std::string_view sentence_about(Reject reason) {
    return kNamings[static_cast<std::size_t>(reason)].sentence;
}

} // namespace weir::control::vrrp
