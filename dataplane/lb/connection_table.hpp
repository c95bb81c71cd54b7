// SPDX-License-Identifier: BSD-3-Clause
// A worker's connection table: fixed capacity, memory supplied by the caller, no allocation, no
// clock, no hash function of its own. One worker owns a table and is the only one to call anything
// here; other processes read the same memory through connection_reader.hpp. Layout and byte budget:
// docs/connection-table.md.
//
// A lookup comes in stages, so that a burst overlaps its cache misses:
//   prefetch_index(h) for all packets, prefetch_row(h) for all, then find_forward/find_reply.
// `h` is index_hash(keyed 64-bit flow hash), once a packet and direction.
//
// Entries begin on probation (half-open) unless told otherwise. Probation entries are limited to a
// share of the table and give way, oldest first, to newer ones and to confirmed connections; an
// entry that was promoted is only ever removed by expiry or by the caller.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>

#include "dataplane/lb/connection_index.hpp"
#include "dataplane/lb/connection_row.hpp"

namespace weir::lb {

inline constexpr std::uint64_t kTableMagic = 0x314e'4e4f'4352'4557; // "WERCONN1"
inline constexpr std::uint32_t kTableLayoutVersion = 1;

// Ages are differences modulo 65536 s. The caller sweeps the whole table at least once a minute and
// gives no timeout above this, so an age is never mistaken for a younger one.
inline constexpr std::uint16_t kLongestTimeout_s = 64800;

struct TableGeometry {
    std::uint32_t capacity = 0;
    std::uint32_t vips = 0; // VIP rows 0 .. vips-1
    std::uint32_t worker = 0;
    std::uint32_t workers = 1;
    std::uint32_t probation_limit = 0; // entries, at most capacity; capacity / 4 is a good choice
};

// At the start of the memory. The first line never changes after format().
struct alignas(64) TableHeader {
    std::uint64_t magic;
    std::uint32_t layout_version;
    std::uint32_t header_bytes;
    std::uint32_t capacity;
    std::uint32_t vips;
    std::uint32_t buckets;
    std::uint32_t worker;
    std::uint32_t workers;
    std::uint32_t probation_limit;
    std::uint32_t hot_offset_lines; // offsets from the header in 64-byte lines
    std::uint32_t cold_offset_lines;
    std::uint32_t index_offset_lines;
    std::uint32_t vip_offset_lines;
    std::uint32_t total_lines_low;
    std::uint32_t total_lines_high;

    alignas(64) std::uint32_t entries; // worker: writes; anyone: reads
    std::uint32_t probation_entries;
};
static_assert(sizeof(TableHeader) == 128);

// Whether `header` describes a table of this layout that fits `bytes` bytes.
bool table_header_fits(const TableHeader& header, std::size_t bytes);

struct alignas(16) VipUse {
    std::uint32_t entries; // of the VIP, those on probation included
    std::uint32_t probation_entries;
    EntryIndex probation_oldest;
    EntryIndex probation_newest;
};

struct NewConnection {
    ForwardKey key{};
    std::uint32_t forward_hash = 0;
    std::uint32_t reply_hash = 0; // only with reply_indexed
    bool reply_indexed = false;   // NAT: two index slots
    bool probation = true;
    std::uint32_t backend = 0;
    std::uint16_t last_hop = kNoLastHop;
    std::uint8_t snat_address = 0;
    std::uint16_t snat_port = 0;
    std::uint8_t state = 0;        // not kRowFree
    std::uint8_t caller_flags = 0; // within kRowCallerFlags
};

enum class InsertOutcome : std::uint8_t {
    kInserted,
    kExists,     // the client's tuple is in the table already: see `entry`
    kReplyInUse, // another connection's replies would look the same: see `entry`
    kVipQuota,   // the VIP has its number of confirmed entries
    kTableFull,  // every entry is in use and none is on probation
    kBucketFull, // no index slot within the bounded search
};

struct InsertResult {
    InsertOutcome outcome = InsertOutcome::kTableFull;
    EntryIndex entry = kNoEntry;
};

class ConnectionTable {
public:
    // Bytes to reserve for a table; the memory must be 64-byte aligned.
    static std::size_t bytes_needed(const TableGeometry& geometry);

    // Empties the memory and lays a table out in it.
    static ConnectionTable format(std::span<std::byte> memory, const TableGeometry& geometry);

