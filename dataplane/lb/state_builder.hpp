// SPDX-License-Identifier: BSD-3-Clause
// Builds the bytes of a ForwardingState generation. Used by the control process's compiler and by
// tests; knows the layout, not the policy.
#pragma once

#include "dataplane/lb/forwarding_state.hpp"

#include <map>
#include <tuple>

namespace weir::lb {

// The finished match table, as it stands in the root and in the BPF maps.
struct MatchTable {
    weir_match_header header{};
    std::vector<weir_range_row> ranges;
    std::vector<weir_match_row> rows;
};

// Collects what endpoints mean, then lays the open-addressed table out. Later additions of the same
// exact endpoint or address replace earlier ones.
class MatchTableBuilder {
public:
    // One port of an address. REQUIRES: port != 0.
    void add_port(const weir_address& address, std::uint8_t protocol, weir_be16 port,
                  weir_match_kind kind, std::uint32_t index);
    // Ports first..last (host order, both included). Ranges of one address and protocol must not
    // overlap.
    void add_range(const weir_address& address, std::uint8_t protocol, std::uint16_t first,
                   std::uint16_t last, weir_match_kind kind, std::uint32_t index);
    // Every port that nothing more specific names.
    void add_all_ports(const weir_address& address, std::uint8_t protocol, weir_match_kind kind,
                       std::uint32_t index);
    // LOCAL or VIP_ADDRESS.
    void add_address(const weir_address& address, weir_match_kind kind);
    void set_flags(std::uint32_t flags) { flags_ = flags; }

    // The table, or nullopt and `problem` when a limit of limits.h is exceeded.
    std::optional<MatchTable> build(std::string& problem) const;

private:
    using AddressKey = std::pair<std::uint64_t, std::uint64_t>;
    struct Wide { // what one address and protocol mean beyond exact ports
        std::vector<weir_range_row> ranges;
        std::uint8_t default_kind = WEIR_MATCH_EMPTY;
        std::uint32_t default_index = WEIR_NO_ROW;
    };
    std::vector<weir_match_row> keyed_rows(std::vector<weir_range_row>& ranges,
                                           std::string& problem) const;

    std::map<std::tuple<AddressKey, std::uint8_t, weir_be16>, weir_match_row> exact_;
    std::map<std::pair<AddressKey, std::uint8_t>, Wide> wide_;
    std::uint32_t flags_ = 0;
};

// All tables of a generation in build order. Pools refer to `segments` by index.
struct StateTables {
    std::uint64_t generation = 0;
    weir_hash_key hash_key{};
    MatchTable match;
    weir_node_row node{};
    std::vector<weir_vip_row> vips;
    std::vector<weir_pool_row> pools;
    std::vector<std::uint32_t> members;
    std::vector<weir_backend_row> backends;
    std::vector<weir_next_hop_row> next_hops;
    std::vector<weir_snat_row> snat;
    std::vector<weir_interface_row> interfaces;
    std::vector<SegmentRow> segments;
};

// The root's bytes. What comes out passes ForwardingState::open when the rows are consistent.
std::vector<std::byte> build_root(const StateTables& tables);

} // namespace weir::lb
