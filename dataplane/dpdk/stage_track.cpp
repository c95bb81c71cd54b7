// SPDX-License-Identifier: BSD-3-Clause
// Track: a known connection's packets go where the connection goes; for the others a backend is
// selected and the connection recorded. One packet after the other, so that each meets what the
// packets before it have opened, ended or begun anew.
#include "dataplane/dpdk/known_connection.hpp"

namespace weir::dpdk {
namespace {

// Its backend is down and so it ends, as if the backend had reset it: a SYN may start it anew at
// once, and until the entry expires every other packet is answered again.
void give_up(Worker& worker, lb::EntryIndex entry, const weir_packet& packet) {
    const lb::HotRow& row = worker.table.row(entry);
    auto reset = static_cast<std::uint8_t>(lb::ConnectionState::kRstBackend);
    if (packet.protocol == WEIR_IP_TCP && row.state != reset)
        worker.table.update(entry, reset, static_cast<std::uint16_t>(row.last_hop), worker.now_s);
}

// What a router says of a packet on its way to a backend through a tunnel is for the client, who
// alone can send less. `hop`: where the client is.
void to_client_of_tunnel(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip,
                         std::uint16_t hop) {
    const lb::LastHop* found = worker.last_hops.find(hop);
    if (!weir_forward_encapsulates(vip.forward))
        burst.verdict[i] = WEIR_DROP_ICMP_IMPLAUSIBLE;
    else if (found)
        burst.last_hop[i] = *found;
    else
        burst.verdict[i] = WEIR_DROP_NO_NEXT_HOP;
}

// A packet from a client whose connection is in the table: to its backend, unless the connection
// has to be forgotten first (then the packet is an unknown one: entry is kNoEntry) or its backend
// is gone.
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
    burst.backend[i] = backend_row;
    if (vip.forward == WEIR_FORWARD_FULL_NAT) {
        if (row.snat_address >= worker.state->snat().size())
            return drop(worker, burst, i, WEIR_DROP_NO_CONNECTION);
        burst.translation[i].source = worker.state->snat()[row.snat_address].address;
        burst.translation[i].source_port = row.snat_port;
    }
    if (step == WEIR_KNOWN_DROP || (step == WEIR_KNOWN_RESELECT && is_bystander(packet))) {
        if (!is_bystander(packet))
            give_up(worker, entry, packet);
        return drop(worker, burst, i, WEIR_DROP_BACKEND_DOWN);
    }
    if (step == WEIR_KNOWN_RESELECT) {
        erase(worker, entry);
        burst.entry[i] = lb::kNoEntry;
        burst.backend[i] = WEIR_NO_ROW;
        weir_translation_of(&packet, &burst.translation[i]);
        return;
    }
    if (packet.flags & WEIR_PACKET_TUNNEL_ERROR)
        return to_client_of_tunnel(worker, burst, i, vip, static_cast<std::uint16_t>(row.last_hop));
    if (is_bystander(packet)) // comes from a router on the way, not from the client's last hop
        return;
    std::uint16_t last_hop =
        follow_last_hop(worker, static_cast<std::uint16_t>(row.last_hop), burst.mbuf[i], packet);
    advance(worker, entry, packet, lb::Direction::kFromClient, visibility_of(vip),
            backend.state == WEIR_BACKEND_DOWN, last_hop);
}

// The tuple it leaves with is its own but for what later steps change.
void begin_translation(Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    if (!weir_forward_is_dsr(vip.forward))
        weir_translation_of(&burst.packet[i], &burst.translation[i]);
}

lb::EntryIndex find_of_client(const Worker& worker, std::uint64_t hash, lb::EntryIndex hint,
                              std::uint32_t vip, const weir_packet& packet) {
    const lb::ForwardKey key =
        lb::forward_key(weir_packet_source(&packet), packet.source_port, packet.destination_port,
                        static_cast<std::uint16_t>(vip));
    return worker.table.find_forward(lb::index_hash(hash), key, hint);
}

// A quiet packet of a connection that stays as it is: all there is to do. False: it is more.
bool goes_on_to_backend(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    const lb::EntryIndex entry = burst.entry[i];
    const lb::HotRow& row = worker.table.row(entry);
    const lb::RowTail tail(row);
    if (!burst.plain[i] || !weir_is_quiet(&burst.packet[i]) ||
        !stays_as_it_is(worker.last_hops, worker.state->backends(), tail, burst.mbuf[i],
                        rte_pktmbuf_mtod(burst.mbuf[i], const std::uint8_t*)) ||
        !weir_state_complete(tail.state()) ||
        !source_to_backend(worker.state->snat(), vip.forward, row, burst.translation[i]))
        return false;
    worker.table.touch(entry, worker.now_s);
    burst.backend[i] = tail.backend();
    return true;
}

void find_for_client(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    const weir_packet& packet = burst.packet[i];
    burst.entry[i] = find_of_client(worker, burst.hash[i], burst.hint[i], burst.vip[i], packet);
    if (burst.entry[i] == lb::kNoEntry)
        return;
    if (goes_on_to_backend(worker, burst, i, vip)) [[likely]]
        return worker.short_way.worth_a_try();
    begin_translation(burst, i, vip);
    follow_known(worker, burst, i, vip);
}

// No connection of ours. It may be one that kept its port when its worker changed.
void to_holder(Worker& worker, Burst& burst, std::uint32_t i) {
    const auto holder = worker.strays.holder(burst.hash[i]);
    if (holder && *holder != worker.context.id)
        return hand_to(worker, burst, i, *holder);
    drop(worker, burst, i,
         burst.packet[i].flags & WEIR_PACKET_ICMP_ERROR ? WEIR_DROP_ICMP_NO_CONNECTION
                                                        : WEIR_DROP_NO_CONNECTION);
}

void find_for_backend(Worker& worker, Burst& burst, std::uint32_t i) {
    const weir_packet& packet = burst.packet[i];
    burst.entry[i] = worker.table.find_reply(
        lb::index_hash(burst.hash[i]),
        [&](const lb::HotRow& row) {
            return is_reply_of(worker.state->vips(), worker.state->backends(), row,
                               tuple_of(packet), burst.match[i]);
        },
        burst.hint[i]);
    if (burst.entry[i] == lb::kNoEntry)
        return to_holder(worker, burst, i);
    const lb::HotRow& row = worker.table.row(burst.entry[i]);
    burst.vip[i] = row.vip;
    burst.backend[i] = row.backend;
    burst.translation[i] = translation_to_client(worker.state->vips(), row);
    const auto last_hop = static_cast<std::uint16_t>(row.last_hop);
    const lb::LastHop* hop = worker.last_hops.find(last_hop);
    if (!hop)
        return drop(worker, burst, i, WEIR_DROP_NO_NEXT_HOP);
    burst.last_hop[i] = *hop;
    if (burst.plain[i] && weir_is_quiet(&packet) && weir_state_complete(row.state)) [[likely]] {
        worker.table.touch(burst.entry[i], worker.now_s);
        return worker.short_way.worth_a_try();
    }
    advance(worker, burst.entry[i], packet, lb::Direction::kFromBackend, lb::Visibility::kBothSides,
            false, last_hop);
}

// The client is not known, but where the VIP's clients come from is.
void to_some_client(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    const std::uint16_t hop = worker.recent_hops[burst.vip[i]];
    if (hop == lb::kNoLastHop)
        drop(worker, burst, i, WEIR_DROP_ICMP_NO_CONNECTION);
    else if (!worker.icmp_errors.take(worker.time_ns,
                                      worker.share_of(worker.state->node().icmp_pps)))
        drop(worker, burst, i, WEIR_DROP_ICMP_RATE);
    else
        to_client_of_tunnel(worker, burst, i, vip, hop);
}

void select_and_record(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    const weir_packet& packet = burst.packet[i];
    const bool exceptions = vip.flags & WEIR_VIP_EXCEPTIONS;
    if (exceptions && packet.flags & WEIR_PACKET_TUNNEL_ERROR)
        return to_some_client(worker, burst, i, vip);
    select_backend(worker, burst, i);
    if (burst.verdict[i] != WEIR_UNDECIDED || is_bystander(packet))
        return;
    if (exceptions)
        return record_exception(worker, burst, i, vip);
    const weir_verdict verdict = record(worker, burst, i);
    if (verdict != WEIR_UNDECIDED)
        drop(worker, burst, i, verdict);
}

void forward_by_slot(Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip) {
    const lb::ForwardingState& state = *worker.state;
    burst.backend[i] = state.member_in(state.pools()[vip.pool], *burst.slot[i]);
    if (burst.backend[i] == WEIR_NO_ROW)
        return drop(worker, burst, i, WEIR_DROP_NO_BACKEND);
    if (!weir_says_nothing(&burst.packet[i], &vip))
        note_unrecorded(worker, burst, i, vip);
}

void track_client(Worker& worker, Burst& burst, std::uint32_t i) {
    burst.vip[i] = burst.match[i].index;
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    burst.entry[i] = lb::kNoEntry;
    if (burst.slot[i])
        return forward_by_slot(worker, burst, i, vip);
    if (burst.look_up[i])
        find_for_client(worker, burst, i, vip);
    if (burst.entry[i] != lb::kNoEntry || burst.verdict[i] != WEIR_UNDECIDED)
        return;
    begin_translation(burst, i, vip);
    select_and_record(worker, burst, i, vip);
}

} // namespace

void track(Worker& worker, Burst& burst) {
    foresee(worker, burst);
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        if (burst.match[i].kind == WEIR_MATCH_VIP)
            track_client(worker, burst, i);
        else
            find_for_backend(worker, burst, i);
        if (burst.backend[i] != WEIR_NO_ROW) { // the next stage's
            __builtin_prefetch(&worker.state->backends()[burst.backend[i]]);
            __builtin_prefetch(&worker.backend_counters(burst.backend[i]), 1);
        }
    }
}

} // namespace weir::dpdk
