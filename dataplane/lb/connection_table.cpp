// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_table.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace weir::lb {
namespace {

// Words that other processes read while we write; plain moves on x86.
template <class Word> void store_relaxed(Word* to, Word value) {
    __atomic_store_n(to, value, __ATOMIC_RELAXED);
}
void store_release(std::uint64_t* to, std::uint64_t value) {
    __atomic_store_n(to, value, __ATOMIC_RELEASE);
}
std::uint64_t* words_of(HotRow& row) {
    return reinterpret_cast<std::uint64_t*>(&row);
}
std::uint64_t* words_of(ColdRow& row) {
    return reinterpret_cast<std::uint64_t*>(&row);
}

// The fourth word of a hot row holds every field that changes while the connection lives.
void store_changing(HotRow& row, const HotRow& changed) {
    store_release(words_of(row) + 3, std::bit_cast<HotWords>(changed)[3]);
}

constexpr std::uint32_t kVipLimit = 1u << 16; // rows hold 16 bits

struct Layout {
    std::uint32_t vip_line;
    std::uint32_t hot_line;
    std::uint32_t cold_line;
    std::uint32_t index_line;
    std::uint64_t total_lines;
};

Layout layout_of(const TableGeometry& geometry) {
    const auto lines = [](std::uint64_t bytes) { return (bytes + 63) / 64; };
    std::uint64_t line = lines(sizeof(TableHeader));
    Layout layout{};
    layout.vip_line = static_cast<std::uint32_t>(line);
    line += lines(sizeof(VipUse) * std::uint64_t{geometry.vips});
    layout.hot_line = static_cast<std::uint32_t>(line);
    line += lines(sizeof(HotRow) * std::uint64_t{geometry.capacity});
    layout.cold_line = static_cast<std::uint32_t>(line);
    line += lines(sizeof(ColdRow) * std::uint64_t{geometry.capacity});
    layout.index_line = static_cast<std::uint32_t>(line);
    line += ConnectionIndex::buckets_needed(geometry.capacity);
    layout.total_lines = line;
    return layout;
}

std::uint32_t clamped_probation_limit(const TableGeometry& geometry) {
    return std::clamp<std::uint32_t>(geometry.probation_limit, 1, geometry.capacity);
}

TableHeader header_of(const TableGeometry& geometry) {
    const Layout layout = layout_of(geometry);
    TableHeader header{};
    header.magic = kTableMagic;
    header.layout_version = kTableLayoutVersion;
    header.header_bytes = sizeof(TableHeader);
    header.capacity = geometry.capacity;
    header.vips = geometry.vips;
    header.buckets = ConnectionIndex::buckets_needed(geometry.capacity);
    header.worker = geometry.worker;
    header.workers = geometry.workers;
    header.probation_limit = clamped_probation_limit(geometry);
    header.hot_offset_lines = layout.hot_line;
    header.cold_offset_lines = layout.cold_line;
    header.index_offset_lines = layout.index_line;
    header.vip_offset_lines = layout.vip_line;
    header.total_lines_low = static_cast<std::uint32_t>(layout.total_lines);
    header.total_lines_high = static_cast<std::uint32_t>(layout.total_lines >> 32);
    return header;
}

} // namespace

bool table_header_fits(const TableHeader& header, std::size_t bytes) {
    const TableGeometry geometry = {header.capacity, header.vips, header.worker, header.workers,
                                    header.probation_limit};
    if (geometry.capacity == 0 || geometry.vips == 0 || geometry.vips > kVipLimit ||
        bytes < ConnectionTable::bytes_needed(geometry))
        return false;
    TableHeader expected = header_of(geometry);
    expected.magic = header.magic;
    return std::memcmp(&header, &expected, offsetof(TableHeader, entries)) == 0;
}

std::size_t ConnectionTable::bytes_needed(const TableGeometry& geometry) {
    return layout_of(geometry).total_lines * 64;
}

void ConnectionTable::attach(std::span<std::byte> memory) {
    const auto at_line = [&](std::uint32_t line) {
        return static_cast<void*>(memory.data() + std::size_t{line} * 64);
    };
    header_ = static_cast<TableHeader*>(at_line(0));
    vips_ = static_cast<VipUse*>(at_line(header_->vip_offset_lines));
    hot_ = static_cast<HotRow*>(at_line(header_->hot_offset_lines));
    cold_ = static_cast<ColdRow*>(at_line(header_->cold_offset_lines));
    index_ = ConnectionIndex(static_cast<IndexBucket*>(at_line(header_->index_offset_lines)),
                             header_->buckets);
    capacity_ = header_->capacity;
    vip_count_ = header_->vips;
    probation_limit_ = header_->probation_limit;
}

