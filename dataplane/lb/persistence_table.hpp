// SPDX-License-Identifier: BSD-3-Clause
// Which backend a client's network went to: what `persistence` remembers. Fixed memory of 1 MB
// (65536 entries of 16 bytes), no allocation, no clock, no hash function of its own. One worker
// owns a table and is the only one to touch it: the owner of a network's packets is computed from
// the network (weir_owner_of_network), so all of them meet at one worker.
//
// An entry lies in one of the 8 places that its key's hash names, two adjacent cache lines. A new
// one takes the place that is worth least: a free one, else the one that was unused for longest
// among those whose clients never completed a connection, else the one unused for longest. So a
// flood of addresses that open and never go on costs the others one place of eight.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace weir::lb {

// Ages are differences modulo 65536 s. The caller gives no timeout above this and sweeps the whole
// table at least every ten minutes, so an age is never mistaken for a younger one.
inline constexpr std::uint16_t kLongestPersistence_s = 64800;

class PersistenceTable {
public:
    static constexpr std::uint32_t kEntries = 65536;
    static constexpr std::uint32_t kWays = 8;

    struct alignas(16) Entry {
        std::uint64_t key;     // hash of network and pool under the secret; 0: free
        std::uint32_t backend; // row id: of another backend once `check` does not fit its identity
        std::uint16_t check;   // the identity's low 15 bits, and kConfirmed
        std::uint16_t last_seen_s;
    };
    static_assert(sizeof(Entry) == 16);

    // The network's entry if it was used within timeout_s, or null.
    const Entry* find(std::uint64_t key, std::uint16_t now_s, std::uint16_t timeout_s) const;

    // Whether the entry was made for the backend that has this identity.
    static bool is_of(const Entry& entry, std::uint64_t identity) {
        return ((entry.check ^ identity) & kCheckMask) == 0;
    }

    // The network opens a connection to this backend now: what was remembered of it is replaced.
    void remember(std::uint64_t key, std::uint32_t backend, std::uint64_t identity,
                  std::uint16_t now_s);

    // A connection of the network is complete, so its addresses are no invention. No effect on a
    // network that is not remembered.
    void confirm(std::uint64_t key);

    // Frees what is too old for every timeout among the next `budget` entries.
    void sweep(std::uint16_t now_s, std::uint32_t budget);

    // Takes over what another process has left at any instruction, `gap_s` seconds ago, when its
    // clock stood at `left_at_s`: what has become too old for every timeout goes.
    void adopt(std::uint16_t left_at_s, std::uint64_t gap_s);
    // What another table knows of a network, unless what is known here is younger.
    void learn(const Entry& entry, std::uint16_t now_s);
    // All of `other`: for the owner of each network to find it, however networks were dealt out
    // before.
    void absorb(const PersistenceTable& other, std::uint16_t now_s);

    // As another engine remembers it. `last_seen_s`: of the monotonic clock.
    static Entry entry_of(std::uint64_t key, std::uint32_t backend, std::uint64_t identity,
                          std::uint32_t last_seen_s) {
        return {stored(key), backend, static_cast<std::uint16_t>(identity & kCheckMask),
                static_cast<std::uint16_t>(last_seen_s)};
    }
    // Free ones, too. Of a table whose owner is gone.
    [[nodiscard]] std::span<const Entry> entries() const { return entries_; }

    std::uint32_t used() const;

private:
    static constexpr std::uint16_t kCheckMask = 0x7fff;
    static constexpr std::uint16_t kConfirmed = 0x8000;

    Entry& place_for(std::uint64_t key, std::uint16_t now_s);
    static void write(Entry& place, const Entry& entry);

    // A hash of 0 would be a free entry's.
    static std::uint64_t stored(std::uint64_t key) { return key == 0 ? 1 : key; }
    Entry* set_of(std::uint64_t key) { return &entries_[key % (kEntries / kWays) * kWays]; }
    const Entry* set_of(std::uint64_t key) const {
        return &entries_[key % (kEntries / kWays) * kWays];
    }

    alignas(64) std::array<Entry, kEntries> entries_{};
    std::uint32_t hand_ = 0; // next entry that sweep() visits
};

} // namespace weir::lb
