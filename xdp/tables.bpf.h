// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
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

/* The match table of one half of the published state. */
WEIR_INLINE bool weir_match_block_view(uint32_t active, struct weir_match_view* view) {
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

/* False until control has published. */
WEIR_INLINE bool weir_published_table(struct weir_match_view* view) {
    uint32_t first = 0;
    const struct weir_steer_state* state = bpf_map_lookup_elem(&steer_state, &first);
    if (!state || state->generation == 0)
        return false;
    return weir_match_block_view(state->active, view);
}

WEIR_INLINE void weir_count(void* counts, uint32_t which) {
    uint64_t* count = bpf_map_lookup_elem(counts, &which);
    if (count)
        *count += 1; /* per CPU, and these programs do not nest */
}
