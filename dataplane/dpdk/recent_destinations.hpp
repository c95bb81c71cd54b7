// SPDX-License-Identifier: BSD-3-Clause
// What the short way knows of those whom packets are for. Owned by one worker.
#pragma once

#include "dataplane/forwarding/match.h"
#include "dataplane/forwarding/plain_burst.hpp"

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

// Whom packets are for; in `nat`, whose replies they are.
struct Destination {
    Guide guide;
    bool routed;    // NAT: a hop that takes one off the TTL
    bool in_tunnel; // leaves in one
    weir_match match;
    const weir_pool_row* pool;    // of slot
    const weir_match_row* ranges; // SNAT: what all ports of the address are
    // The first of them, where it is that of `match`; else there is no port in between. Host order.
    std::uint16_t first_port;
    std::uint16_t last_port;

    // What its packets are known by.
    bool by_endpoint() const {
        return match.kind == WEIR_MATCH_VIP || (match.kind == WEIR_MATCH_SNAT && !ranges);
    }
    bool by_address() const { return match.kind == WEIR_MATCH_SNAT && ranges; }
    bool by_source() const { return match.kind == WEIR_MATCH_BACKEND; }
};

// What packets of this generation were for, so that those that follow need a glance instead of a
// look-up. Direct-mapped: the last of a place counts.
class RecentDestinations {
public:
    // Null: not known. Of an address the port, of a source the destination is still to be looked
    // at.
    const Destination* find_v4(const PlainBurst& burst, std::uint32_t i) const {
        if (const Destination* to = endpoints_v4_.find(burst.to_v4[i] & kToEndpoint))
            return to;
        if (const Destination* to = addresses_v4_.find(burst.to_v4[i] & kToAddress))
            return to;
        return sources_v4_.find(burst.from_v4(i));
    }
    const Destination* find_v6(const PlainBurst& burst, std::uint32_t i) const {
        if (const Destination* to = endpoints_v6_.find(burst.to_v6(i)))
            return to;
        if (const Destination* to = addresses_v6_.find(burst.to_address_v6(i)))
            return to;
        return sources_v6_.find(burst.from_v6(i));
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

    void forget() { *this = {}; }

private:
    template <class Key> class Places {
    public:
        const Destination* find(const Key& key) const {
            if (!any_)
                return nullptr;
            const Place& there = places_[number_of(key)];
            return there.key == key ? &there.to : nullptr;
        }
        void put(const Key& key, const Destination& to) {
            any_ = true;
            places_[number_of(key)] = {key, to};
        }

    private:
        struct Place {
            Key key; // with the protocol in it, so never all 0
            Destination to;
        };
        static std::size_t number_of(std::uint64_t key) { return key * 0x9e3779b97f4a7c15 >> 57; }
        static std::size_t number_of(const PlainBurst::EndV6& key) {
            return number_of(key[0] ^ (key[1] + key[2]) * 0xd6e8feb86659fd93);
        }

        bool any_ = false;
        std::array<Place, 128> places_{};
    };

    Places<std::uint64_t> endpoints_v4_; // VIPs
    Places<std::uint64_t> addresses_v4_; // of SNAT
    Places<std::uint64_t> sources_v4_;   // backends in `nat`
    Places<PlainBurst::EndV6> endpoints_v6_;
    Places<PlainBurst::EndV6> addresses_v6_;
    Places<PlainBurst::EndV6> sources_v6_;
};

} // namespace weir::dpdk
