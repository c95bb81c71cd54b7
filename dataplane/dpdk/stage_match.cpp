// SPDX-License-Identifier: BSD-3-Clause
// From bytes to meaning: parse, match, and who owns the connection.
#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/dpdk/hand_over_note.hpp"
#include "dataplane/dpdk/stages.hpp"
#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/parse_plain.h"
#include "dataplane/forwarding/tunnel_error.h"

#include <algorithm>
#include <rte_mbuf.h>
#include <rte_prefetch.h>
#include <rte_ring.h>

namespace weir::dpdk {

void parse(Worker& worker, Burst& burst) {
    std::fill_n(burst.vip, kBurstSize, WEIR_NO_ROW);
    std::fill_n(burst.backend, kBurstSize, WEIR_NO_ROW);
    std::fill_n(burst.mtu, kBurstSize, 0);
    burst.has_fragments = false;
    if (!worker.state) {
        std::fill_n(burst.verdict, burst.count,
                    static_cast<std::uint8_t>(WEIR_DROP_NO_CONFIGURATION));
        return;
    }
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        // The parser reads one contiguous frame; a device that split it lost the tail to us.
        const std::uint8_t* data = burst.frames.data[i];
        burst.plain[i] = (burst.columns.all() & set_of(i)) != 0;
        if ((burst.columns.v4 & set_of(i)) != 0) [[likely]] {
            weir_read_plain_v4(data, &burst.packet[i]);
            continue;
        }
        if ((burst.columns.v6 & set_of(i)) != 0) {
            weir_read_plain_v6(data, &burst.packet[i]);
            continue;
        }
        burst.verdict[i] = static_cast<std::uint8_t>(
            weir_parse(data, data + burst.frames.bytes[i], &burst.packet[i]));
        if (burst.packet[i].flags & WEIR_PACKET_FRAGMENT)
            burst.has_fragments = true;
    }
}

namespace {

// An ICMP error that is about nothing of ours as it stands may be about a packet in a tunnel.
void match_tunnel_error(const lb::ForwardingState& state, Burst& burst, std::uint32_t i) {
    weir_packet& packet = burst.packet[i];
    const auto* data = rte_pktmbuf_mtod(burst.mbuf[i], const std::uint8_t*);
    if (!weir_match_is_ours(&burst.match[i], &packet) &&
        weir_parse_tunnel_error(data, data + rte_pktmbuf_data_len(burst.mbuf[i]), &packet,
                                state.match().gue_port))
        burst.match[i] = weir_match_packet(&state.match(), &packet);
}

// Which VIP, SNAT range or backend the packet is for, and whether it is sound.
void match_one(const Worker& worker, Burst& burst, std::uint32_t i) {
    burst.match[i] = weir_match_packet(&worker.state->match(), &burst.packet[i]);
    if (burst.packet[i].quoted_offset != 0) [[unlikely]]
        match_tunnel_error(*worker.state, burst, i);
    burst.verdict[i] = static_cast<std::uint8_t>(weir_admit(&burst.packet[i], &burst.match[i]));
}

// Most packets are for what one shortly before them was for: the same endpoint of a VIP, or, in a
// burst of replies, some port of a SNAT address. Plain packets only, which are sound.
class Neighbours {
public:
    bool find(const weir_match_view& table, Burst& burst, std::uint32_t i) const {
        const weir_packet& packet = burst.packet[i];
        if (vip_ && weir_same_endpoint(&packet.flow, &burst.packet[vip_of_].flow)) {
            burst.match[i] = *vip_;
            return true;
        }
        return after_reply_ && find_snat(table, packet, burst.match[i]);
    }

