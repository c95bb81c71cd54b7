// SPDX-License-Identifier: BSD-3-Clause
// Every key the configuration knows: THE list. The readers refuse what is not in it,
// docs/configuration.md is tested against it.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "config/words.hpp"

namespace weir::config {

enum class Effect : std::uint8_t {
    kTable,   // holds other keys
    kLive,    // a reload takes it up without touching established connections
    kRestart, // needs a restart, see restart_needed()
};

struct Key {
    std::string_view section; // "pool.NAME.health"; empty for the top level
    std::string_view name;
    Effect effect;
    Availability availability = Availability::kNow;
};

std::span<const Key> all_keys();
const Key* find_key(std::string_view section, std::string_view name);
std::vector<std::string_view> available_keys(std::string_view section);
// Where else a key of that name belongs; empty when nowhere.
std::string_view section_with(std::string_view name);

} // namespace weir::config
