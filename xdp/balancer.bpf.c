// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The balancer as an XDP program: the same decision as the DPDK workers', over the same headers
 * (dataplane/forwarding/), with the kernel as the kernel side of every interface.
 *
 *   the short way, or
 *   parse -> fragments -> match -> find connection -> select -> record -> rewrite -> answer
 *
 * What is not ours, and everything before control has published, goes to the kernel. */
#include "dataplane/forwarding/parse.h"
#include "xdp/balancer_answer.bpf.h"
#include "xdp/balancer_fragments.bpf.h"
#include "xdp/balancer_record.bpf.h"
#include "xdp/balancer_rewrite.bpf.h"
#include "xdp/balancer_short_way.bpf.h"

WEIR_STAGE weir_stage_parse(struct xdp_md* context, struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    const uint8_t* data = WEIR_DATA(context);
    const uint8_t* end = WEIR_END(context);
    const uint8_t* link = weir_at(data, end, 0, WEIR_ETHERNET_BYTES);
    for (int i = 0; link && i < 6; i++)
        work->source_mac[i] = weir_ethernet_source(link)[i];
    return weir_parse(data, end, &work->packet);
}

/* An ICMP error that is about nothing of ours as it stands may be about a packet in a tunnel. 1: it
 * is, and the packet tells of the tunnelled one. */
WEIR_STAGE weir_stage_look_into_tunnel(struct xdp_md* context, struct weir_work* work) {
    struct weir_match_view table;
    if (!work || !weir_match_block_view(work->half, &table))
        return 0;
    return weir_parse_tunnel_error(WEIR_DATA(context), WEIR_END(context), &work->packet,
                                   table.gue_port);
}

/* What the packet is to us, in work->match; 1: it is ours. */
WEIR_STAGE weir_stage_match(struct weir_work* work) {
    struct weir_match_view table;
    if (!work || !weir_match_block_view(work->half, &table))
        return 0;
    struct weir_match match = weir_match_packet(&table, &work->packet);
    work->match = match;
    return weir_match_is_ours(&match, &work->packet);
}

WEIR_STAGE weir_stage_admit(struct weir_work* work) {
    const struct weir_balancer_head* head = work ? weir_head(work->half) : NULL;
    if (!work || !head)
        return WEIR_DROP_NO_CONFIGURATION;
    struct weir_match match = work->match;
    enum weir_verdict verdict = weir_admit(&work->packet, &match);
    if (verdict == WEIR_UNDECIDED) {
        work->hash = weir_flow_hash(&head->hash_key, &work->packet.flow);
        weir_translation_of(&work->packet, &work->translation);
    }
    return verdict;
}

WEIR_INLINE enum weir_verdict weir_decide(struct xdp_md* context, struct weir_work* work) {
    struct weir_packet* packet = &work->packet;
    enum weir_verdict verdict = weir_stage_parse(context, work);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    if (weir_fragment_is_followed(packet) && packet->defect == WEIR_UNDECIDED) {
        verdict = weir_stage_fragment(work);
        if (verdict != WEIR_UNDECIDED)
            return verdict;
    }
    if (!weir_stage_match(work) && packet->quoted_offset != 0 &&
        weir_stage_look_into_tunnel(context, work))
        weir_stage_match(work);
    verdict = weir_stage_admit(work);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    verdict = work->match.kind == WEIR_MATCH_VIP ? weir_stage_find_client(work)
                                                 : weir_stage_find_backend(work);
    if (verdict == WEIR_UNDECIDED && !work->known) {
        work->begins = weir_stage_begins(context, work) != 0;
        verdict = weir_stage_select(work);
        if (verdict == WEIR_UNDECIDED && !work->known)
            verdict = weir_record(work);
    }
    return verdict != WEIR_UNDECIDED ? verdict : weir_rewrite(context, work);
}

/* --- what became of it ---------------------------------------------------------------------------
 */