ConnectionTable ConnectionTable::format(std::span<std::byte> memory,
                                        const TableGeometry& geometry) {
    assert(geometry.capacity > 0 && geometry.vips > 0 && geometry.vips <= kVipLimit);
    assert(memory.size() >= bytes_needed(geometry));
    assert(reinterpret_cast<std::uintptr_t>(memory.data()) % 64 == 0);
    TableHeader header = header_of(geometry);
    header.magic = 0; // not a table until it is complete
    std::memset(memory.data(), 0, bytes_needed(geometry));
    std::memcpy(memory.data(), &header, sizeof header);
    ConnectionTable table;
    table.attach(memory);
    table.rebuild();
    store_release(&table.header_->magic, kTableMagic);
    return table;
}

ConnectionTable::Adopted ConnectionTable::adopt(std::span<std::byte> memory,
                                                const TableGeometry& geometry) {
    Adopted result;
    TableHeader found;
    if (memory.size() < sizeof found || reinterpret_cast<std::uintptr_t>(memory.data()) % 64 != 0)
        return result;
    std::memcpy(&found, memory.data(), sizeof found);
    if (found.magic != kTableMagic)
        return result;
    result.outcome = Adoption::kOtherLayout;
    if (found.layout_version != kTableLayoutVersion || found.header_bytes != sizeof found)
        return result;
    result.outcome = Adoption::kOtherGeometry;
    TableHeader expected = header_of(geometry);
    found.probation_limit = expected.probation_limit; // may be another one now
    if (memory.size() < bytes_needed(geometry) ||
        std::memcmp(&found, &expected, offsetof(TableHeader, entries)) != 0)
        return result;

    std::memcpy(memory.data(), &expected, offsetof(TableHeader, entries));
    result.outcome = Adoption::kAdopted;
    result.table.attach(memory);
    std::uint32_t in_use = 0;
    for (EntryIndex entry = 0; entry < geometry.capacity; ++entry) {
        const HotRow& row = result.table.hot_[entry];
        in_use += row.state != kRowFree;
        result.half_open += row.state != kRowFree && (row.flags & kRowProbation) != 0;
    }
    result.table.rebuild();
    result.kept = result.table.entries();
    result.discarded = in_use - result.half_open - result.kept;
    return result;
}

// Index, free list and counts from the rows alone. Entries on probation are let go: their links
// cannot be trusted and their client will send its SYN again.
void ConnectionTable::rebuild() {
    index_.clear();
    for (std::uint32_t vip = 0; vip < vip_count_; ++vip)
        vips_[vip] = {0, 0, kNoEntry, kNoEntry};
    store_relaxed(&header_->entries, 0u);
    store_relaxed(&header_->probation_entries, 0u);
    free_.fill(kNoEntry);
    free_count_ = 0;
    constexpr EntryIndex kAhead = 16; // rows whose buckets are on their way
    for (EntryIndex entry = capacity_; entry-- > 0;) {
        const HotRow& row = hot_[entry];
        const ColdRow& cold_row = cold_[entry];
        if (entry >= kAhead) {
            index_.prefetch(cold_[entry - kAhead].forward_hash);
            index_.prefetch(cold_[entry - kAhead].reply_hash);
        }
        const bool trusted =
            row.state != kRowFree && (row.flags & kRowProbation) == 0 && row.vip < vip_count_ &&
            cold_row.check == row_check(row, cold_row.forward_hash, cold_row.reply_hash);
        NewConnection connection;
        if (trusted) {
            connection.key = forward_key(row.client, row.client_port, row.service_port, row.vip);
            connection.forward_hash = cold_row.forward_hash;
            connection.reply_hash = cold_row.reply_hash;
            connection.reply_indexed = (row.flags & kRowReplyIndexed) != 0;
        }
        const bool keep = trusted &&
                          find_forward(connection.forward_hash, connection.key) == kNoEntry &&
                          index_entry(entry, connection);
        if (keep)
            count(row.vip, 1);
        else
            give_free(entry);
    }
}

EntryIndex ConnectionTable::take_free() {
    EntryIndex& head = free_head(--free_count_);
    const EntryIndex entry = head;
    head = free_below(entry);
    if (head != kNoEntry) {
        __builtin_prefetch(&hot_[head], 1);
        __builtin_prefetch(&cold_[head], 1);
    }
    return entry;
}

