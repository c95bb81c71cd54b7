// SPDX-License-Identifier: BSD-3-Clause
// Durations as the configuration and weirctl write them: one whole number and one unit, "250ms".
#pragma once

#include <string>
#include <string_view>

#include "config/config.hpp"
#include "config/expected.hpp"

namespace weir::config {

// Units: ms, s, m, h. No sign, no fraction, no blanks; at most 10000 h.
Expected<Duration> parse_duration(std::string_view text);

// The shortest exact form: "1h", "90s", "250ms", "0s".
std::string to_string(Duration duration);

} // namespace weir::config
