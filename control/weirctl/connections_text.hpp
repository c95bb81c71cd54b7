// SPDX-License-Identifier: BSD-3-Clause
// `connections` and `explain`: the answers as text. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace weir::weirctl {

std::string connections_text(const nlohmann::json& answer);
std::string connection_count_text(const nlohmann::json& answer);
std::string explain_text(const nlohmann::json& answer);

} // namespace weir::weirctl
