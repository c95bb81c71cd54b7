// SPDX-License-Identifier: BSD-3-Clause
// Gives packets the addresses and the link header they leave with. What is written and how is the
// shared headers' business (dataplane/forwarding/rewrite.h); here the rows are fetched and the
// mbuf's head is moved.
#include "dataplane/dpdk/stages.hpp"
#include "dataplane/forwarding/admit.h"

#include <rte_mbuf.h>

namespace weir::dpdk {
namespace {

// To a backend: by its next hop.
weir_verdict way_to_backend(const Worker& worker, Burst& burst, std::uint32_t i,
                            const weir_backend_row& backend) {
    if (backend.next_hop == WEIR_NO_ROW)
        return WEIR_DROP_NO_NEXT_HOP;
    const weir_next_hop_row& hop = worker.state->next_hops()[backend.next_hop];
    if (!hop.resolved)
        return WEIR_DROP_NO_NEXT_HOP;
    if (burst.packet[i].l3_length > hop.mtu)
        return WEIR_DROP_TOO_BIG;
    burst.link[i] = {hop.destination_mac, hop.source_mac, hop.vlan_tci};
    burst.out_interface[i] = hop.interface;
    return WEIR_FORWARDED;
}

// To a client: back to where its packets came from.
weir_verdict way_to_client(const Worker& worker, Burst& burst, std::uint32_t i) {
    const lb::LastHop& hop = burst.last_hop[i];
    if (hop.interface >= worker.state->interfaces().size())
        return WEIR_DROP_NO_NEXT_HOP;
    const weir_interface_row& interface = worker.state->interfaces()[hop.interface];
    if (burst.packet[i].l3_length > interface.mtu)
        return WEIR_DROP_TOO_BIG;
    burst.link[i] = {hop.mac, interface.mac, hop.vlan_tci};
    burst.out_interface[i] = hop.interface;
    return WEIR_REPLIED;
}

// Makes room for the tag the packet leaves with, or takes the room of the one it came with.
bool move_head(rte_mbuf* mbuf, weir_packet& packet, std::uint16_t vlan_tci) {
    int change = weir_head_change(&packet, vlan_tci);
    if (change > 0 && !rte_pktmbuf_prepend(mbuf, static_cast<std::uint16_t>(change)))
        return false;
    if (change < 0 && !rte_pktmbuf_adj(mbuf, static_cast<std::uint16_t>(-change)))
        return false;
    weir_packet_moved(&packet, change, vlan_tci);
    return true;
}

weir_verdict rewrite_one(const Worker& worker, Burst& burst, std::uint32_t i) {
    weir_packet& packet = burst.packet[i];
    rte_mbuf* mbuf = burst.mbuf[i];
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    weir_verdict way;
    if (burst.match[i].kind == WEIR_MATCH_VIP) {
        const weir_backend_row& backend = worker.state->backends()[burst.backend[i]];
        way = way_to_backend(worker, burst, i, backend);
        burst.translation[i].destination = backend.address;
        burst.translation[i].destination_port =
            weir_backend_port(&backend, packet.destination_port);
    } else {
        way = way_to_client(worker, burst, i);
    }
    if (lb::verdict_info(way).verdict_class == WEIR_CLASS_DROP)
        return way;
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    if (vip.forward != WEIR_FORWARD_DSR_L2) {
        weir_verdict verdict =
            weir_translate(data, data + rte_pktmbuf_data_len(mbuf), &packet, &burst.translation[i]);
        if (verdict != WEIR_UNDECIDED)
            return verdict;
    }
    if (!move_head(mbuf, packet, burst.link[i].vlan_tci))
        return WEIR_DROP_TOO_BIG;
    data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    weir_verdict verdict =
        weir_write_ethernet(data, data + rte_pktmbuf_data_len(mbuf), &packet, &burst.link[i]);
    return verdict == WEIR_UNDECIDED ? way : verdict;
}

void count_forwarded(Worker& worker, const Burst& burst, std::uint32_t i, weir_verdict verdict) {
    lb::VipCounters& vip = worker.vip_counters(burst.vip[i]);
    lb::BackendCounters& backend = worker.backend_counters(burst.backend[i]);
    std::uint64_t bytes = rte_pktmbuf_pkt_len(burst.mbuf[i]);
    if (verdict == WEIR_FORWARDED) {
        vip.packets++;
        vip.bytes += bytes;
        backend.packets++;
        backend.bytes += bytes;
    } else if (verdict == WEIR_REPLIED) {
        vip.reply_packets++;
        vip.reply_bytes += bytes;
        backend.reply_packets++;
        backend.reply_bytes += bytes;
    } else {
        vip.drops++;
    }
}

} // namespace

void rewrite(Worker& worker, Burst& burst) {
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        weir_verdict verdict = rewrite_one(worker, burst, i);
        burst.verdict[i] = static_cast<std::uint8_t>(verdict);
        count_forwarded(worker, burst, i, verdict);
    }
}

} // namespace weir::dpdk
