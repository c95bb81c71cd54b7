// SPDX-License-Identifier: BSD-3-Clause
// The packets a worker has in hand between receive and transmit: one array per fact, written by one
// stage and read by the later ones. Owned by one worker.
#pragma once

#include "dataplane/forwarding/match.h"
#include "dataplane/forwarding/plain_burst.hpp"
#include "dataplane/forwarding/rewrite.h"
#include "dataplane/lb/flow_hash_batch.hpp"
#include "dataplane/lb/last_hops.hpp"
#include "dataplane/lb/snat_ports.hpp"

#include <algorithm>
#include <cstdint>

struct rte_mbuf;

namespace weir::dpdk {

inline constexpr std::uint32_t kBurstSize = 32;
static_assert(kBurstSize <= lb::SnatSteps::kMost);

using forwarding::first_of;
using forwarding::for_each;
using forwarding::PacketSet;
using forwarding::set_of;
using forwarding::set_of_first;
static_assert(kBurstSize == forwarding::kPlainBurst);

enum class Origin : std::uint8_t {
    port,        // from a device: may belong to another worker
    peer,        // handed over: is ours, or a fragment whose datagram we follow
    released,    // a fragment that waited here for its datagram's first one
    from_kernel, // from the TAP: leaves as it is
};

// What a new connection of a NAT mode would become.
struct Foreseen {
    std::uint32_t backend;   // row
    std::uint32_t snat_step; // full-nat: of Burst::snat_v4 or snat_v6, by the backend's family
    lb::SnatPort port;       // full-nat: the first to try
};

// A packet made here: a further fragment, or a second reset.
struct Generated {
    rte_mbuf* mbuf;
    std::uint8_t of; // leaves right after this packet of the burst
    std::uint8_t out_interface;
    weir_verdict verdict;
};
inline constexpr std::uint32_t kMostGenerated = 64; // of a burst; what needs more is dropped

struct Burst {
    Origin origin;
    std::uint32_t count;
    rte_mbuf* mbuf[kBurstSize];
    // Those outside [first, end) have taken the short way.
    std::uint32_t first;
    std::uint32_t end;

    std::uint8_t verdict[kBurstSize]; // enum weir_verdict; UNDECIDED: the next stage looks at it

    // read
    forwarding::PlainFrames frames;
    forwarding::PlainBurst columns;             // of the packets that are plain
    alignas(64) std::uint64_t hash[kBurstSize]; // of those; match adds the others'

    // parse
    weir_packet packet[kBurstSize];
    bool plain[kBurstSize]; // is in `columns`; moves with its packet
    bool has_fragments;     // some packet is one

    // match
    weir_match match[kBurstSize]; // a VIP, or the SNAT range or backend a reply belongs to
    lb::FlowHashBatch<WEIR_FLOW_WORDS_V4> flows_v4; // to be hashed
    lb::FlowHashBatch<WEIR_FLOW_WORDS_V6> flows_v6;
    bool look_up[kBurstSize]; // its connection may be in the table
    // Where its hash's slot stands when that alone decides: only exceptions are recorded and there
    // is none of this hash. Else null.
    const std::uint16_t* slot[kBurstSize];

    // track
    lb::EntryIndex hint[kBurstSize];
    std::uint32_t was_foreseen; // bit i: of packet i, a new connection's first
    Foreseen foreseen[kBurstSize];
    lb::SnatSteps snat_v4;
    lb::SnatSteps snat_v6;
    alignas(64) std::uint64_t reply_hash[kBurstSize]; // of the backend's packets
    lb::EntryIndex entry[kBurstSize];                 // the connection or kNoEntry
    std::uint32_t vip[kBurstSize];                    // VIP row; of replies too
    std::uint32_t backend[kBurstSize];                // backend row or WEIR_NO_ROW
    weir_translation translation[kBurstSize];
    lb::LastHop last_hop[kBurstSize]; // of replies: a copy, the row may be recycled meanwhile

    // where it leaves
    std::uint32_t mtu[kBurstSize]; // of the packet as it came; 0: not known
    weir_link link[kBurstSize];
    std::uint8_t out_interface[kBurstSize]; // interface row
    std::uint32_t generated_count;
    Generated generated[kMostGenerated];
};

// No packet is decided. The caller fills `mbuf` and `count`.
inline void begin(Burst& burst, Origin origin) {
    burst.origin = origin;
    std::fill_n(burst.verdict, kBurstSize, static_cast<std::uint8_t>(WEIR_UNDECIDED));
}

// Whether what was foreseen of packet i came about.
inline bool as_foreseen(const Burst& burst, std::uint32_t i) {
    return (burst.was_foreseen >> i & 1) != 0 && burst.foreseen[i].backend == burst.backend[i];
}

} // namespace weir::dpdk
