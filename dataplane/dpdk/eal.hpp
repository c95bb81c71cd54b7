// SPDX-License-Identifier: BSD-3-Clause
// Starting and ending DPDK's environment. Once in a process, on the main thread.
#pragma once

#include "config/expected.hpp"
#include "dataplane/dpdk/start_plan.hpp"

namespace weir::dpdk {

// Starts EAL; what it prints while doing so reaches nobody, except as part of the error.
Expected<void> start_eal(const EalPlan& plan);
void end_eal();

// What DPDK printed about a failure, ready to follow "...: ".
std::string dpdk_reason(const std::string& printed, int error);

} // namespace weir::dpdk
