// SPDX-License-Identifier: BSD-3-Clause
// `counters` and `drops`, and the closed books: the answers as text. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace weir::weirctl {

std::string counters_text(const nlohmann::json& answer);
std::string drops_text(const nlohmann::json& answer);
std::string books_line(const nlohmann::json& books); // without a line end

} // namespace weir::weirctl
