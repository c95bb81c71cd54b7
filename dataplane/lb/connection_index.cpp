// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/connection_index.hpp"

#include <cstring>

namespace weir::lb {
namespace {

constexpr std::uint32_t kMostOverflowed = (1u << 12) - 1;

bool full(const IndexBucket& bucket) {
    return bucket.occupied == kAllSlots;
}

void put(IndexBucket& bucket, std::uint16_t tag, EntryIndex entry, bool in_alternate) {
    const auto slot =
        static_cast<std::uint32_t>(std::countr_one(static_cast<std::uint32_t>(bucket.occupied)));
    bucket.tag[slot] = tag;
    bucket.entry[slot] = entry;
    bucket.occupied |= 1u << slot;
    if (in_alternate)
        bucket.alternate |= 1u << slot;
}

void vacate(IndexBucket& bucket, std::uint32_t slot) {
    bucket.occupied &= ~(1u << slot) & kAllSlots;
    bucket.alternate &= ~(1u << slot) & kAllSlots;
}

} // namespace

void ConnectionIndex::clear() {
    std::memset(static_cast<void*>(buckets_), 0, sizeof(IndexBucket) * std::size_t{bucket_count_});
}

bool ConnectionIndex::insert(std::uint32_t hash, EntryIndex entry) {
    const std::uint32_t primary = primary_of(hash);
    const std::uint16_t tag = tag_of(hash);
    IndexBucket& home = buckets_[primary];
    if (!full(home)) [[likely]] {
        put(home, tag, entry, false);
        return true;
    }
    const std::uint32_t alternate = alternate_of(primary, tag);
    IndexBucket& other = buckets_[alternate];
    const bool may_overflow = alternate != primary && home.overflowed < kMostOverflowed;
    if (may_overflow && full(other) && make_room(primary)) {
        put(home, tag, entry, false);
        return true;
    }
    if (may_overflow && (!full(other) || make_room(alternate))) {
        put(other, tag, entry, true);
        home.overflowed = (home.overflowed + 1) & kMostOverflowed;
        return true;
    }
    if (!may_overflow && make_room(primary)) {
        put(home, tag, entry, false);
        return true;
    }
    return false;
}

// Moves one slot of a full bucket to the slot's other bucket.
bool ConnectionIndex::make_room(std::uint32_t from) {
    IndexBucket& bucket = buckets_[from];
    for (std::uint32_t slot = 0; slot < kSlotsPerBucket; ++slot) {
        const std::uint16_t tag = bucket.tag[slot];
        const std::uint32_t to = alternate_of(from, tag);
        IndexBucket& target = buckets_[to];
        if (to == from || full(target))
            continue;
        const bool returns_home = (bucket.alternate >> slot & 1) != 0;
        if (!returns_home && bucket.overflowed == kMostOverflowed)
            continue;
        put(target, tag, bucket.entry[slot], !returns_home);
        if (returns_home)
            target.overflowed = (target.overflowed - 1) & kMostOverflowed;
        else
            bucket.overflowed = (bucket.overflowed + 1) & kMostOverflowed;
        vacate(bucket, slot);
        return true;
    }
    return false;
}

bool ConnectionIndex::erase_in(IndexBucket& bucket, std::uint16_t tag, EntryIndex entry,
                               bool in_alternate) {
    for (std::uint32_t slots = slots_with(bucket, tag); slots != 0; slots &= slots - 1) {
        const std::uint32_t slot = lowest(slots);
        const bool alternate = (bucket.alternate >> slot & 1) != 0;
        if (bucket.entry[slot] == entry && alternate == in_alternate) {
            vacate(bucket, slot);
            return true;
        }
    }
    return false;
}

bool ConnectionIndex::erase(std::uint32_t hash, EntryIndex entry) {
    const std::uint32_t primary = primary_of(hash);
    const std::uint16_t tag = tag_of(hash);
    IndexBucket& home = buckets_[primary];
    if (erase_in(home, tag, entry, false))
        return true;
    if (!erase_in(buckets_[alternate_of(primary, tag)], tag, entry, true))
        return false;
    home.overflowed = (home.overflowed - 1) & kMostOverflowed;
    return true;
}

std::uint64_t ConnectionIndex::slots_in_alternate() const {
    std::uint64_t count = 0;
    for (std::uint32_t bucket = 0; bucket < bucket_count_; ++bucket)
        count += static_cast<unsigned>(std::popcount(unsigned{buckets_[bucket].alternate}));
    return count;
}

bool ConnectionIndex::consistent(std::uint64_t slots) const {
    std::uint64_t occupied = 0;
    std::uint64_t overflowed = 0;
    for (std::uint32_t number = 0; number < bucket_count_; ++number) {
        const IndexBucket& bucket = buckets_[number];
        occupied += static_cast<unsigned>(std::popcount(unsigned{bucket.occupied}));
        overflowed += bucket.overflowed;
        if ((bucket.alternate & ~bucket.occupied) != 0)
            return false;
    }
    return occupied == slots && overflowed == slots_in_alternate();
}

} // namespace weir::lb
