// SPDX-License-Identifier: BSD-3-Clause
// PlainBurst::read() for either instruction set; plain_burst_read.cpp is built for each.
#pragma once

#include "dataplane/forwarding/plain_burst.hpp"

namespace weir::forwarding {

using PlainReader = void (*)(PlainBurst&, const PlainFrames&);
void read_plain_avx2(PlainBurst& burst, const PlainFrames& frames);
void read_plain_avx512(PlainBurst& burst, const PlainFrames& frames); // REQUIRES: has_avx512()

// Whether CPU and kernel have what x86-64-v4 adds.
inline bool has_avx512() {
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vl");
}

} // namespace weir::forwarding
