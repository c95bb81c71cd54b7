// SPDX-License-Identifier: BSD-3-Clause
// What the worker's tests forward by: one VIP with two backends, planned by mode and family, as a
// generation; and the addresses that packets of it have.
#pragma once

#include "dataplane/forwarding/test_packet.hpp"
#include "dataplane/lb/forwarding_state.hpp"
#include "dataplane/lb/state_builder.hpp"

#include <array>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace weir::dpdk {

using forwarding_test::address_bytes;
using forwarding_test::build;
using forwarding_test::Bytes;
using forwarding_test::get16;
using forwarding_test::PacketPlan;

constexpr std::array<std::uint8_t, 6> kOurMac = {2, 0, 0, 0, 0, 0xaa};
constexpr std::array<std::uint8_t, 6> kRouterMac = {2, 0, 0, 0, 0, 1};

inline weir_address to_address(const std::string& text) {
    Bytes bytes = address_bytes(text);
    weir_address address;
    if (bytes.size() == 4)
        return weir_address_from_v4(weir_load32(bytes.data()));
    std::memcpy(&address, bytes.data(), 16);
    return address;
}

inline std::array<std::uint8_t, 6> backend_mac(std::uint32_t backend) {
    return {2, 0, 0, 0, 1, static_cast<std::uint8_t>(backend)};
}

// One VIP at port 80 and 443/udp, two backends at 8080, one interface; either family.
struct Plan {
    weir_forward_mode mode = WEIR_FORWARD_NAT;
    bool v6 = false;
    std::uint8_t protocol = 6;
    std::uint16_t backend_port = 8080;
    std::vector<std::uint16_t> slots = {0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0}; // of the pool
    std::vector<std::uint16_t> oldest; // of the pool; what they name is for a Change to say
    std::uint32_t connections = 4096;  // a worker

    std::string vip() const { return v6 ? "2001:db8:f::10" : "203.0.113.10"; }
    std::string backend(std::uint32_t i) const {
        return (v6 ? "2001:db8:b::" : "10.0.0.") + std::to_string(11 + i);
    }
    std::string snat() const { return v6 ? "2001:db8:a::64" : "192.0.2.64"; }
    std::string client() const { return v6 ? "2001:db8:c::7" : "198.51.100.7"; }
};

// What a test wants to be otherwise than in the sample generation.
using Change = std::function<void(lb::StateTables&)>;

struct State {
    std::vector<std::uint16_t> slots;
    std::vector<std::uint16_t> oldest;
    std::vector<lb::Segment> segments;
    std::vector<std::byte> aligned;
    std::span<std::byte> root;
    std::optional<lb::ForwardingState> state;

    State(const Plan& plan, std::uint64_t generation, std::array<weir_backend_state, 2> states,
          const Change& change) {
        slots = plan.slots;
        oldest = plan.oldest;
        segments = {lb::inspect_segment(lb::segment_id(slots), slots)};
        if (!oldest.empty())
            segments.push_back(lb::inspect_segment(lb::segment_id(oldest), oldest));
        lb::StateTables tables;
        tables.generation = generation;
        tables.hash_key = {11, 22};
        std::string problem;
        tables.match = *match_table(plan).build(problem);
        std::uint8_t family = plan.v6 ? 6 : 4;
        weir_vip_row vip{};
        vip.address = to_address(plan.vip());
        vip.port = vip.last_port = weir_swap16(80);
        vip.protocol = plan.protocol;
        vip.family = family;
        vip.forward = static_cast<std::uint8_t>(plan.mode);
        vip.flags = WEIR_VIP_SERVED;
        if (plan.mode != WEIR_FORWARD_FULL_NAT)
            vip.flags |= WEIR_VIP_HASH_RECOVERS;
        vip.timeouts = {30, 3600, 60, 10, 60};
        vip.on_backend_down = plan.protocol == 17 || plan.mode == WEIR_FORWARD_DSR_L2
                                  ? WEIR_BACKEND_DOWN_RESELECT
                                  : WEIR_BACKEND_DOWN_RESET;
        tables.vips = {vip};
        tables.pools.resize(1);
        tables.pools[0].slot_count = static_cast<std::uint32_t>(slots.size());
        tables.pools[0].member_count = 2;
        tables.pools[0].identity = 1;
        tables.members = {0, 1};
        for (std::uint32_t i = 0; i < 2; i++) {
            weir_backend_row backend{};
            backend.address = to_address(plan.backend(i));
            backend.port = weir_swap16(plan.backend_port);
            backend.state = static_cast<std::uint8_t>(states[i]);
            backend.family = family;
            backend.next_hop = i;
            backend.weight = 1;
            backend.identity = 1000 + i;
            tables.backends.push_back(backend);
            weir_next_hop_row hop{};
            std::memcpy(hop.destination_mac, backend_mac(i).data(), 6);
            std::memcpy(hop.source_mac, kOurMac.data(), 6);
            hop.vlan_tci = WEIR_NO_VLAN;
            hop.mtu = 1500;
            hop.resolved = 1;
            tables.next_hops.push_back(hop);
        }
        weir_snat_row snat{};
        snat.address = to_address(plan.snat());
        snat.first_port = 40000;
        snat.last_port = 40063;
        snat.family = family;
        tables.snat = {snat};
        weir_interface_row interface {};
        std::memcpy(interface.mac, kOurMac.data(), 6);
        interface.mtu = 1500;
        interface.vlan_tci = WEIR_NO_VLAN;
        tables.interfaces = {interface};
        for (const lb::Segment& segment : segments)
            tables.segments.push_back({segment.id, segment.slots.size_bytes()});
        tables.pools[0].oldest_segment = 1;
        change(tables);
        open(tables);
    }

    static lb::MatchTableBuilder match_table(const Plan& plan) {
        lb::MatchTableBuilder builder;
        weir_address vip = to_address(plan.vip());
        builder.add_port(vip, plan.protocol, weir_swap16(80), WEIR_MATCH_VIP, 0);
        builder.add_range(vip, plan.protocol, 81, 89, WEIR_MATCH_VIP, 0);
        builder.add_address(vip, WEIR_MATCH_VIP_ADDRESS);
        if (plan.mode == WEIR_FORWARD_FULL_NAT)
            builder.add_range(to_address(plan.snat()), plan.protocol, 40000, 40063, WEIR_MATCH_SNAT,
                              0);
        if (plan.mode == WEIR_FORWARD_NAT) {
            builder.set_flags(WEIR_MATCH_HAS_NAT);
            for (std::uint32_t i = 0; i < 2; i++)
                builder.add_port(to_address(plan.backend(i)), plan.protocol,
                                 weir_swap16(plan.backend_port), WEIR_MATCH_BACKEND, i);
        }
        return builder;
    }

    void open(const lb::StateTables& tables) {
        std::vector<std::byte> bytes = lb::build_root(tables);
        aligned.resize(bytes.size() + 64);
        void* at = aligned.data();
        std::size_t space = aligned.size();
        root = {static_cast<std::byte*>(std::align(64, bytes.size(), at, space)), bytes.size()};
        std::copy(bytes.begin(), bytes.end(), root.begin());
        std::string problem;
        state = lb::ForwardingState::open(root, segments, problem);
        if (!state)
            throw std::runtime_error(problem);
    }
};

} // namespace weir::dpdk
