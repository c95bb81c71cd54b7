// SPDX-License-Identifier: BSD-3-Clause
// Select backend: the pool's choice for packets without a connection.
#include "dataplane/dpdk/connection_steps.hpp"

namespace weir::dpdk {

void select_backend(Worker& worker, Burst& burst) {
    for (std::uint32_t i = 0; i < burst.count; i++) {
        if (burst.verdict[i] != WEIR_UNDECIDED || burst.backend[i] != WEIR_NO_ROW)
            continue;
        const weir_vip_row& vip = worker.state->vips()[burst.vip[i]];
        weir_verdict verdict = weir_admit_new(&burst.packet[i], &vip);
        if (verdict != WEIR_UNDECIDED) {
            drop(worker, burst, i, verdict);
            continue;
        }
        burst.backend[i] = worker.state->select(worker.state->pools()[vip.pool], burst.hash[i]);
        if (burst.backend[i] == WEIR_NO_ROW)
            drop(worker, burst, i, WEIR_DROP_NO_BACKEND);
    }
}

} // namespace weir::dpdk
