// SPDX-License-Identifier: BSD-3-Clause
// Gives packets the addresses, the outer header and the link header they leave with. What is
// written and how is the shared headers' business (dataplane/forwarding/); here the rows are
// fetched and the mbuf's head and tail are moved.
#include "dataplane/dpdk/connection_steps.hpp"
#include "dataplane/dpdk/forward_counts.hpp"
#include "dataplane/dpdk/quick_rewrite.hpp"
#include "dataplane/forwarding/encap.h"
#include "dataplane/forwarding/fragment_writer.h"
#include "dataplane/forwarding/icmp_translate.h"
#include "dataplane/forwarding/mss.h"
#include "dataplane/forwarding/tunnel_error.h"

#include <cstring>
#include <rte_mbuf.h>

namespace weir::dpdk {
namespace {

// The way a packet takes, beside what the burst keeps of it.
struct Way {
    weir_verdict verdict = WEIR_UNDECIDED; // what it leaves with, or why it does not
    const weir_outer* tunnel = nullptr;    // what goes around it
};

bool too_big_for(const weir_packet& packet, std::uint32_t mtu) {
    return packet.l3_length > mtu && (packet.flags & WEIR_PACKET_DONT_FRAGMENT);
}

// To a backend: by its next hop. `outer` gets the tunnel's header, where there is one.
Way way_to_backend(const Worker& worker, Burst& burst, std::uint32_t i, const weir_vip_row& vip,
                   const weir_backend_row& backend, weir_outer& outer) {
    Way way{WEIR_DROP_NO_NEXT_HOP};
    if (backend.next_hop == WEIR_NO_ROW)
        return way;
    const weir_next_hop_row& hop = worker.state->next_hops()[backend.next_hop];
    const bool tunnel = weir_forward_encapsulates(vip.forward);
    if (!hop.resolved ||
        (tunnel && !weir_outer_for(&worker.state->node(), &vip, &backend, burst.hash[i], &outer)))
        return way;
    way.tunnel = tunnel ? &outer : nullptr;
    burst.mtu[i] = tunnel ? weir_inner_mtu(hop.mtu, &outer) : hop.mtu;
    burst.link[i] = {hop.destination_mac, hop.source_mac, hop.vlan_tci};
    burst.out_interface[i] = hop.interface;
    way.verdict = too_big_for(burst.packet[i], burst.mtu[i]) ? WEIR_DROP_TOO_BIG : WEIR_FORWARDED;
    return way;
}

// To a client: back to where its packets came from.
Way way_to_client(const Worker& worker, Burst& burst, std::uint32_t i) {
    const lb::LastHop& hop = burst.last_hop[i];
    if (hop.interface >= worker.state->interfaces().size())
        return {WEIR_DROP_NO_NEXT_HOP};
    const weir_interface_row& interface = worker.state->interfaces()[hop.interface];
    burst.mtu[i] = interface.mtu;
    burst.link[i] = {hop.mac, interface.mac, hop.vlan_tci};
    burst.out_interface[i] = hop.interface;
    return {too_big_for(burst.packet[i], burst.mtu[i]) ? WEIR_DROP_TOO_BIG : WEIR_REPLIED};
}

weir_verdict translate(rte_mbuf* mbuf, const Burst& burst, std::uint32_t i,
                       const weir_vip_row& vip) {
    const weir_packet& packet = burst.packet[i];
    const weir_translation& to = burst.translation[i];
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    const std::uint8_t* end = data + rte_pktmbuf_data_len(mbuf);
    if (!(packet.flags & WEIR_PACKET_ICMP_ERROR))
        return weir_translate(data, end, &packet, &to);
    // An error speaks as the end it comes from: what the other end knows of that side. `nat` shows
    // the backend the client's side as it is, the routers in it too.
    weir_address speaker = burst.match[i].kind == WEIR_MATCH_VIP && vip.forward == WEIR_FORWARD_NAT
                               ? weir_icmp_error_source(data, end, &packet)
                               : to.source;
    weir_translation quoted = {to.destination, to.source, to.destination_port, to.source_port};
    return weir_translate_icmp_error(data, end, &packet, &speaker, &to.destination, &quoted);
}

// Puts an outer header before the packet, if it gets one, and the link header before all.
weir_verdict give_headers(rte_mbuf* mbuf, weir_packet& packet, const weir_link& link,
                          const Way& way) {
    if (!way.tunnel)
        return give_link(mbuf, packet, link);
    int change = weir_head_change(&packet, link.vlan_tci);
    auto room = static_cast<std::uint16_t>(static_cast<int>(weir_outer_bytes(way.tunnel)) + change);
    if (!rte_pktmbuf_prepend(mbuf, room))
        return WEIR_DROP_NO_BUFFER;
    weir_packet_moved(&packet, change, link.vlan_tci);
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    const std::uint8_t* end = data + rte_pktmbuf_data_len(mbuf);
    weir_verdict verdict = weir_write_outer(data, end, &packet, way.tunnel);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    weir_packet_encapsulated(&packet, way.tunnel);
    return weir_write_ethernet(data, end, &packet, &link);
}

} // namespace

weir_verdict give_link(rte_mbuf* mbuf, weir_packet& packet, const weir_link& link) {
    int change = weir_head_change(&packet, link.vlan_tci);
    if ((change > 0 && !rte_pktmbuf_prepend(mbuf, static_cast<std::uint16_t>(change))) ||
        (change < 0 && !rte_pktmbuf_adj(mbuf, static_cast<std::uint16_t>(-change))))
        return WEIR_DROP_NO_BUFFER;
    weir_packet_moved(&packet, change, link.vlan_tci);
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    return weir_write_ethernet(data, data + rte_pktmbuf_data_len(mbuf), &packet, &link);
}

namespace {

// A copy of the packet's headers and of one piece of its payload, as a frame of its own.
rte_mbuf* copy_piece(rte_mempool* pool, rte_mbuf* whole, const weir_packet& packet,
                     const weir_fragments& plan, std::uint32_t index) {
    rte_mbuf* mbuf = rte_pktmbuf_alloc(pool);
    if (!mbuf)
        return nullptr;
    const std::uint32_t head = packet.l3_offset + plan.header_bytes;
    const std::uint32_t bytes = weir_fragment_piece_bytes(&plan, index);
    auto* to = reinterpret_cast<std::uint8_t*>(
        rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(head + bytes)));
    if (!to) {
        rte_pktmbuf_free(mbuf);
        return nullptr;
    }
    const auto* from = rte_pktmbuf_mtod(whole, const std::uint8_t*);
    std::memcpy(to, from, head);
    std::memcpy(to + head, from + head + weir_fragment_piece_at(&plan, index), bytes);
    return mbuf;
}

// What piece `index` is to the steps that follow.
weir_packet packet_of_piece(const weir_packet& whole, const weir_fragments& plan,
                            std::uint32_t index) {
    weir_packet piece = whole;
    piece.l3_length =
        static_cast<std::uint16_t>(plan.header_bytes + weir_fragment_piece_bytes(&plan, index));
    piece.fragment_offset =
        static_cast<std::uint16_t>(whole.fragment_offset + weir_fragment_piece_at(&plan, index));
    return piece;
}

weir_verdict finish_piece(rte_mbuf* mbuf, const weir_packet& whole, const weir_fragments& plan,
                          std::uint32_t index, weir_packet& piece, const weir_link& link,
                          const Way& way) {
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    weir_verdict verdict =
        weir_write_v4_fragment(data, data + rte_pktmbuf_data_len(mbuf), &whole, &plan, index);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    piece = packet_of_piece(whole, plan, index);
    return give_headers(mbuf, piece, link, way);
}

// Cuts an IPv4 packet that may be fragmented into pieces that fit the way. In a tunnel it is the
// packet itself that is cut, not the one around it: each piece is then a packet of its own for the
// receiver's queues, and only the backend puts them together (docs/decisions/0005). The pieces
// after the first leave as generated packets; the mbuf at hand becomes the first.
weir_verdict split(Worker& worker, Burst& burst, std::uint32_t i, const Way& way) {
    const weir_packet whole = burst.packet[i];
    rte_mbuf* mbuf = burst.mbuf[i];
    const weir_fragments plan = weir_fragment_plan(&whole, burst.mtu[i]);
    if (plan.count < 2)
        return WEIR_DROP_TOO_BIG;
    if (burst.generated_count + plan.count - 1 > kMostGenerated)
        return WEIR_DROP_NO_BUFFER;
    const std::uint32_t before = burst.generated_count;
    weir_verdict verdict = WEIR_UNDECIDED;
    for (std::uint32_t index = 1; index < plan.count && verdict == WEIR_UNDECIDED; index++) {
        rte_mbuf* copy = copy_piece(worker.context.pool, mbuf, whole, plan, index);
        weir_packet piece;
        verdict = copy ? finish_piece(copy, whole, plan, index, piece, burst.link[i], way)
                       : WEIR_DROP_NO_BUFFER;
        if (copy)
            burst.generated[burst.generated_count++] = {copy, static_cast<std::uint8_t>(i),
                                                        burst.out_interface[i], way.verdict};
    }
    const std::uint32_t keep =
        whole.l3_offset + plan.header_bytes + weir_fragment_piece_bytes(&plan, 0);
    const std::uint32_t have = rte_pktmbuf_data_len(mbuf);
    if (verdict == WEIR_UNDECIDED &&
        rte_pktmbuf_trim(mbuf, static_cast<std::uint16_t>(have - keep)) == 0)
        verdict = finish_piece(mbuf, whole, plan, 0, burst.packet[i], burst.link[i], way);
    if (verdict == WEIR_UNDECIDED)
        return way.verdict;
    while (burst.generated_count > before) // half a datagram helps nobody
        rte_pktmbuf_free(burst.generated[--burst.generated_count].mbuf);
    return verdict;
}

// Takes the tunnel out of the error: the client is told, by the VIP, what fits its own packet.
weir_verdict relay_tunnel_error(const Worker& worker, Burst& burst, std::uint32_t i) {
    weir_packet& packet = burst.packet[i];
    rte_mbuf* mbuf = burst.mbuf[i];
    const Way way = way_to_client(worker, burst, i);
    if (lb::class_of(way.verdict) == WEIR_CLASS_DROP)
        return way.verdict;
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    const std::uint32_t mtu = weir_relayed_mtu(data, data + rte_pktmbuf_data_len(mbuf), &packet);
    if (mtu == 0)
        return WEIR_DROP_TUNNEL_ERROR;
    const std::uint32_t bytes = weir_relayed_frame_bytes(&packet);
    data = reinterpret_cast<std::uint8_t*>(
        rte_pktmbuf_adj(mbuf, static_cast<std::uint16_t>(weir_relayed_head_cut(&packet))));
    const std::uint32_t have = data ? rte_pktmbuf_data_len(mbuf) : 0;
    if (have < bytes || rte_pktmbuf_trim(mbuf, static_cast<std::uint16_t>(have - bytes)) != 0)
        return WEIR_DROP_TRUNCATED;
    weir_verdict verdict = weir_write_relayed_too_big(data, data + bytes, &packet, mtu);
    if (verdict == WEIR_UNDECIDED)
        verdict = give_link(mbuf, packet, burst.link[i]);
    return verdict == WEIR_UNDECIDED ? WEIR_ICMP_RELAYED : verdict;
}

weir_verdict rewrite_one(Worker& worker, Burst& burst, std::uint32_t i) {
    weir_packet& packet = burst.packet[i];
    rte_mbuf* mbuf = burst.mbuf[i];
    const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
    if (packet.flags & WEIR_PACKET_TUNNEL_ERROR)
        return relay_tunnel_error(worker, burst, i);
    Way way;
    weir_outer outer;
    if (burst.match[i].kind == WEIR_MATCH_VIP) {
        const weir_backend_row& backend = worker.state->backends()[burst.backend[i]];
        way = way_to_backend(worker, burst, i, vip, backend, outer);
        burst.translation[i].destination = backend.address;
        burst.translation[i].destination_port =
            weir_backend_port(&backend, packet.destination_port);
    } else {
        way = way_to_client(worker, burst, i);
    }
    if (lb::class_of(way.verdict) == WEIR_CLASS_DROP)
        return way.verdict;
    if (!weir_forward_is_dsr(vip.forward)) {
        weir_verdict verdict = translate(mbuf, burst, i, vip);
        if (verdict != WEIR_UNDECIDED)
            return verdict;
    }
    if (way.tunnel && vip.flags & WEIR_VIP_CLAMP_MSS) {
        auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
        weir_clamp_mss(data, data + rte_pktmbuf_data_len(mbuf), &packet,
                       weir_mss_limit(burst.mtu[i], packet.family));
    }
    if (packet.flags & WEIR_PACKET_ICMP_ERROR)
        way.verdict = WEIR_ICMP_RELAYED;
    if (packet.l3_length > burst.mtu[i])
        return split(worker, burst, i, way);
    weir_verdict verdict = give_headers(mbuf, packet, burst.link[i], way);
    return verdict == WEIR_UNDECIDED ? way.verdict : verdict;
}

weir_verdict quick(const Worker& worker, const KeptRows& rows, Burst& burst, std::uint32_t i) {
    if (!burst.plain[i])
        return WEIR_UNDECIDED;
    if (burst.match[i].kind == WEIR_MATCH_VIP)
        return quick_to_backend(worker, rows, burst, i, rows.vips[burst.vip[i]], burst.packet[i],
                                burst.translation[i]);
    return quick_to_client(worker, burst, i, burst.last_hop[i], burst.packet[i],
                           burst.translation[i]);
}

} // namespace

void rewrite(Worker& worker, Burst& burst) {
    if (!worker.state) // match has dropped them all
        return;
    const KeptRows rows(worker);
    ForwardCounts counts(worker);
    for (std::uint32_t i = burst.first, stop = burst.end; i < stop; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED)
            continue;
        const std::uint64_t bytes = rte_pktmbuf_pkt_len(burst.mbuf[i]);
        weir_verdict verdict = quick(worker, rows, burst, i);
        if (verdict == WEIR_UNDECIDED) [[unlikely]]
            verdict = rewrite_one(worker, burst, i);
        burst.verdict[i] = static_cast<std::uint8_t>(verdict);
        counts.add(burst.vip[i], burst.backend[i], verdict, bytes);
    }
}

} // namespace weir::dpdk
