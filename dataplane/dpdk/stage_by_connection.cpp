// SPDX-License-Identifier: BSD-3-Clause
// The short way of packets that belong to a known connection and leave it as it is, but for its
// age.
#include "dataplane/dpdk/known_connection.hpp"
#include "dataplane/dpdk/quick_rewrite.hpp"
#include "dataplane/dpdk/short_way.hpp"

namespace weir::dpdk {
namespace {

// What is of one family only.
struct V4 {
    static weir_address source(const PlainBurst& plain, std::uint32_t i) {
        return plain.source_v4(i);
    }
    static weir_address destination(const PlainBurst& plain, std::uint32_t i) {
        return plain.destination_v4(i);
    }
    static std::uint32_t ports(const PlainBurst& plain, std::uint32_t i) {
        return plain.ports_v4(i);
    }
    static void translate(std::uint8_t* frame, const PlainBurst& plain, std::uint32_t i,
                          const weir_translation& to) {
        const std::uint64_t flow[] = {plain.flow_v4[0][i], plain.flow_v4[1][i]};
        weir_translate_plain_v4(frame, flow, (plain.tcp & set_of(i)) != 0, &to);
    }
};

struct V6 {
    static weir_address source(const PlainBurst& plain, std::uint32_t i) {
        return plain.source_v6(i);
    }
    static weir_address destination(const PlainBurst& plain, std::uint32_t i) {
        return plain.destination_v6(i);
    }
    static std::uint32_t ports(const PlainBurst& plain, std::uint32_t i) {
        return plain.ports_v6(i);
    }
    static void translate(std::uint8_t* frame, const PlainBurst& plain, std::uint32_t i,
                          const weir_translation& to) {
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
std::uint32_t l3_length(const Candidates& found, std::uint32_t i) {
    return found.frames.bytes[i] - WEIR_ETHERNET_BYTES;
}

// Packets of clients, up to the first by which its connection may change: what follows has to wait.
// Those of connections that go on as they are: burst.entry, burst.backend.
template <class Family>
PacketSet known_of_clients(Worker& worker, Burst& burst, const Candidates& found, PacketSet set,
                           bool& changes) {
    const KeptRows rows(worker);
    PacketSet known = 0;
    for (; set != 0; set &= set - 1) {
        const std::uint32_t i = first_of(set);
        const std::uint32_t ports = Family::ports(found.plain, i);
        const lb::ForwardKey key = lb::forward_key(
            Family::source(found.plain, i), source_port(ports), destination_port(ports),
            static_cast<std::uint16_t>(burst.match[i].index));
        lb::EntryIndex entry = burst.hint[i];
        if (!worker.table.is_forward(entry, key)) [[unlikely]]
            entry = worker.table.find_forward(lb::index_hash(burst.hash[i]), key);
        if (entry == lb::kNoEntry)
            continue;
        const lb::RowTail tail(worker.table.row(entry));
        if (!stays_as_it_is(worker, rows.backends, tail, burst.mbuf[i], found.frames.data[i])) {
            changes = true;
            break;
        }
        if (!weir_state_complete(tail.state()))
            continue;
        burst.entry[i] = entry;
        burst.backend[i] = tail.backend();
        known |= set_of(i);
    }
    return known & ~found.watched;
}

// Not in line: it would crowd the sweep of the other modes out of the registers.
[[gnu::noinline]] weir_verdict send_in_tunnel(const Worker& worker, const weir_vip_row& vip,
                                              const weir_backend_row& backend,
                                              const weir_next_hop_row& hop, std::uint64_t hash,
                                              rte_mbuf* mbuf, std::uint8_t* frame, bool is_v4) {
    return send_plain_in_tunnel(worker.state->node(), vip, backend, hop, hash, mbuf, frame, is_v4);
}

// Those that leave.
template <class Family>
PacketSet send_to_backends(Worker& worker, Burst& burst, const Candidates& found, PacketSet set) {
    const KeptRows rows(worker);
    VipRun run(worker);
    PacketSet gone = 0;
    for_each(
        set, [&](std::uint32_t i) __attribute__((always_inline)) {
            const std::uint32_t vip_row = burst.match[i].index;
            const weir_vip_row& vip = rows.vips[vip_row];
            const std::uint32_t backend_row = burst.backend[i];
            const weir_backend_row& backend = rows.backends[backend_row];
            const std::uint64_t bytes = rte_pktmbuf_pkt_len(burst.mbuf[i]);
            std::uint8_t* const frame = found.frames.data[i];
            const bool packs = weir_forward_encapsulates(vip.forward);
            const weir_next_hop_row* hop =
                plain_way(rows, backend_row, packs ? 0 : l3_length(found, i));
            if (!hop)
                return;
            weir_verdict verdict = WEIR_FORWARDED;
            if (packs) {
                verdict = send_in_tunnel(worker, vip, backend, *hop, burst.hash[i], burst.mbuf[i],
                                         frame, (found.plain.v4 & set_of(i)) != 0);
                if (verdict == WEIR_UNDECIDED)
                    return;
            } else {
                if (!weir_forward_is_dsr(vip.forward)) {
                    const lb::HotRow& row = worker.table.row(burst.entry[i]);
                    const std::uint32_t ports = Family::ports(found.plain, i);
                    weir_translation to{{},
                                        backend.address,
                                        0,
                                        weir_backend_port(&backend, destination_port(ports))};
                    if (!source_to_backend(rows.snat, vip, row, to))
                        return;
                    Family::translate(frame, found.plain, i, to);
                }
                weir_write_hop_macs(frame, hop);
            }
            burst.out_interface[i] = hop->interface;
            worker.table.touch(burst.entry[i], worker.now_s);
            burst.verdict[i] = static_cast<std::uint8_t>(verdict);
            count_rewritten(worker, run, vip_row, backend_row, verdict, bytes);
            if (verdict == WEIR_FORWARDED)
                gone |= set_of(i);
        });
    return gone;
}

template <class Family> Tuple tuple_of(const PlainBurst& plain, std::uint32_t i) {
    const std::uint32_t ports = Family::ports(plain, i);
    return {Family::source(plain, i), Family::destination(plain, i), source_port(ports),
            destination_port(ports),
            static_cast<std::uint8_t>((plain.tcp & set_of(i)) != 0 ? WEIR_IP_TCP : WEIR_IP_UDP)};
}

// Packets of backends whose connections go on as they are: burst.entry.
template <class Family>
PacketSet known_of_backends(Worker& worker, Burst& burst, const Candidates& found, PacketSet set) {
    const KeptRows rows(worker);
    PacketSet known = 0;
    for_each(
        set, [&](std::uint32_t i) __attribute__((always_inline)) {
            const weir_match match = burst.match[i];
            const Tuple packet = tuple_of<Family>(found.plain, i);
            const auto matches = [&](const lb::HotRow& row) __attribute__((always_inline)) {
                return is_reply_of(rows.vips, rows.backends, row, packet, match);
            };
            lb::EntryIndex entry = burst.hint[i];
            if (!worker.table.is_reply(entry, matches)) [[unlikely]]
                entry = worker.table.find_reply(lb::index_hash(burst.hash[i]), matches);
            if (entry == lb::kNoEntry ||
                !weir_state_complete(lb::RowTail(worker.table.row(entry)).state()))
                return;
            burst.entry[i] = entry;
            known |= set_of(i);
        });
    return known;
}

template <class Family>
PacketSet send_to_clients(Worker& worker, Burst& burst, const Candidates& found, PacketSet set) {
    const KeptRows rows(worker);
    VipRun run(worker);
    PacketSet gone = 0;
    for_each(
        set, [&](std::uint32_t i) __attribute__((always_inline)) {
            const lb::EntryIndex entry = burst.entry[i];
            const lb::HotRow& row = worker.table.row(entry);
            const lb::RowTail tail(row);
            const lb::LastHop* hop = worker.last_hops.find(tail.last_hop());
            if (!hop || hop->interface >= rows.interfaces.size() || hop->vlan_tci != WEIR_NO_VLAN)
                return;
            const weir_interface_row& interface = rows.interfaces[hop->interface];
            if (l3_length(found, i) > interface.mtu)
                return;
            const std::uint32_t vip = row.vip;
            std::uint8_t* const frame = found.frames.data[i];
            Family::translate(frame, found.plain, i, translation_to_client(rows.vips, row));
            weir_write_macs(frame, hop->mac, interface.mac);
            worker.table.touch(entry, worker.now_s);
            burst.out_interface[i] = hop->interface;
            burst.verdict[i] = WEIR_REPLIED;
            count_rewritten(worker, run, vip, tail.backend(), WEIR_REPLIED,
                            rte_pktmbuf_pkt_len(burst.mbuf[i]));
            gone |= set_of(i);
        });
    return gone;
}

template <class Family>
PacketSet forward(Worker& worker, Burst& burst, const Candidates& found, PacketSet set,
                  bool of_clients, bool& changes) {
    if (of_clients)
        return send_to_backends<Family>(
            worker, burst, found, known_of_clients<Family>(worker, burst, found, set, changes));
    return send_to_clients<Family>(worker, burst, found,
                                   known_of_backends<Family>(worker, burst, found, set));
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

PacketSet forward_by_connections(Worker& worker, Burst& burst, Candidates& found) {
    found.of_clients = ours(worker, burst, found, found.of_clients);
    found.of_backends = ours(worker, burst, found, found.of_backends);
    for_each(found.of_clients | found.of_backends, [&](std::uint32_t i) {
        burst.hint[i] = worker.table.prefetch_row(lb::index_hash(burst.hash[i]));
    });
    // In their order, those of one kind that follow each other together.
    PacketSet gone = 0;
    bool changes = false;
    for (PacketSet left = found.of_clients | found.of_backends; left != 0 && !changes;) {
        const PacketSet first = left & -left;
        const bool is_v4 = (found.plain.v4 & first) != 0;
        const PacketSet family = is_v4 ? found.plain.v4 : found.plain.v6;
        const bool of_client = (found.of_clients & first) != 0;
        const PacketSet run =
            run_of(left, family & (of_client ? found.of_clients : found.of_backends));
        gone |= is_v4 ? forward<V4>(worker, burst, found, run, of_client, changes)
                      : forward<V6>(worker, burst, found, run, of_client, changes);
        left &= ~run;
    }
    return gone;
}

} // namespace weir::dpdk
