// SPDX-License-Identifier: BSD-3-Clause
// From bytes to meaning: parse, match, and who owns the connection.
#include "dataplane/dpdk/hand_over_note.hpp"
#include "dataplane/dpdk/stages.hpp"
#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/owner.h"
#include "dataplane/forwarding/parse_plain.h"
#include "dataplane/forwarding/tunnel_error.h"
#include "dataplane/lb/flow_hash_batch.hpp"

#include <rte_mbuf.h>
#include <rte_prefetch.h>
#include <rte_ring.h>

namespace weir::dpdk {

void parse(Worker& worker, Burst& burst) {
    for (std::uint32_t i = 0; i < burst.count; i++)
        rte_prefetch0(rte_pktmbuf_mtod(burst.mbuf[i], const void*));
    std::uint32_t flags = 0;
    for (std::uint32_t i = 0; i < burst.count; i++) {
        rte_mbuf* mbuf = burst.mbuf[i];
        burst.vip[i] = WEIR_NO_ROW;
        burst.backend[i] = WEIR_NO_ROW;
        burst.mtu[i] = 0;
        if (!worker.state) {
            burst.verdict[i] = WEIR_DROP_NO_CONFIGURATION;
            continue;
        }
        // The parser reads one contiguous frame; a device that split it lost the tail to us.
        const auto* data = rte_pktmbuf_mtod(mbuf, const std::uint8_t*);
        const auto* end = data + rte_pktmbuf_data_len(mbuf);
        const bool plain = weir_parse_plain(data, end, &burst.packet[i]);
        burst.verdict[i] = static_cast<std::uint8_t>(
            plain ? WEIR_UNDECIDED : weir_parse(data, end, &burst.packet[i]));
        flags |= burst.packet[i].flags;
    }
    burst.has_fragments = flags & WEIR_PACKET_FRAGMENT;
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

void hash_flows(const Worker& worker, Burst& burst) {
    lb::FlowHashBatch<WEIR_FLOW_WORDS_V4> v4;
    lb::FlowHashBatch<WEIR_FLOW_WORDS_V6> v6;
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        if (burst.packet[i].flow.words == WEIR_FLOW_WORDS_V4)
            v4.add(i, burst.packet[i].flow);
        else
            v6.add(i, burst.packet[i].flow);
    }
    v4.compute(worker.state->hash_key(), burst.hash);
    v6.compute(worker.state->hash_key(), burst.hash);
}

// Where only exceptions are recorded, most flows need no look-up and so cost no cache miss; what
// they do need, the slot, is on its way then.
bool may_be_recorded(const Worker& worker, const weir_match& match, std::uint64_t hash) {
    if (match.kind != WEIR_MATCH_VIP)
        return true;
    const lb::ForwardingState& state = *worker.state;
    const weir_vip_row& vip = state.vips()[match.index];
    if (!(vip.flags & WEIR_VIP_EXCEPTIONS))
        return true;
    const weir_pool_row& pool = state.pools()[vip.pool];
    if (pool.elder_count != 0 || worker.exceptions->may_have(hash))
        return true;
    state.prefetch_slot(pool, hash);
    return false;
}

} // namespace

void match(Worker& worker, Burst& burst) {
    if (!worker.state) // then every packet is decided
        return;
    std::uint32_t vips = burst.count; // the last packet that was found to be for a VIP
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        if (vips != burst.count && weir_same_endpoint(&burst.packet[i], &burst.packet[vips])) {
            burst.match[i] = burst.match[vips];
        } else {
            burst.match[i] = weir_match_packet(&worker.state->match(), &burst.packet[i]);
            if (burst.match[i].kind == WEIR_MATCH_VIP)
                vips = i;
        }
        if (burst.packet[i].quoted_offset != 0) [[unlikely]]
            match_tunnel_error(*worker.state, burst, i);
        burst.verdict[i] = static_cast<std::uint8_t>(weir_admit(&burst.packet[i], &burst.match[i]));
    }
    hash_flows(worker, burst);
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        burst.look_up[i] = may_be_recorded(worker, burst.match[i], burst.hash[i]);
        if (burst.look_up[i])
            worker.table.prefetch_index(lb::index_hash(burst.hash[i]));
    }
}

namespace {

// Whether whom a controlled NIC gives the packet to is its owner. Not in `nat`: what both
// directions share, the client's endpoint, is in different places of the hash's input, so that no
// spread by both endpoints brings replies to the owner. Not with persistence: other flows of the
// client count.
bool follows_spread(const lb::ForwardingState& state, const weir_match& match) {
    if (match.kind == WEIR_MATCH_SNAT)
        return true;
    return match.kind == WEIR_MATCH_VIP && state.vips()[match.index].forward != WEIR_FORWARD_NAT &&
           !weir_pool_persists(state.persistence_of_vip(match.index));
}

std::uint32_t owner_of(const Worker& worker, const Burst& burst, std::uint32_t i) {
    const lb::ForwardingState& state = *worker.state;
    const std::uint32_t workers = worker.context.workers;
    const weir_packet& packet = burst.packet[i];
    if (worker.spread && follows_spread(state, burst.match[i]))
        return worker.spread->worker_of(packet.flow);
    switch (burst.match[i].kind) {
    case WEIR_MATCH_VIP:
        return weir_owner_of_vip_packet(&packet, &state.vips()[burst.match[i].index],
                                        state.persistence_of_vip(burst.match[i].index),
                                        &state.hash_key(), burst.hash[i], workers);
    case WEIR_MATCH_SNAT:
        return weir_owner_of_snat_reply(&packet, &state.snat()[burst.match[i].index], workers);
    default:
        return weir_owner_of_nat_reply(&packet, state.persistence_of_backend(burst.match[i].index),
                                       &state.hash_key(), workers);
    }
}

} // namespace

void hand_over(Worker& worker, Burst& burst) {
    if (worker.context.workers == 1)
        return;
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        // A packet that was handed to us stays, even if a new generation would place it elsewhere.
        bool fragment = burst.packet[i].flags & WEIR_PACKET_FRAGMENT;
        if (burst.origin == Origin::peer &&
            !(fragment && note_of(burst.mbuf[i]).why == HandOver::to_datagram))
            continue;
        std::uint32_t owner = owner_of(worker, burst, i);
        if (owner == worker.context.id)
            continue;
        const weir_packet& packet = burst.packet[i];
        write_note(burst.mbuf[i],
                   {HandOver::to_owner, fragment, {packet.source_port, packet.destination_port}});
        bool taken = rte_ring_enqueue(worker.context.peer_inbox[owner], burst.mbuf[i]) == 0;
        burst.verdict[i] = taken ? WEIR_HANDED_OVER : WEIR_DROP_RING_FULL;
    }
}

} // namespace weir::dpdk
