// SPDX-License-Identifier: BSD-3-Clause
// A small valid generation, and a reader that goes everywhere a worker could go: for the tests and
// the fuzzer of ForwardingState.
#pragma once

#include "dataplane/lb/forwarding_state.hpp"
#include "dataplane/lb/state_builder.hpp"

#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>

namespace weir::lb {

// A root at a 64-byte boundary, as a mapping gives it.
struct Root {
    explicit Root(const std::vector<std::byte>& bytes)
        : size(bytes.size()),
          at(static_cast<std::byte*>(std::aligned_alloc(64, (bytes.size() + 63) / 64 * 64))) {
        std::memcpy(at.get(), bytes.data(), size);
    }
    std::span<const std::byte> span() const { return {at.get(), size}; }
    StateHeader& header() { return *reinterpret_cast<StateHeader*>(at.get()); }
    template <class Row> Row* rows(const TableDescriptor& table) {
        return reinterpret_cast<Row*>(at.get() + table.offset);
    }
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    std::size_t size;
    std::unique_ptr<std::byte, Free> at;
};

// One VIP, one pool of two backends over 7 slots.
struct Sample {
    Sample() {
        slots = {0, 1, 0, 1, 0, 1, 0};
        segment = inspect_segment(segment_id(slots), slots);
        MatchTableBuilder builder;
        weir_address vip = weir_address_from_v4(0x0a7100cb);
        builder.add_port(vip, 6, weir_swap16(80), WEIR_MATCH_VIP, 0);
        builder.add_range(vip, 6, 9000, 9009, WEIR_MATCH_VIP, 0);
        builder.add_address(vip, WEIR_MATCH_VIP_ADDRESS);
        tables.generation = 3;
        tables.match = *builder.build(problem);
        tables.vips.resize(1);
        tables.vips[0].flags = WEIR_VIP_SERVED;
        tables.vips[0].forward = WEIR_FORWARD_NAT;
        tables.vips[0].family = 4;
        tables.pools = {{0, 7, 0, 2, 1, {}}};
        tables.members = {0, 1};
        tables.backends.resize(2);
        for (auto& backend : tables.backends) {
            backend.state = WEIR_BACKEND_UP;
            backend.family = 4;
        }
        tables.next_hops.resize(1);
        tables.snat.resize(1);
        tables.snat[0].first_port = 40000;
        tables.snat[0].last_port = 59999;
        tables.interfaces.resize(1);
        tables.segments = {{segment.id, slots.size() * 2}};
    }
    bool opens(const Root& root) {
        return ForwardingState::open(root.span(), std::span(&segment, 1), problem).has_value();
    }
    std::vector<std::uint16_t> slots;
    Segment segment;
    StateTables tables;
    std::string problem;
};

// Reads everything a worker could reach from an accepted state.
inline std::uint64_t walk(const ForwardingState& state, std::mt19937_64& random) {
    std::uint64_t seen = 0;
    for (int i = 0; i < 64; i++) {
        weir_address address =
            i % 2 ? weir_address_from_v4(0x0a7100cb) : weir_address{{random(), random()}};
        auto port = static_cast<weir_be16>(i % 4 == 1 ? weir_swap16(80) : random());
        weir_match match = weir_match_endpoint(&state.match(), &address, 6, port);
        seen += match.kind;
        if (match.kind == WEIR_MATCH_SNAT)
            seen += state.snat()[match.index].first_port;
        if (match.kind != WEIR_MATCH_VIP)
            continue;
        const weir_vip_row& vip = state.vips()[match.index];
        std::uint32_t backend = state.select(state.pools()[vip.pool], random());
        if (backend == WEIR_NO_ROW)
            continue;
        std::uint32_t next_hop = state.backends()[backend].next_hop;
        if (next_hop != WEIR_NO_ROW)
            seen += state.interfaces()[state.next_hops()[next_hop].interface].mtu;
    }
    return seen;
}

} // namespace weir::lb
