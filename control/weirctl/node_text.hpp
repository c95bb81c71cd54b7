// SPDX-License-Identifier: BSD-3-Clause
// `weirctl node drain` and `resume`.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace weir::weirctl {

std::string node_text(const nlohmann::json& answer);

} // namespace weir::weirctl
