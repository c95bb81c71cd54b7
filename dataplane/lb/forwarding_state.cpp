// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/forwarding_state.hpp"

#include "dataplane/forwarding/hash.h"
#include "dataplane/forwarding/select.h"

#include <algorithm>
#include <bit>

namespace weir::lb {
namespace {

// Slot tables are identified by content under a fixed key: equal tables are equal on every node.
constexpr weir_hash_key kSegmentKey = {0x5765697253656731, 0x736c6f742d746162};

std::string too_small(std::size_t bytes) {
    return "the root is " + std::to_string(bytes) + " bytes, shorter than its header";
}

bool check_header(std::span<const std::byte> root, std::string& problem) {
    if (root.size() < sizeof(StateHeader)) {
        problem = too_small(root.size());
        return false;
    }
    if (reinterpret_cast<std::uintptr_t>(root.data()) % 64 != 0) {
        problem = "the root is not mapped at a 64-byte boundary";
        return false;
    }
    const auto& header = *reinterpret_cast<const StateHeader*>(root.data());
    if (header.magic != kStateMagic || header.version != kStateVersion) {
        problem = "the root has another layout version: both programs must be of the same release";
        return false;
    }
    if (header.total_bytes > root.size() || header.total_bytes < sizeof(StateHeader)) {
        problem = "the root says it has " + std::to_string(header.total_bytes) + " bytes but " +
                  std::to_string(root.size()) + " are there";
        return false;
    }
    if (header.generation == 0) {
        problem = "generation 0 is not a generation";
        return false;
    }
    return true;
}

// Turns a descriptor into a span after checking that all its rows lie inside the root.
template <class Row>
bool take(std::span<const std::byte> root, const TableDescriptor& table, std::size_t limit,
          const char* name, std::span<const Row>& rows, std::string& problem) {
    const auto& header = *reinterpret_cast<const StateHeader*>(root.data());
    bool shaped = table.row_bytes == sizeof(Row) && table.offset % 64 == 0 &&
                  table.offset >= sizeof(StateHeader) && table.offset <= header.total_bytes;
    if (!shaped || table.count > limit ||
        (header.total_bytes - table.offset) / sizeof(Row) < table.count) {
        problem = std::string("table '") + name + "' does not lie inside the root";
        return false;
    }
    rows = {reinterpret_cast<const Row*>(root.data() + table.offset), table.count};
    return true;
}

bool fail(std::string& problem, const char* table, std::size_t row, const char* what) {
    problem = std::string(table) + " row " + std::to_string(row) + ": " + what;
    return false;
}

bool check_vips(std::span<const weir_vip_row> vips, std::size_t pools, std::string& problem) {
    for (std::size_t i = 0; i < vips.size(); i++) {
        const weir_vip_row& vip = vips[i];
        if (!(vip.flags & WEIR_VIP_SERVED))
            continue;
        if (vip.pool >= pools)
            return fail(problem, "vip", i, "names a pool that is not there");
        if (vip.forward < WEIR_FORWARD_DSR_L2 || vip.forward > WEIR_FORWARD_DSR_GUE)
            return fail(problem, "vip", i, "has an unknown forwarding mode");
        if (vip.family != 4 && vip.family != 6)
            return fail(problem, "vip", i, "has an unknown address family");
    }
    return true;
}

bool check_node(const weir_node_row& node, std::string& problem) {
    for (std::uint32_t count : {node.tunnel_source_v4_count, node.tunnel_source_v6_count})
        if (count != 0 && !std::has_single_bit(count))
            return fail(problem, "node", 0, "has tunnel sources that are no power of two");
    return true;
}

bool check_pool(const weir_pool_row& pool, std::size_t row, std::string& problem) {
    if (pool.scheduler > WEIR_SCHEDULE_LEAST)
        return fail(problem, "pool", row, "has an unknown scheduler");
    if (pool.persistence_s != 0 &&
        (pool.persistence_prefix_v4 > 32 || pool.persistence_prefix_v6 > 128))
        return fail(problem, "pool", row, "has a persistence prefix longer than an address");
    return true;
}

bool check_backends(std::span<const weir_backend_row> backends, std::size_t next_hops,
                    std::size_t pools, std::string& problem) {
    for (std::size_t i = 0; i < backends.size(); i++) {
        const weir_backend_row& backend = backends[i];
        if (backend.state > WEIR_BACKEND_DOWN)
            return fail(problem, "backend", i, "has an unknown state");
        if (backend.next_hop != WEIR_NO_ROW && backend.next_hop >= next_hops)
            return fail(problem, "backend", i, "names a next hop that is not there");
        if (backend.pool != WEIR_NO_ROW && backend.pool >= pools)
            return fail(problem, "backend", i, "names a pool that is not there");
        if (backend.state != WEIR_BACKEND_FREE && backend.family != 4 && backend.family != 6)
            return fail(problem, "backend", i, "has an unknown address family");
    }
    return true;
}

bool check_index(std::uint8_t kind, std::uint32_t index, std::size_t vips, std::size_t snat,
                 std::size_t backends) {
    switch (kind) {
    case WEIR_MATCH_BACKEND:
        return index < backends;
    case WEIR_MATCH_VIP:
        return index < vips;
    case WEIR_MATCH_SNAT:
        return index < snat;
    default:
        return kind <= WEIR_MATCH_RANGES;
    }
}

bool served(std::uint8_t kind, std::uint32_t index, std::span<const weir_vip_row> vips) {
    return kind != WEIR_MATCH_VIP || (vips[index].flags & WEIR_VIP_SERVED);
}

std::unique_ptr<const AddressFilter> addresses_of(std::span<const weir_match_row> rows) {
    auto filter = std::make_unique<AddressFilter>();
    for (const weir_match_row& row : rows)
        if (row.kind != WEIR_MATCH_EMPTY)
            filter->add(row.address);
    return filter;
}

} // namespace

Segment inspect_segment(std::uint64_t id, std::span<const std::uint16_t> slots) {
    Segment segment{id, slots, 0};
    for (std::uint16_t slot : slots)
        if (slot != WEIR_NO_MEMBER)
            segment.member_bound = std::max(segment.member_bound, std::uint32_t{slot} + 1);
    return segment;
}

std::uint64_t segment_id(std::span<const std::uint16_t> slots) {
    std::vector<std::uint64_t> words(slots.size() / 4 + 1);
    std::copy_n(reinterpret_cast<const std::byte*>(slots.data()), slots.size_bytes(),
                reinterpret_cast<std::byte*>(words.data()));
    words.back() |= std::uint64_t{slots.size_bytes() & 0xff} << 56;
    return weir_siphash13(&kSegmentKey, words.data(), static_cast<unsigned>(words.size()));
}

std::optional<std::vector<SegmentRow>> ForwardingState::segments_of(std::span<const std::byte> root,
                                                                    std::string& problem) {
    if (!check_header(root, problem))
        return std::nullopt;
    const auto& header = *reinterpret_cast<const StateHeader*>(root.data());
    std::span<const SegmentRow> rows;
    if (!take(root, header.segments, std::size_t{2} * WEIR_MAX_POOLS, "segments", rows, problem))
        return std::nullopt;
    for (std::size_t i = 0; i < rows.size(); i++) {
        if (rows[i].bytes > WEIR_MAGLEV_MAX_SIZE * sizeof(std::uint16_t)) {
            fail(problem, "segment", i, "is larger than a slot table can be");
            return std::nullopt;
        }
    }
    return std::vector<SegmentRow>(rows.begin(), rows.end());
}

std::optional<ForwardingState> ForwardingState::open(std::span<const std::byte> root,
                                                     std::span<const Segment> segments,
                                                     std::string& problem) {
    if (!check_header(root, problem))
        return std::nullopt;
    ForwardingState state;
    state.header_ = reinterpret_cast<const StateHeader*>(root.data());
    const StateHeader& h = *state.header_;
    bool taken =
        take(root, h.match_rows, WEIR_MATCH_MAX_ROWS, "match", state.match_rows_, problem) &&
        take(root, h.ranges, WEIR_MAX_RANGES, "ranges", state.ranges_, problem) &&
        take(root, h.vips, WEIR_MAX_VIPS, "vips", state.vips_, problem) &&
        take(root, h.pools, WEIR_MAX_POOLS, "pools", state.pools_, problem) &&
        take(root, h.members, std::size_t{2} * WEIR_MAX_BACKENDS, "members", state.members_,
             problem) &&
        take(root, h.backends, WEIR_MAX_BACKENDS, "backends", state.backends_, problem) &&
        take(root, h.next_hops, WEIR_MAX_NEXT_HOPS, "next_hops", state.next_hops_, problem) &&
        take(root, h.snat, WEIR_MAX_SNAT_ADDRESSES, "snat", state.snat_, problem) &&
        take(root, h.interfaces, WEIR_MAX_INTERFACES, "interfaces", state.interfaces_, problem) &&
        take(root, h.segments, std::size_t{2} * WEIR_MAX_POOLS, "segments", state.segment_rows_,
             problem);
    if (!taken)
        return std::nullopt;
    state.match_ = {
        state.match_rows_.data(), state.ranges_.data(), h.match.mask, h.match.seed, h.match.flags,
        h.match.gue_port};
    if (segments.size() != state.segment_rows_.size()) {
        problem = "the root needs " + std::to_string(state.segment_rows_.size()) +
                  " slot tables, " + std::to_string(segments.size()) + " are there";
        return std::nullopt;
    }
    for (std::size_t i = 0; i < segments.size(); i++) {
        if (segments[i].id != state.segment_rows_[i].id) {
            fail(problem, "segment", i, "is not the one the root names");
            return std::nullopt;
        }
        state.slots_.push_back(segments[i].slots);
        state.member_bounds_.push_back(segments[i].member_bound);
    }
    if (!state.check_tables(problem))
        return std::nullopt;
    state.has_persistence_ = std::any_of(state.pools_.begin(), state.pools_.end(),
                                         [](const auto& pool) { return pool.persistence_s != 0; });
    if ((state.match_.flags & WEIR_MATCH_HAS_NAT) != 0)
        state.addresses_ = addresses_of(state.match_rows_);
    return state;
}

bool ForwardingState::check_tables(std::string& problem) const {
    if (!std::has_single_bit(match_rows_.size()) || match_.mask != match_rows_.size() - 1) {
        problem = "the match table's size is not the power of two its mask says";
        return false;
    }
    if (!check_node(header_->node, problem) || !check_vips(vips_, pools_.size(), problem) ||
        !check_backends(backends_, next_hops_.size(), pools_.size(), problem))
        return false;
    for (std::size_t i = 0; i < pools_.size(); i++) {
        const weir_pool_row& pool = pools_[i];
        if (!check_pool(pool, i, problem))
            return false;
        if (std::uint64_t{pool.member_first} + pool.member_count + pool.elder_count >
            members_.size())
            return fail(problem, "pool", i, "has members that are not there");
        if (pool.slot_count == 0)
            continue;
        if (pool.segment >= slots_.size() || slots_[pool.segment].size() < pool.slot_count)
            return fail(problem, "pool", i, "names a slot table that is not there");
        if (member_bounds_[pool.segment] > pool.member_count)
            return fail(problem, "pool", i, "has slots of members that are not there");
        if (pool.elder_count == 0)
            continue;
        if (pool.oldest_segment >= slots_.size() ||
            slots_[pool.oldest_segment].size() < pool.slot_count ||
            member_bounds_[pool.oldest_segment] > pool.elder_count)
            return fail(problem, "pool", i, "remembers slots that are not there");
    }
    for (std::size_t i = 0; i < members_.size(); i++)
        if (members_[i] >= backends_.size())
            return fail(problem, "member", i, "names a backend that is not there");
    for (std::size_t i = 0; i < next_hops_.size(); i++)
        if (next_hops_[i].interface >= interfaces_.size())
            return fail(problem, "next_hop", i, "names an interface that is not there");
    for (std::size_t i = 0; i < snat_.size(); i++)
        if (snat_[i].first_port == 0 || snat_[i].first_port > snat_[i].last_port)
            return fail(problem, "snat", i, "has an empty port range");
    for (std::size_t i = 0; i < ranges_.size(); i++)
        if (!check_index(ranges_[i].kind, ranges_[i].index, vips_.size(), snat_.size(),
                         backends_.size()) ||
            !served(ranges_[i].kind, ranges_[i].index, vips_))
            return fail(problem, "range", i, "names a row that is not there");
    for (std::size_t i = 0; i < match_rows_.size(); i++) {
        const weir_match_row& row = match_rows_[i];
        bool ranged = row.kind == WEIR_MATCH_RANGES;
        std::uint8_t kind = ranged ? row.default_kind : row.kind;
        if (kind == WEIR_MATCH_RANGES ||
            !check_index(kind, row.index, vips_.size(), snat_.size(), backends_.size()) ||
            !served(kind, row.index, vips_))
            return fail(problem, "match", i, "names a row that is not there");
        if (ranged && (std::uint32_t{row.range_first} + row.range_count > ranges_.size() ||
                       row.range_count > WEIR_MAX_RANGES_PER_ADDRESS))
            return fail(problem, "match", i, "names ranges that are not there");
    }
    return true;
}

} // namespace weir::lb
