// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What the BPF programs and control agree on beside the L0 rows: the maps' names, the publication
 * state and the counters. Control writes the state and reads the counters; the programs do the
 * reverse. Included by *.bpf.c and by xdp/ C++. */
#pragma once

#include "dataplane/forwarding/rows.h"

/* Two match blocks: control fills the one that is not active, then writes the state, so a packet
 * never meets half a table. `generation` 0: nothing has been published yet. */
#define WEIR_MATCH_BLOCKS 2u

struct weir_steer_state {
    uint32_t active; /* which block the programs read, below WEIR_MATCH_BLOCKS */
    uint32_t reserved;
    uint64_t generation;
};
WEIR_STATIC_ASSERT(sizeof(struct weir_steer_state) == 16, "publication state layout");

#define WEIR_XSKS_MAP_SIZE 64u /* NIC queues that can have a socket */

/* Entries of steer_programs. */
enum weir_steer_program {
    WEIR_STEER_SORTER,
    WEIR_STEER_BALANCER,
    WEIR_STEER_PROGRAMS,
};

/* What the sorter says of a packet of ours, beside XDP_PASS for the kernel's. */
enum weir_steer_way {
    WEIR_STEER_TO_ENGINE = 64, /* to the socket of its queue; in place where there is none */
    WEIR_STEER_IN_PLACE,
};

/* Entries of the per-CPU array steer_counts, packets. */
enum weir_steer_count {
    WEIR_STEER_OURS,
    WEIR_STEER_PASSED,      /* the kernel's */
    WEIR_STEER_UNPARSED,    /* does not parse: to the kernel, which counts it */
    WEIR_STEER_UNPUBLISHED, /* came before control had published a table: to the kernel */
    WEIR_STEER_COUNTS,
};

/* Leases: an address of the hash map lease_addresses (struct weir_address) is under the lease whose
 * number it maps to; lease_deadlines[number] says until when (CLOCK_MONOTONIC, nanoseconds) the
 * kernel may answer for it. Control renews a deadline by writing into the map's memory. 0: not now.
 */
#define WEIR_MAX_LEASES 512u
#define WEIR_MAX_LEASED_ADDRESSES 65536u

/* Entries of the per-CPU array guard_counts, packets. */
enum weir_guard_count {
    WEIR_GUARD_DROPPED_VIP,        /* to a served port, or a later fragment to a VIP */
    WEIR_GUARD_DROPPED_SNAT,       /* to a port of a SNAT range */
    WEIR_GUARD_DROPPED_BACKEND,    /* a `nat` backend's reply, which would go out untranslated */
    WEIR_GUARD_DROPPED_UNREADABLE, /* to a VIP behind extension headers that cannot be followed */
    WEIR_GUARD_PASSED,
    WEIR_GUARD_UNPUBLISHED,      /* passed: control had not published a table */
    WEIR_GUARD_DROPPED_QUESTION, /* ARP request or solicitation for an address whose lease lapsed */
    WEIR_GUARD_DROPPED_CLAIM,    /* outbound ARP or discovery of the kernel that claims one */
    WEIR_GUARD_COUNTS,
};
