// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Answer: packets that were dropped and whose sender should know. The answer is made of the packet
 * itself and leaves by the way it came. All of it is rate-limited; what is over the rate keeps its
 * drop verdict. One packet in is one out: where both ends of a connection are to hear of its end
 * (on_backend_down = reset), only the sender does. */
#pragma once

#include "dataplane/forwarding/icmp_answer.h"
#include "xdp/balancer_select.bpf.h"

enum weir_answer {
    WEIR_ANSWER_NONE,
    WEIR_ANSWER_RESET,
    WEIR_ANSWER_UNREACHABLE,
    WEIR_ANSWER_TOO_BIG,
    WEIR_ANSWER_TIME_EXCEEDED,
};

WEIR_INLINE enum weir_answer weir_answer_to(const struct weir_work* work, uint32_t verdict,
                                            const struct weir_vip_row* vip,
                                            const struct weir_balancer_head* head) {
    const bool tcp = work->packet.protocol == WEIR_IP_TCP && !weir_is_bystander(&work->packet);
    const enum weir_answer refusal = tcp ? WEIR_ANSWER_RESET : WEIR_ANSWER_UNREACHABLE;
    const uint8_t flags = vip ? vip->flags : 0;
    switch (verdict) {
    case WEIR_DROP_NO_CONNECTION: /* in grace, it may be one that we have not seen yet */
        return tcp && (int64_t)(work->now_ns - head->grace_began_ns) >=
                           (int64_t)head->node.reset_grace_s * 1000000000
                   ? WEIR_ANSWER_RESET
                   : WEIR_ANSWER_NONE;
    case WEIR_DROP_NO_BACKEND:
        return flags & WEIR_VIP_REJECT_ALL_DOWN ? refusal : WEIR_ANSWER_NONE;
    case WEIR_DROP_BACKEND_LIMIT:
        return flags & WEIR_VIP_REJECT_AT_LIMIT ? refusal : WEIR_ANSWER_NONE;
    case WEIR_DROP_BACKEND_DOWN:
        return vip && vip->on_backend_down == WEIR_BACKEND_DOWN_RESET && tcp ? WEIR_ANSWER_RESET
                                                                             : WEIR_ANSWER_NONE;
    case WEIR_DROP_TOO_BIG:
        return flags & WEIR_VIP_ANSWER_TOO_BIG && work->mtu != 0 ? WEIR_ANSWER_TOO_BIG
                                                                 : WEIR_ANSWER_NONE;
    case WEIR_DROP_TTL_EXPIRED: /* 0 was expired before it came */
        return vip && work->packet.ttl == 1 ? WEIR_ANSWER_TIME_EXCEEDED : WEIR_ANSWER_NONE;
    default:
        return WEIR_ANSWER_NONE;
    }
}

WEIR_STAGE weir_stage_reset(struct xdp_md* context, struct weir_work* work) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    uint32_t bytes = weir_reset_frame_bytes(&work->packet);
    enum weir_verdict verdict =
        weir_write_reset(WEIR_DATA(context), WEIR_END(context), &work->packet);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    uint32_t have = (uint32_t)(WEIR_END(context) - WEIR_DATA(context));
    if (have != bytes && bpf_xdp_adjust_tail(context, (int)(bytes - have)) != 0)
        return WEIR_DROP_TRUNCATED;
    return WEIR_ANSWERED_RESET;
}

struct weir_icmp_kind {
    uint8_t type, code;
    uint8_t verdict;
};

WEIR_INLINE struct weir_icmp_kind weir_icmp_kind_of(uint32_t answer, uint8_t family) {
    bool v4 = family == 4;
    struct weir_icmp_kind kind;
    if (answer == WEIR_ANSWER_TOO_BIG) {
        kind.type = v4 ? WEIR_ICMP_UNREACHABLE : WEIR_ICMP6_TOO_BIG;
        kind.code = v4 ? WEIR_ICMP_CODE_FRAGMENTATION_NEEDED : 0;
        kind.verdict = WEIR_ANSWERED_TOO_BIG;
    } else if (answer == WEIR_ANSWER_TIME_EXCEEDED) {
        kind.type = v4 ? WEIR_ICMP_TIME_EXCEEDED : WEIR_ICMP6_TIME_EXCEEDED;
        kind.code = 0;
        kind.verdict = WEIR_ANSWERED_TIME_EXCEEDED;
    } else {
        kind.type = v4 ? WEIR_ICMP_UNREACHABLE : WEIR_ICMP6_UNREACHABLE;
        kind.code = v4 ? WEIR_ICMP_CODE_PORT : WEIR_ICMP6_CODE_PORT;
        kind.verdict = WEIR_ANSWERED_UNREACHABLE;
    }
    return kind;
}

/* The error speaks as the VIP: that is what the connection's ends know of us. */
WEIR_STAGE weir_stage_icmp_error(struct xdp_md* context, struct weir_work* work, uint32_t answer) {
    if (!work)
        return WEIR_DROP_NO_CONFIGURATION;
    struct weir_address speaker = weir_packet_destination(&work->packet);
    const struct weir_vip_row* vip = weir_vip(work->half, work->vip);
    if (vip)
        speaker = vip->address;
    struct weir_icmp_kind kind = weir_icmp_kind_of(answer, work->packet.family);
    uint32_t bytes = weir_icmp_frame_bytes(&work->packet);
    if (!weir_may_answer(&work->packet) ||
        bpf_xdp_adjust_head(context, -(int)weir_icmp_answer_bytes(&work->packet)) != 0)
        return WEIR_UNDECIDED;
    uint32_t have = (uint32_t)(WEIR_END(context) - WEIR_DATA(context));
    if (have < bytes || (have > bytes && bpf_xdp_adjust_tail(context, (int)(bytes - have)) != 0))
        return WEIR_UNDECIDED;
    uint32_t mtu = answer == WEIR_ANSWER_TOO_BIG ? work->mtu : 0;
    enum weir_verdict verdict = weir_write_icmp_error(
        WEIR_DATA(context), WEIR_END(context), &work->packet, &speaker, kind.type, kind.code, mtu);
    return verdict == WEIR_UNDECIDED ? kind.verdict : WEIR_UNDECIDED;
}

/* The verdict after all: `verdict` (a drop), or that of the answer. */
WEIR_STAGE weir_stage_answer(struct xdp_md* context, struct weir_work* work, uint32_t verdict) {
    const struct weir_balancer_head* head = work ? weir_head(work->half) : NULL;
    if (!work || !head)
        return (int)verdict;
    enum weir_answer answer = weir_answer_to(work, verdict, weir_vip(work->half, work->vip), head);
    if (answer == WEIR_ANSWER_NONE ||
        !weir_may_pass(WEIR_BUCKET_ANSWERS, work->now_ns, head->node.answers_pps))
        return (int)verdict;
    int answered = answer == WEIR_ANSWER_RESET ? weir_stage_reset(context, work)
                                               : weir_stage_icmp_error(context, work, answer);
    if (answered != WEIR_ANSWERED_RESET && answered != WEIR_ANSWERED_UNREACHABLE &&
        answered != WEIR_ANSWERED_TOO_BIG && answered != WEIR_ANSWERED_TIME_EXCEEDED)
        return (int)verdict;
    work->out_interface = work->in_interface;
    return answered;
}