    enum class Adoption : std::uint8_t { kAdopted, kNotATable, kOtherLayout, kOtherGeometry };
    struct Adopted;
    // Takes over a table that another process has written and left at any instruction: keeps the
    // confirmed rows whose check is right, frees the rest, builds index and lists anew.
    static Adopted adopt(std::span<std::byte> memory, const TableGeometry& geometry);

    ConnectionTable() = default;

    // --- Lookup -------------------------------------------------------------------------------
    void prefetch_index(std::uint32_t hash) const { index_.prefetch(hash); }

    // To be handed to find_*: a hint, never stale in a harmful way.
    EntryIndex prefetch_row(std::uint32_t hash) const {
        const EntryIndex candidate = index_.first_candidate(hash);
        if (candidate < ConnectionIndex::kUndecided)
            __builtin_prefetch(&hot_[candidate], 1);
        else if (candidate == ConnectionIndex::kUndecided) [[unlikely]]
            index_.prefetch_alternate(hash);
        return candidate;
    }

    // Behind prefetch_index(), for a hash that is to be inserted.
    [[gnu::always_inline]] void prefetch_room(std::uint32_t hash) const {
        index_.prefetch_room(hash);
    }

    EntryIndex find_forward(std::uint32_t hash, const ForwardKey& key) const {
        return index_.find(hash,
                           [&](EntryIndex entry) { return matches_forward(hot_[entry], key); });
    }
    // Saves the search when the first candidate is the right one. The hint must come from
    // prefetch_row(hash); the table may have changed in between.
    EntryIndex find_forward(std::uint32_t hash, const ForwardKey& key, EntryIndex hint) const {
        return is_forward(hint, key) ? hint : find_forward(hash, key);
    }
    bool is_forward(EntryIndex hint, const ForwardKey& key) const {
        return rows().is_forward(hint, key);
    }

    // `matches_reply(const HotRow&)` compares what a packet from a backend shows with the row:
    // full-nat: snat_address, snat_port and backend; nat: client, client_port and backend. It must
    // hold for one connection at most, which insert()'s same_reply sees to.
    template <class MatchesReply>
    EntryIndex find_reply(std::uint32_t hash, MatchesReply matches_reply) const {
        return index_.find(hash, [&](EntryIndex entry) {
            const HotRow& row = hot_[entry];
            return (row.flags & kRowReplyIndexed) != 0 && matches_reply(row);
        });
    }
    template <class MatchesReply>
    EntryIndex find_reply(std::uint32_t hash, MatchesReply matches_reply, EntryIndex hint) const {
        return is_reply(hint, matches_reply) ? hint : find_reply(hash, matches_reply);
    }
    template <class MatchesReply> bool is_reply(EntryIndex hint, MatchesReply matches_reply) const {
        return rows().is_reply(hint, matches_reply);
    }

    // The rows, for a sweep over many packets: for all that the compiler knows, a byte written to
    // one of them could have moved the rows; with this it knows where they are.
    class Rows {
    public:
        const HotRow& operator[](EntryIndex entry) const { return hot_[entry]; }

        // Whether the hint, of prefetch_row(), is the entry.
        bool is_forward(EntryIndex hint, const ForwardKey& key) const {
            return hint < ConnectionIndex::kUndecided && matches_forward(hot_[hint], key) &&
                   hot_[hint].state != kRowFree;
        }
        template <class MatchesReply>
        bool is_reply(EntryIndex hint, MatchesReply matches_reply) const {
            return hint < ConnectionIndex::kUndecided && hot_[hint].state != kRowFree &&
                   (hot_[hint].flags & kRowReplyIndexed) != 0 && matches_reply(hot_[hint]);
        }

        // A packet of the connection has passed, and nothing has changed but its age.
        [[gnu::always_inline]] void touch(EntryIndex entry, std::uint16_t now_s) const {
            auto* const word = reinterpret_cast<std::uint64_t*>(&hot_[entry]) + 3;
            const std::uint64_t changed = *word << 16 >> 16 | std::uint64_t{now_s} << 48;
            if (changed != *word)
                __atomic_store_n(word, changed, __ATOMIC_RELEASE);
        }

    private:
        friend class ConnectionTable;
        explicit Rows(HotRow* hot) : hot_(hot) {}
        HotRow* hot_;
    };
    Rows rows() const { return Rows(hot_); }

    const HotRow& row(EntryIndex entry) const { return hot_[entry]; }
    const ColdRow& cold(EntryIndex entry) const { return cold_[entry]; }
    bool on_probation(EntryIndex entry) const { return (hot_[entry].flags & kRowProbation) != 0; }

