// SPDX-License-Identifier: BSD-3-Clause
// `pool list`, `pool show` and the result of `backend ...`: the answers as text. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace weir::weirctl {

std::string pools_text(const nlohmann::json& answer); // with a list "pools"
std::string pool_text(const nlohmann::json& pool);
std::string backends_text(const nlohmann::json& backends); // a list of them: traffic, then health
std::string backend_changed_text(const nlohmann::json& answer);

} // namespace weir::weirctl
