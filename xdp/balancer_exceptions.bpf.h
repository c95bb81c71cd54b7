// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What is kept of the flows of VIPs that record exceptions only: which of them may have an entry,
 * how many there are, and where their clients are. When a flow gets an entry is decided by
 * balancer_record.bpf.h. */
#pragma once

#include "dataplane/forwarding/exceptions.h"
#include "xdp/balancer_work.bpf.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __uint(map_flags, BPF_F_MMAPABLE);
    __type(key, uint32_t);
    __type(value, struct weir_exceptions);
} exceptions SEC(".maps");

WEIR_ARRAY(recent_hops, BPF_MAP_TYPE_ARRAY, struct weir_recent_hop, 1);

WEIR_INLINE struct weir_exceptions* weir_exceptions_of_all(void) {
    uint32_t first = 0;
    return bpf_map_lookup_elem(&exceptions, &first);
}

WEIR_INLINE uint64_t* weir_exception_word_in(struct weir_exceptions* all, uint32_t half,
                                             uint64_t hash) {
    uint64_t at = (half & 1) * WEIR_EXCEPTION_WORDS + weir_exception_word(hash);
    WEIR_OPAQUE(at);
    at &= 2 * WEIR_EXCEPTION_WORDS - 1;
    return &all->words[0][0] + at;
}

WEIR_INLINE bool weir_may_be_recorded(uint64_t hash) {
    struct weir_exceptions* all = weir_exceptions_of_all();
    return !all || (*weir_exception_word_in(all, all->live, hash) & weir_exception_bit(hash));
}

/* An entry was made; not before: a sweep that begins clears a set of words and then visits what is
 * there. */
WEIR_INLINE void weir_mark_recorded(uint64_t hash) {
    struct weir_exceptions* all = weir_exceptions_of_all();
    if (!all)
        return;
    for (uint32_t half = 0; half < 2; half++)
        __sync_fetch_and_or(weir_exception_word_in(all, half, hash), weir_exception_bit(hash));
}

/* --- probation ----------------------------------------------------------------------------------
 */

/* Another entry on probation would soon push one out, and separate a SYN from its ACK. */
WEIR_INLINE bool weir_probation_is_full(void) {
    const struct weir_exceptions* all = weir_exceptions_of_all();
    return !all || all->half_open >= (int64_t)settings.half_open;
}

WEIR_INLINE void weir_count_half_open(int64_t change) {
    struct weir_exceptions* all = weir_exceptions_of_all();
    if (all)
        __sync_fetch_and_add(&all->half_open, change);
}

/* --- estimates ----------------------------------------------------------------------------------
 */

/* Not below zero, but for what other CPUs do at the same time. */
WEIR_INLINE void weir_estimate(void* map, uint32_t row, int64_t change) {
    int64_t* count = bpf_map_lookup_elem(map, &row);
    if (count && (change > 0 || *(const volatile int64_t*)count > 0))
        __sync_fetch_and_add(count, change);
}

WEIR_INLINE void weir_count_unrecorded(uint32_t vip, uint32_t backend, int64_t change) {
    weir_estimate(&vip_unrecorded, vip, change);
    weir_estimate(&backend_unrecorded, backend, change);
}

WEIR_INLINE void weir_count_opened(uint32_t vip, uint32_t backend) {
    struct weir_balancer_row_counts* of_vip = bpf_map_lookup_elem(&vip_counts, &vip);
    struct weir_balancer_row_counts* of_backend = bpf_map_lookup_elem(&backend_counts, &backend);
    if (of_vip)
        of_vip->connections_opened++;
    if (of_backend)
        of_backend->connections_opened++;
}

/* --- a packet that passes without an entry -------------------------------------------------------
 */

WEIR_INLINE void weir_note_recent_hop(const struct weir_work* work) {
    uint32_t vip = work->vip;
    struct weir_recent_hop* hop = bpf_map_lookup_elem(&recent_hops, &vip);
    if (!hop)
        return;
    bool same = hop->known && hop->vlan_tci == work->packet.vlan_tci &&
                hop->interface == work->in_interface;
    for (int i = 0; i < 6; i++)
        same = same && hop->mac[i] == work->source_mac[i];
    if (same) /* nearly always: the line stays in every CPU's cache */
        return;
    for (int i = 0; i < 6; i++)
        hop->mac[i] = work->source_mac[i];
    hop->vlan_tci = work->packet.vlan_tci;
    hop->interface = work->in_interface;
    hop->known = 1;
}

/* Estimates how many connections there are, and notes where the VIP's clients are. REQUIRES: the
 * packet is no bystander. */
WEIR_STAGE weir_stage_note_unrecorded(struct weir_work* work) {
    const struct weir_vip_row* vip = work ? weir_vip(work->half, work->vip) : NULL;
    if (!work || !vip)
        return 0;
    const bool opens = weir_packet_opens(&work->packet);
    if (opens) {
        weir_count_opened(work->vip, work->backend);
        weir_count_unrecorded(work->vip, work->backend, 1);
    } else if (work->packet.tcp_flags & (WEIR_TCP_FIN | WEIR_TCP_RST)) {
        weir_count_unrecorded(work->vip, work->backend, -1);
    }
    if (weir_forward_encapsulates(vip->forward) && (opens || work->packet.protocol == WEIR_IP_UDP))
        weir_note_recent_hop(work);
    return 0;
}

/* --- an error about a tunnel, whose client is not recorded ---------------------------------------
 */

/* By the way that the VIP's clients came of late. False: none has come. */
WEIR_INLINE bool weir_take_recent_hop(struct weir_work* work) {
    uint32_t vip = work->vip;
    const struct weir_recent_hop* hop = bpf_map_lookup_elem(&recent_hops, &vip);
    if (!hop || !hop->known)
        return false;
    for (int i = 0; i < 6; i++)
        work->last_mac[i] = hop->mac[i];
    work->last_vlan_tci = hop->vlan_tci;
    work->last_interface = hop->interface;
    return true;
}
