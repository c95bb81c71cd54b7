// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* What the balancer program and the C++ beside it agree on: capacities, keys and values of its maps
 * that are not rows of ForwardingState, counters. Included by *.bpf.h and by C++.
 *
 * State is published in two halves of every array: rows [0, capacity) and [capacity, 2 * capacity).
 * Programs read the half that steer_state names (maps.h), once a packet; control fills the other
 * and then flips. Slot tables are not halved: they lie where their pool row's `segment` (and
 * `oldest_segment`) says, in rows of four slots, and stay there as long as either half refers to
 * them.
 */
#pragma once

#include "dataplane/forwarding/exceptions.h"
#include "dataplane/forwarding/rows.h"
#include "dataplane/forwarding/token_bucket.h"
#include "dataplane/forwarding/verdict.h"

/* Of everything in maps that outlive their control. To be raised when a key or value means
 * something else than before; other sizes are noticed without it. */
#define WEIR_BALANCER_LAYOUT 3u

/* How many rows a half has. */
struct weir_balancer_capacities {
    uint32_t vips;
    uint32_t pools;
    uint32_t members;
    uint32_t backends;
    uint32_t next_hops;
    uint32_t slot_rows; /* of four slots, in all */
};

/* Fixed when the program is loaded, the only content of its section .rodata.settings. */
struct weir_balancer_settings {
    struct weir_balancer_capacities capacities;
    uint32_t processors; /* that rates are shared between */
    uint32_t injected;   /* weir_balancer_injection takes the place of clock and devices */
    uint32_t half_open;  /* exceptions on probation at the most, entries */
};

#define WEIR_SLOTS_A_ROW 4u
struct weir_slot_row { /* a BPF array pads its values to 8 bytes */
    uint16_t member[WEIR_SLOTS_A_ROW];
};

/* The root of the generation in each half, byte for byte: a control that starts takes row numbers
 * and all else from it. Programs do not read it. */
#define WEIR_ROOT_PAGE_BYTES 4096u
struct weir_root_page {
    uint8_t byte[WEIR_ROOT_PAGE_BYTES];
};

/* What a generation has of its own, one value a half. */
struct weir_balancer_head {
    struct weir_hash_key hash_key;
    struct weir_node_row node;
    uint32_t interface_count;
    uint32_t reserved;
    uint32_t snat_of_family[2]; /* IPv4, IPv6: used entries of snat_rows */
    uint8_t snat_rows[2][WEIR_MAX_SNAT_ADDRESSES];
    uint32_t device[WEIR_MAX_INTERFACES]; /* ifindex by interface row */
    struct weir_interface_row interface[WEIR_MAX_INTERFACES];
    struct weir_snat_row snat[WEIR_MAX_SNAT_ADDRESSES];
    uint64_t grace_began_ns; /* when the first generation was published */
};

/* --- connections --------------------------------------------------------------------------------
 */

struct weir_connection_key { /* the client's tuple; the VIP row implies address and protocol */
    struct weir_address client;
    weir_be16 client_port;
    weir_be16 service_port;
    uint32_t vip;
};
WEIR_STATIC_ASSERT(sizeof(struct weir_connection_key) == 24, "connection key layout");

struct weir_connection {
    uint32_t backend;     /* row */
    uint32_t last_seen_s; /* monotonic */
    uint32_t created_s;
    weir_be16 snat_port;  /* full-nat, otherwise 0 */
    uint8_t snat_address; /* SNAT row */
    uint8_t state;        /* enum weir_connection_state */
    uint8_t mac[6];       /* where the client's packets come from, and replies go to */
    uint16_t vlan_tci;
    uint8_t interface; /* row */
    uint8_t reserved[7];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_connection) == 32, "connection layout");

struct weir_reply_key { /* what a backend's packets show, in the NAT modes */
    struct weir_address backend;
    struct weir_address local; /* the client's address, or the SNAT address */
    weir_be16 backend_port;
    weir_be16 local_port;
    uint32_t protocol;
};
WEIR_STATIC_ASSERT(sizeof(struct weir_reply_key) == 40, "reply key layout");

struct weir_remembered { /* where a client's network went, by weir_persistence_key() */
    uint64_t identity;   /* of the backend */
    uint32_t backend;    /* row */
    uint32_t seen_s;     /* monotonic */
};
WEIR_STATIC_ASSERT(sizeof(struct weir_remembered) == 16, "remembered network layout");

/* --- exceptions ---------------------------------------------------------------------------------
 *
 * Of VIPs that record exceptions only (dataplane/forwarding/exceptions.h). Which flows may have an
 * entry: the programs look at the live words and set bits in both; a sweep sets in the other words
 * what it keeps, and at its end has the two change places.
 */

struct weir_exceptions {     /* one value */
    uint32_t live;           /* which words, 0 or 1. control: wo, programs: ro */
    uint32_t rounds_to_wait; /* sweeps that are to end before the words change places. control */
    uint64_t reserved[7];
    int64_t half_open; /* entries on probation; recounted by sweeps, which see what was evicted */
    uint64_t reserved_too[7];
    uint64_t words[2][WEIR_EXCEPTION_WORDS];
};

/* Where the clients of a VIP come from, for errors about connections that are not recorded. Two
 * CPUs that write one at once may mix it; the next packet puts it right. */
struct weir_recent_hop { /* one a VIP row */
    uint8_t mac[6];
    uint16_t vlan_tci;
    uint8_t interface; /* row */
    uint8_t known;
    uint8_t reserved[6];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_recent_hop) == 16, "recent hop layout");

/* --- counters, per CPU --------------------------------------------------------------------------
 */

struct weir_balancer_port { /* of an interface row */
    uint64_t rx_packets;
    uint64_t rx_bytes;
    uint64_t tx_packets;
    uint64_t tx_bytes;
};

struct weir_balancer_counts { /* one value */
    uint64_t verdicts[64];    /* by enum weir_verdict */
    struct weir_balancer_port ports[WEIR_MAX_INTERFACES];
    uint64_t connections_opened;
    uint64_t connections_expired; /* found too old by a packet */
};
WEIR_STATIC_ASSERT(WEIR_VERDICT_COUNT <= 64, "room for every verdict");

struct weir_balancer_row_counts { /* one a VIP row, one a backend row */
    uint64_t packets;
    uint64_t bytes;
    uint64_t reply_packets;
    uint64_t reply_bytes;
    uint64_t connections_opened;
    uint64_t drops;
};

/* --- for tests ----------------------------------------------------------------------------------
 */

/* The only content of section .data.injection. With settings.injected, time and the interface come
 * from here and what became of the packet goes there: BPF_PROG_TEST_RUN has neither clock nor
 * devices. */
struct weir_balancer_injection {
    uint64_t now_ns;
    uint32_t interface; /* row the packet came in by */
    uint32_t verdict;   /* out: enum weir_verdict */
    uint32_t out_interface;
    uint32_t reserved;
};
