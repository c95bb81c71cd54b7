// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/configuration_text.hpp"

#include "control/weirctl/field.hpp"
#include "control/weirctl/layout.hpp"
#include "control/weirctl/quantity.hpp"

namespace weir::weirctl {

std::string accepted_text(const std::string& file, const config::Config& config) {
    std::size_t backends = 0;
    for (const config::PoolConfig& pool : config.pools)
        backends += pool.backends.size();
    return "OK: " + file + ": " + counted(config.interfaces.size(), "interface") + ", " +
           counted(config.vips.size(), "VIP") + ", " + counted(config.pools.size(), "pool") + ", " +
           counted(backends, "backend") + "\n";
}

json check_json(const config::ParseResult& result) {
    json diagnostics = json::array();
    for (const config::Diagnostic& diagnostic : result.diagnostics)
        diagnostics.push_back({{"file", diagnostic.file},
                               {"line", diagnostic.line},
                               {"column", diagnostic.column},
                               {"message", diagnostic.message},
                               {"hint", diagnostic.hint},
                               {"source_line", diagnostic.source_line}});
    return {{"accepted", result.config.has_value()},
            {"diagnostics", std::move(diagnostics)},
            {"text", config::format(result.diagnostics)}};
}

std::string applied_text(const json& answer) {
    const std::vector<std::string> changes = sentences_of(answer, "changes");
    if (changes.empty())
        return "nothing to change (generation " + digits_of(answer, "generation") + ")\n";
    return listing("applied, generation " + digits_of(answer, "generation") + " is live", changes);
}

std::string not_applied_text(const json& answer) {
    // Written by config::format, which leaves nothing in it that could move the cursor.
    std::string text = text_of(answer, "text");
    text += listing("these changes need a restart of weir-control and weir-dataplane",
                    sentences_of(answer, "restart_needed"));
    return text + "refused: nothing was changed\n";
}

} // namespace weir::weirctl
