// SPDX-License-Identifier: BSD-3-Clause
// `status`: the answer as text. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace weir::weirctl {

std::string status_text(const nlohmann::json& status);

} // namespace weir::weirctl
