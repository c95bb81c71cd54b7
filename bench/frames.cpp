// SPDX-License-Identifier: BSD-3-Clause
#include "bench/frames.hpp"

#include "dataplane/forwarding/parse.h"

#include <rte_mbuf.h>

#include <cstring>
#include <stdexcept>

namespace weir::bench {
namespace {

constexpr std::size_t kL3 = 14;

void put16(std::uint8_t* to, std::uint32_t value) {
    to[0] = static_cast<std::uint8_t>(value >> 8);
    to[1] = static_cast<std::uint8_t>(value);
}
void put32(std::uint8_t* to, std::uint32_t value) {
    put16(to, value >> 16);
    put16(to + 2, value);
}
std::uint32_t get16(const std::uint8_t* from) {
    return static_cast<std::uint32_t>(from[0] << 8 | from[1]);
}
std::uint32_t get32(const std::uint8_t* from) {
    return get16(from) << 16 | get16(from + 2);
}

void put_address(std::uint8_t* to, const net::IpAddress& address) {
    if (address.is_v4())
        std::memcpy(to, address.bytes().data() + 12, 4);
    else
        std::memcpy(to, address.bytes().data(), 16);
}

// Sixteen flows a client, from 100.0.0.0 and 2001:db8:c:: on: 2^28 flows.
void put_client(std::uint8_t* address, std::uint8_t* port, bool v6, std::uint32_t flow) {
    const std::uint32_t client = flow >> 4;
    if (v6) {
        static constexpr std::uint8_t kNetwork[12] = {0x20, 0x01, 0x0d, 0xb8, 0x00, 0x0c};
        std::memcpy(address, kNetwork, sizeof(kNetwork));
        put32(address + 12, client);
    } else {
        put32(address, 0x64000000 + client);
    }
    put16(port, 1024 + (flow & 15) * 4031);
}

} // namespace

Frames::Frames(const Shape& shape) : shape_(shape) {
    source_at_ = static_cast<std::uint16_t>(kL3 + (shape.v6 ? 8 : 12));
    destination_at_ = static_cast<std::uint16_t>(source_at_ + (shape.v6 ? 16 : 4));
    l4_at_ = static_cast<std::uint16_t>(kL3 + (shape.v6 ? 40 : 20));
    bytes_ = static_cast<std::uint16_t>(std::max(l4_at_ + 20, 60)); // Ethernet's least
    std::uint8_t* frame = template_.data();
    static constexpr std::uint8_t kMacs[12] = {2, 0, 0, 0, 0, 0xaa, 2, 0, 0, 0, 0, 1};
    std::memcpy(frame, kMacs, sizeof(kMacs));
    put16(frame + 12, shape.v6 ? 0x86dd : 0x0800);
    std::uint8_t* ip = frame + kL3;
    if (shape.v6) {
        ip[0] = 0x60;
        put16(ip + 4, 20);
        ip[6] = 6;
        ip[7] = 64;
    } else {
        ip[0] = 0x45;
        put16(ip + 2, 40);
        put16(ip + 6, 0x4000); // DF
        ip[8] = 64;
        ip[9] = 6;
    }
    put_address(frame + destination_at_, vip_address(shape.v6, 0));
    std::uint8_t* tcp = frame + l4_at_;
    put16(tcp + 2, kServicePort);
    tcp[12] = 0x50;
    put16(tcp + 14, 0xfaf0);
    put16(tcp + 16, 0xbeef);
}

std::uint8_t* Frames::begin(rte_mbuf* mbuf) const {
    rte_pktmbuf_reset(mbuf);
    mbuf->data_len = bytes_;
    mbuf->pkt_len = bytes_;
    auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    std::memcpy(frame, template_.data(), template_.size());
    return frame;
}

void Frames::finish(std::uint8_t* frame) const {
    if (shape_.v6)
        return;
    std::uint32_t sum = 0;
    for (std::size_t i = 0; i < 20; i += 2)
        sum += i == 10 ? 0 : get16(frame + kL3 + i);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    put16(frame + kL3 + 10, ~sum & 0xffff);
}

void Frames::put_flow(std::uint8_t* frame, std::uint32_t flow, std::uint8_t flags) const {
    put_client(frame + source_at_, frame + l4_at_, shape_.v6, flow);
    if (shape_.vips > 1)
        put_address(frame + destination_at_, vip_address(shape_.v6, flow % shape_.vips));
    frame[l4_at_ + 13] = flags;
    finish(frame);
}

void Frames::write(rte_mbuf* mbuf, std::uint32_t flow, std::uint8_t flags) const {
    put_flow(begin(mbuf), flow, flags);
}

weir_packet Frames::parsed(std::uint32_t flow) const {
    auto frame = template_;
    put_flow(frame.data(), flow, kSyn);
    weir_packet packet{};
    if (weir_parse(frame.data(), frame.data() + bytes_, &packet) != WEIR_UNDECIDED)
        throw std::runtime_error("the packets of the bench are not sound");
    return packet;
}

void Frames::write_reply(rte_mbuf* mbuf, std::uint32_t flow, const WayBack& back,
                         std::uint8_t flags) const {
    std::uint8_t* frame = begin(mbuf);
    put_address(frame + source_at_, backend_address(shape_.v6, back.backend));
    put16(frame + l4_at_, 8080);
    put_client(frame + destination_at_, frame + l4_at_ + 2, shape_.v6, flow);
    if (shape_.mode == config::ForwardMode::kFullNat) {
        put_address(frame + destination_at_, snat_address(shape_.v6, back.snat_address));
        put16(frame + l4_at_ + 2, back.port);
    }
    frame[l4_at_ + 13] = flags;
    finish(frame);
}

WayBack Frames::way_back(const rte_mbuf* sent) const {
    const auto* frame = rte_pktmbuf_mtod(sent, const std::uint8_t*);
    const std::size_t low = shape_.v6 ? 12 : 0; // the number is in an address's last 4 bytes
    const auto base = [&](const net::IpAddress& first) { return get32(first.bytes().data() + 12); };
    WayBack back;
    back.backend = get32(frame + destination_at_ + low) - base(backend_address(shape_.v6, 0));
    if (back.backend >= shape_.pools * shape_.backends)
        throw std::runtime_error("a packet went to no backend");
    if (shape_.mode == config::ForwardMode::kFullNat)
        back.snat_address = static_cast<std::uint16_t>(get32(frame + source_at_ + low) -
                                                       base(snat_address(shape_.v6, 0)));
    back.port = static_cast<std::uint16_t>(get16(frame + l4_at_));
    return back;
}

void Frames::write_stray_fragment(rte_mbuf* mbuf, std::uint32_t number) const {
    write(mbuf, number, kAck);
    auto* frame = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    put16(frame + kL3 + 4, number);       // the datagram's id
    put16(frame + kL3 + 6, 0x2000 | 185); // MF, 1480 bytes in
    frame[kL3 + 9] = 17;
    finish(frame);
}

} // namespace weir::bench
