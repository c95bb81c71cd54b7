// SPDX-License-Identifier: BSD-3-Clause
/* The published match table as the BPF programs see it: maps and the look-up of the active block.
 * Each object that includes this has its own copy of the maps, filled by control. */
#pragma once

#include <linux/bpf.h>

#include <bpf/bpf_helpers.h>

#include "dataplane/forwarding/match.h"
#include "xdp/maps.h"

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, WEIR_MATCH_BLOCKS);
    __type(key, uint32_t);
    __type(value, struct weir_match_block);
} match_blocks SEC(".maps");

struct {
    __uint(type, BPF_MAP_TYPE_ARRAY);
    __uint(max_entries, 1);
    __type(key, uint32_t);
    __type(value, struct weir_steer_state);
} steer_state SEC(".maps");

/* False until control has published. */
WEIR_INLINE bool weir_published_table(struct weir_match_view* view) {
    uint32_t first = 0;
    const struct weir_steer_state* state = bpf_map_lookup_elem(&steer_state, &first);
    if (!state || state->generation == 0)
        return false;
    uint32_t active = state->active;
    const struct weir_match_block* block = bpf_map_lookup_elem(&match_blocks, &active);
    if (!block)
        return false;
    view->rows = block->row;
    view->ranges = block->range;
    view->mask = block->header.mask;
    view->seed = block->header.seed;
    view->flags = block->header.flags;
    view->gue_port = block->header.gue_port;
    return true;
}

/* The match kind of a packet that is ours, else WEIR_MATCH_EMPTY. A global function on purpose: the
 * verifier follows it once, with any packet, instead of once for each way through the parser. */
__attribute__((noinline)) int weir_our_kind(const struct weir_packet* packet) {
    struct weir_match_view table;
    if (!packet || !weir_published_table(&table))
        return WEIR_MATCH_EMPTY;
    struct weir_match match = weir_match_packet(&table, packet);
    return weir_match_is_ours(&match, packet) ? (int)match.kind : WEIR_MATCH_EMPTY;
}

WEIR_INLINE void weir_count(void* counts, uint32_t which) {
    uint64_t* count = bpf_map_lookup_elem(counts, &which);
    if (count)
        *count += 1; /* per CPU, and these programs do not nest */
}
