// SPDX-License-Identifier: BSD-3-Clause
/* What the harness program and the bench beside it agree on (xdp_harness.bpf.c). */
#pragma once

#include <stdint.h>

#define WEIR_BENCH_V4_BYTES 64u
#define WEIR_BENCH_V6_BYTES 80u
#define WEIR_BENCH_MAX_BYTES 96u

/* Sixteen flows a client, as bench/frames.cpp numbers them: flow -> (client, port). */
#define WEIR_BENCH_FIRST_PORT 1024u
#define WEIR_BENCH_PORT_STEP 4031u

enum weir_bench_target {                     /* what the harness hands the packet to */
                         WEIR_BENCH_NOTHING, /* a program that sends it as it is: the harness's own
                                                cost */
                         WEIR_BENCH_MACSWAP,
                         WEIR_BENCH_BALANCER,
                         WEIR_BENCH_SORTER,
                         WEIR_BENCH_TARGETS,
};

struct weir_bench_plan { /* one value. bench: wo; the harness moves `state` and `next` on */
    uint8_t frame[WEIR_BENCH_MAX_BYTES]; /* of flow 0, all headers right */
    uint64_t state;                      /* of the random numbers, not 0 */
    uint32_t target;                     /* enum weir_bench_target */
    uint32_t flows; /* the population; 0: one flow after the other from `next` */
    uint32_t next;
    uint32_t sum; /* of the IPv4 header without its checksum and what is written anew */
};

/* What the backend of a full-nat connection answers to, by flow. */
struct weir_bench_way_back {
    uint32_t backend; /* IPv4, in network order */
    uint32_t snat;
    uint16_t snat_port;
    uint16_t reserved[3];
};
