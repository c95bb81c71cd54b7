// SPDX-License-Identifier: BSD-3-Clause
// Time and medians. The time stamp counter ticks at a constant rate on every machine we run on.
#pragma once

#include <rte_cycles.h>

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <vector>

namespace weir::bench {

inline double ns_of_ticks(double ticks) {
    return ticks * 1e9 / static_cast<double>(rte_get_tsc_hz());
}

inline std::uint64_t monotonic_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(now.tv_nsec);
}

// `share` of the samples are not above it: 0.5 is the median.
inline double quantile(std::vector<double> samples, double share) {
    if (samples.empty())
        return 0;
    const auto at = static_cast<std::size_t>(share * static_cast<double>(samples.size() - 1));
    std::nth_element(samples.begin(), samples.begin() + static_cast<std::ptrdiff_t>(at),
                     samples.end());
    return samples[at];
}

inline double median(std::vector<double> samples) {
    return quantile(std::move(samples), 0.5);
}

} // namespace weir::bench
