// SPDX-License-Identifier: BSD-3-Clause
// The short way of packets that belong to a known connection and leave it as it is, but for its
// age.
#include "dataplane/dpdk/known_connection.hpp"
#include "dataplane/dpdk/quick_rewrite.hpp"
#include "dataplane/dpdk/short_way.hpp"

#include <array>
#include <rte_prefetch.h>

namespace weir::dpdk {
namespace {

// What is of one family only.
struct V4 {
    static constexpr bool kIsV4 = true;
    static weir_address source(const PlainBurst& plain, std::uint32_t i) {
        return plain.source_v4(i);
    }
    static weir_address destination(const PlainBurst& plain, std::uint32_t i) {
        return plain.destination_v4(i);
    }
    static std::uint32_t ports(const PlainBurst& plain, std::uint32_t i) {
        return plain.ports_v4(i);
    }
    [[gnu::always_inline]] static void translate(std::uint8_t* frame, const PlainBurst& plain,
                                                 std::uint32_t i, const weir_translation& to) {
        const std::uint64_t flow[] = {plain.flow_v4[0][i], plain.flow_v4[1][i]};
        weir_translate_plain_v4(frame, flow, (plain.tcp & set_of(i)) != 0, &to);
    }
};

struct V6 {
    static constexpr bool kIsV4 = false;
    static weir_address source(const PlainBurst& plain, std::uint32_t i) {
        return plain.source_v6(i);
    }
    static weir_address destination(const PlainBurst& plain, std::uint32_t i) {
        return plain.destination_v6(i);
    }
    static std::uint32_t ports(const PlainBurst& plain, std::uint32_t i) {
        return plain.ports_v6(i);
    }
    [[gnu::always_inline]] static void translate(std::uint8_t* frame, const PlainBurst& plain,
                                                 std::uint32_t i, const weir_translation& to) {
        const std::uint64_t flow[] = {plain.flow_v6[0][i], plain.flow_v6[1][i], plain.flow_v6[2][i],
                                      plain.flow_v6[3][i], plain.flow_v6[4][i]};
        weir_translate_plain_v6(frame, flow, (plain.tcp & set_of(i)) != 0, &to);
    }
};

weir_be16 source_port(std::uint32_t ports) {
    return static_cast<weir_be16>(ports);
}
weir_be16 destination_port(std::uint32_t ports) {
    return static_cast<weir_be16>(ports >> 16);
}

// With what fills up the frame, if anything does.
std::uint32_t l3_length(const Burst& burst, std::uint32_t i) {
    return burst.frames.bytes[i] - WEIR_ETHERNET_BYTES;
}

template <Way kWay> constexpr std::uint8_t kForward = WEIR_FORWARD_DSR_L2;
template <> constexpr std::uint8_t kForward<Way::nat> = WEIR_FORWARD_NAT;
template <> constexpr std::uint8_t kForward<Way::full_nat> = WEIR_FORWARD_FULL_NAT;

// A client's packet to its backend, on the way that its connection goes. WEIR_UNDECIDED: nothing
// has changed.
template <class Family, Way kWay>
[[gnu::always_inline]] inline weir_verdict
send_to_backend(const Worker& worker, const KeptRows& rows, const Burst& burst, std::uint32_t i,
                const lb::HotRow& row, const weir_backend_row& backend,
                const weir_next_hop_row& hop) {
    std::uint8_t* const frame = burst.frames.data[i];
    if constexpr (kWay == Way::in_tunnel)
        return send_plain_in_tunnel(worker.state->node(), rows.vips[burst.match[i].index], backend,
                                    hop, burst.hash[i], burst.mbuf[i], frame, Family::kIsV4);
    if constexpr (kWay != Way::as_they_are) {
        const weir_be16 port = destination_port(Family::ports(burst.columns, i));
        weir_translation to{{}, backend.address, 0, weir_backend_port(&backend, port)};
        if (!source_to_backend(rows.snat, kForward<kWay>, row, to))
            return WEIR_UNDECIDED;
        Family::translate(frame, burst.columns, i, to);
    }
    weir_write_hop_macs(frame, &hop);
    return WEIR_FORWARDED;
}

// Packets of clients whose connections go on as they are. `changes`: one has been met by which its
// connection may change; what follows it has to wait.
template <class Family, Way kWay>
PacketSet send_to_backends(Worker& worker, Burst& burst, const Candidates& found, PacketSet set,
                           bool& changes) {
    const KeptRows rows(worker);
    const lb::ConnectionTable::Rows connections = worker.table.rows();
    const lb::LastHops& last_hops = worker.last_hops;
    const std::uint16_t now_s = worker.now_s;
    ForwardCounts counts(worker);
    PacketSet gone = 0;
    for (; set != 0; set &= set - 1) {
        const std::uint32_t i = first_of(set);
        const std::uint32_t ports = Family::ports(burst.columns, i);
        const std::uint32_t vip = burst.match[i].index;
        const lb::ForwardKey key =
            lb::forward_key(Family::source(burst.columns, i), source_port(ports),
                            destination_port(ports), static_cast<std::uint16_t>(vip));
        lb::EntryIndex entry = burst.hint[i];
        if (!connections.is_forward(entry, key)) [[unlikely]]
            entry = worker.table.find_forward(lb::index_hash(burst.hash[i]), key);
        if (entry == lb::kNoEntry)
            continue;
        const lb::HotRow& row = connections[entry];
        const lb::RowTail tail(row);
        if (!stays_as_it_is(last_hops, rows.backends, tail, burst.mbuf[i], burst.frames.data[i])) {
            changes = true;
            break;
        }
        if (!weir_state_complete(tail.state()) || (found.watched & set_of(i)) != 0)
            continue;
        const weir_next_hop_row* hop =
            plain_way(rows, tail.backend(), kWay == Way::in_tunnel ? 0 : l3_length(burst, i));
        if (!hop)
            continue;
        const std::uint64_t bytes = rte_pktmbuf_pkt_len(burst.mbuf[i]);
        const weir_verdict verdict = send_to_backend<Family, kWay>(
            worker, rows, burst, i, row, rows.backends[tail.backend()], *hop);
        if (kWay != Way::as_they_are && verdict == WEIR_UNDECIDED)
            continue;
        burst.out_interface[i] = hop->interface;
        connections.touch(entry, now_s);
        burst.verdict[i] = static_cast<std::uint8_t>(verdict);
        counts.add(vip, tail.backend(), verdict, bytes);
        if (verdict == WEIR_FORWARDED)
            gone |= set_of(i);
    }
    return gone;
}

template <class Family> Tuple tuple_of(const PlainBurst& plain, std::uint32_t i) {
    const std::uint32_t ports = Family::ports(plain, i);
    return {Family::source(plain, i), Family::destination(plain, i), source_port(ports),
            destination_port(ports),
            static_cast<std::uint8_t>((plain.tcp & set_of(i)) != 0 ? WEIR_IP_TCP : WEIR_IP_UDP)};
}

// Packets of backends whose connections go on as they are.
template <class Family>
PacketSet send_to_clients(Worker& worker, Burst& burst, const Candidates&, PacketSet set, bool&) {
    const KeptRows rows(worker);
    const lb::ConnectionTable::Rows connections = worker.table.rows();
    const lb::LastHops& last_hops = worker.last_hops;
    const std::uint16_t now_s = worker.now_s;
    ForwardCounts counts(worker);
    PacketSet gone = 0;
    for_each(
        set, [&](std::uint32_t i) __attribute__((always_inline)) {
            const weir_match match = burst.match[i];
            const Tuple packet = tuple_of<Family>(burst.columns, i);
            const auto matches = [&](const lb::HotRow& row) __attribute__((always_inline)) {
                return is_reply_of(rows.vips, rows.backends, row, packet, match);
            };
            lb::EntryIndex entry = burst.hint[i];
            if (!connections.is_reply(entry, matches)) [[unlikely]]
                entry = worker.table.find_reply(lb::index_hash(burst.hash[i]), matches);
            if (entry == lb::kNoEntry)
                return;
            const lb::HotRow& row = connections[entry];
            const lb::RowTail tail(row);
            const lb::LastHop* hop = last_hops.find(tail.last_hop());
            if (!weir_state_complete(tail.state()) || !hop ||
                hop->interface >= rows.interfaces.size() || hop->vlan_tci != WEIR_NO_VLAN)
                return;
            const weir_interface_row& interface = rows.interfaces[hop->interface];
            if (l3_length(burst, i) > interface.mtu)
                return;
            std::uint8_t* const frame = burst.frames.data[i];
            Family::translate(frame, burst.columns, i, translation_to_client(rows.vips, row));
            weir_write_macs(frame, hop->mac, interface.mac);
            connections.touch(entry, now_s);
            burst.out_interface[i] = hop->interface;
            burst.verdict[i] = WEIR_REPLIED;
            counts.add(row.vip, tail.backend(), WEIR_REPLIED, rte_pktmbuf_pkt_len(burst.mbuf[i]));
            gone |= set_of(i);
        });
    return gone;
}

// By how packets leave, then IPv4 and IPv6.
using Sweep = PacketSet (*)(Worker&, Burst&, const Candidates&, PacketSet, bool&);
template <Way kWay>
constexpr std::array<Sweep, 2> kToBackends = {send_to_backends<V4, kWay>,
                                              send_to_backends<V6, kWay>};
constexpr std::array<std::array<Sweep, 2>, kWays> kSweeps = {
    kToBackends<Way::as_they_are>, kToBackends<Way::in_tunnel>, kToBackends<Way::nat>,
    kToBackends<Way::full_nat>, std::array<Sweep, 2>{send_to_clients<V4>, send_to_clients<V6>}};

// Sends for what the stages will read if a connection begins here.
[[gnu::always_inline]] inline void foresee_beginning(const Worker& worker, std::uint64_t hash,
                                                     const Destination& to) {
    if (to.slots)
        rte_prefetch0(to.slot_of(hash));
    worker.table.prefetch_room(lb::index_hash(hash));
}

// The packets of `left` up to the first that is not of `kind`.
PacketSet run_of(PacketSet left, PacketSet kind) {
    const PacketSet other = left & ~kind;
    return other == 0 ? left : left & (set_of(first_of(other)) - 1);
}

} // namespace

void foresee_connections(const Worker& worker, const Burst& burst, PacketSet set) {
    for_each(set,
             [&](std::uint32_t i) { worker.table.prefetch_index(lb::index_hash(burst.hash[i])); });
}

PacketSet forward_by_connections(Worker& worker, Burst& burst, const Candidates& found) {
    const PacketSet all = ours(worker, burst, found.of_clients | found.of_backends);
    for_each(
        all, [&](std::uint32_t i) __attribute__((always_inline)) {
            burst.hint[i] = worker.table.prefetch_row(lb::index_hash(burst.hash[i]));
            if (burst.hint[i] == lb::kNoEntry) [[unlikely]]
                foresee_beginning(worker, burst.hash[i], *found.to[i]);
        });
    // In their order, those of one kind that follow each other together.
    PacketSet gone = 0;
    bool changes = false;
    for (PacketSet left = all; left != 0 && !changes;) {
        const PacketSet first = left & -left;
        std::size_t way = 0;
        while ((found.by_way[way] & first) == 0)
            way++;
        const bool is_v6 = (burst.columns.v6 & first) != 0;
        const PacketSet run =
            run_of(left, (is_v6 ? burst.columns.v6 : burst.columns.v4) & found.by_way[way]);
        gone |= kSweeps[way][is_v6](worker, burst, found, run, changes);
        left &= ~run;
    }
    return gone;
}

} // namespace weir::dpdk
