// SPDX-License-Identifier: BSD-3-Clause
// libFuzzer target: any bytes are accepted or refused with a position, nothing else. Seeds:
// config/testdata/good and config/testdata/broken.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "config/changes.hpp"
#include "config/parse.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const std::string_view text(reinterpret_cast<const char*>(data), size);
    const auto result = weir::config::parse_config(text, "fuzz.toml");
    if (result.config.has_value() == !result.diagnostics.empty()) {
        std::abort();
    }
    if (result.config && !weir::config::restart_needed(*result.config, *result.config).empty()) {
        std::abort();
    }
    for (const auto& diagnostic : result.diagnostics) {
        if (diagnostic.line == 0 || diagnostic.column == 0 || diagnostic.message.empty()) {
            std::abort();
        }
    }
    return format(result.diagnostics).empty() == result.config.has_value() ? 0 : -1;
}
