// SPDX-License-Identifier: BSD-3-Clause
// Where a client's packets came from (MAC, VLAN, interface), so that a NAT reply goes back the same
// way (auto last hop). A connection row names an entry by 12 bits; a segment has few routers, so
// few entries serve all connections. Entries are counted by the rows that name them and are free
// again with the last one.
//
// Plain memory without pointers: it lies behind the worker's connection table and outlives the
// process with it. One worker writes; no allocation, bounded probing.
#pragma once

#include "dataplane/forwarding/rows.h"
#include "dataplane/lb/connection_row.hpp"

#include <array>
#include <cstdint>
#include <cstring>

namespace weir::lb {

struct LastHop {
    std::uint8_t mac[6];
    std::uint16_t vlan_tci; // or WEIR_NO_VLAN
    std::uint8_t interface; // interface row the packets came in by
    std::uint8_t reserved[3];
    std::uint32_t users; // connection rows that name this entry; 0: free
};
static_assert(sizeof(LastHop) == 16);

// A MAC address, 6 bytes, as weir_ethernet_source_word() reads one.
inline std::uint64_t mac_word(const std::uint8_t* mac) {
    std::uint64_t word = 0;
    std::memcpy(&word, mac, sizeof(LastHop::mac));
    return word;
}

class LastHops {
public:
    static constexpr std::uint32_t kEntries = 4095; // kNoLastHop is not an entry

    // The entry of this hop with one more user, or kNoLastHop when no entry near its place is free.
    // `mac`: mac_word(), or weir_ethernet_source_word() of a frame; likewise below.
    std::uint16_t acquire(std::uint64_t mac, std::uint16_t vlan_tci, std::uint8_t interface) {
        const std::uint64_t mac_and_vlan = word_of(mac, vlan_tci);
        const std::uint32_t home = home_of(mac_and_vlan, interface);
        std::uint16_t unused = kNoLastHop;
        for (std::uint32_t probe = 0; probe < kProbes; probe++) {
            std::uint32_t at = (home + probe) % kEntries;
            LastHop& hop = hops_[at];
            if (hop.users == 0) {
                if (unused == kNoLastHop)
                    unused = static_cast<std::uint16_t>(at);
            } else if (hop.interface == interface && word_of(hop) == mac_and_vlan) {
                hop.users++;
                return static_cast<std::uint16_t>(at);
            }
        }
        if (unused != kNoLastHop) {
            LastHop& hop = hops_[unused];
            std::memcpy(&hop, &mac_and_vlan, sizeof(mac_and_vlan));
            hop.interface = interface;
            hop.users = 1;
        }
        return unused;
    }

    void release(std::uint16_t entry) {
        if (entry < kEntries && hops_[entry].users > 0)
            hops_[entry].users--;
    }

    // The entry, or null for kNoLastHop.
    const LastHop* find(std::uint16_t entry) const {
        return entry < kEntries && hops_[entry].users > 0 ? &hops_[entry] : nullptr;
    }

    bool is(std::uint16_t entry, std::uint64_t mac, std::uint16_t vlan_tci,
            std::uint8_t interface) const {
        if (entry >= kEntries)
            return false;
        const LastHop& hop = hops_[entry];
        return word_of(hop) == word_of(mac, vlan_tci) && hop.interface == interface &&
               hop.users > 0;
    }

    // Taking over what another process has left at any instruction: users are counted anew, from
    // the rows that name the entries.
    void forget_users() {
        for (LastHop& hop : hops_)
            hop.users = 0;
    }
    void count_user(std::uint16_t entry) { hops_[entry].users++; } // REQUIRES: entry < kEntries
    const LastHop& at(std::uint16_t entry) const { return hops_[entry]; } // likewise

private:
    static constexpr std::uint32_t kProbes = 16;

    // MAC and VLAN, which an entry begins with.
    static std::uint64_t word_of(std::uint64_t mac, std::uint16_t vlan_tci) {
        return mac | std::uint64_t{vlan_tci} << 48;
    }
    static std::uint64_t word_of(const LastHop& hop) {
        std::uint64_t word;
        std::memcpy(&word, &hop, sizeof(word));
        return word;
    }

    static std::uint32_t home_of(std::uint64_t mac_and_vlan, std::uint8_t interface) {
        const std::uint64_t word = mac_and_vlan ^ (std::uint64_t{interface} << 40);
        return static_cast<std::uint32_t>(word * 0x9e3779b97f4a7c15u >> 32) % kEntries;
    }

    std::array<LastHop, kEntries> hops_;
};

} // namespace weir::lb
