// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The balancer's maps, and rows out of them. Sizes are set before loading (balancer.h). */
#pragma once

#include "xdp/balancer.h"
#include "xdp/tables.bpf.h"

const volatile struct weir_balancer_settings settings SEC(".rodata.settings") = {
    {1, 1, 1, 1, 1, 1}, 1, 0, 1};
volatile struct weir_balancer_injection injection SEC(".data.injection") = {0, 0, 0, 0, 0};

#define WEIR_ARRAY(name, map_type, value_type, rows)                                               \
    struct {                                                                                       \
        __uint(type, map_type);                                                                    \
        __uint(max_entries, rows);                                                                 \
        __type(key, uint32_t);                                                                     \
        __type(value, value_type);                                                                 \
    } name SEC(".maps")

/* Of rows that control writes through a mapping: a publication is a copy, not a system call a row.
 */
#define WEIR_ROWS(name, value_type)                                                                \
    struct {                                                                                       \
        __uint(type, BPF_MAP_TYPE_ARRAY);                                                          \
        __uint(max_entries, 2);                                                                    \
        __uint(map_flags, BPF_F_MMAPABLE);                                                         \
        __type(key, uint32_t);                                                                     \
        __type(value, value_type);                                                                 \
    } name SEC(".maps")

WEIR_ARRAY(heads, BPF_MAP_TYPE_ARRAY, struct weir_balancer_head, 2);
WEIR_ROWS(vip_rows, struct weir_vip_row);
WEIR_ROWS(pool_rows, struct weir_pool_row);
WEIR_ROWS(member_rows, uint32_t);
WEIR_ROWS(backend_rows, struct weir_backend_row);
WEIR_ROWS(next_hop_rows, struct weir_next_hop_row);
WEIR_ROWS(slot_rows, struct weir_slot_row);
WEIR_ROWS(running_roots, struct weir_root_page);
WEIR_ARRAY(balancer_counts, BPF_MAP_TYPE_PERCPU_ARRAY, struct weir_balancer_counts, 1);
WEIR_ARRAY(vip_counts, BPF_MAP_TYPE_PERCPU_ARRAY, struct weir_balancer_row_counts, 2);
WEIR_ARRAY(backend_counts, BPF_MAP_TYPE_PERCPU_ARRAY, struct weir_balancer_row_counts, 2);
/* Connections in the table, of all CPUs: what quotas and least connections go by. Evictions are not
 * seen by the program; whoever sweeps the table counts anew. */
WEIR_ROWS(vip_active, uint64_t);
WEIR_ROWS(backend_active, uint64_t);
/* Connections of VIPs that record exceptions only, without an entry: an estimate made of SYNs, FINs
 * and RSTs, which a race may take below zero. */
WEIR_ROWS(vip_unrecorded, int64_t);
WEIR_ROWS(backend_unrecorded, int64_t);
/* Not 0: packets without a known connection are dropped, by VIP row; control: rw, programs: ro. */
WEIR_ROWS(vip_held, uint64_t);
/* The next slot of a round, by pool row. */
WEIR_ROWS(round_cursors, uint64_t);

struct {
    __uint(type, BPF_MAP_TYPE_DEVMAP);
    __uint(max_entries, WEIR_MAX_INTERFACES);
    __type(key, uint32_t);
    __type(value, uint32_t);
} devices SEC(".maps");

/* The half of this packet, or WEIR_NO_ROW before anything was published. */
WEIR_INLINE uint32_t weir_active_half(void) {
    uint32_t first = 0;
    const struct weir_steer_state* state = bpf_map_lookup_elem(&steer_state, &first);
    return state && state->generation != 0 ? state->active & 1 : WEIR_NO_ROW;
}

WEIR_INLINE const struct weir_balancer_head* weir_head(uint32_t half) {
    return bpf_map_lookup_elem(&heads, &half);
}

