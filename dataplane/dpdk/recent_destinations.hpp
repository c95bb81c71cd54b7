// SPDX-License-Identifier: BSD-3-Clause
// What the short way knows of those whom packets are for. Owned by one worker.
#pragma once

#include "dataplane/forwarding/match.h"
#include "dataplane/forwarding/plain_burst.hpp"
#include "dataplane/forwarding/select.h"

#include <array>
#include <cstdint>

namespace weir::dpdk {

using forwarding::kToAddress;
using forwarding::kToEndpoint;
using forwarding::PlainBurst;

// What says where a packet goes.
enum class Guide : std::uint8_t {
    none,    // neither of the following: not this way
    slot,    // of its pool; only exceptions are recorded, and no slot has changed of late
    client,  // the connection that the client's packet belongs to
    backend, // the connection that the backend's packet belongs to
};

// How packets leave.
enum class Way : std::uint8_t {
    as_they_are, // to a backend, as the client sent them
    in_tunnel,   // likewise
    nat,         // to a backend, from the client's address
    full_nat,    // to a backend, from an address of ours
    to_client,
};
inline constexpr std::size_t kWays = 5;

// Whom packets are for; in `nat`, whose replies they are. A cache line.
struct alignas(64) Destination {
    Guide guide;
    Way way;
    weir_match match;
    const std::uint16_t* slots; // the pool's, if flows have some; and the rows its members have
    const std::uint32_t* members;
    std::uint32_t slot_count;
    const weir_match_row* ranges; // SNAT: what all ports of the address are
    // The first of them, where it is that of `match`; else there is no port in between. Host order.
    std::uint16_t first_port;
    std::uint16_t last_port;

    // REQUIRES: slots.
    const std::uint16_t* slot_of(std::uint64_t flow_hash) const {
        return slots + weir_maglev_slot(flow_hash, slot_count);
    }

    // What its packets are known by.
    bool by_endpoint() const {
        return match.kind == WEIR_MATCH_VIP || (match.kind == WEIR_MATCH_SNAT && !ranges);
    }
    bool by_address() const { return match.kind == WEIR_MATCH_SNAT && ranges; }
    bool by_source() const { return match.kind == WEIR_MATCH_BACKEND; }
};

// What packets were for, by what tells so. Two places for each hash: of as many destinations as
// many nodes have, hardly any drives out another. The keys lie together, in few cache lines:
// packets are asked for in vain here, too, by all that they show.
template <class Key> class Places {
public:
    bool any() const { return used_count_ != 0; }

    const Destination* find(const Key& key) const {
        const std::size_t number = number_of(key);
        const Pair& pair = keys_[number];
        // No branch: which of the two it is could not be foreseen.
        const std::size_t which = is_same(pair[1], key) ? 1 : 0;
        return is_same(pair[which], key) ? &to_[2 * number + which] : nullptr;
    }

    void put(const Key& key, const Destination& to) {
        const std::size_t number = number_of(key);
        Pair& pair = keys_[number];
        const auto takes = [&](const Key& there) {
            return is_same(there, key) || is_same(there, Key{});
        };
        const std::size_t which = takes(pair[0]) ? 0 : takes(pair[1]) ? 1 : turn_++ % 2;
        if (is_same(pair[which], Key{}))
            used_[used_count_++] = static_cast<std::uint16_t>(number);
        pair[which] = key;
        to_[2 * number + which] = to;
    }

    // Costs as much as there is.
    void forget() {
        for (std::uint32_t i = 0; i < used_count_; i++)
            keys_[used_[i]] = {};
        used_count_ = 0;
    }

private:
    using Pair = std::array<Key, 2>; // with the protocol in it, so never all 0 where there is one
    static constexpr int kBits = 9;

    static bool is_same(std::uint64_t a, std::uint64_t b) { return a == b; }
    static bool is_same(const PlainBurst::EndV6& a, const PlainBurst::EndV6& b) {
        return ((a[0] ^ b[0]) | (a[1] ^ b[1]) | (a[2] ^ b[2])) == 0;
    }
    static std::size_t number_of(std::uint64_t key) {
        return key * 0x9e3779b97f4a7c15 >> (64 - kBits);
    }
    static std::size_t number_of(const PlainBurst::EndV6& key) {
        return number_of(key[0] ^ (key[1] + key[2]) * 0xd6e8feb86659fd93);
    }

    std::uint32_t turn_ = 0; // whose place a third of a hash gets
    std::uint32_t used_count_ = 0;
    std::array<std::uint16_t, 2 << kBits> used_; // of keys_, once for each place that is taken
    std::array<Pair, 1 << kBits> keys_{};
    std::array<Destination, 2 << kBits> to_;
};

// What packets of this generation were for, so that those that follow need a glance instead of a
// look-up.
class RecentDestinations {
public:
    // Null: not known. Of an address the port, of a source the destination is still to be looked
    // at.
    const Destination* find_v4(const PlainBurst& burst, std::uint32_t i) const {
        if (const Destination* to = endpoints_v4_.find(burst.to_v4[i] & kToEndpoint))
            return to;
        if (addresses_v4_.any())
            if (const Destination* to = addresses_v4_.find(burst.to_v4[i] & kToAddress))
                return to;
        return sources_v4_.any() ? sources_v4_.find(burst.from_v4(i)) : nullptr;
    }
    const Destination* find_v6(const PlainBurst& burst, std::uint32_t i) const {
        if (const Destination* to = endpoints_v6_.find(burst.to_v6(i)))
            return to;
        if (addresses_v6_.any())
            if (const Destination* to = addresses_v6_.find(burst.to_address_v6(i)))
                return to;
        return sources_v6_.any() ? sources_v6_.find(burst.from_v6(i)) : nullptr;
    }

    // `to` is what packet i is for.
    void remember_v4(const PlainBurst& burst, std::uint32_t i, const Destination& to) {
        if (to.by_endpoint())
            endpoints_v4_.put(burst.to_v4[i] & kToEndpoint, to);
        else if (to.by_address())
            addresses_v4_.put(burst.to_v4[i] & kToAddress, to);
        else if (to.by_source())
            sources_v4_.put(burst.from_v4(i), to);
    }
    void remember_v6(const PlainBurst& burst, std::uint32_t i, const Destination& to) {
        if (to.by_endpoint())
            endpoints_v6_.put(burst.to_v6(i), to);
        else if (to.by_address())
            addresses_v6_.put(burst.to_address_v6(i), to);
        else if (to.by_source())
            sources_v6_.put(burst.from_v6(i), to);
    }

    void forget() {
        endpoints_v4_.forget();
        addresses_v4_.forget();
        sources_v4_.forget();
        endpoints_v6_.forget();
        addresses_v6_.forget();
        sources_v6_.forget();
    }

private:
    Places<std::uint64_t> endpoints_v4_; // VIPs
    Places<std::uint64_t> addresses_v4_; // of SNAT
    Places<std::uint64_t> sources_v4_;   // backends in `nat`
    Places<PlainBurst::EndV6> endpoints_v6_;
    Places<PlainBurst::EndV6> addresses_v6_;
    Places<PlainBurst::EndV6> sources_v6_;
};

} // namespace weir::dpdk
