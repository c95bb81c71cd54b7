// SPDX-License-Identifier: BSD-3-Clause
// Steps around the connection table that the stages are made of. Each changes one connection or
// decides one packet.
#pragma once

#include "dataplane/dpdk/stages.hpp"
#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/exceptions.h"
#include "dataplane/forwarding/owner.h"

#include <rte_mbuf.h>

namespace weir::dpdk {

inline lb::PacketEvent event_of(const weir_packet& packet, lb::Direction direction) {
    return packet.protocol == WEIR_IP_TCP ? lb::tcp_event(direction, packet.tcp_flags)
                                          : lb::udp_event(direction);
}

inline std::uint64_t source_mac(rte_mbuf* mbuf) {
    return weir_ethernet_source_word(rte_pktmbuf_mtod(mbuf, const std::uint8_t*));
}

// Packets that say nothing about their connection's state: what a router or the far end says of an
// earlier packet, and what follows the fragment that had the header.
inline bool is_bystander(const weir_packet& packet) {
    return packet.flags &
           (WEIR_PACKET_ICMP_ERROR | WEIR_PACKET_TUNNEL_ERROR | WEIR_PACKET_LATER_FRAGMENT);
}

// The last hop that a packet came by: `known`, exchanged when packets begin to come another way.
inline std::uint16_t follow_last_hop(Worker& worker, std::uint16_t known, rte_mbuf* mbuf,
                                     const weir_packet& packet) {
    auto interface = static_cast<std::uint8_t>(mbuf->port);
    if (worker.last_hops.is(known, source_mac(mbuf), packet.vlan_tci, interface)) [[likely]]
        return known;
    worker.last_hops.release(known);
    return worker.last_hops.acquire(source_mac(mbuf), packet.vlan_tci, interface);
}

// The connection is complete: what was remembered of its client is worth keeping.
inline void confirm_persistence(Worker& worker, const lb::HotRow& row) {
    const weir_pool_row* pool = worker.state->persistence_of_vip(row.vip);
    if (pool && pool->persistence_s != 0)
        worker.persistence.confirm(
            weir_persistence_key(&worker.state->hash_key(), &row.client, pool));
}

// The packet's effect on its connection's state and age.
inline void advance(Worker& worker, lb::EntryIndex entry, const weir_packet& packet,
                    lb::Direction direction, lb::Visibility visibility, bool backend_down,
                    std::uint16_t last_hop) {
    if (is_bystander(packet))
        return;
    const lb::HotRow& row = worker.table.row(entry);
    auto before = static_cast<lb::ConnectionState>(row.state);
    lb::ConnectionState after = lb::next_state(visibility, before, event_of(packet, direction));
    bool fresh = lb::refreshes(before, after, direction, backend_down);
    worker.table.update(entry, static_cast<std::uint8_t>(after), last_hop,
                        fresh ? worker.now_s : row.last_seen_s);
    if (worker.table.on_probation(entry) && lb::confirmed(after)) {
        worker.table.promote(entry, worker.now_s);
        confirm_persistence(worker, row);
    }
}

inline lb::Visibility visibility_of(const weir_vip_row& vip) {
    return weir_forward_is_dsr(vip.forward) ? lb::Visibility::kClientOnly
                                            : lb::Visibility::kBothSides;
}

inline void drop(Worker& worker, Burst& burst, std::uint32_t i, weir_verdict verdict) {
    burst.verdict[i] = static_cast<std::uint8_t>(verdict);
    if (burst.vip[i] != WEIR_NO_ROW)
        worker.vip_counters(burst.vip[i]).drops++;
}

inline void erase(Worker& worker, lb::EntryIndex entry) {
    worker.forget(worker.table.row(entry));
    worker.table.erase(entry);
}

// Who owns the flows of direct return and full-nat, where no persistence has a say.
inline std::uint32_t owner_of_flow(const Worker& worker, const weir_flow& flow,
                                   std::uint64_t hash) {
    return worker.spread ? worker.spread->worker_of(flow)
                         : weir_owner_of_flow(hash, worker.context.workers);
}

// Whether the flow alone says who owns a packet, so that a controlled NIC can give it to him. Not
// in `nat`: what both directions share, the client's endpoint, is in different places of the hash's
// input, so that no spread by both endpoints brings replies to the owner. Not with persistence:
// other flows of the client count.
inline bool follows_spread(const lb::ForwardingState& state, const weir_match& match) {
    if (match.kind == WEIR_MATCH_SNAT)
        return true;
    return match.kind == WEIR_MATCH_VIP && state.vips()[match.index].forward != WEIR_FORWARD_NAT &&
           !weir_pool_persists(state.persistence_of_vip(match.index));
}

inline std::uint32_t owner_of(const Worker& worker, const weir_match& match,
                              const weir_packet& packet, std::uint64_t hash) {
    const lb::ForwardingState& state = *worker.state;
    const std::uint32_t workers = worker.context.workers;
    if (follows_spread(state, match) && (worker.spread || match.kind == WEIR_MATCH_VIP))
        return owner_of_flow(worker, packet.flow, hash);
    switch (match.kind) {
    case WEIR_MATCH_VIP:
        return weir_owner_of_vip_packet(&packet, &state.vips()[match.index],
                                        state.persistence_of_vip(match.index), &state.hash_key(),
                                        hash, workers);
    case WEIR_MATCH_SNAT:
        return weir_owner_of_snat_reply(&packet, &state.snat()[match.index], workers);
    default:
        return weir_owner_of_nat_reply(&packet, state.persistence_of_backend(match.index),
                                       &state.hash_key(), workers);
    }
}

// What all ports of the packet's destination are, if no port of it has a row of its own: saves the
// look-up of that. Else null.
inline const weir_match_row* ranges_alone(const weir_match_view& table, const weir_packet& packet) {
    const weir_address destination = weir_packet_destination(&packet);
    const weir_match_row* row = weir_match_find(&table, &destination, packet.protocol, 0);
    return row && row->ranges_alone ? row : nullptr;
}

// To another worker, whose connection it is. In stage_match.cpp.
void hand_to(Worker& worker, Burst& burst, std::uint32_t i, std::uint32_t owner);

// A packet to a VIP whose connection is not known: its backend, or why none. In select_backend.cpp.
void select_backend(Worker& worker, Burst& burst, std::uint32_t i);

// The backend that select_backend() will choose, where nothing but the hash has a say in that; else
// WEIR_NO_ROW. In select_backend.cpp.
std::uint32_t backend_by_hash(const Worker& worker, const Burst& burst, std::uint32_t i,
                              const weir_vip_row& vip);

// Sends for what the packets of new connections will read. In foresee.cpp.
void foresee(Worker& worker, Burst& burst);

// The ports that connections to this backend may have.
inline lb::SnatPorts& ports_towards(Worker& worker, const weir_backend_row& backend) {
    return backend.family == 4 ? worker.snat_v4 : worker.snat_v6;
}

// What a backend's packets from this port add to the hash of a NIC that spreads them.
inline std::uint32_t reply_part(const Worker& worker, const weir_backend_row& backend,
                                weir_be16 backend_port) {
    return worker.spread ? worker.spread->source_part(backend.address, backend_port) : 0;
}

// Remembers what was selected; gives full-nat connections their source port. WEIR_UNDECIDED, or the
// verdict of what could not be remembered. REQUIRES: the table was searched for the packet's
// connection and has none. In record.cpp.
weir_verdict record(Worker& worker, Burst& burst, std::uint32_t i);

// The same for VIPs that record exceptions only: remembers what the hash will not, and changes the
// selection where that cannot be. In exceptions.cpp.
void record_exception(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip);

// The pool of a VIP for which most flows need no look-up (weir_is_settled). Else null.
inline const weir_pool_row* settled_pool(const lb::ForwardingState& state,
                                         const weir_match& match) {
    if (match.kind != WEIR_MATCH_VIP)
        return nullptr;
    const weir_vip_row& vip = state.vips()[match.index];
    const weir_pool_row& pool = state.pools()[vip.pool];
    return weir_is_settled(&vip, &pool) ? &pool : nullptr;
}

// A packet of a VIP that records exceptions only has passed without an entry: estimates how many
// connections there are, and notes where the VIP's clients are. In exceptions.cpp.
void note_unrecorded(Worker& worker, const Burst& burst, std::uint32_t i, const weir_vip_row& vip);

// Moves the frame's head to fit the tag it leaves with and writes the link header. In
// stage_rewrite.cpp.
weir_verdict give_link(rte_mbuf* mbuf, weir_packet& packet, const weir_link& link);

} // namespace weir::dpdk
