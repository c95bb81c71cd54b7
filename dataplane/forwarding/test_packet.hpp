// SPDX-License-Identifier: BSD-3-Clause
// Packets for tests, built and checked without the headers under test: fields are written byte by
// byte in network order and checksums are summed in full over big-endian words.
#pragma once

#include <array>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include <arpa/inet.h>

namespace weir::forwarding_test {

using Bytes = std::vector<uint8_t>;

inline void put8(Bytes& to, unsigned value) {
    to.push_back(static_cast<uint8_t>(value));
}

inline void put16(Bytes& to, unsigned value) {
    put8(to, value >> 8);
    put8(to, value);
}

inline void put32(Bytes& to, uint32_t value) {
    put16(to, value >> 16);
    put16(to, value);
}

// Not inlined: GCC 12 warns of overflows in the vector's growth where there are none.
[[gnu::noinline]] inline void put(Bytes& to, std::span<const uint8_t> bytes) {
    to.insert(to.end(), bytes.begin(), bytes.end());
}

inline unsigned get16(std::span<const uint8_t> from, size_t at) {
    return static_cast<unsigned>(from[at]) << 8 | from[at + 1];
}

inline void set16(Bytes& to, size_t at, unsigned value) {
    to[at] = static_cast<uint8_t>(value >> 8);
    to[at + 1] = static_cast<uint8_t>(value);
}

// RFC 1071 the slow way; 0 for bytes that hold their own right checksum.
inline uint16_t full_checksum(std::span<const uint8_t> bytes, uint32_t start = 0) {
    uint32_t sum = start;
    for (size_t i = 0; i < bytes.size(); i += 2) {
        sum += static_cast<uint32_t>(bytes[i]) << 8;
        if (i + 1 < bytes.size())
            sum += bytes[i + 1];
        sum = (sum & 0xffff) + (sum >> 16);
    }
    return static_cast<uint16_t>(~sum);
}

// 4 or 16 bytes.
inline Bytes address_bytes(std::string_view text) {
    const std::string string(text);
    Bytes bytes(text.find(':') == std::string_view::npos ? 4 : 16);
    if (inet_pton(bytes.size() == 4 ? AF_INET : AF_INET6, string.c_str(), bytes.data()) != 1)
        abort();
    return bytes;
}

struct Extension { // an IPv6 extension header
    uint8_t type;
    Bytes body; // behind the next-header byte
};

// What a test wants to see on the wire. Either family by how the addresses are written.
struct PacketPlan {
    std::array<uint8_t, 6> destination_mac = {2, 0, 0, 0, 0, 2};
    std::array<uint8_t, 6> source_mac = {2, 0, 0, 0, 0, 1};
    std::optional<uint16_t> vlan_tci;
    uint16_t vlan_ethertype = 0x8100;
    std::string source = "192.0.2.1";
    std::string destination = "198.51.100.10";
    uint8_t protocol = 6;
    uint16_t source_port = 40000;
    uint16_t destination_port = 80;
    uint8_t tcp_flags = 0x02;
    uint32_t tcp_sequence = 0x01020304;
    uint32_t tcp_acknowledged = 0x05060708;
    uint16_t tcp_window = 0xfaf0;
    Bytes tcp_options; // a multiple of 4
    uint8_t ttl = 64;
    uint8_t tos = 0; // or IPv6 traffic class
    uint32_t v6_flow_label = 0;
    Bytes v4_options; // a multiple of 4
    uint16_t v4_id = 0x1234;
    uint16_t v4_fragment = 0;
    std::vector<Extension> v6_extensions;
    bool udp_checksum_zero = false;
    uint8_t icmp_type = 8;
    uint8_t icmp_code = 0;
    uint32_t icmp_word = 0x11112222; // behind the checksum
    Bytes payload = {'w', 'e', 'i', 'r', '!'};
    size_t padding = 0; // behind the IP packet, as a short Ethernet frame has
};

inline Bytes pseudo_header(const Bytes& source, const Bytes& destination, uint8_t protocol,
                           size_t l4_bytes) {
    Bytes pseudo;
    put(pseudo, source);
    put(pseudo, destination);
    if (source.size() == 4) {
        put16(pseudo, protocol);
        put16(pseudo, static_cast<unsigned>(l4_bytes));
    } else {
        put32(pseudo, static_cast<uint32_t>(l4_bytes));
        put32(pseudo, protocol);
    }
    return pseudo;
}

// The L4 checksum over everything; 0 when the one inside is right.
inline uint16_t l4_checksum(const Bytes& source, const Bytes& destination, uint8_t protocol,
                            std::span<const uint8_t> l4) {
    Bytes whole = pseudo_header(source, destination, protocol, l4.size());
    put(whole, l4);
    return full_checksum(whole);
}

inline Bytes build_l4(const PacketPlan& plan, const Bytes& source, const Bytes& destination) {
    Bytes l4;
    size_t checksum_at = 0;
    if (plan.protocol == 6) {
        put16(l4, plan.source_port);
        put16(l4, plan.destination_port);
        put32(l4, plan.tcp_sequence);
        put32(l4, plan.tcp_acknowledged);
        put8(l4, static_cast<unsigned>((5 + plan.tcp_options.size() / 4) << 4));
        put8(l4, plan.tcp_flags);
        put16(l4, plan.tcp_window);
        checksum_at = l4.size();
        put32(l4, 0); // checksum, urgent pointer
        put(l4, plan.tcp_options);
    } else if (plan.protocol == 17) {
        put16(l4, plan.source_port);
        put16(l4, plan.destination_port);
        put16(l4, static_cast<unsigned>(8 + plan.payload.size()));
        checksum_at = l4.size();
        put16(l4, 0);
    } else if (plan.protocol == 1 || plan.protocol == 58) {
        put8(l4, plan.icmp_type);
        put8(l4, plan.icmp_code);
        checksum_at = l4.size();
        put16(l4, 0);
        put32(l4, plan.icmp_word);
    }
    put(l4, plan.payload);
    if (checksum_at == 0 || (plan.protocol == 17 && plan.udp_checksum_zero))
        return l4;
    uint16_t checksum = plan.protocol == 1 ? full_checksum(l4)
                                           : l4_checksum(source, destination, plan.protocol, l4);
    if (plan.protocol == 17 && checksum == 0)
        checksum = 0xffff;
    set16(l4, checksum_at, checksum);
    return l4;
}

inline Bytes build_v4(const PacketPlan& plan, const Bytes& l4) {
    Bytes header;
    const size_t header_bytes = 20 + plan.v4_options.size();
    put8(header, static_cast<unsigned>(0x40 | header_bytes / 4));
    put8(header, plan.tos);
    put16(header, static_cast<unsigned>(header_bytes + l4.size()));
    put16(header, plan.v4_id);
    put16(header, plan.v4_fragment);
    put8(header, plan.ttl);
    put8(header, plan.protocol);
    put16(header, 0);
    put(header, address_bytes(plan.source));
    put(header, address_bytes(plan.destination));
    put(header, plan.v4_options);
    set16(header, 10, full_checksum(header));
    put(header, l4);
    return header;
}

inline Bytes build_v6(const PacketPlan& plan, const Bytes& l4) {
    Bytes chain;
    for (size_t i = 0; i < plan.v6_extensions.size(); i++) {
        put8(chain,
             i + 1 < plan.v6_extensions.size() ? plan.v6_extensions[i + 1].type : plan.protocol);
        put(chain, plan.v6_extensions[i].body);
    }
    Bytes header;
    put32(header, 0x60000000u | static_cast<uint32_t>(plan.tos) << 20 | plan.v6_flow_label);
    put16(header, static_cast<unsigned>(chain.size() + l4.size()));
    put8(header, plan.v6_extensions.empty() ? plan.protocol : plan.v6_extensions[0].type);
    put8(header, plan.ttl);
    put(header, address_bytes(plan.source));
    put(header, address_bytes(plan.destination));
    put(header, chain);
    put(header, l4);
    return header;
}

inline bool is_v6(const PacketPlan& plan) {
    return plan.source.find(':') != std::string::npos;
}

// The IP packet alone, around an L4 part built elsewhere or by the plan.
inline Bytes build_ip(const PacketPlan& plan, const Bytes& l4) {
    return is_v6(plan) ? build_v6(plan, l4) : build_v4(plan, l4);
}

inline Bytes build_ip(const PacketPlan& plan) {
    return build_ip(plan,
                    build_l4(plan, address_bytes(plan.source), address_bytes(plan.destination)));
}

// The link header of `plan` before an IP packet.
inline Bytes framed(const PacketPlan& plan, const Bytes& ip) {
    Bytes frame;
    put(frame, plan.destination_mac);
    put(frame, plan.source_mac);
    if (plan.vlan_tci) {
        put16(frame, plan.vlan_ethertype);
        put16(frame, *plan.vlan_tci);
    }
    put16(frame, ip[0] >> 4 == 4 ? 0x0800 : 0x86dd);
    put(frame, ip);
    frame.resize(frame.size() + plan.padding);
    return frame;
}

inline Bytes build(const PacketPlan& plan) {
    return framed(plan, build_ip(plan));
}

// A copy that ends where its heap block ends, so that a sanitizer sees a read one byte too far.
class ExactCopy {
public:
    explicit ExactCopy(std::span<const uint8_t> bytes)
        : bytes_(new uint8_t[bytes.size()]), size_(bytes.size()) {
        if (!bytes.empty())
            memcpy(bytes_.get(), bytes.data(), bytes.size());
    }
    uint8_t* data() { return bytes_.get(); }
    const uint8_t* end() const { return bytes_.get() + size_; }

private:
    std::unique_ptr<uint8_t[]> bytes_;
    size_t size_;
};

} // namespace weir::forwarding_test