    // --- Change -------------------------------------------------------------------------------
    // `vip_quota`: entries the VIP may have. `same_reply(const HotRow&)`: would that connection's
    // replies look like the new one's? (called for reply_indexed only). `on_recycled(EntryIndex,
    // const HotRow&)` is told, before it is gone, of a probation entry that has to give way.
    // REQUIRES: key.vip < geometry.vips, backend < kBackendRowLimit, state != kRowFree.
    template <class SameReply, class OnRecycled>
    InsertResult insert(const NewConnection& connection, std::uint16_t now_s,
                        std::uint32_t vip_quota, SameReply same_reply, OnRecycled on_recycled);
    // The same where the caller has looked for both: the client's tuple is not in the table and no
    // replies look alike.
    template <class OnRecycled>
    InsertResult insert_new(const NewConnection& connection, std::uint16_t now_s,
                            std::uint32_t vip_quota, OnRecycled on_recycled);

    void erase(EntryIndex entry);

    // A packet of the connection has passed. Writes nothing when nothing changes, so a busy
    // connection dirties its line once a second.
    void update(EntryIndex entry, std::uint8_t state, std::uint16_t last_hop, std::uint16_t now_s) {
        auto* const word = reinterpret_cast<std::uint64_t*>(&hot_[entry]) + 3;
        const std::uint64_t changed =
            (*word & ~kChangingMask) | changing_bits(state, last_hop, now_s);
        if (changed != *word)
            __atomic_store_n(word, changed, __ATOMIC_RELEASE);
    }

    // The same where nothing changes but its age.
    void touch(EntryIndex entry, std::uint16_t now_s) { rows().touch(entry, now_s); }

    // The handshake is complete: the entry leaves probation. No effect on a confirmed entry.
    void promote(EntryIndex entry, std::uint16_t now_s);

    // A confirmed connection of another table goes on in this one, as old as it is. `hashes`: its
    // cold row, with the hashes it is found by here. kInserted, kExists, kTableFull or kBucketFull.
    // REQUIRES: row.vip < geometry.vips, row.state != kRowFree, no kRowProbation.
    InsertResult restore(const HotRow& row, const ColdRow& hashes);

    // Changes what does not identify the connection: last_hop and the caller's flags.
    void amend(EntryIndex entry, std::uint16_t last_hop, std::uint8_t caller_flags);

    // Visits the next `budget` entries and removes those idle for timeout_of(const HotRow&) seconds
    // or longer, after telling on_expired(EntryIndex, const HotRow&, const ColdRow&). Returns the
    // number removed. Neither callback may change the table.
    template <class TimeoutOf, class OnExpired>
    std::uint32_t expire(std::uint16_t now_s, std::uint32_t budget, TimeoutOf timeout_of,
                         OnExpired on_expired);

    // --- Numbers ------------------------------------------------------------------------------
    std::uint32_t capacity() const { return capacity_; }
    // Any thread may ask.
    std::uint32_t entries() const { return __atomic_load_n(&header_->entries, __ATOMIC_RELAXED); }
    std::uint32_t probation_entries() const { return header_->probation_entries; }
    // A new entry on probation would push an older one out.
    bool probation_full() const {
        return header_->probation_entries >= probation_limit_ || free_count_ == 0;
    }
    const VipUse& vip_use(std::uint16_t vip) const { return vips_[vip]; }
    std::uint64_t sweeps() const { return sweeps_; } // complete rounds of expire()

    // Checks every row, list and index slot against each other. For tests and post-mortems.
    bool consistent() const;

private:
    void attach(std::span<std::byte> memory);
    void rebuild();
    EntryIndex probation_victim(std::uint16_t own_vip);
    void send_for_victims_behind(EntryIndex victim) const;
    // The free rows are a stack, dealt out over kFreeLists lists: the topmost are the heads, so
    // they are known before any line of memory is read, and each has been sent for many insertions
    // before it is taken.
    static constexpr std::uint32_t kFreeLists = 32;
    EntryIndex& free_head(std::uint32_t depth) { return free_[depth % kFreeLists]; }
    EntryIndex take_free(); // REQUIRES: free_count_ > 0
    void give_free(EntryIndex entry);
    EntryIndex free_below(EntryIndex entry) const { // the next of its list, or kNoEntry
        return static_cast<EntryIndex>(hot_[entry].client.word[0]);
    }
    bool free_rows_consistent() const;
    void write_row(EntryIndex entry, const NewConnection& connection, std::uint16_t now_s);
    void begin_life(EntryIndex entry, std::uint32_t check, std::uint16_t now_s);
    void confirm(EntryIndex entry, std::uint16_t now_s);
    void append_probation(EntryIndex entry, std::uint16_t vip);
    void unlink_probation(EntryIndex entry);
    void count(std::uint16_t vip, std::int32_t change);
    bool index_entry(EntryIndex entry, const NewConnection& connection);

