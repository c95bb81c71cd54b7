// SPDX-License-Identifier: BSD-3-Clause
// What a host is, as far as the choice of the engine goes by it; and an end to a dataplane that is
// in the way of that choice. Called before the event loop runs.
#pragma once

#include <string>

#include "config/config.hpp"
#include "config/expected.hpp"
#include "control/engine_choice.hpp"

namespace weir::control {

// `dataplane`: the path of weir-dataplane.
HostFacts look_at_host(const config::Config& config, const std::string& runtime_directory,
                       const std::string& dataplane);

// Asks the dataplane of this runtime directory to end, if there is one, and waits until it has.
Expected<void> end_dataplane(const std::string& runtime_directory);

} // namespace weir::control
