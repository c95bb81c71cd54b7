// SPDX-License-Identifier: BSD-3-Clause
// `check` and `apply`: what is said of a configuration file. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

#include "config/parse.hpp"

namespace weir::weirctl {

// `check`: "OK: ..." for a configuration that was accepted.
std::string accepted_text(const std::string& file, const config::Config& config);
// `check --json`: the fields of `apply` that need no running control.
nlohmann::json check_json(const config::ParseResult& result);

std::string applied_text(const nlohmann::json& answer); // accepted
// Refused by `apply`: the diagnostics, or what needs a restart; ends with a line.
std::string not_applied_text(const nlohmann::json& answer);

} // namespace weir::weirctl
