// SPDX-License-Identifier: BSD-3-Clause
// `weirctl events`.
#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace weir::weirctl {

std::string event_line(const nlohmann::json& event);
std::string events_text(const nlohmann::json& answer);

// The part of `weirctl status` about VRRP groups; empty when there are none.
std::string vrrp_text(const nlohmann::json& status);

} // namespace weir::weirctl