void ConnectionTable::give_free(EntryIndex entry) {
    EntryIndex& head = free_head(free_count_++);
    store_release(words_of(hot_[entry]) + 3, 0);
    store_relaxed(words_of(hot_[entry]), std::uint64_t{head});
    head = entry;
}

bool ConnectionTable::index_entry(EntryIndex entry, const NewConnection& connection) {
    if (!index_.insert(connection.forward_hash, entry))
        return false;
    if (connection.reply_indexed && !index_.insert(connection.reply_hash, entry)) {
        index_.erase(connection.forward_hash, entry);
        return false;
    }
    return true;
}

void ConnectionTable::count(std::uint16_t vip, std::int32_t change) {
    const auto delta = static_cast<std::uint32_t>(change);
    store_relaxed(&header_->entries, header_->entries + delta);
    store_relaxed(&vips_[vip].entries, vips_[vip].entries + delta);
}

void ConnectionTable::write_row(EntryIndex entry, const NewConnection& connection,
                                std::uint16_t now_s) {
    assert(connection.state != kRowFree && connection.backend < kBackendRowLimit);
    const auto vip = static_cast<std::uint16_t>(connection.key.ports_and_vip >> 32);
    std::uint8_t flags = connection.caller_flags & kRowCallerFlags;
    if (connection.reply_indexed)
        flags |= kRowReplyIndexed;
    if (connection.probation)
        flags |= kRowProbation;

    const HotWords words = {connection.key.client_high, connection.key.client_low,
                            (connection.key.ports_and_vip & kPortsAndVipMask) |
                                std::uint64_t{connection.snat_port} << 48,
                            RowTail::word_of(connection.backend, connection.last_hop,
                                             connection.snat_address, connection.state, flags,
                                             now_s)};
    const std::uint32_t reply_hash = connection.reply_indexed ? connection.reply_hash : 0;
    for (std::size_t word = 0; word < 3; ++word)
        store_relaxed(words_of(hot_[entry]) + word, words[word]);
    store_relaxed(words_of(cold_[entry]),
                  std::uint64_t{connection.forward_hash} | std::uint64_t{reply_hash} << 32);
    if (connection.probation)
        append_probation(entry, vip);
    else
        begin_life(entry,
                   row_check(std::bit_cast<HotRow>(words), connection.forward_hash, reply_hash),
                   now_s);
    // Makes the row live, and so comes last.
    store_release(words_of(hot_[entry]) + 3, words[3]);
    count(vip, 1);
}

void ConnectionTable::begin_life(EntryIndex entry, std::uint32_t check, std::uint16_t now_s) {
    ColdRow row{};
    row.check = check;
    row.life = {0, now_s};
    store_relaxed(words_of(cold_[entry]) + 1, std::bit_cast<ColdWords>(row)[1]);
}

void ConnectionTable::append_probation(EntryIndex entry, std::uint16_t vip) {
    VipUse& use = vips_[vip];
    store_relaxed(&cold_[entry].probation_older, use.probation_newest);
    store_relaxed(&cold_[entry].probation_newer, kNoEntry);
    if (use.probation_newest == kNoEntry)
        use.probation_oldest = entry;
    else
        store_relaxed(&cold_[use.probation_newest].probation_newer, entry);
    use.probation_newest = entry;
    store_relaxed(&use.probation_entries, use.probation_entries + 1);
    store_relaxed(&header_->probation_entries, header_->probation_entries + 1);
    if (use.probation_entries > vips_[heaviest_vip_].probation_entries)
        heaviest_vip_ = vip;
}

void ConnectionTable::unlink_probation(EntryIndex entry) {
    VipUse& use = vips_[hot_[entry].vip];
    const EntryIndex older = cold_[entry].probation_older;
    const EntryIndex newer = cold_[entry].probation_newer;
    if (older == kNoEntry)
        use.probation_oldest = newer;
    else
        store_relaxed(&cold_[older].probation_newer, newer);
    if (newer == kNoEntry)
        use.probation_newest = older;
    else
        store_relaxed(&cold_[newer].probation_older, older);
    store_relaxed(&use.probation_entries, use.probation_entries - 1);
    store_relaxed(&header_->probation_entries, header_->probation_entries - 1);
}

