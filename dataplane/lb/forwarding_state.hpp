// SPDX-License-Identifier: BSD-3-Clause
// ForwardingState: everything a worker needs to know to forward, as one immutable generation.
//
// A generation is made of segments: one small root (this header and the tables of rows.h) and one
// slot table per pool (slot_count x uint16_t), which generations share as long as it does not
// change. All references are row ids and offsets, so the bytes mean the same wherever they are
// mapped. Control builds (StateTables, build_root), the engine validates and reads
// (ForwardingState::open). No byte string may crash or misdirect a reader that open() accepted:
// every index and length is checked there, once, and never on the packet path.
//
// Thread ownership: immutable after open(); any thread may read.
#pragma once

#include "dataplane/forwarding/match.h"
#include "dataplane/forwarding/rows.h"
#include "dataplane/forwarding/select.h"
#include "dataplane/lb/address_filter.hpp"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace weir::lb {

inline constexpr std::uint64_t kStateMagic = 0x3154535249455700; // "\0WEIRST1"
inline constexpr std::uint32_t kStateVersion = 3;

struct TableDescriptor {
    std::uint64_t offset; // bytes from the start of the root, 64-byte aligned
    std::uint32_t count;  // rows
    std::uint32_t row_bytes;
};

// A slot table the root refers to. The id is a hash of its content, so equal tables are one
// segment.
struct SegmentRow {
    std::uint64_t id;
    std::uint64_t bytes;
};

struct StateHeader {
    std::uint64_t magic;
    std::uint32_t version;
    std::uint32_t reserved;
    std::uint64_t total_bytes;
    std::uint64_t generation; // grows by one with every publication; never 0
    weir_hash_key hash_key;
    weir_match_header match;
    weir_node_row node;
    TableDescriptor match_rows; // weir_match_row
    TableDescriptor ranges;     // weir_range_row
    TableDescriptor vips;       // weir_vip_row
    TableDescriptor pools;      // weir_pool_row
    TableDescriptor members;    // uint32_t: backend row ids
    TableDescriptor backends;   // weir_backend_row
    TableDescriptor next_hops;  // weir_next_hop_row
    TableDescriptor snat;       // weir_snat_row
    TableDescriptor interfaces; // weir_interface_row
    TableDescriptor segments;   // SegmentRow
};

// A mapped slot table with the facts about its content that validation needs, found once per map.
struct Segment {
    std::uint64_t id = 0;
    std::span<const std::uint16_t> slots;
    std::uint32_t member_bound = 0; // largest member index in use + 1; 0 when no slot has a member
};
Segment inspect_segment(std::uint64_t id, std::span<const std::uint16_t> slots);
std::uint64_t segment_id(std::span<const std::uint16_t> slots);

// A validated generation. Does not own the memory it reads.
class ForwardingState {
public:
    // Reads only the list of segments a root needs, before they are all there. Empty optional and
    // `problem` when the root is not a root.
    static std::optional<std::vector<SegmentRow>> segments_of(std::span<const std::byte> root,
                                                              std::string& problem);

    // Validates everything. `segments` are in the order of the root's segment list.
    static std::optional<ForwardingState>
    open(std::span<const std::byte> root, std::span<const Segment> segments, std::string& problem);

    const StateHeader& header() const { return *header_; }
    std::uint64_t generation() const { return header_->generation; }
    const weir_hash_key& hash_key() const { return header_->hash_key; }
    const weir_match_view& match() const { return match_; }
    const weir_node_row& node() const { return header_->node; }
    std::span<const weir_match_row> match_rows() const { return match_rows_; }
    std::span<const weir_range_row> ranges() const { return ranges_; }
    std::span<const weir_vip_row> vips() const { return vips_; }
    std::span<const weir_pool_row> pools() const { return pools_; }
    std::span<const std::uint32_t> members() const { return members_; }
    std::span<const weir_backend_row> backends() const { return backends_; }
    std::span<const weir_next_hop_row> next_hops() const { return next_hops_; }
    std::span<const weir_snat_row> snat() const { return snat_; }
    std::span<const weir_interface_row> interfaces() const { return interfaces_; }
    std::span<const SegmentRow> segment_rows() const { return segment_rows_; }
    std::span<const std::uint16_t> slots(const weir_pool_row& pool) const {
        return slots_[pool.segment];
    }

