// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/persistence_table.hpp"

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

void PersistenceTable::remember(std::uint64_t key, std::uint32_t backend, std::uint64_t identity,
                                std::uint16_t now_s) {
    key = stored(key);
    Entry* set = set_of(key);
    // Worth: free 0, then the unconfirmed, the confirmed; within each the younger the more.
    const auto worth = [now_s](const Entry& entry) -> std::uint32_t {
        if (entry.key == 0)
            return 0;
        const std::uint32_t tier = (entry.check & kConfirmed) != 0 ? 2 : 1;
        return (tier << 16) + (0xffffu - age_s(entry, now_s));
    };
    Entry* place = set;
    std::uint16_t confirmed = 0;
    for (std::uint32_t way = 0; way < kWays; way++) {
        if (set[way].key == key) {
            place = &set[way];
            confirmed = place->check & kConfirmed;
            break;
        }
        if (worth(set[way]) < worth(*place))
            place = &set[way];
    }
    place->key = key;
    place->backend = backend;
    place->check = static_cast<std::uint16_t>((identity & kCheckMask) | confirmed);
    place->last_seen_s = now_s;
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