// The oldest of the VIP that fills the tier, so that a flood of one VIP recycles its own entries.
// When that VIP has just emptied its list nobody is flooding, and any other will do.
EntryIndex ConnectionTable::probation_victim(std::uint16_t own_vip) {
    if (header_->probation_entries == 0)
        return kNoEntry;
    if (vips_[heaviest_vip_].probation_entries == 0)
        heaviest_vip_ = own_vip;
    constexpr int kVipsSearched = 64;
    for (int step = 0; step < kVipsSearched; ++step) {
        if (vips_[heaviest_vip_].probation_entries > 0)
            break;
        const std::uint32_t next = heaviest_vip_ + 1u;
        heaviest_vip_ = static_cast<std::uint16_t>(next == vip_count_ ? 0 : next);
    }
    return vips_[heaviest_vip_].probation_oldest;
}

// In a flood each newcomer pushes one out, of the same list: the next one's index lines are sent
// for, and the rows of the one behind it.
void ConnectionTable::send_for_victims_behind(EntryIndex victim) const {
    const EntryIndex next = cold_[victim].probation_newer;
    if (next == kNoEntry)
        return;
    index_.prefetch(cold_[next].forward_hash);
    if ((hot_[next].flags & kRowReplyIndexed) != 0)
        index_.prefetch(cold_[next].reply_hash);
    const EntryIndex behind = cold_[next].probation_newer;
    if (behind != kNoEntry) {
        __builtin_prefetch(&hot_[behind], 1);
        __builtin_prefetch(&cold_[behind], 1);
    }
}

void ConnectionTable::confirm(EntryIndex entry, std::uint16_t now_s) {
    const ColdRow& hashes = cold_[entry];
    begin_life(entry, row_check(hot_[entry], hashes.forward_hash, hashes.reply_hash), now_s);
    HotRow changed = hot_[entry];
    changed.flags = changed.flags & ~unsigned{kRowProbation} & 0xf;
    store_changing(hot_[entry], changed);
}

void ConnectionTable::promote(EntryIndex entry, std::uint16_t now_s) {
    if (!on_probation(entry))
        return;
    unlink_probation(entry);
    confirm(entry, now_s);
}

InsertResult ConnectionTable::restore(const HotRow& row, const ColdRow& hashes) {
    assert(row.state != kRowFree && (row.flags & kRowProbation) == 0 && row.vip < vip_count_);
    NewConnection connection;
    connection.key = forward_key(row.client, row.client_port, row.service_port, row.vip);
    connection.forward_hash = hashes.forward_hash;
    connection.reply_hash = hashes.reply_hash;
    connection.reply_indexed = (row.flags & kRowReplyIndexed) != 0;
    if (const EntryIndex same = find_forward(connection.forward_hash, connection.key);
        same != kNoEntry)
        return {InsertOutcome::kExists, same};
    if (free_count_ == 0)
        return {InsertOutcome::kTableFull, kNoEntry};
    const EntryIndex entry = free_head(free_count_ - 1);
    if (!index_entry(entry, connection))
        return {InsertOutcome::kBucketFull, kNoEntry};
    take_free();
    ColdRow cold_row = hashes;
    cold_row.check = row_check(row, cold_row.forward_hash, cold_row.reply_hash);
    const auto cold_words = std::bit_cast<ColdWords>(cold_row);
    store_relaxed(words_of(cold_[entry]), cold_words[0]);
    store_relaxed(words_of(cold_[entry]) + 1, cold_words[1]);
    const auto hot_words = std::bit_cast<HotWords>(row);
    for (std::size_t word = 0; word < 3; ++word)
        store_relaxed(words_of(hot_[entry]) + word, hot_words[word]);
    store_changing(hot_[entry], row);
    count(row.vip, 1);
    return {InsertOutcome::kInserted, entry};
}

void ConnectionTable::amend(EntryIndex entry, std::uint16_t last_hop, std::uint8_t caller_flags) {
    HotRow changed = hot_[entry];
    changed.last_hop = last_hop & kNoLastHop;
    changed.flags = ((changed.flags & ~unsigned{kRowCallerFlags}) |
                     (caller_flags & unsigned{kRowCallerFlags})) &
                    0xf;
    store_changing(hot_[entry], changed);
}

void ConnectionTable::erase(EntryIndex entry) {
    const HotRow& row = hot_[entry];
    assert(row.state != kRowFree);
    index_.erase(cold_[entry].forward_hash, entry);
    if ((row.flags & kRowReplyIndexed) != 0)
        index_.erase(cold_[entry].reply_hash, entry);
    if ((row.flags & kRowProbation) != 0)
        unlink_probation(entry);
    count(row.vip, -1);
    give_free(entry);
}

} // namespace weir::lb
