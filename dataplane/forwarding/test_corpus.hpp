// SPDX-License-Identifier: BSD-3-Clause
// The packets that every test of the decision goes through, and a seeded way to damage them.
#pragma once

#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "dataplane/forwarding/packet.h"
#include "dataplane/forwarding/test_packet.hpp"

namespace weir::forwarding_test {

inline constexpr const char* kVip4 = "198.51.100.10";
inline constexpr const char* kVip6 = "2001:db8:1::10";
inline constexpr const char* kClient6 = "2001:db8::1";

struct Sample {
    std::string name;
    PacketPlan plan;
};

// Extension headers of `bytes` (a multiple of 8), zero but for the length.
inline Extension extension(uint8_t type, size_t bytes) {
    Extension made{type, Bytes(bytes - 1)};
    made.body[0] = static_cast<uint8_t>(bytes / 8 - 1);
    return made;
}

inline Extension fragment(unsigned offset, bool more) {
    Extension made{44, Bytes(7)};
    set16(made.body, 1, offset << 3 | (more ? 1 : 0));
    return made;
}

// Sound packets in either family, tagged and not, TCP, UDP and ICMP.
inline std::vector<Sample> sound_packets() {
    std::vector<Sample> samples;
    for (const bool six : {false, true}) {
        PacketPlan base;
        if (six) {
            base.source = kClient6;
            base.destination = kVip6;
        } else {
            base.destination = kVip4;
        }
        const std::string family = six ? "v6 " : "v4 ";
        auto add = [&](const std::string& name, auto change) {
            PacketPlan plan = base;
            change(plan);
            samples.push_back({family + name, plan});
        };
        add("tcp syn", [](PacketPlan&) {});
        add("tcp ack", [](PacketPlan& p) { p.tcp_flags = 0x10; });
        add("tcp with options", [](PacketPlan& p) { p.tcp_options = {2, 4, 5, 0xb4, 1, 1, 4, 2}; });
        add("tcp tagged", [](PacketPlan& p) { p.vlan_tci = 0x2007; });
        add("tcp service tag", [](PacketPlan& p) {
            p.vlan_tci = 9;
            p.vlan_ethertype = 0x88a8;
        });
        add("tcp padded", [](PacketPlan& p) { p.padding = 12; });
        add("tcp large", [](PacketPlan& p) { p.payload.resize(1400, 0x5a); });
        add("udp", [](PacketPlan& p) { p.protocol = 17; });
        add("udp odd", [](PacketPlan& p) {
            p.protocol = 17;
            p.payload = {1, 2, 3};
        });
        add("udp empty", [](PacketPlan& p) {
            p.protocol = 17;
            p.payload.clear();
        });
        add("udp checksum 0", [](PacketPlan& p) {
            p.protocol = 17;
            p.udp_checksum_zero = true;
        });
        add("udp tagged", [](PacketPlan& p) {
            p.protocol = 17;
            p.vlan_tci = 1;
        });
        add("echo", [six](PacketPlan& p) {
            p.protocol = six ? 58 : 1;
            p.icmp_type = six ? 128 : 8;
        });
        add("other protocol", [](PacketPlan& p) { p.protocol = 89; });
        if (six) {
            add("hop-by-hop", [](PacketPlan& p) { p.v6_extensions = {extension(0, 8)}; });
            add("four extensions", [](PacketPlan& p) {
                p.v6_extensions = {extension(0, 8), extension(60, 24), extension(43, 16),
                                   extension(60, 8)};
                p.v6_extensions[2].body[1] = 4; // a routing type that is still in use
            });
            add("atomic fragment", [](PacketPlan& p) { p.v6_extensions = {fragment(0, false)}; });
        } else {
            add("options", [](PacketPlan& p) { p.v4_options = {7, 7, 4, 0, 0, 0, 0, 0}; });
            add("options with padding",
                [](PacketPlan& p) { p.v4_options = {1, 1, 1, 148, 4, 0, 0, 0}; });
            add("most options", [](PacketPlan& p) { p.v4_options = Bytes(40, 1); });
        }
    }
    return samples;
}

// Whatever else tests agree on: fragments, broken and hostile packets.
inline std::vector<Sample> unsound_packets() {
    std::vector<Sample> samples;
    auto add = [&](const std::string& name, bool six, auto change) {
        PacketPlan plan;
        if (six) {
            plan.source = kClient6;
            plan.destination = kVip6;
        }
        change(plan);
        samples.push_back({name, plan});
    };
    add("v4 first fragment", false, [](PacketPlan& p) { p.v4_fragment = 0x2000; });
    add("v4 later fragment", false, [](PacketPlan& p) { p.v4_fragment = 0x00b9; });
    add("v6 first fragment", true, [](PacketPlan& p) { p.v6_extensions = {fragment(0, true)}; });
    add("v6 later fragment", true, [](PacketPlan& p) { p.v6_extensions = {fragment(9, true)}; });
    add("v4 source route", false,
        [](PacketPlan& p) { p.v4_options = {131, 7, 4, 192, 0, 2, 9, 0}; });
    add("v4 option too long", false, [](PacketPlan& p) { p.v4_options = {7, 9, 4, 0}; });
    add("v6 routing type 0", true, [](PacketPlan& p) { p.v6_extensions = {extension(43, 24)}; });
    add("v6 five extensions", true,
        [](PacketPlan& p) { p.v6_extensions.assign(5, extension(60, 8)); });
    add("v4 martian", false, [](PacketPlan& p) { p.source = "127.0.0.1"; });
    add("v6 martian", true, [](PacketPlan& p) { p.source = "ff02::1"; });
    add("v4 land", false, [](PacketPlan& p) {
        p.source = p.destination;
        p.source_port = p.destination_port;
    });
    add("v4 ttl 0", false, [](PacketPlan& p) { p.ttl = 0; });
    add("v6 hop limit 1", true, [](PacketPlan& p) { p.ttl = 1; });
    add("tcp no flags", false, [](PacketPlan& p) { p.tcp_flags = 0; });
    add("tcp syn fin", true, [](PacketPlan& p) { p.tcp_flags = 3; });
    return samples;
}

// Makes the IPv4 header checksum right again, so that damage elsewhere is looked at.
inline void repair_v4_checksum(Bytes& frame) {
    size_t at = 12;
    if (frame.size() >= 18 && (get16(frame, 12) == 0x8100 || get16(frame, 12) == 0x88a8))
        at = 16;
    if (frame.size() < at + 2 + 20 || get16(frame, at) != 0x0800)
        return;
    const size_t header = at + 2;
    const size_t bytes = size_t{frame[header] & 15u} * 4;
    if (bytes < 20 || frame.size() < header + bytes)
        return;
    set16(frame, header + 10, 0);
    set16(frame, header + 10, full_checksum(std::span(frame).subspan(header, bytes)));
}

// A few random bytes overwritten, mostly in the headers; sometimes cut short or grown.
inline void damage(Bytes& frame, std::mt19937_64& random) {
    auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
    const size_t changes = below(4);
    for (size_t i = 0; i < changes && !frame.empty(); i++) {
        const size_t reach = below(3) ? std::min<size_t>(frame.size(), 74) : frame.size();
        frame[below(reach)] = static_cast<uint8_t>(random());
    }
    if (below(8) == 0)
        frame.resize(below(frame.size() + 1));
    if (below(16) == 0)
        frame.resize(frame.size() + below(64));
    if (below(4) != 0)
        repair_v4_checksum(frame);
}

// Whether two parsers found the same, in every member.
inline bool same_packet(const weir_packet& a, const weir_packet& b) {
    const auto members = [](const weir_packet& p) {
        return std::tie(p.flow.words, p.source_port, p.destination_port, p.l3_offset, p.l4_offset,
                        p.l3_length, p.fragment_offset, p.fragment_id, p.quoted_offset,
                        p.quoted_l4_offset, p.ethertype, p.vlan_tci, p.family, p.protocol, p.ttl,
                        p.tcp_flags, p.icmp_type, p.flags, p.defect);
    };
    return members(a) == members(b) &&
           std::equal(a.flow.word, a.flow.word + a.flow.words, b.flow.word);
}

} // namespace weir::forwarding_test