    static bool idle_for(const HotRow& row, std::uint16_t now_s, std::uint16_t timeout_s) {
        const auto age_s = static_cast<std::uint16_t>(now_s - row.last_seen_s);
        // Ages just below the wrap are rows touched with a clock a little ahead of the caller's.
        constexpr std::uint16_t kAhead = 0xffff - 120;
        return age_s >= timeout_s && age_s < kAhead;
    }

    TableHeader* header_ = nullptr;
    HotRow* hot_ = nullptr;
    ColdRow* cold_ = nullptr;
    VipUse* vips_ = nullptr;
    ConnectionIndex index_;
    std::uint32_t capacity_ = 0;
    std::uint32_t vip_count_ = 0;
    std::uint32_t probation_limit_ = 0;
    std::array<EntryIndex, kFreeLists> free_{}; // heads; the lists go on in the rows' client field
    std::uint32_t free_count_ = 0;
    EntryIndex hand_ = 0; // next entry expire() visits
    std::uint64_t sweeps_ = 0;
    std::uint16_t heaviest_vip_ = 0; // the VIP with the most probation entries, or nearly
};

struct ConnectionTable::Adopted {
    Adoption outcome = Adoption::kNotATable;
    ConnectionTable table;
    std::uint32_t kept = 0;
    std::uint32_t half_open = 0; // on probation: let go
    std::uint32_t discarded = 0; // damaged or double
};

template <class SameReply, class OnRecycled>
InsertResult ConnectionTable::insert(const NewConnection& connection, std::uint16_t now_s,
                                     std::uint32_t vip_quota, SameReply same_reply,
                                     OnRecycled on_recycled) {
    if (const EntryIndex same = find_forward(connection.forward_hash, connection.key);
        same != kNoEntry)
        return {InsertOutcome::kExists, same};
    if (connection.reply_indexed) {
        if (const EntryIndex same = find_reply(connection.reply_hash, same_reply); same != kNoEntry)
            return {InsertOutcome::kReplyInUse, same};
    }
    return insert_new(connection, now_s, vip_quota, on_recycled);
}

template <class OnRecycled>
InsertResult ConnectionTable::insert_new(const NewConnection& connection, std::uint16_t now_s,
                                         std::uint32_t vip_quota, OnRecycled on_recycled) {
    const auto recycle = [&](EntryIndex victim) {
        send_for_victims_behind(victim);
        on_recycled(victim, static_cast<const HotRow&>(hot_[victim]));
        erase(victim);
    };
    const auto vip = static_cast<std::uint16_t>(connection.key.ports_and_vip >> 32);
    if (vips_[vip].entries >= vip_quota) {
        if (vips_[vip].probation_entries == 0)
            return {InsertOutcome::kVipQuota, kNoEntry};
        recycle(vips_[vip].probation_oldest);
    }
    const bool tier_full = connection.probation && header_->probation_entries >= probation_limit_;
    if (tier_full || free_count_ == 0) {
        const EntryIndex victim = probation_victim(vip);
        if (victim == kNoEntry)
            return {InsertOutcome::kTableFull, kNoEntry};
        recycle(victim);
    }

    const EntryIndex entry = free_head(free_count_ - 1);
    if (!index_entry(entry, connection))
        return {InsertOutcome::kBucketFull, kNoEntry};
    take_free();
    write_row(entry, connection, now_s);
    return {InsertOutcome::kInserted, entry};
}

template <class TimeoutOf, class OnExpired>
std::uint32_t ConnectionTable::expire(std::uint16_t now_s, std::uint32_t budget,
                                      TimeoutOf timeout_of, OnExpired on_expired) {
    std::uint32_t removed = 0;
    for (; budget > 0; --budget) {
        const HotRow& row = hot_[hand_];
        if (row.state != kRowFree && idle_for(row, now_s, timeout_of(row))) {
            on_expired(hand_, row, static_cast<const ColdRow&>(cold_[hand_]));
            erase(hand_);
            ++removed;
        }
        if (++hand_ == capacity_) {
            hand_ = 0;
            ++sweeps_;
        }
    }
    return removed;
}

} // namespace weir::lb