    std::span<const std::uint32_t> members_of(const weir_pool_row& pool) const {
        return members_.subspan(pool.member_first, pool.member_count);
    }
    std::span<const std::uint32_t> elders_of(const weir_pool_row& pool) const {
        return members_.subspan(pool.member_first + pool.member_count, pool.elder_count);
    }
    // Empty while no slot has changed of late.
    std::span<const std::uint16_t> oldest_slots(const weir_pool_row& pool) const {
        return pool.elder_count == 0 ? std::span<const std::uint16_t>{}
                                     : slots_[pool.oldest_segment];
    }

    // The backend row that a hash selects in a pool, or WEIR_NO_ROW when the pool has none. For
    // maglev and source-hash; which hash: weir_slot_hash().
    std::uint32_t select(const weir_pool_row& pool, std::uint64_t slot_hash) const {
        return pool.slot_count == 0 ? WEIR_NO_ROW : member_in(pool, *slot_of(pool, slot_hash));
    }

    // The two halves of select(), for a caller that has the slot fetched in between. REQUIRES:
    // pool.slot_count != 0.
    const std::uint16_t* slot_of(const weir_pool_row& pool, std::uint64_t slot_hash) const {
        return &slots_[pool.segment][weir_maglev_slot(slot_hash, pool.slot_count)];
    }
    std::uint32_t member_in(const weir_pool_row& pool, std::uint16_t slot) const {
        return slot == WEIR_NO_MEMBER ? WEIR_NO_ROW : members_[pool.member_first + slot];
    }

    // Likewise of oldest(). REQUIRES: pool.elder_count != 0.
    const std::uint16_t* oldest_slot_of(const weir_pool_row& pool, std::uint64_t slot_hash) const {
        return &slots_[pool.oldest_segment][weir_maglev_slot(slot_hash, pool.slot_count)];
    }

    // The backend row that the hash's slot had before it changed, while flows of that time may be
    // alive (exceptions.h); else WEIR_NO_ROW.
    std::uint32_t oldest(const weir_pool_row& pool, std::uint64_t slot_hash) const {
        if (pool.elder_count == 0) [[likely]]
            return WEIR_NO_ROW;
        const std::uint16_t elder = *oldest_slot_of(pool, slot_hash);
        return elder == WEIR_NO_MEMBER ? WEIR_NO_ROW
                                       : members_[pool.member_first + pool.member_count + elder];
    }

    // False: the match table has nothing at this address. REQUIRES: WEIR_MATCH_HAS_NAT.
    bool may_know(const weir_address& address) const { return addresses_->may_have(address); }

    // The pool whose persistence decides who owns a packet of this VIP, or of a reply of this
    // backend; null when no pool of the generation has any.
    const weir_pool_row* persistence_of_vip(std::uint32_t vip) const {
        if (!has_persistence_ || vips_[vip].pool >= pools_.size()) // a VIP no longer served
            return nullptr;
        return &pools_[vips_[vip].pool];
    }
    const weir_pool_row* persistence_of_backend(std::uint32_t backend) const {
        if (!has_persistence_ || backends_[backend].pool == WEIR_NO_ROW)
            return nullptr;
        return &pools_[backends_[backend].pool];
    }

private:
    ForwardingState() = default;
    bool check_tables(std::string& problem) const;

    const StateHeader* header_ = nullptr;
    weir_match_view match_{};
    std::span<const weir_match_row> match_rows_;
    std::span<const weir_range_row> ranges_;
    std::span<const weir_vip_row> vips_;
    std::span<const weir_pool_row> pools_;
    std::span<const std::uint32_t> members_;
    std::span<const weir_backend_row> backends_;
    std::span<const weir_next_hop_row> next_hops_;
    std::span<const weir_snat_row> snat_;
    std::span<const weir_interface_row> interfaces_;
    std::span<const SegmentRow> segment_rows_;
    std::vector<std::span<const std::uint16_t>> slots_;
    std::vector<std::uint32_t> member_bounds_;
    std::unique_ptr<const AddressFilter> addresses_; // of a table with WEIR_MATCH_HAS_NAT
    bool has_persistence_ = false;
};

} // namespace weir::lb
