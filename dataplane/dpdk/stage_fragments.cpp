// SPDX-License-Identifier: BSD-3-Clause
// Fragments: gives later fragments the ports of their datagram's first one, so that the stages
// after this one see nothing special in them. Those that came early leave the burst and wait in
// the worker's table (lb/fragment_table.hpp); receive_released brings them back.
#include "dataplane/dpdk/hand_over_note.hpp"
#include "dataplane/dpdk/stages.hpp"

#include <rte_mbuf.h>
#include <rte_ring.h>

namespace weir::dpdk {
namespace {

void take_ports(weir_packet& packet, const lb::FragmentPorts& ports) {
    if (packet.flags & WEIR_PACKET_LATER_FRAGMENT)
        weir_packet_take_ports(&packet, ports.source, ports.destination);
}

weir_verdict verdict_of(lb::FragmentStep step) {
    return step == lb::FragmentStep::kOverlap ? WEIR_DROP_FRAGMENT_OVERLAP
                                              : WEIR_DROP_FRAGMENT_QUEUE_FULL;
}

enum class Fate { stays, waits };

// A fragment whose datagram this worker follows.
Fate trace(Worker& worker, Burst& burst, std::uint32_t i, std::uint64_t hash) {
    weir_packet& packet = burst.packet[i];
    lb::FragmentDecision decision =
        worker.fragments.see(packet, hash, burst.mbuf[i], worker.now_ms);
    switch (decision.step) {
    case lb::FragmentStep::kWait:
        return Fate::waits;
    case lb::FragmentStep::kFollow:
        take_ports(packet, decision.ports);
        return Fate::stays;
    default:
        burst.verdict[i] = static_cast<std::uint8_t>(verdict_of(decision.step));
        return Fate::stays;
    }
}

Fate place(Worker& worker, Burst& burst, std::uint32_t i) {
    weir_packet& packet = burst.packet[i];
    HandOverNote note = burst.origin == Origin::port ? HandOverNote{} : note_of(burst.mbuf[i]);
    bool placed = burst.origin == Origin::peer && note.why == HandOver::to_owner;
    if (placed || burst.origin == Origin::released) {
        if (note.has_ports)
            take_ports(packet, note.ports);
        return Fate::stays;
    }
    std::uint64_t hash = weir_fragment_hash(&worker.state->hash_key(), &packet);
    std::uint32_t owner = weir_owner_of_datagram(hash, worker.context.workers);
    if (owner == worker.context.id || burst.origin == Origin::peer)
        return trace(worker, burst, i, hash);
    write_note(burst.mbuf[i], {HandOver::to_datagram, false, {}});
    bool taken = rte_ring_enqueue(worker.context.peer_inbox[owner], burst.mbuf[i]) == 0;
    burst.verdict[i] = taken ? WEIR_HANDED_OVER : WEIR_DROP_RING_FULL;
    return Fate::stays;
}

} // namespace

void follow_fragments(Worker& worker, Burst& burst) {
    if (!burst.has_fragments)
        return;
    std::uint32_t kept = 0;
    for (std::uint32_t i = 0; i < burst.count; i++) {
        bool followed = burst.verdict[i] == WEIR_UNDECIDED &&
                        weir_fragment_is_followed(&burst.packet[i]) &&
                        burst.packet[i].defect == WEIR_UNDECIDED;
        if (followed && place(worker, burst, i) == Fate::waits)
            continue;
        if (kept != i) {
            burst.mbuf[kept] = burst.mbuf[i];
            burst.verdict[kept] = burst.verdict[i];
            burst.out_interface[kept] = burst.out_interface[i];
            burst.packet[kept] = burst.packet[i];
            burst.plain[kept] = burst.plain[i];
            burst.hash[kept] = burst.hash[i];
            burst.vip[kept] = WEIR_NO_ROW;
            burst.backend[kept] = WEIR_NO_ROW;
        }
        kept++;
    }
    burst.count = burst.end = kept;
}

bool receive_released(Worker& worker, Burst& burst) {
    begin(burst, Origin::released);
    burst.count = 0;
    lb::ReleasedFragment released;
    while (burst.count < kBurstSize && worker.fragments.take_released(released)) {
        auto* mbuf = static_cast<rte_mbuf*>(released.packet);
        write_note(mbuf, {HandOver::to_owner, released.has_ports, released.ports});
        burst.mbuf[burst.count++] = mbuf;
    }
    return burst.count != 0;
}

} // namespace weir::dpdk