#define WEIR_ROW_OF(function, map, row_type, capacity)                                             \
    WEIR_INLINE const row_type* function(uint32_t half, uint32_t row) {                            \
        if (row >= settings.capacities.capacity)                                                   \
            return NULL;                                                                           \
        uint32_t key = half * settings.capacities.capacity + row;                                  \
        return bpf_map_lookup_elem(&(map), &key);                                                  \
    }

WEIR_ROW_OF(weir_vip, vip_rows, struct weir_vip_row, vips)
WEIR_ROW_OF(weir_pool, pool_rows, struct weir_pool_row, pools)
WEIR_ROW_OF(weir_member, member_rows, uint32_t, members)
WEIR_ROW_OF(weir_backend, backend_rows, struct weir_backend_row, backends)
WEIR_ROW_OF(weir_next_hop, next_hop_rows, struct weir_next_hop_row, next_hops)

/* What a slot of the table that begins at slot row `segment` says. */
WEIR_INLINE uint16_t weir_slot_entry(uint32_t segment, uint32_t slot) {
    uint32_t key = segment + slot / WEIR_SLOTS_A_ROW;
    const struct weir_slot_row* row = bpf_map_lookup_elem(&slot_rows, &key);
    if (!row)
        return WEIR_NO_MEMBER;
    uint64_t within = slot;
    WEIR_OPAQUE(within);
    within &= WEIR_SLOTS_A_ROW - 1;
    return row->member[within];
}

/* The backend row that a slot of the pool names, or WEIR_NO_ROW. */
WEIR_INLINE uint32_t weir_backend_of_slot(uint32_t half, const struct weir_pool_row* pool,
                                          uint32_t slot) {
    uint16_t member = weir_slot_entry(pool->segment, slot);
    const uint32_t* backend =
        member == WEIR_NO_MEMBER ? NULL : weir_member(half, pool->member_first + member);
    return backend ? *backend : WEIR_NO_ROW;
}

/* The backend row that the slot had before it changed, while flows of that time may be alive; else
 * WEIR_NO_ROW. */
WEIR_INLINE uint32_t weir_oldest_of_slot(uint32_t half, const struct weir_pool_row* pool,
                                         uint32_t slot) {
    if (pool->elder_count == 0)
        return WEIR_NO_ROW;
    uint16_t elder = weir_slot_entry(pool->oldest_segment, slot);
    const uint32_t* backend =
        elder == WEIR_NO_MEMBER
            ? NULL
            : weir_member(half, pool->member_first + pool->member_count + elder);
    return backend ? *backend : WEIR_NO_ROW;
}

/* Rows that are not in use have family 0. Never null: a check before the address is taken would be
 * merged with it by the compiler in a way that the verifier cannot follow. */
WEIR_INLINE const struct weir_snat_row* weir_snat(const struct weir_balancer_head* head,
                                                  uint32_t row) {
    uint64_t at = row;
    WEIR_OPAQUE(at);
    at &= WEIR_MAX_SNAT_ADDRESSES - 1;
    return &head->snat[at];
}

WEIR_INLINE const struct weir_interface_row* weir_interface(const struct weir_balancer_head* head,
                                                            uint32_t row) {
    uint64_t at = row;
    WEIR_OPAQUE(at);
    if (at >= WEIR_MAX_INTERFACES || at >= head->interface_count)
        return NULL;
    return &head->interface[at];
}

WEIR_INLINE struct weir_balancer_counts* weir_counts(void) {
    uint32_t first = 0;
    return bpf_map_lookup_elem(&balancer_counts, &first);
}

WEIR_INLINE void weir_add_active(void* map, uint32_t row, int64_t change) {
    uint64_t* active = bpf_map_lookup_elem(map, &row);
    if (active)
        __sync_fetch_and_add(active, (uint64_t)change);
}

WEIR_INLINE uint64_t weir_active(void* map, uint32_t row) {
    const uint64_t* active = bpf_map_lookup_elem(map, &row);
    return active ? *(const volatile uint64_t*)active : 0;
}
