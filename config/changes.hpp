// SPDX-License-Identifier: BSD-3-Clause
// What a reload cannot take up. Pure; any thread.
#pragma once

#include <string>
#include <vector>

#include "config/config.hpp"

namespace weir::config {

// The keys that differ and need a restart, such as "engine.workers" or "interface.uplink.device",
// in the order of the file; empty when the whole change is live. keys.hpp says which keys these
// are.
std::vector<std::string> restart_needed(const Config& running, const Config& wanted);

} // namespace weir::config
