// SPDX-License-Identifier: BSD-3-Clause
// A reload, decided before anything is touched: text -> accepted configuration, or why not. Pure;
// called by the controller and, for the start, by main().
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"
#include "config/diagnostic.hpp"

namespace weir::control {

struct ReloadDecision {
    std::optional<config::Config> config; // only when accepted
    std::vector<config::Diagnostic> diagnostics;
    std::vector<std::string> restart_needed; // keys; a change of any of them refuses the whole
    std::vector<std::string> changes;        // in words
};

ReloadDecision decide_reload(const config::Config& running, std::string_view text,
                             const std::string& file);

std::vector<std::string> describe_changes(const config::Config& before,
                                          const config::Config& after);

} // namespace weir::control
