// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Gives packets the addresses, the outer header and the link header they leave with. What is
 * written and how is the shared headers' business; here rows are fetched and head and tail move.
 *
 * One packet in is at most one packet out, so what the DPDK engine would cut into fragments is
 * dropped as drop_too_big here. */
#pragma once

#include "dataplane/forwarding/encap.h"
#include "dataplane/forwarding/icmp_translate.h"
#include "dataplane/forwarding/mss.h"
#include "dataplane/forwarding/tunnel_error.h"
#include "xdp/balancer_work.bpf.h"

WEIR_INLINE void weir_leave_by(struct weir_work* work, const uint8_t* to, const uint8_t* from,
                               uint16_t vlan_tci, uint8_t interface) {
    for (int i = 0; i < 6; i++) {
        work->to_mac[i] = to[i];
        work->from_mac[i] = from[i];
    }
    work->vlan_tci = vlan_tci;
    work->out_interface = interface;
}

/* The outer header of the packet; false: the node has no source for it. */
WEIR_INLINE bool weir_outer_of(const struct weir_work* work, struct weir_outer* outer) {
    const struct weir_balancer_head* head = weir_head(work->half);
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    const struct weir_backend_row* backend = weir_backend(work->half, work->backend);
    return head && vip && backend && weir_outer_for(&head->node, vip, backend, work->hash, outer);
}

/* To a backend: by its next hop. */
WEIR_STAGE weir_stage_way_to_backend(struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    const struct weir_backend_row* backend = weir_backend(work->half, work->backend);
    if (!vip || !backend)
        return WEIR_DROP_NO_BACKEND;
    work->translation.destination = backend->address;
    work->translation.destination_port = weir_backend_port(backend, work->packet.destination_port);
    const struct weir_next_hop_row* hop =
        backend->next_hop == WEIR_NO_ROW ? NULL : weir_next_hop(work->half, backend->next_hop);
    if (!hop || !hop->resolved)
        return WEIR_DROP_NO_NEXT_HOP;
    work->mtu = hop->mtu;
    if (weir_forward_encapsulates(vip->forward)) {
        struct weir_outer outer;
        if (!weir_outer_of(work, &outer))
            return WEIR_DROP_NO_NEXT_HOP;
        work->mtu = weir_inner_mtu(hop->mtu, &outer);
        work->tunnel = 1;
    }
    work->forward = vip->forward;
    work->clamp = (vip->flags & WEIR_VIP_CLAMP_MSS) != 0;
    weir_leave_by(work, hop->destination_mac, hop->source_mac, hop->vlan_tci, hop->interface);
    return WEIR_UNDECIDED;
}

/* To a client: back to where its packets came from. */
WEIR_STAGE weir_stage_way_to_client(struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    const struct weir_balancer_head* head = weir_head(work->half);
    const struct weir_interface_row* interface =
        head ? weir_interface(head, work->last_interface) : NULL;
    if (!interface)
        return WEIR_DROP_NO_NEXT_HOP;
    work->mtu = interface->mtu;
    work->forward = WEIR_FORWARD_NAT; /* of either kind: translated */
    weir_leave_by(work, work->last_mac, interface->mac, work->last_vlan_tci, work->last_interface);
    return WEIR_UNDECIDED;
}

WEIR_STAGE weir_stage_translate(struct xdp_md* context, struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    struct weir_translation to = work->translation;
    return weir_translate(WEIR_DATA(context), WEIR_END(context), &work->packet, &to);
}

/* An error speaks as the end it comes from: what the other end knows of that side. `nat` shows the
 * backend the client's side as it is, the routers in it too. */
WEIR_STAGE weir_stage_translate_error(struct xdp_md* context, struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    uint8_t* data = WEIR_DATA(context);
    const uint8_t* end = WEIR_END(context);
    struct weir_translation to = work->translation;
    struct weir_address speaker = to.source;
    if (work->match.kind == WEIR_MATCH_VIP && work->forward == WEIR_FORWARD_NAT)
        speaker = weir_icmp_error_source(data, end, &work->packet);
    struct weir_translation quoted;
    quoted.source = to.destination;
    quoted.destination = to.source;
    quoted.source_port = to.destination_port;
    quoted.destination_port = to.source_port;
    return weir_translate_icmp_error(data, end, &work->packet, &speaker, &to.destination, &quoted);
}

WEIR_STAGE weir_stage_clamp(struct xdp_md* context, struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    weir_clamp_mss(WEIR_DATA(context), WEIR_END(context), &work->packet,
                   weir_mss_limit(work->mtu, work->packet.family));
    return WEIR_UNDECIDED;
}

