// SPDX-License-Identifier: BSD-3-Clause
#include "control/engine_link/engine.hpp"

namespace weir::control {

std::string taken_over(const Engine& engine) {
    std::uint64_t adopted = 0;
    std::uint64_t refused = 0;
    for (std::uint32_t block = 0; engine.counters && block < engine.counters->blocks(); block++)
        if (const auto counted = engine.counters->read(block)) {
            adopted += counted->connections_adopted;
            refused += counted->connections_refused;
        }
    if (adopted == 0 && refused == 0)
        return "";
    return ", took over " + std::to_string(adopted) + " connections (" + std::to_string(refused) +
           " refused)";
}

} // namespace weir::control
