// SPDX-License-Identifier: BSD-3-Clause
// The short way of packets that nothing but their hash decides: those to a VIP that records
// exceptions only, in whose pool no slot has changed of late.
#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/dpdk/quick_rewrite.hpp"
#include "dataplane/dpdk/short_way.hpp"

#include <rte_prefetch.h>

namespace weir::dpdk {
namespace {

// Those whose slot is on its way to the caches.
PacketSet find_slots(const Worker& worker, Burst& burst, const Candidates& found) {
    PacketSet set = ours(worker, burst, found.by_slot);
    if (worker.exceptions->has_any())
        for_each(set, [&](std::uint32_t i) {
            if (worker.exceptions->may_have(burst.hash[i]))
                set &= ~set_of(i);
        });
    for_each(set, [&](std::uint32_t i) {
        burst.slot[i] = found.to[i]->slot_of(burst.hash[i]);
        rte_prefetch0(burst.slot[i]);
    });
    return set;
}

// Those of the set that have one.
PacketSet find_backends(Worker& worker, Burst& burst, const Candidates& found, PacketSet set) {
    const KeptRows rows(worker);
    PacketSet with = set;
    for_each(set, [&](std::uint32_t i) {
        const std::uint16_t member = *burst.slot[i];
        if (member == WEIR_NO_MEMBER) {
            with &= ~set_of(i);
            return;
        }
        const std::uint32_t backend = found.to[i]->members[member];
        burst.backend[i] = backend;
        rte_prefetch0(&rows.backends[backend]);
        rte_prefetch0(&rows.backend_counters[backend]);
    });
    return with;
}

void note_what_it_says(Worker& worker, Burst& burst, std::uint32_t i) {
    burst.vip[i] = burst.match[i].index;
    with_packet(burst, i, [&](const weir_packet& packet) { burst.packet[i] = packet; });
    note_unrecorded(worker, burst, i, worker.state->vips()[burst.vip[i]]);
}

// Those of the set that leave, as the client sent them. One fits if the whole frame does.
PacketSet send_as_they_are(Worker& worker, Burst& burst, PacketSet set) {
    const KeptRows rows(worker);
    ForwardCounts counts(worker);
    PacketSet gone = set;
    for_each(set, [&](std::uint32_t i) {
        const std::uint32_t backend = burst.backend[i];
        const std::uint32_t frame_bytes = burst.frames.bytes[i];
        const weir_next_hop_row* hop = plain_way(rows, backend, frame_bytes - WEIR_ETHERNET_BYTES);
        if (!hop) {
            gone &= ~set_of(i);
            return;
        }
        weir_write_hop_macs(burst.frames.data[i], hop);
        burst.out_interface[i] = hop->interface;
        burst.verdict[i] = WEIR_FORWARDED;
        counts.add(burst.match[i].index, backend, WEIR_FORWARDED,
                   rte_pktmbuf_pkt_len(burst.mbuf[i]));
    });
    for_each(gone & ~burst.columns.quiet,
             [&](std::uint32_t i) { note_what_it_says(worker, burst, i); });
    return gone;
}

PacketSet send_in_tunnels(Worker& worker, Burst& burst, PacketSet set) {
    const KeptRows rows(worker);
    const weir_node_row& node = worker.state->node();
    ForwardCounts counts(worker);
    PacketSet gone = 0;
    for_each(
        set, [&](std::uint32_t i) __attribute__((always_inline)) {
            const std::uint32_t vip = burst.match[i].index;
            const std::uint32_t backend = burst.backend[i];
            const std::uint64_t bytes = rte_pktmbuf_pkt_len(burst.mbuf[i]);
            const weir_next_hop_row* hop = plain_way(rows, backend, 0);
            if (!hop)
                return;
            const weir_verdict verdict = send_plain_in_tunnel(
                node, rows.vips[vip], rows.backends[backend], *hop, burst.hash[i], burst.mbuf[i],
                burst.frames.data[i], (burst.columns.v4 & set_of(i)) != 0);
            if (verdict == WEIR_UNDECIDED)
                return;
            burst.out_interface[i] = hop->interface;
            burst.verdict[i] = static_cast<std::uint8_t>(verdict);
            counts.add(vip, backend, verdict, bytes);
            if (verdict == WEIR_FORWARDED)
                gone |= set_of(i);
        });
    return gone;
}

} // namespace

PacketSet forward_by_slots(Worker& worker, Burst& burst, const Candidates& found) {
    const PacketSet set = find_backends(worker, burst, found, find_slots(worker, burst, found));
    PacketSet gone = 0;
    if (const PacketSet plain = set & found.leaving(Way::as_they_are); plain != 0)
        gone |= send_as_they_are(worker, burst, plain);
    if (const PacketSet packed = set & found.leaving(Way::in_tunnel); packed != 0)
        gone |= send_in_tunnels(worker, burst, packed);
    return gone;
}

} // namespace weir::dpdk
