// SPDX-License-Identifier: BSD-3-Clause
// `vip list` and `vip show`: the answers as text. Pure.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <string>

namespace weir::weirctl {

std::string vips_text(const nlohmann::json& answer); // with a list "vips"
std::string vip_text(const nlohmann::json& vip);

} // namespace weir::weirctl
