// SPDX-License-Identifier: BSD-3-Clause
// How nearly every packet leaves: a plain frame that stays untagged and fits its way. Shared by the
// stage that rewrites, whose front it is, and the short way. Each function does what the rest of
// that stage would do, or says WEIR_UNDECIDED before it has changed anything.
#pragma once

#include "dataplane/dpdk/worker.hpp"
#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/encap.h"

#include <rte_mbuf.h>

namespace weir::dpdk {

// Where the rows are that a sweep over a burst asks for packet by packet. For all that the compiler
// knows, a byte written to a packet could have moved them; these it keeps.
struct KeptRows {
    explicit KeptRows(Worker& worker)
        : vips(worker.state->vips()), backends(worker.state->backends()),
          snat(worker.state->snat()), interfaces(worker.state->interfaces()),
          members(worker.state->members().data()), hops(worker.state->next_hops().data()),
          backend_counters(&worker.backend_counters(0)) {}

    const std::span<const weir_vip_row> vips;
    const std::span<const weir_backend_row> backends;
    const std::span<const weir_snat_row> snat;
    const std::span<const weir_interface_row> interfaces;
    const std::uint32_t* const members;
    const weir_next_hop_row* const hops;
    lb::BackendCounters* const backend_counters;
};

// The next hop of a packet to this backend that leaves untagged and as it is; null when it cannot.
[[gnu::always_inline]] inline const weir_next_hop_row*
plain_way(const KeptRows& rows, std::uint32_t backend, std::uint32_t l3_length) {
    const std::uint32_t row = rows.backends[backend].next_hop;
    if (row == WEIR_NO_ROW)
        return nullptr;
    const weir_next_hop_row& hop = rows.hops[row];
    return weir_hop_takes(&hop, l3_length) ? &hop : nullptr;
}

// A plain frame in the tunnel to its backend, which is untagged and whose path takes it; `frame` is
// where it begins. It is no SYN. What kind of tunnel it is `outer` is told once more as constants:
// so the compiler writes each kind's header straight down.
template <bool kGue, bool kOuterV4, bool kInnerV4>
[[gnu::always_inline]] inline weir_verdict
send_plain_in_tunnel_of(const weir_node_row& node, const weir_vip_row& vip,
                        const weir_backend_row& backend, const weir_next_hop_row& hop,
                        std::uint64_t hash, rte_mbuf* mbuf, std::uint8_t* frame) {
    weir_outer outer;
    if (!weir_outer_for(&node, &vip, &backend, hash, &outer))
        return WEIR_UNDECIDED;
    outer.family = kOuterV4 ? 4 : 6;
    outer.forward = kGue ? WEIR_FORWARD_DSR_GUE : WEIR_FORWARD_DSR_IPIP;
    if (rte_pktmbuf_data_len(mbuf) - WEIR_ETHERNET_BYTES > weir_inner_mtu(hop.mtu, &outer))
        return WEIR_UNDECIDED;
    const auto room = static_cast<std::uint16_t>(weir_outer_bytes(&outer));
    auto* data = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_prepend(mbuf, room));
    if (!data)
        return WEIR_DROP_NO_BUFFER;
    weir_write_plain_outer(frame, kInnerV4, &outer);
    weir_write_untagged(data, &hop, weir_outer_ethertype(&outer));
    return WEIR_FORWARDED;
}

// The same of any kind.
[[gnu::always_inline]] inline weir_verdict
send_plain_in_tunnel(const weir_node_row& node, const weir_vip_row& vip,
                     const weir_backend_row& backend, const weir_next_hop_row& hop,
                     std::uint64_t hash, rte_mbuf* mbuf, std::uint8_t* frame, bool is_v4) {
    const auto send = [&]<bool kGue, bool kOuterV4>() __attribute__((always_inline)) {
        return is_v4 ? send_plain_in_tunnel_of<kGue, kOuterV4, true>(node, vip, backend, hop, hash,
                                                                     mbuf, frame)
                     : send_plain_in_tunnel_of<kGue, kOuterV4, false>(node, vip, backend, hop, hash,
                                                                      mbuf, frame);
    };
    if (weir_address_is_v4(&backend.address))
        return vip.forward == WEIR_FORWARD_DSR_GUE ? send.template operator()<true, true>()
                                                   : send.template operator()<false, true>();
    return vip.forward == WEIR_FORWARD_DSR_GUE ? send.template operator()<true, false>()
                                               : send.template operator()<false, false>();
}

// To burst.backend[i]. `to`: its source, where the mode translates.
[[gnu::always_inline]] inline weir_verdict
quick_to_backend(const Worker& worker, const KeptRows& rows, Burst& burst, std::uint32_t i,
                 const weir_vip_row& vip, const weir_packet& packet, weir_translation& to) {
    const weir_backend_row& backend = rows.backends[burst.backend[i]];
    const weir_next_hop_row* hop = plain_way(rows, burst.backend[i], packet.l3_length);
    if (!hop)
        return WEIR_UNDECIDED;
    rte_mbuf* mbuf = burst.mbuf[i];
    burst.out_interface[i] = hop->interface;
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    if (weir_forward_encapsulates(vip.forward))
        return (packet.tcp_flags & WEIR_TCP_SYN) != 0
                   ? WEIR_UNDECIDED
                   : send_plain_in_tunnel(worker.state->node(), vip, backend, *hop, burst.hash[i],
                                          mbuf, data, packet.family == 4);
    if (!weir_forward_is_dsr(vip.forward)) {
        to.destination = backend.address;
        to.destination_port = weir_backend_port(&backend, packet.destination_port);
        const weir_verdict verdict =
            weir_translate(data, data + rte_pktmbuf_data_len(mbuf), &packet, &to);
        if (verdict != WEIR_UNDECIDED)
            return verdict;
    }
    weir_write_hop_macs(data, hop);
    return WEIR_FORWARDED;
}

[[gnu::always_inline]] inline weir_verdict quick_to_client(const Worker& worker, Burst& burst,
                                                           std::uint32_t i, const lb::LastHop& hop,
                                                           const weir_packet& packet,
                                                           const weir_translation& to) {
    if (hop.interface >= worker.state->interfaces().size() || hop.vlan_tci != WEIR_NO_VLAN)
        return WEIR_UNDECIDED;
    const weir_interface_row& interface = worker.state->interfaces()[hop.interface];
    if (packet.l3_length > interface.mtu)
        return WEIR_UNDECIDED;
    rte_mbuf* mbuf = burst.mbuf[i];
    auto* data = rte_pktmbuf_mtod(mbuf, std::uint8_t*);
    const weir_verdict verdict =
        weir_translate(data, data + rte_pktmbuf_data_len(mbuf), &packet, &to);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    burst.out_interface[i] = hop.interface;
    weir_write_macs(data, hop.mac, interface.mac);
    return WEIR_REPLIED;
}

} // namespace weir::dpdk