    void remember(const Burst& burst, std::uint32_t i) {
        after_reply_ = burst.match[i].kind == WEIR_MATCH_SNAT;
        if (burst.match[i].kind == WEIR_MATCH_VIP) {
            vip_ = &burst.match[i];
            vip_of_ = i;
        }
    }

private:
    // Saves the look-up of the exact port, where there can be none.
    static bool find_snat(const weir_match_view& table, const weir_packet& packet,
                          weir_match& match) {
        const weir_match_row* row = ranges_alone(table, packet);
        if (!row)
            return false;
        match = weir_match_ranges(&table, row, packet.destination_port);
        return match.kind == WEIR_MATCH_SNAT;
    }

    const weir_match* vip_ = nullptr;
    std::uint32_t vip_of_ = 0; // packet of the burst
    bool after_reply_ = false;
};

void match_all(const Worker& worker, Burst& burst) {
    const weir_match_view& table = worker.state->match();
    Neighbours neighbours;
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED ||
            (burst.plain[i] && neighbours.find(table, burst, i)))
            continue;
        match_one(worker, burst, i);
        if (burst.plain[i])
            neighbours.remember(burst, i);
    }
}

void hash_flows(const Worker& worker, Burst& burst) {
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED || burst.plain[i])
            continue;
        if (burst.packet[i].flow.words == WEIR_FLOW_WORDS_V4)
            burst.flows_v4.add(i, burst.packet[i].flow);
        else
            burst.flows_v6.add(i, burst.packet[i].flow);
    }
    burst.flows_v4.compute(worker.state->hash_key(), burst.hash, burst.count);
    burst.flows_v6.compute(worker.state->hash_key(), burst.hash, burst.count);
}

// What the next stage will read is sent for: a flow's place in the table of connections, or where
// that cannot say anything its slot.
void send_for(Worker& worker, Burst& burst) {
    weir_match of{WEIR_MATCH_EMPTY, WEIR_NO_ROW};
    const weir_pool_row* settled = nullptr; // of this match
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        burst.slot[i] = nullptr;
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        if (burst.match[i].index != of.index || burst.match[i].kind != of.kind) {
            of = burst.match[i];
            settled = settled_pool(*worker.state, of);
        }
        burst.look_up[i] = !settled || worker.exceptions->may_have(burst.hash[i]);
        if (burst.look_up[i]) {
            worker.table.prefetch_index(lb::index_hash(burst.hash[i]));
        } else if (weir_has_slots_of_flows(settled) && burst.plain[i]) {
            burst.slot[i] = worker.state->slot_of(*settled, burst.hash[i]);
            rte_prefetch0(burst.slot[i]);
            worker.short_way.worth_a_try();
        }
    }
}

} // namespace

void match(Worker& worker, Burst& burst) {
    if (!worker.state) // then every packet is decided
        return;
    match_all(worker, burst);
    hash_flows(worker, burst);
    send_for(worker, burst);
}

void hand_to(Worker& worker, Burst& burst, std::uint32_t i, std::uint32_t owner) {
    const weir_packet& packet = burst.packet[i];
    const bool fragment = packet.flags & WEIR_PACKET_FRAGMENT;
    write_note(burst.mbuf[i],
               {HandOver::to_owner, fragment, {packet.source_port, packet.destination_port}});
    bool taken = rte_ring_enqueue(worker.context.peer_inbox[owner], burst.mbuf[i]) == 0;
    burst.verdict[i] = taken ? WEIR_HANDED_OVER : WEIR_DROP_RING_FULL;
}

void hand_over(Worker& worker, Burst& burst) {
    if (worker.context.workers == 1)
        return;
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        // A packet that was handed to us stays, even if a new generation would place it elsewhere.
        bool fragment = burst.packet[i].flags & WEIR_PACKET_FRAGMENT;
        if (burst.origin == Origin::peer &&
            !(fragment && note_of(burst.mbuf[i]).why == HandOver::to_datagram))
            continue;
        const std::uint32_t owner =
            owner_of(worker, burst.match[i], burst.packet[i], burst.hash[i]);
        if (owner == worker.context.id)
            continue;
        hand_to(worker, burst, i, owner);
    }
}

} // namespace weir::dpdk
