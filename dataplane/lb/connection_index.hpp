// SPDX-License-Identifier: BSD-3-Clause
// The connection table's index: 64-byte buckets of ten {tag, entry} slots. A hash has a primary
// bucket and an alternate one; the alternate is looked at only while some hash of the primary had
// to go there, so a hit nearly always touches one line here. A search never looks at more than two
// buckets, an insertion at no more than 22.
// Called by ConnectionTable only; one writer, no other reader.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <emmintrin.h>

#include "dataplane/lb/connection_row.hpp"

namespace weir::lb {

inline constexpr std::uint32_t kSlotsPerBucket = 10;
inline constexpr std::uint32_t kAllSlots = (1u << kSlotsPerBucket) - 1; // of one bucket, a bit each
inline constexpr std::uint32_t kEntriesPerBucket = 4; // 2.5 slots an entry; NAT needs two

struct alignas(64) IndexBucket {
    std::uint16_t tag[kSlotsPerBucket];
    std::uint32_t occupied : 10;
    std::uint32_t alternate : 10;  // slot's hash has this bucket as its alternate, not its primary
    std::uint32_t overflowed : 12; // hashes of this primary that live in their alternate
    EntryIndex entry[kSlotsPerBucket];
};
static_assert(sizeof(IndexBucket) == 64);

class ConnectionIndex {
public:
    ConnectionIndex() = default;
    ConnectionIndex(IndexBucket* buckets, std::uint32_t bucket_count)
        : buckets_(buckets), bucket_count_(bucket_count) {}

    static std::uint32_t buckets_needed(std::uint32_t capacity) {
        return (capacity + kEntriesPerBucket - 1) / kEntriesPerBucket;
    }

    void clear();

    void prefetch(std::uint32_t hash) const { __builtin_prefetch(&buckets_[primary_of(hash)]); }
    // Always in line: a call that only prefetches has no effect that GCC sees, and is left out.
    [[gnu::always_inline]] void prefetch_alternate(std::uint32_t hash) const {
        __builtin_prefetch(&buckets_[alternate_of(primary_of(hash), tag_of(hash))]);
    }
    // The same if the hash would be looked for or put there.
    [[gnu::always_inline]] void prefetch_room(std::uint32_t hash) const {
        const IndexBucket& bucket = buckets_[primary_of(hash)];
        if (bucket.overflowed != 0 || bucket.occupied == kAllSlots)
            prefetch_alternate(hash);
    }

    // The first entry of the primary bucket with the hash's tag, kNoEntry if the hash is certainly
    // not in the index, or kUndecided if the alternate bucket has to be searched.
    static constexpr EntryIndex kUndecided = kNoEntry - 1;
    EntryIndex first_candidate(std::uint32_t hash) const {
        const IndexBucket& bucket = buckets_[primary_of(hash)];
        if (const std::uint32_t slots = slots_with(bucket, tag_of(hash)); slots != 0)
            return bucket.entry[lowest(slots)];
        return bucket.overflowed == 0 ? kNoEntry : kUndecided;
    }

    // First entry with the hash's tag for which `matches(entry)` holds.
    template <class Matches> EntryIndex find(std::uint32_t hash, Matches matches) const {
        const std::uint32_t primary = primary_of(hash);
        const std::uint16_t tag = tag_of(hash);
        const EntryIndex found = find_in(buckets_[primary], tag, matches);
        if (found != kNoEntry || buckets_[primary].overflowed == 0) [[likely]]
            return found;
        return find_in(buckets_[alternate_of(primary, tag)], tag, matches);
    }

    // False: both buckets are full and no slot of either could move to its other bucket.
    bool insert(std::uint32_t hash, EntryIndex entry);

    // False: no such slot (the index is damaged).
    bool erase(std::uint32_t hash, EntryIndex entry);

    // Whether `slots` slots are in use and every bucket's counter of overflowed hashes is right.
    bool consistent(std::uint64_t slots) const;
    std::uint64_t slots_in_alternate() const;

private:
    std::uint32_t primary_of(std::uint32_t hash) const {
        return static_cast<std::uint32_t>((std::uint64_t{hash} * bucket_count_) >> 32);
    }
    static std::uint16_t tag_of(std::uint32_t hash) { return static_cast<std::uint16_t>(hash); }

    // An involution: the alternate of the alternate is the primary, so a slot can be moved knowing
    // its tag alone. The two may coincide.
    std::uint32_t alternate_of(std::uint32_t bucket, std::uint16_t tag) const {
        const std::uint32_t spread = tag * 0x9e3779b1u;
        const auto sum = static_cast<std::uint32_t>((std::uint64_t{spread} * bucket_count_) >> 32);
        return sum >= bucket ? sum - bucket : sum + bucket_count_ - bucket;
    }

    // The slots in use that hold the tag, a bit each. With SSE2, which every x86-64 has.
    static std::uint32_t slots_with(const IndexBucket& bucket, std::uint16_t tag) {
        const __m128i wanted = _mm_set1_epi16(static_cast<short>(tag));
        const auto* first = reinterpret_cast<const __m128i*>(&bucket.tag[0]); // slots 0 to 7
        const auto* last = reinterpret_cast<const __m128i*>(&bucket.tag[2]);  // 2 to 9
        const auto equal = static_cast<std::uint32_t>(
            _mm_movemask_epi8(_mm_packs_epi16(_mm_cmpeq_epi16(_mm_loadu_si128(first), wanted),
                                              _mm_cmpeq_epi16(_mm_loadu_si128(last), wanted))));
        return ((equal & 0xff) | equal >> 14 << 8) & bucket.occupied;
    }
    static std::uint32_t lowest(std::uint32_t slots) {
        return static_cast<std::uint32_t>(std::countr_zero(slots));
    }

    template <class Matches>
    static EntryIndex find_in(const IndexBucket& bucket, std::uint16_t tag, Matches& matches) {
        for (std::uint32_t slots = slots_with(bucket, tag); slots != 0; slots &= slots - 1) {
            const EntryIndex entry = bucket.entry[lowest(slots)];
            if (matches(entry))
                return entry;
        }
        return kNoEntry;
    }

    bool make_room(std::uint32_t from);
    bool erase_in(IndexBucket& bucket, std::uint16_t tag, EntryIndex entry, bool in_alternate);

    IndexBucket* buckets_ = nullptr;
    std::uint32_t bucket_count_ = 0;
};

} // namespace weir::lb
