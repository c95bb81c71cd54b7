// SPDX-License-Identifier: BSD-3-Clause
// The short way: plain packets that leave nothing to decide. Either their flow's hash says where
// they go, or their connection does, which is complete and goes on. They are read side by side, in
// few sweeps over the burst; a packet leaves, and is counted, as the stages would have it. What a
// sweep does not like stays undecided and unchanged for the stages.
//
//   whom they are for    short_way.cpp           who could take this way
//   by hash              stage_by_hash.cpp       slots, backends, out
//   by connection        stage_by_connection.cpp index lines, rows, out
#pragma once

#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/dpdk/forward_counts.hpp"
#include "dataplane/dpdk/recent_destinations.hpp"

#include <rte_mbuf.h>

namespace weir::dpdk {

// The packets that are still on this way.
struct Candidates {
    // burst.match[] says whom they are for, too.
    PacketSet by_slot = 0;
    PacketSet of_clients = 0;  // by connection
    PacketSet watched = 0;     // of of_clients: only to be looked at, then left to the stages
    PacketSet of_backends = 0; // by connection
    const Destination* to[kBurstSize]; // whom each is for

    PacketSet by_way[kWays] = {}; // each of the above in one, and perhaps others
    PacketSet leaving(Way way) const { return by_way[static_cast<std::size_t>(way)]; }
};

// use(const weir_packet&) of a candidate. The compiler leaves out what `use` does not ask for.
template <class Use>
[[gnu::always_inline]] inline auto with_packet(const Burst& burst, std::uint32_t i, Use use) {
    weir_packet packet;
    if ((burst.columns.v6 & set_of(i)) != 0) {
        weir_read_plain_v6(burst.frames.data[i], &packet);
        return use(static_cast<const weir_packet&>(packet));
    }
    weir_read_plain_v4(burst.frames.data[i], &packet);
    return use(static_cast<const weir_packet&>(packet));
}

// Which worker owns a candidate's connection. Mostly its hash says it.
inline std::uint32_t owner_of(const Worker& worker, const Burst& burst, std::uint32_t i) {
    const weir_match& match = burst.match[i];
    if (match.kind == WEIR_MATCH_VIP && !worker.spread && follows_spread(*worker.state, match))
        return weir_owner_of_flow(burst.hash[i], worker.context.workers);
    return with_packet(burst, i, [&](const weir_packet& packet) {
        return owner_of(worker, match, packet, burst.hash[i]);
    });
}

// Those of `set` that this worker owns.
inline PacketSet ours(const Worker& worker, const Burst& burst, PacketSet set) {
    if (worker.context.workers == 1)
        return set;
    PacketSet ours = 0;
    for_each(set, [&](std::uint32_t i) {
        if (owner_of(worker, burst, i) == worker.context.id)
            ours |= set_of(i);
    });
    return ours;
}

// Each returns the packets that have left, and decides them; the others are as they were. Nothing
// overtakes a packet that may change what it goes by.
PacketSet forward_by_slots(Worker& worker, Burst& burst, const Candidates& found);

// Sends for the lines of the index, well before the next.
void foresee_connections(const Worker& worker, const Burst& burst, PacketSet set);
PacketSet forward_by_connections(Worker& worker, Burst& burst, const Candidates& found);

} // namespace weir::dpdk
