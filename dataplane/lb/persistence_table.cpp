// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/persistence_table.hpp"

#include <atomic>

namespace weir::lb {
namespace {

std::uint16_t age_s(const PersistenceTable::Entry& entry, std::uint16_t now_s) {
    return static_cast<std::uint16_t>(now_s - entry.last_seen_s);
}

} // namespace

const PersistenceTable::Entry* PersistenceTable::find(std::uint64_t key, std::uint16_t now_s,
                                                      std::uint16_t timeout_s) const {
    key = stored(key);
    const Entry* set = set_of(key);
    for (std::uint32_t way = 0; way < kWays; way++)
        if (set[way].key == key)
            return age_s(set[way], now_s) < timeout_s ? &set[way] : nullptr;
    return nullptr;
}

// The network's own place, or the one that is worth least: of what is free 0, then the unconfirmed,
// then the confirmed; within each the younger the more.
PersistenceTable::Entry& PersistenceTable::place_for(std::uint64_t key, std::uint16_t now_s) {
    Entry* set = set_of(key);
    const auto worth = [now_s](const Entry& entry) -> std::uint32_t {
        if (entry.key == 0)
            return 0;
        const std::uint32_t tier = (entry.check & kConfirmed) != 0 ? 2 : 1;
        return (tier << 16) + (0xffffu - age_s(entry, now_s));
    };
    Entry* place = set;
    for (std::uint32_t way = 0; way < kWays; way++) {
        if (set[way].key == key)
            return set[way];
        if (worth(set[way]) < worth(*place))
            place = &set[way];
    }
    return *place;
}

void PersistenceTable::remember(std::uint64_t key, std::uint32_t backend, std::uint64_t identity,
                                std::uint16_t now_s) {
    key = stored(key);
    Entry& place = place_for(key, now_s);
    const std::uint16_t confirmed = place.key == key ? place.check & kConfirmed : 0;
    write(place,
          {key, backend, static_cast<std::uint16_t>((identity & kCheckMask) | confirmed), now_s});
}

// Whoever is killed in the middle of it leaves no network with another one's backend.
void PersistenceTable::write(Entry& place, const Entry& entry) {
    if (place.key != entry.key)
        place.key = 0;
    std::atomic_thread_fence(std::memory_order_release);
    place.backend = entry.backend;
    place.check = entry.check;
    place.last_seen_s = entry.last_seen_s;
    std::atomic_thread_fence(std::memory_order_release);
    place.key = entry.key;
}

void PersistenceTable::adopt(std::uint16_t left_at_s, std::uint64_t gap_s) {
    hand_ = 0;
    for (Entry& entry : entries_)
        if (entry.key != 0 && age_s(entry, left_at_s) + gap_s >= kLongestPersistence_s)
            entry = {};
}

void PersistenceTable::learn(const Entry& entry, std::uint16_t now_s) {
    if (entry.key == 0)
        return;
    Entry& place = place_for(entry.key, now_s);
    if (place.key != entry.key) {
        write(place, entry);
    } else if (age_s(entry, now_s) < age_s(place, now_s)) {
        Entry younger = entry;
        younger.check |= place.check & kConfirmed;
        write(place, younger);
    }
}

void PersistenceTable::absorb(const PersistenceTable& other, std::uint16_t now_s) {
    for (const Entry& entry : other.entries_)
        learn(entry, now_s);
}

void PersistenceTable::confirm(std::uint64_t key) {
    key = stored(key);
    Entry* set = set_of(key);
    for (std::uint32_t way = 0; way < kWays; way++)
        if (set[way].key == key)
            set[way].check |= kConfirmed;
}

void PersistenceTable::sweep(std::uint16_t now_s, std::uint32_t budget) {
    for (; budget > 0; --budget) {
        Entry& entry = entries_[hand_];
        if (entry.key != 0 && age_s(entry, now_s) >= kLongestPersistence_s)
            entry = {};
        hand_ = (hand_ + 1) % kEntries;
    }
}

std::uint32_t PersistenceTable::used() const {
    std::uint32_t count = 0;
    for (const Entry& entry : entries_)
        count += entry.key != 0 ? 1 : 0;
    return count;
}

} // namespace weir::lb
