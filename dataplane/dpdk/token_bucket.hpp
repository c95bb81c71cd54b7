// SPDX-License-Identifier: BSD-3-Clause
// A rate limit for packets (forwarding/token_bucket.h) with its memory. One thread; the caller
// brings the clock.
#pragma once

#include "dataplane/forwarding/token_bucket.h"

#include <cstdint>

namespace weir::dpdk {

class TokenBucket {
public:
    // True when a packet may pass at `now_ns` (monotonic).
    bool take(std::uint64_t now_ns, std::uint32_t rate_pps) {
        return weir_bucket_take(&bucket_, now_ns, rate_pps);
    }

private:
    weir_token_bucket bucket_{};
};

} // namespace weir::dpdk
