// SPDX-License-Identifier: BSD-3-Clause
// The short way of packets that nothing but their hash decides: those to a VIP that records
// exceptions only, in whose pool no slot has changed of late.
#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/dpdk/quick_rewrite.hpp"
#include "dataplane/dpdk/short_way.hpp"

#include <rte_prefetch.h>

namespace weir::dpdk {
namespace {

// Null slots: of flows that may have an entry, and of another worker's.
void find_slots(const Worker& worker, Burst& burst, const Candidates& found) {
    for (std::uint32_t k = 0; k < found.by_slot_count; k++) {
        const std::uint32_t i = found.by_slot[k];
        burst.slot[i] = nullptr;
        if (worker.exceptions->may_have(burst.hash[i]) ||
            !is_ours(worker, burst, found, {WEIR_MATCH_VIP, burst.vip[i]}, i))
            continue;
        burst.slot[i] = worker.state->slot_of(*found.pool[k], burst.hash[i]);
        rte_prefetch0(burst.slot[i]);
    }
}

void find_backends(Worker& worker, Burst& burst, const Candidates& found) {
    const weir_backend_row* backends = worker.state->backends().data();
    for (std::uint32_t k = 0; k < found.by_slot_count; k++) {
        const std::uint32_t i = found.by_slot[k];
        burst.backend[i] =
            burst.slot[i] ? worker.state->member_in(*found.pool[k], *burst.slot[i]) : WEIR_NO_ROW;
        if (burst.backend[i] == WEIR_NO_ROW)
            continue;
        rte_prefetch0(&backends[burst.backend[i]]);
        rte_prefetch0(&worker.backend_counters(burst.backend[i]));
    }
}

// With direct return it leaves as the client sent it. It fits if the whole frame does.
weir_verdict send_as_it_is(const Worker& worker, Burst& burst, std::uint32_t i) {
    const weir_next_hop_row* hop = plain_way(
        *worker.state, burst.backend[i], rte_pktmbuf_data_len(burst.mbuf[i]) - WEIR_ETHERNET_BYTES);
    if (!hop)
        return WEIR_UNDECIDED;
    burst.out_interface[i] = hop->interface;
    weir_write_macs(rte_pktmbuf_mtod(burst.mbuf[i], std::uint8_t*), hop->destination_mac,
                    hop->source_mac);
    return WEIR_FORWARDED;
}

weir_verdict send_in_tunnel(const Worker& worker, Burst& burst, const Candidates& found,
                            std::uint32_t i) {
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    weir_translation none{};
    return with_packet(
        burst, found, i, [&](const weir_packet& packet) __attribute__((always_inline)) {
            return quick_to_backend(worker, burst, i, vip, packet, none);
        });
}

void note_what_it_says(Worker& worker, const Burst& burst, std::uint32_t i) {
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    if (!weir_says_nothing(&burst.packet[i], &vip))
        note_unrecorded(worker, burst, i, vip);
}

// The number of packets that leave.
std::uint32_t send_off(Worker& worker, Burst& burst, const Candidates& found, VipRun& run) {
    std::uint32_t gone = 0;
    for (std::uint32_t k = 0; k < found.by_slot_count; k++) {
        const std::uint32_t i = found.by_slot[k];
        if (burst.backend[i] == WEIR_NO_ROW)
            continue;
        const std::uint64_t bytes = rte_pktmbuf_pkt_len(burst.mbuf[i]);
        const weir_verdict verdict = found.in_tunnel[k] ? send_in_tunnel(worker, burst, found, i)
                                                        : send_as_it_is(worker, burst, i);
        if (verdict == WEIR_UNDECIDED)
            continue;
        burst.verdict[i] = static_cast<std::uint8_t>(verdict);
        count_rewritten(worker, run, burst.vip[i], burst.backend[i], verdict, bytes);
        if (verdict != WEIR_FORWARDED)
            continue;
        if (found.whole[i])
            note_what_it_says(worker, burst, i);
        gone++;
    }
    return gone;
}

} // namespace

std::uint32_t forward_by_slots(Worker& worker, Burst& burst, const Candidates& found, VipRun& run) {
    find_slots(worker, burst, found);
    find_backends(worker, burst, found);
    return send_off(worker, burst, found, run);
}

} // namespace weir::dpdk
