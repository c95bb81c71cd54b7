// SPDX-License-Identifier: BSD-3-Clause
/* What xdp_sender.cpp tells xdp_sender.bpf.c before it is loaded. */
#pragma once

#include <stdint.h>

#define WEIR_BENCH_FRAME_BYTES 64

struct weir_bench_sending {
    int32_t device; /* index, in the sender's network namespace */
    uint32_t flows;
    uint32_t first_port;                   /* host order: the flows' source ports begin with it */
    uint8_t frame[WEIR_BENCH_FRAME_BYTES]; /* UDP over IPv4 without options, without a checksum */
};
