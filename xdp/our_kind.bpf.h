// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Whether a packet is ours, for programs that only sort. */
#pragma once

#include "xdp/tables.bpf.h"

/* The match kind of a packet that is ours, else WEIR_MATCH_EMPTY. A global function on purpose: the
 * verifier follows it once, with any packet, instead of once for each way through the parser. */
__attribute__((noinline)) int weir_our_kind(const struct weir_packet* packet) {
    struct weir_match_view table;
    if (!packet || !weir_published_table(&table))
        return WEIR_MATCH_EMPTY;
    struct weir_match match = weir_match_packet(&table, packet);
    return weir_match_is_ours(&match, packet) ? (int)match.kind : WEIR_MATCH_EMPTY;
}
