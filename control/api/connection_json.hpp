// SPDX-License-Identifier: BSD-3-Clause
// One connection as JSON, for the list and for `explain`.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "control/api/snapshot.hpp"

namespace weir::control {

// REQUIRES: snapshot.live.
nlohmann::json connection_json(const Snapshot& snapshot, std::uint32_t worker,
                               const lb::HotRow& row);

} // namespace weir::control
