// SPDX-License-Identifier: BSD-3-Clause
// The short way: plain packets that leave nothing to decide. Either their flow's hash says where
// they go, or their connection does, which is complete and goes on. A packet is read once, in few
// sweeps over the burst, and only what those need is kept of it; it leaves, and is counted, as the
// stages would have it. What a sweep does not like stays undecided and unchanged for the stages.
//
//   read                 short_way.cpp           who could take this way, and the flow hashes
//   by hash              stage_by_hash.cpp       slots, backends, out
//   by connection        stage_by_connection.cpp index lines, rows, out
#pragma once

#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/dpdk/forward_counts.hpp"
#include "dataplane/forwarding/parse_plain.h"

#include <array>
#include <rte_mbuf.h>

namespace weir::dpdk {

// What says where a packet goes.
enum class Guide : std::uint8_t {
    none,    // neither of the following: not this way
    slot,    // of its pool; only exceptions are recorded, and no slot has changed of late
    client,  // the connection that the client's packet belongs to
    backend, // the connection that the backend's packet belongs to
};

// Whom packets are for; in `nat`, whose replies they are.
struct Destination {
    std::uint64_t word = 0; // weir_plain_v4_to, or _from
    std::uint8_t protocol = 0;
    Guide guide = Guide::none;
    bool routed = false;    // NAT: a hop that takes one off the TTL
    bool in_tunnel = false; // leaves in one
    weir_match match{WEIR_MATCH_EMPTY, WEIR_NO_ROW};
    const weir_pool_row* pool = nullptr;    // of slot
    const weir_match_row* ranges = nullptr; // SNAT: what all ports of the address are
};

// What plain IPv4 packets of this generation were for, so that those that follow need a glance
// instead of a look-up. Direct-mapped: the last of a place counts.
class RecentDestinations {
public:
    // Null: not known. A backend's endpoint (match.kind) says nothing yet of where the packet goes.
    const Destination* find(const std::uint8_t* frame) const {
        const std::uint8_t protocol = weir_plain_v4_protocol(frame);
        if (const Destination* to =
                find_in(endpoints_, weir_plain_v4_to(frame, WEIR_PLAIN_TO_ENDPOINT), protocol))
            return to;
        if (const Destination* to =
                find_in(addresses_, weir_plain_v4_to(frame, WEIR_PLAIN_TO_ADDRESS), protocol))
            return to;
        return find_in(sources_, weir_plain_v4_from(frame), protocol);
    }

    // REQUIRES: a frame that weir_parse_plain() has taken, of IPv4.
    void remember(const std::uint8_t* frame, Destination to) {
        Places* places = &endpoints_;
        to.word = weir_plain_v4_to(frame, WEIR_PLAIN_TO_ENDPOINT);
        if (to.match.kind == WEIR_MATCH_BACKEND) {
            places = &sources_;
            to.word = weir_plain_v4_from(frame);
        } else if (to.ranges) {
            places = &addresses_;
            to.word = weir_plain_v4_to(frame, WEIR_PLAIN_TO_ADDRESS);
        }
        to.protocol = weir_plain_v4_protocol(frame);
        places->any = true;
        places->at[place_of(to.word)] = to;
    }

    void forget() { endpoints_ = addresses_ = sources_ = {}; }

private:
    struct Places {
        bool any = false;
        std::array<Destination, 128> at{};
    };

    static std::size_t place_of(std::uint64_t word) { return word * 0x9e3779b97f4a7c15 >> 57; }

    static const Destination* find_in(const Places& places, std::uint64_t word,
                                      std::uint8_t protocol) {
        if (!places.any)
            return nullptr;
        const Destination& there = places.at[place_of(word)];
        return there.word == word && there.protocol == protocol ? &there : nullptr;
    }

    Places endpoints_; // VIPs
    Places addresses_; // of SNAT
    Places sources_;   // backends in `nat`
};

// The packets that are still on this way, by number in the burst.
struct Candidates {
    std::uint32_t by_slot_count = 0;
    std::uint32_t by_connection_count = 0;
    std::uint8_t by_slot[kBurstSize];
    std::uint8_t by_connection[kBurstSize];
    // Bit i: packet i, if it is in by_connection, is only looked at: it is the stages'.
    std::uint32_t watched = 0;
    const weir_pool_row* pool[kBurstSize]; // of by_slot[k]
    bool in_tunnel[kBurstSize];            // it leaves in one
    // By packet of the burst: whether burst.packet[] has been filled. Else it is plain IPv4, and
    // with_packet() reads it again.
    bool whole[kBurstSize];
};

// use(const weir_packet&) of a candidate. Where the frame is read again the compiler leaves out
// what `use` does not ask for.
template <class Use>
[[gnu::always_inline]] inline auto with_packet(const Burst& burst, const Candidates& found,
                                               std::uint32_t i, Use use) {
    if (found.whole[i])
        return use(static_cast<const weir_packet&>(burst.packet[i]));
    weir_packet packet;
    weir_read_plain_v4(rte_pktmbuf_mtod(burst.mbuf[i], const std::uint8_t*), &packet);
    return use(static_cast<const weir_packet&>(packet));
}

// Whether this worker owns the candidate's connection.
inline bool is_ours(const Worker& worker, const Burst& burst, const Candidates& found,
                    const weir_match& match, std::uint32_t i) {
    return worker.context.workers == 1 ||
           with_packet(
               burst, found, i, [&](const weir_packet& packet) __attribute__((always_inline)) {
                   return owner_of(worker, match, packet, burst.hash[i]) == worker.context.id;
               });
}

// The number of packets that have left. Each is decided then; the others are as they were. Nothing
// overtakes a packet that may change what it goes by.
std::uint32_t forward_by_slots(Worker& worker, Burst& burst, const Candidates& found, VipRun& run);

// Sends for the lines of the index, well before the next.
void foresee_connections(const Worker& worker, Burst& burst, Candidates& found);
std::uint32_t forward_by_connections(Worker& worker, Burst& burst, const Candidates& found,
                                     VipRun& run);

} // namespace weir::dpdk
