// SPDX-License-Identifier: BSD-3-Clause
// Packets of numbered flows: what client number FLOW sends to the VIP, and what a backend answers.
// Written in place from a template, with a right IPv4 checksum (the parser looks at it); the TCP
// checksum is nobody's business on the way and stays as it is.
#pragma once

#include "bench/world.hpp"
#include "dataplane/forwarding/packet.h"

#include <array>
#include <cstdint>

struct rte_mbuf;

namespace weir::bench {

inline constexpr std::uint8_t kSyn = 0x02;
inline constexpr std::uint8_t kRst = 0x04;
inline constexpr std::uint8_t kAck = 0x10;
inline constexpr std::uint8_t kSynAck = kSyn | kAck;

// What a forwarded packet showed of the way back.
struct WayBack {
    std::uint32_t backend = 0;
    std::uint16_t snat_address = 0; // number; full-nat only
    std::uint16_t port = 0;         // what the backend answers to, host order
};

class Frames {
public:
    explicit Frames(const Shape& shape);

    void write(rte_mbuf* mbuf, std::uint32_t flow, std::uint8_t flags) const;
    // The same packet as the worker's parser sees it.
    weir_packet parsed(std::uint32_t flow) const;
    void write_reply(rte_mbuf* mbuf, std::uint32_t flow, const WayBack& back,
                     std::uint8_t flags) const;
    // Of a packet that the worker has translated.
    WayBack way_back(const rte_mbuf* sent) const;
    // A piece, with more to come, of a datagram that never began: 64 bytes at an odd offset.
    void write_stray_fragment(rte_mbuf* mbuf, std::uint32_t number) const;

private:
    std::uint8_t* begin(rte_mbuf* mbuf) const;
    void put_flow(std::uint8_t* frame, std::uint32_t flow, std::uint8_t flags) const;
    void finish(std::uint8_t* frame) const;

    Shape shape_;
    std::uint16_t bytes_;
    std::uint16_t source_at_, destination_at_, l4_at_;
    std::array<std::uint8_t, 80> template_{};
};

} // namespace weir::bench
