// SPDX-License-Identifier: BSD-3-Clause
// The plain packets of a burst (parse_plain.h), read side by side: a column for each fact, eight
// or sixteen packets to a vector register. It takes the frames that weir_parse_plain() takes,
// except IPv6 ones too short for what it reads of each, and tells the same of them;
// plain_burst_test.cpp holds the two against each other.
#pragma once

#include "dataplane/forwarding/parse_plain.h"

#include <array>
#include <bit>
#include <cstdint>

namespace weir::forwarding {

inline constexpr std::uint32_t kPlainBurst = 32; // packets at the most

// Some packets of a burst. Bit i: packet i.
using PacketSet = std::uint32_t;

constexpr PacketSet set_of(std::uint32_t i) {
    return PacketSet{1} << i;
}

// The first `count` packets.
constexpr PacketSet set_of_first(std::uint32_t count) {
    return static_cast<PacketSet>((std::uint64_t{1} << count) - 1);
}

constexpr std::uint32_t first_of(PacketSet set) {
    return static_cast<std::uint32_t>(std::countr_zero(set));
}

// use(i) for each packet of the set, in their order.
template <class Use> [[gnu::always_inline]] inline void for_each(PacketSet set, Use use) {
    for (; set != 0; set &= set - 1)
        use(first_of(set));
}

// What each frame is to have at least to be looked at.
inline constexpr std::uint32_t kPlainLeastBytes_v4 = WEIR_PLAIN_LEAST_BYTES;
inline constexpr std::uint32_t kPlainLeastBytes_v6 = WEIR_ETHERNET_BYTES + WEIR_V6_BYTES + 14;

// Masks of PlainBurst::to_v4.
inline constexpr std::uint64_t kToEndpoint = 0x00ff'ffff'ffff'ffff; // address, port, protocol
inline constexpr std::uint64_t kToAddress = 0x00ff'0000'ffff'ffff;  // any port

// The frames of a burst. Behind the last one `bytes` are 0.
struct PlainFrames {
    std::uint32_t count;
    std::uint8_t* data[kPlainBurst];
    alignas(64) std::uint32_t bytes[kPlainBurst]; // that are there
};

struct PlainBurst {
    // REQUIRES: frames.count != 0.
    void read(const PlainFrames& frames);

    PacketSet v4 = 0;
    PacketSet v6 = 0;
    // Of those:
    PacketSet tcp = 0;
    PacketSet quiet = 0;    // weir_is_quiet()
    PacketSet reset = 0;    // TCP with RST
    PacketSet routable = 0; // with a TTL that survives a router

    alignas(64) std::uint64_t flow_v4[WEIR_FLOW_WORDS_V4][kPlainBurst]; // weir_flow::word
    alignas(64) std::uint64_t flow_v6[WEIR_FLOW_WORDS_V6][kPlainBurst];
    // Destination address, port and protocol, in this order from the lowest bit on, as in the
    // packet.
    alignas(64) std::uint64_t to_v4[kPlainBurst];

    PacketSet all() const { return v4 | v6; }

    // Of a packet of this family. Ports: the source's in the low half.
    weir_address source_v4(std::uint32_t i) const {
        return weir_address_from_v4(static_cast<weir_be32>(flow_v4[0][i]));
    }
    weir_address destination_v4(std::uint32_t i) const {
        return weir_address_from_v4(static_cast<weir_be32>(flow_v4[0][i] >> 32));
    }
    std::uint32_t ports_v4(std::uint32_t i) const {
        return static_cast<std::uint32_t>(flow_v4[1][i]);
    }
    weir_address source_v6(std::uint32_t i) const { return {{flow_v6[0][i], flow_v6[1][i]}}; }
    weir_address destination_v6(std::uint32_t i) const { return {{flow_v6[2][i], flow_v6[3][i]}}; }
    std::uint32_t ports_v6(std::uint32_t i) const {
        return static_cast<std::uint32_t>(flow_v6[4][i]);
    }

    // Address and port it comes from, likewise.
    std::uint64_t from_v4(std::uint32_t i) const {
        return (flow_v4[0][i] & 0xffffffff) | (flow_v4[1][i] & 0xffff) << 32 |
               (to_v4[i] & ~std::uint64_t{0} << 48);
    }

    // The same of IPv6: address; port and protocol, or the protocol alone.
    using EndV6 = std::array<std::uint64_t, 3>;
    EndV6 to_v6(std::uint32_t i) const {
        return {flow_v6[2][i], flow_v6[3][i], flow_v6[4][i] >> 16};
    }
    EndV6 to_address_v6(std::uint32_t i) const {
        return {flow_v6[2][i], flow_v6[3][i], flow_v6[4][i] >> 32};
    }
    EndV6 from_v6(std::uint32_t i) const {
        return {flow_v6[0][i], flow_v6[1][i],
                (flow_v6[4][i] & 0xffff) | (flow_v6[4][i] >> 32 << 16)};
    }

    // The packets of `among` that are for the same as packet i.
    PacketSet same_to_v4(PacketSet among, std::uint32_t i, std::uint64_t mask) const;
    PacketSet same_to_v6(PacketSet among, std::uint32_t i) const;
};

} // namespace weir::forwarding
