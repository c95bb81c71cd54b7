// SPDX-License-Identifier: BSD-3-Clause
// Tells the service manager that started us how far we are (sd_notify(3): one datagram to the
// socket named in the environment). The protocol is stable and a few lines, so libsystemd and what
// it links stay out of the engine.
#pragma once

namespace weir::dpdk {

// `state`: "READY=1", "STOPPING=1". Nothing happens without a service manager.
void notify_service_manager(const char* state);

} // namespace weir::dpdk
