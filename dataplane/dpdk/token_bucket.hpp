// SPDX-License-Identifier: BSD-3-Clause
// A rate limit for packets: at most `rate` a second on average and `burst` at once. One thread; the
// caller brings the clock.
#pragma once

#include <algorithm>
#include <cstdint>

namespace weir::dpdk {

class TokenBucket {
public:
    // True when a packet may pass at `now_ns` (monotonic). The bucket starts full; its size is a
    // tenth of a second's worth, at least one packet. A rate of 0 lets nothing pass.
    bool take(std::uint64_t now_ns, std::uint32_t rate_pps) {
        const std::uint64_t full = std::max<std::uint64_t>(rate_pps / 10, 1) * kPacket;
        if (rate_pps != rate_pps_) {
            level_ = rate_pps_ == 0 ? full : std::min(level_, full);
            rate_pps_ = rate_pps;
            last_ns_ = now_ns;
        }
        if (rate_pps == 0)
            return false;
        // Two seconds fill every bucket; much more would overflow.
        const std::uint64_t elapsed_ns = std::min(now_ns - last_ns_, kFills_ns);
        level_ = std::min(full, level_ + elapsed_ns * rate_pps);
        last_ns_ = now_ns;
        if (level_ < kPacket)
            return false;
        level_ -= kPacket;
        return true;
    }

private:
    static constexpr std::uint64_t kPacket = 1'000'000'000; // level of one packet: 1 s at 1 pps
    static constexpr std::uint64_t kFills_ns = 2'000'000'000;

    std::uint64_t level_ = 0;
    std::uint64_t last_ns_ = 0;
    std::uint32_t rate_pps_ = 0;
};

} // namespace weir::dpdk