WEIR_INLINE enum weir_verdict weir_write_link(struct xdp_md* context, struct weir_work* work) {
    struct weir_link link;
    link.destination_mac = work->to_mac;
    link.source_mac = work->from_mac;
    link.vlan_tci = work->vlan_tci;
    return weir_write_ethernet(WEIR_DATA(context), WEIR_END(context), &work->packet, &link);
}

/* Moves the frame's head to fit the tag it leaves with and writes the link header. */
WEIR_STAGE weir_stage_leave(struct xdp_md* context, struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    int change = weir_head_change(&work->packet, work->vlan_tci);
    if (change != 0 && bpf_xdp_adjust_head(context, -change) != 0)
        return WEIR_DROP_NO_BUFFER;
    weir_packet_moved(&work->packet, change, work->vlan_tci);
    return weir_write_link(context, work);
}

/* Puts the outer header before the packet, and the link header before all. */
WEIR_STAGE weir_stage_encapsulate(struct xdp_md* context, struct weir_work* work) {
    struct weir_outer outer;
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    if (!weir_outer_of(work, &outer))
        return WEIR_DROP_NO_NEXT_HOP;
    int change = weir_head_change(&work->packet, work->vlan_tci);
    int room = (int)weir_outer_bytes(&outer) + change;
    if (bpf_xdp_adjust_head(context, -room) != 0)
        return WEIR_DROP_NO_BUFFER;
    weir_packet_moved(&work->packet, change, work->vlan_tci);
    enum weir_verdict verdict =
        weir_write_outer(WEIR_DATA(context), WEIR_END(context), &work->packet, &outer);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    weir_packet_encapsulated(&work->packet, &outer);
    return weir_write_link(context, work);
}

/* Takes the tunnel out of the error: the client is told, by the VIP, what fits its own packet. */
WEIR_STAGE weir_stage_relay(struct xdp_md* context, struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    uint32_t mtu = weir_relayed_mtu(WEIR_DATA(context), WEIR_END(context), &work->packet);
    if (mtu == 0)
        return WEIR_DROP_TUNNEL_ERROR;
    uint32_t bytes = weir_relayed_frame_bytes(&work->packet);
    if (bpf_xdp_adjust_head(context, (int)weir_relayed_head_cut(&work->packet)) != 0)
        return WEIR_DROP_TRUNCATED;
    uint32_t have = (uint32_t)(WEIR_END(context) - WEIR_DATA(context));
    if (have < bytes || (have > bytes && bpf_xdp_adjust_tail(context, (int)(bytes - have)) != 0))
        return WEIR_DROP_TRUNCATED;
    return weir_write_relayed_too_big(WEIR_DATA(context), WEIR_END(context), &work->packet, mtu);
}

/* From what was decided to the frame that leaves, and the verdict it leaves with. */
WEIR_INLINE enum weir_verdict weir_rewrite(struct xdp_md* context, struct weir_work* work) {
    struct weir_packet* packet = &work->packet;
    const bool tunnel_error = packet->flags & WEIR_PACKET_TUNNEL_ERROR;
    const bool error = packet->flags & WEIR_PACKET_ICMP_ERROR;
    const bool to_client = work->match.kind != WEIR_MATCH_VIP || tunnel_error;
    enum weir_verdict verdict =
        to_client ? weir_stage_way_to_client(work) : weir_stage_way_to_backend(work);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    if (packet->l3_length > work->mtu && (packet->flags & WEIR_PACKET_DONT_FRAGMENT))
        return WEIR_DROP_TOO_BIG;
    if (tunnel_error) {
        verdict = weir_stage_relay(context, work);
        if (verdict == WEIR_UNDECIDED)
            verdict = weir_stage_leave(context, work);
        return verdict == WEIR_UNDECIDED ? WEIR_ICMP_RELAYED : verdict;
    }
    if (!weir_forward_is_dsr(work->forward)) {
        verdict =
            error ? weir_stage_translate_error(context, work) : weir_stage_translate(context, work);
        if (verdict != WEIR_UNDECIDED)
            return verdict;
    }
    if (packet->l3_length > work->mtu) {
        work->mtu = 0; /* it may be fragmented: no answer asks for less */
        return WEIR_DROP_TOO_BIG;
    }
    if (work->tunnel && work->clamp)
        weir_stage_clamp(context, work);
    verdict =
        work->tunnel ? weir_stage_encapsulate(context, work) : weir_stage_leave(context, work);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    if (error)
        return WEIR_ICMP_RELAYED;
    return to_client ? WEIR_REPLIED : WEIR_FORWARDED;
}
