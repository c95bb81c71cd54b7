// SPDX-License-Identifier: BSD-3-Clause
// Text -> validated Config, or every error at once. Pure (load_config reads one file); no exception
// leaves; any thread.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"
#include "config/diagnostic.hpp"

namespace weir::config {

// Either a configuration or at least one diagnostic, never both.
struct ParseResult {
    std::optional<Config> config;
    std::vector<Diagnostic> diagnostics;

    explicit operator bool() const { return config.has_value(); }
};

// `file` is what the diagnostics call the text.
ParseResult parse_config(std::string_view text, std::string file);
ParseResult load_config(const std::string& path);

} // namespace weir::config