/* Verdicts of a class as one bit each. */
#define WEIR_FORWARD_BIT(enumerator, name, verdict_class, sentence)                                \
    | (uint64_t)(WEIR_CLASS_##verdict_class == WEIR_CLASS_FORWARD) << WEIR_##enumerator
#define WEIR_PUNT_BIT(enumerator, name, verdict_class, sentence)                                   \
    | (uint64_t)(WEIR_CLASS_##verdict_class == WEIR_CLASS_PUNT) << WEIR_##enumerator
static const uint64_t forwards = 0 WEIR_VERDICTS(WEIR_FORWARD_BIT);
static const uint64_t punts = 0 WEIR_VERDICTS(WEIR_PUNT_BIT);

WEIR_INLINE bool weir_verdict_is_of(uint32_t verdict, uint64_t set) {
    return set >> (verdict & 63) & 1;
}

WEIR_INLINE void weir_count_row(void* map, uint32_t row, uint32_t verdict, uint32_t bytes) {
    struct weir_balancer_row_counts* counts = bpf_map_lookup_elem(map, &row);
    if (!counts)
        return;
    if (verdict == WEIR_FORWARDED) {
        counts->packets++;
        counts->bytes += bytes;
    } else if (verdict == WEIR_REPLIED) {
        counts->reply_packets++;
        counts->reply_bytes += bytes;
    } else if (verdict != WEIR_ICMP_RELAYED) {
        counts->drops++; /* answered ones too */
    }
}

WEIR_INLINE struct weir_balancer_port* weir_port_of(struct weir_balancer_counts* counts,
                                                    uint32_t row) {
    uint64_t at = row;
    WEIR_OPAQUE(at);
    at &= WEIR_MAX_INTERFACES - 1;
    return &counts->ports[at];
}

/* Counts the packet and sends it where its verdict says. */
WEIR_INLINE int weir_finish(struct xdp_md* context, struct weir_work* work, uint32_t verdict) {
    struct weir_balancer_counts* counts = weir_counts();
    if (!counts)
        return XDP_ABORTED;
    int action = XDP_DROP;
    if (weir_verdict_is_of(verdict, forwards)) {
        action = work->out_interface == work->in_interface
                     ? XDP_TX
                     : (int)bpf_redirect_map(&devices, work->out_interface, XDP_DROP);
        if (action == XDP_DROP)
            verdict = WEIR_DROP_NO_NEXT_HOP;
    } else if (weir_verdict_is_of(verdict, punts) || verdict == WEIR_DROP_NO_CONFIGURATION) {
        action = XDP_PASS;
    }
    struct weir_balancer_port* in = weir_port_of(counts, work->in_interface);
    in->rx_packets++;
    in->rx_bytes += work->frame_bytes;
    uint64_t which = verdict;
    WEIR_OPAQUE(which);
    counts->verdicts[which & 63]++;
    if (action == XDP_TX || action == XDP_REDIRECT) {
        struct weir_balancer_port* out = weir_port_of(counts, work->out_interface);
        out->tx_packets++;
        out->tx_bytes += (uint32_t)(WEIR_END(context) - WEIR_DATA(context));
    }
    if (work->vip != WEIR_NO_ROW)
        weir_count_row(&vip_counts, work->vip, verdict, work->frame_bytes);
    if (work->backend != WEIR_NO_ROW)
        weir_count_row(&backend_counts, work->backend, verdict, work->frame_bytes);
    if (settings.injected) {
        injection.verdict = verdict;
        injection.out_interface = work->out_interface;
    }
    return action;
}

WEIR_STAGE weir_stage_finish(struct xdp_md* context, struct weir_work* work, uint32_t verdict) {
    return work ? weir_finish(context, work, verdict) : XDP_ABORTED;
}

/* The interface row of a device, or WEIR_NO_ROW. */
WEIR_INLINE uint32_t weir_row_of_device(const struct weir_balancer_head* head, uint32_t ifindex) {
    for (uint32_t row = 0; row < WEIR_MAX_INTERFACES; row++)
        if (row < head->interface_count && head->device[row] == ifindex)
            return row;
    return WEIR_NO_ROW;
}

/* Asked once a tick, as asking costs 20 ns. A tick or two late, which no timeout and no rate minds.
 */
WEIR_INLINE void weir_look_at_clock(struct weir_work* work) {
    uint64_t tick = bpf_jiffies64();
    if (tick == work->tick && !settings.injected)
        return;
    work->tick = tick;
    work->now_ns = settings.injected ? injection.now_ns : bpf_ktime_get_coarse_ns();
    work->now_s = (uint32_t)(work->now_ns / 1000000000u);
}

/* All that the short way goes by. */
WEIR_INLINE void weir_arrive(struct xdp_md* context, struct weir_work* work, uint32_t half,
                             uint32_t interface) {
    weir_look_at_clock(work);
    work->frame_bytes = (uint32_t)(WEIR_END(context) - WEIR_DATA(context));
    work->half = half;
    work->in_interface = (uint8_t)interface;
}

/* What the stages add to. */
WEIR_INLINE void weir_begin(struct weir_work* work) {
    work->vip = WEIR_NO_ROW;
    work->backend = WEIR_NO_ROW;
    work->oldest = WEIR_NO_ROW;
    work->mtu = 0;
    work->out_interface = work->in_interface;
    work->known = 0;
    work->tunnel = 0;
    work->clamp = 0;
    work->forward = 0;
}

SEC("xdp")
int weir_balance(struct xdp_md* context) {
    uint32_t first = 0;
    struct weir_work* work = bpf_map_lookup_elem(&work_of_cpu, &first);
    uint32_t half = weir_active_half();
    const struct weir_balancer_head* head = weir_head(half);
    if (!work)
        return XDP_ABORTED;
    uint32_t interface = settings.injected ? injection.interface : WEIR_NO_ROW;
    if (head && !settings.injected)
        interface = weir_row_of_device(head, context->ingress_ifindex);
    if (head && interface == WEIR_NO_ROW) /* attached before it is published */
        return XDP_PASS;
    weir_arrive(context, work, half, interface);
    enum weir_verdict verdict = head ? weir_short_way(context, work, head) : WEIR_UNDECIDED;
    if (verdict != WEIR_UNDECIDED)
        return weir_finish(context, work, verdict);
    weir_begin(work);
    verdict = head ? weir_decide(context, work) : WEIR_DROP_NO_CONFIGURATION;
    if (head && !weir_verdict_is_of(verdict, forwards | punts))
        verdict = weir_stage_answer(context, work, verdict);
    return weir_stage_finish(context, work, verdict);
}

char weir_license[] SEC("license") = "Dual BSD/GPL";
