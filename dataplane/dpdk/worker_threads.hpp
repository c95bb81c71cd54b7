// SPDX-License-Identifier: BSD-3-Clause
// Workers on their cores: started, each as a reader of generations for as long as its loop runs,
// and waited for. Called by the main thread.
#pragma once

#include "config/expected.hpp"
#include "dataplane/dpdk/worker_context.hpp"

#include <span>

namespace weir::dpdk {

// Worker i on lcore i + 1. The contexts have to stay until wait_for_workers() has returned.
Expected<void> launch_workers(std::span<WorkerContext> contexts);

// Until the loops have ended of all that were started; what they have done is seen then.
void wait_for_workers(std::span<WorkerContext> contexts);

} // namespace weir::dpdk
