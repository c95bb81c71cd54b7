// SPDX-License-Identifier: BSD-3-Clause
// Steps for VIPs that record exceptions only (dataplane/forwarding/exceptions.h): what is worth an
// entry, and what is known of the connections that have none.
#include "dataplane/dpdk/connection_steps.hpp"

namespace weir::dpdk {
namespace {

// Where the packets of its flow will be sent while they are unknown.
void stay_with_oldest(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip,
                      std::uint32_t oldest) {
    if (weir_oldest_serves(&vip, &worker.state->backends()[oldest]))
        burst.backend[i] = oldest;
}

} // namespace

void record_exception(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    const lb::ForwardingState& state = *worker.state;
    const weir_packet& packet = burst.packet[i];
    const weir_pool_row& pool = state.pools()[vip.pool];
    const weir_address client = weir_packet_source(&packet);
    const std::uint32_t oldest =
        state.oldest(pool, weir_slot_hash(&pool, &state.hash_key(), &client, burst.hash[i]));
    if (oldest == WEIR_NO_ROW) // the hash will find its backend again
        return note_unrecorded(worker, burst, i, vip);
    // An entry that is soon pushed out again would separate a SYN from its ACK.
    const auto initial = lb::initial_state(event_of(packet, lb::Direction::kFromClient));
    const bool fits = lb::confirmed(initial) || !worker.table.probation_full();
    if (!fits || record(worker, burst, i) != WEIR_UNDECIDED) {
        stay_with_oldest(worker, burst, i, vip, oldest);
        burst.entry[i] = lb::kNoEntry;
    }
    if (burst.entry[i] == lb::kNoEntry)
        return note_unrecorded(worker, burst, i, vip);
    worker.exceptions->add(burst.hash[i]);
}

void note_unrecorded(Worker& worker, const Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    const weir_packet& packet = burst.packet[i];
    const bool opens = weir_packet_opens(&packet);
    if (opens)
        worker.count_opened(burst.vip[i], burst.backend[i]);
    else if (packet.tcp_flags & (WEIR_TCP_FIN | WEIR_TCP_RST))
        worker.count_closed(burst.vip[i], burst.backend[i]);
    if (weir_forward_encapsulates(vip.forward) && (opens || packet.protocol == WEIR_IP_UDP)) {
        std::uint16_t& hop = worker.recent_hops[burst.vip[i]];
        hop = follow_last_hop(worker, hop, burst.mbuf[i], packet);
    }
}

} // namespace weir::dpdk
