// SPDX-License-Identifier: BSD-3-Clause
// One queue of the persistent TAP that the control process made for a bypassed interface.
#pragma once

#include "config/expected.hpp"
#include "dataplane/channel/sealed_memory.hpp"

#include <string>

namespace weir::dpdk {

// Non-blocking; a read or write is one frame. A TAP that is not there is an error, never made.
Expected<channel::Descriptor> open_tap(const std::string& name);

} // namespace weir::dpdk
