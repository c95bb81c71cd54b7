// SPDX-License-Identifier: BSD-3-Clause
// Which backend: a known connection's own, or the pool's choice for a new one, and remembering it.
#include "dataplane/dpdk/stages.hpp"
#include "dataplane/forwarding/admit.h"

#include <rte_mbuf.h>

namespace weir::dpdk {
namespace {

lb::PacketEvent event_of(const weir_packet& packet, lb::Direction direction) {
    return packet.protocol == WEIR_IP_TCP ? lb::tcp_event(direction, packet.tcp_flags)
                                          : lb::udp_event(direction);
}

const std::uint8_t* source_mac(rte_mbuf* mbuf) {
    return weir_ethernet_source(rte_pktmbuf_mtod(mbuf, const std::uint8_t*));
}

// The row's last hop, exchanged when the client's packets begin to come another way.
std::uint16_t follow_last_hop(Worker& worker, const lb::HotRow& row, rte_mbuf* mbuf,
                              const weir_packet& packet) {
    auto known = static_cast<std::uint16_t>(row.last_hop);
    auto interface = static_cast<std::uint8_t>(mbuf->port);
    if (worker.last_hops.is(known, source_mac(mbuf), packet.vlan_tci, interface)) [[likely]]
        return known;
    worker.last_hops.release(known);
    return worker.last_hops.acquire(source_mac(mbuf), packet.vlan_tci, interface);
}

// The packet's effect on its connection's state and age.
void advance(Worker& worker, lb::EntryIndex entry, const weir_packet& packet,
             lb::Direction direction, lb::Visibility visibility, bool backend_down,
             std::uint16_t last_hop) {
    const lb::HotRow& row = worker.table.row(entry);
    auto before = static_cast<lb::ConnectionState>(row.state);
    lb::ConnectionState after = lb::next_state(visibility, before, event_of(packet, direction));
    bool fresh = lb::refreshes(before, after, direction, backend_down);
    worker.table.update(entry, static_cast<std::uint8_t>(after), last_hop,
                        fresh ? worker.now_s : row.last_seen_s);
    if (worker.table.on_probation(entry) && lb::confirmed(after))
        worker.table.promote(entry, worker.now_s);
}

lb::Visibility visibility_of(const weir_vip_row& vip) {
    return vip.forward == WEIR_FORWARD_DSR_L2 ? lb::Visibility::kClientOnly
                                              : lb::Visibility::kBothSides;
}

void drop(Worker& worker, Burst& burst, std::uint32_t i, weir_verdict verdict) {
    burst.verdict[i] = static_cast<std::uint8_t>(verdict);
    if (burst.vip[i] != WEIR_NO_ROW)
        worker.vip_counters(burst.vip[i]).drops++;
}

void erase(Worker& worker, lb::EntryIndex entry) {
    worker.forget(worker.table.row(entry));
    worker.table.erase(entry);
}

// A packet from a client whose connection is in the table: to its backend, unless the connection
// has to be forgotten first (then the packet is an unknown one) or its backend is gone.
void follow_known(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    lb::EntryIndex entry = burst.entry[i];
    const lb::HotRow& row = worker.table.row(entry);
    const weir_packet& packet = burst.packet[i];
    std::uint32_t backend_row = row.backend;
    if (backend_row >= worker.state->backends().size())
        return drop(worker, burst, i, WEIR_DROP_NO_BACKEND);
    const weir_backend_row& backend = worker.state->backends()[backend_row];
    auto state = static_cast<lb::ConnectionState>(row.state);
    bool half_open =
        state == lb::ConnectionState::kSynSeen || state == lb::ConnectionState::kSynAckSeen;
    bool restart = lb::restarts(state, packet.tcp_flags) && packet.protocol == WEIR_IP_TCP &&
                   !(half_open && backend.state == WEIR_BACKEND_UP);
    weir_known_step step = restart ? WEIR_KNOWN_RESELECT : weir_admit_known(&vip, &backend);
    if (step == WEIR_KNOWN_DROP)
        return drop(worker, burst, i, WEIR_DROP_BACKEND_DOWN);
    if (step == WEIR_KNOWN_RESELECT) {
        erase(worker, entry);
        burst.entry[i] = lb::kNoEntry;
        return;
    }
    burst.backend[i] = backend_row;
    if (vip.forward == WEIR_FORWARD_FULL_NAT) {
        if (row.snat_address >= worker.state->snat().size())
            return drop(worker, burst, i, WEIR_DROP_NO_CONNECTION);
        burst.translation[i].source = worker.state->snat()[row.snat_address].address;
        burst.translation[i].source_port = row.snat_port;
    }
    std::uint16_t last_hop = vip.forward == WEIR_FORWARD_DSR_L2
                                 ? lb::kNoLastHop
                                 : follow_last_hop(worker, row, burst.mbuf[i], packet);
    advance(worker, entry, packet, lb::Direction::kFromClient, visibility_of(vip),
            backend.state == WEIR_BACKEND_DOWN, last_hop);
}

void find_for_client(Worker& worker, Burst& burst, std::uint32_t i) {
    const weir_packet& packet = burst.packet[i];
    burst.vip[i] = burst.match[i].index;
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    lb::ForwardKey key =
        lb::forward_key(weir_packet_source(&packet), packet.source_port, packet.destination_port,
                        static_cast<std::uint16_t>(burst.vip[i]));
    burst.entry[i] = worker.table.find_forward(lb::index_hash(burst.hash[i]), key, burst.entry[i]);
    if (burst.entry[i] != lb::kNoEntry)
        follow_known(worker, burst, i, vip);
}

// Whether the row's connection is the one whose backend sent this packet.
bool is_reply_of(const lb::ForwardingState& state, const lb::HotRow& row, const weir_packet& packet,
                 const weir_match& match) {
    if (row.vip >= state.vips().size() || row.backend >= state.backends().size())
        return false;
    weir_address destination = weir_packet_destination(&packet);
    bool to_us = match.kind == WEIR_MATCH_SNAT
                     ? row.snat_address == match.index && row.snat_port == packet.destination_port
                     : row.snat_port == 0 && row.client_port == packet.destination_port &&
                           weir_address_equal(&row.client, &destination);
    const weir_backend_row& backend = state.backends()[row.backend];
    weir_address source = weir_packet_source(&packet);
    return to_us && state.vips()[row.vip].protocol == packet.protocol &&
           weir_backend_port(&backend, row.service_port) == packet.source_port &&
           weir_address_equal(&backend.address, &source);
}

void find_for_backend(Worker& worker, Burst& burst, std::uint32_t i) {
    const weir_packet& packet = burst.packet[i];
    burst.vip[i] = WEIR_NO_ROW;
    burst.entry[i] = worker.table.find_reply(
        lb::index_hash(burst.hash[i]),
        [&](const lb::HotRow& row) {
            return is_reply_of(*worker.state, row, packet, burst.match[i]);
        },
        burst.entry[i]);
    if (burst.entry[i] == lb::kNoEntry)
        return drop(worker, burst, i, WEIR_DROP_NO_CONNECTION);
    const lb::HotRow& row = worker.table.row(burst.entry[i]);
    burst.vip[i] = row.vip;
    burst.backend[i] = row.backend;
    const weir_vip_row& vip = worker.state->vips()[row.vip];
    burst.translation[i].source = vip.address;
    burst.translation[i].source_port = row.service_port;
    burst.translation[i].destination = row.client;
    burst.translation[i].destination_port = row.client_port;
    const lb::LastHop* hop = worker.last_hops.find(static_cast<std::uint16_t>(row.last_hop));
    if (!hop)
        return drop(worker, burst, i, WEIR_DROP_NO_NEXT_HOP);
    burst.last_hop[i] = *hop;
    advance(worker, burst.entry[i], packet, lb::Direction::kFromBackend, lb::Visibility::kBothSides,
            false, static_cast<std::uint16_t>(row.last_hop));
}

} // namespace

void find_connection(Worker& worker, Burst& burst) {
    for (std::uint32_t i = 0; i < burst.count; i++)
        if (burst.verdict[i] == WEIR_UNDECIDED)
            burst.entry[i] = worker.table.prefetch_row(lb::index_hash(burst.hash[i]));
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        burst.backend[i] = WEIR_NO_ROW;
        weir_translation_of(&burst.packet[i], &burst.translation[i]);
        if (burst.match[i].kind == WEIR_MATCH_VIP)
            find_for_client(worker, burst, i);
        else
            find_for_backend(worker, burst, i);
    }
}

