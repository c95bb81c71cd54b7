// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* A rate limit for packets: at most `rate` a second on average and a tenth of that at once. The
 * bucket is the caller's memory, zero at first, and so is the clock: one thread or CPU a bucket. */
#pragma once

#include "dataplane/forwarding/base.h"

struct weir_token_bucket {
    uint64_t level; /* of one packet: 1 s at 1 pps, in nanoseconds */
    uint64_t last_ns;
    uint32_t rate_pps;
    uint32_t reserved;
};

#define WEIR_BUCKET_PACKET 1000000000u
#define WEIR_BUCKET_FILLS_NS                                                                       \
    2000000000u /* two seconds fill every bucket; much more would overflow */

/* True when a packet may pass at `now_ns` (monotonic). The bucket starts full; its size is a tenth
 * of a second's worth, at least one packet. A rate of 0 lets nothing pass. */
WEIR_INLINE bool weir_bucket_take(struct weir_token_bucket* bucket, uint64_t now_ns,
                                  uint32_t rate_pps) {
    uint64_t most = rate_pps / 10 ? rate_pps / 10 : 1;
    uint64_t full = most * WEIR_BUCKET_PACKET;
    if (rate_pps != bucket->rate_pps) {
        if (bucket->rate_pps == 0 || bucket->level > full)
            bucket->level = full;
        bucket->rate_pps = rate_pps;
        bucket->last_ns = now_ns;
    }
    if (rate_pps == 0)
        return false;
    uint64_t elapsed_ns = now_ns - bucket->last_ns;
    if (elapsed_ns > WEIR_BUCKET_FILLS_NS)
        elapsed_ns = WEIR_BUCKET_FILLS_NS;
    uint64_t level = bucket->level + elapsed_ns * rate_pps;
    if (level > full)
        level = full;
    bucket->last_ns = now_ns;
    bool passes = level >= WEIR_BUCKET_PACKET;
    bucket->level = passes ? level - WEIR_BUCKET_PACKET : level;
    return passes;
}

/* One taker's part of a rate that holds for `takers` (workers, CPUs) together. */
WEIR_INLINE uint32_t weir_bucket_share(uint32_t pps, uint32_t takers) {
    uint32_t share = pps / takers;
    return pps != 0 && share == 0 ? 1 : share;
}