void select_backend(Worker& worker, Burst& burst) {
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED || burst.backend[i] != WEIR_NO_ROW)
            continue;
        const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
        weir_verdict verdict = weir_admit_new(&burst.packet[i], &vip);
        if (verdict != WEIR_UNDECIDED) {
            drop(worker, burst, i, verdict);
            continue;
        }
        burst.backend[i] = worker.state->select(worker.state->pools()[vip.pool], burst.hash[i]);
        if (burst.backend[i] == WEIR_NO_ROW)
            drop(worker, burst, i, WEIR_DROP_NO_BACKEND);
    }
}

namespace {

// The hash a backend's reply to this connection will have.
std::uint32_t reply_hash(const Worker& worker, const weir_backend_row& backend,
                         const weir_translation& translation, weir_be16 backend_port,
                         std::uint8_t protocol) {
    weir_flow reply;
    weir_flow_set(&reply, &backend.address, &translation.source, backend_port,
                  translation.source_port, protocol);
    return lb::index_hash(weir_flow_hash(&worker.state->hash_key(), &reply));
}

// Would the replies of row's connection look like those of a connection with this reply tuple?
bool replies_alike(const lb::ForwardingState& state, const lb::HotRow& row,
                   const lb::NewConnection& wanted, const weir_backend_row& backend,
                   weir_be16 backend_port, std::uint8_t protocol) {
    if (row.vip >= state.vips().size() || row.backend >= state.backends().size() ||
        row.snat_port != wanted.snat_port)
        return false;
    bool same_way_back =
        row.snat_port != 0
            ? row.snat_address == wanted.snat_address
            : row.client.word[0] == wanted.key.client_high &&
                  row.client.word[1] == wanted.key.client_low &&
                  row.client_port == static_cast<weir_be16>(wanted.key.ports_and_vip);
    const weir_backend_row& other = state.backends()[row.backend];
    return same_way_back && state.vips()[row.vip].protocol == protocol &&
           weir_address_equal(&other.address, &backend.address) &&
           weir_backend_port(&other, row.service_port) == backend_port;
}

// Proposes source addresses and ports until one's reply tuple is free. Fills snat_*, reply_hash and
// the translation. The port of an ended connection in a state that `reusable` accepts counts as
// free; its entry goes.
template <class Reusable>
bool take_snat_port(Worker& worker, Burst& burst, std::uint32_t i, const weir_backend_row& backend,
                    weir_be16 backend_port, lb::NewConnection& wanted, Reusable reusable) {
    const weir_packet& packet = burst.packet[i];
    weir_translation& translation = burst.translation[i];
    lb::SnatPorts& ports = backend.family == 4 ? worker.snat_v4 : worker.snat_v6;
    auto port = ports.allocate(burst.backend[i], [&](lb::SnatPort candidate) {
        wanted.snat_address = candidate.address;
        wanted.snat_port = weir_swap16(candidate.port);
        translation.source = worker.state->snat()[candidate.address].address;
        translation.source_port = wanted.snat_port;
        wanted.reply_hash = reply_hash(worker, backend, translation, backend_port, packet.protocol);
        lb::EntryIndex holder =
            worker.table.find_reply(wanted.reply_hash, [&](const lb::HotRow& row) {
                return replies_alike(*worker.state, row, wanted, backend, backend_port,
                                     packet.protocol);
            });
        if (holder == lb::kNoEntry)
            return true;
        if (!reusable(static_cast<lb::ConnectionState>(worker.table.row(holder).state)))
            return false;
        erase(worker, holder);
        return true;
    });
    return port.has_value();
}

weir_verdict verdict_of(lb::InsertOutcome outcome) {
    switch (outcome) {
    case lb::InsertOutcome::kReplyInUse:
        return WEIR_DROP_NAT_CONFLICT;
    case lb::InsertOutcome::kVipQuota:
        return WEIR_DROP_VIP_QUOTA;
    default:
        return WEIR_DROP_TABLE_FULL;
    }
}

void record_one(Worker& worker, Burst& burst, std::uint32_t i) {
    const weir_packet& packet = burst.packet[i];
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    const weir_backend_row& backend = worker.state->backends()[burst.backend[i]];
    weir_be16 backend_port = weir_backend_port(&backend, packet.destination_port);

    lb::ConnectionState initial = lb::initial_state(event_of(packet, lb::Direction::kFromClient));
    if (initial == lb::ConnectionState::kFree)
        return; // forwarded by the hash, not worth remembering
    lb::NewConnection wanted;
    wanted.key = lb::forward_key(weir_packet_source(&packet), packet.source_port,
                                 packet.destination_port, static_cast<std::uint16_t>(burst.vip[i]));
    wanted.forward_hash = lb::index_hash(burst.hash[i]);
    wanted.backend = burst.backend[i];
    wanted.state = static_cast<std::uint8_t>(initial);
    wanted.probation = !lb::confirmed(initial);
    if (vip.forward == WEIR_FORWARD_FULL_NAT &&
        !take_snat_port(worker, burst, i, backend, backend_port, wanted, lb::snat_port_reusable) &&
        !take_snat_port(worker, burst, i, backend, backend_port, wanted,
                        lb::snat_port_reusable_under_pressure))
        return drop(worker, burst, i, WEIR_DROP_SNAT_EXHAUSTED);
    if (vip.forward == WEIR_FORWARD_NAT)
        wanted.reply_hash =
            reply_hash(worker, backend, burst.translation[i], backend_port, packet.protocol);
    wanted.reply_indexed = vip.forward != WEIR_FORWARD_DSR_L2;
    if (wanted.reply_indexed)
        wanted.last_hop = worker.last_hops.acquire(source_mac(burst.mbuf[i]), packet.vlan_tci,
                                                   static_cast<std::uint8_t>(burst.mbuf[i]->port));
    std::uint32_t quota = vip.max_connections ? vip.max_connections : UINT32_MAX;
    lb::InsertResult result = worker.table.insert(
        wanted, worker.now_s, quota,
        [&](const lb::HotRow& row) {
            return replies_alike(*worker.state, row, wanted, backend, backend_port,
                                 packet.protocol);
        },
        [&](lb::EntryIndex, const lb::HotRow& row) { worker.forget(row); });
    burst.entry[i] = result.entry;
    if (result.outcome == lb::InsertOutcome::kInserted) {
        worker.connections_opened++;
        worker.vip_counters(burst.vip[i]).connections_opened++;
        worker.vip_counters(burst.vip[i]).connections_active++;
        worker.backend_counters(wanted.backend).connections_opened++;
        worker.backend_counters(wanted.backend).connections_active++;
        return;
    }
    worker.last_hops.release(wanted.last_hop);
    // An earlier packet of this burst has opened the connection: follow it.
    if (result.outcome == lb::InsertOutcome::kExists) {
        follow_known(worker, burst, i, vip);
        if (burst.entry[i] == lb::kNoEntry) // and its backend went down meanwhile
            drop(worker, burst, i, WEIR_DROP_BACKEND_DOWN);
        return;
    }
    drop(worker, burst, i, verdict_of(result.outcome));
}

} // namespace

void record(Worker& worker, Burst& burst) {
    for (std::uint32_t i = 0; i < burst.count; i++)
        if (burst.verdict[i] == WEIR_UNDECIDED && burst.entry[i] == lb::kNoEntry)
            record_one(worker, burst, i);
}

} // namespace weir::dpdk
