// SPDX-License-Identifier: BSD-3-Clause
// Text forms of a duration.
#include "config/duration.hpp"

#include <algorithm>
#include <array>

namespace weir::config {
namespace {

struct Unit {
    std::string_view suffix;
    std::int64_t milliseconds;
};
constexpr std::array kUnits = {Unit{"h", 3'600'000}, Unit{"m", 60'000}, Unit{"s", 1'000},
                               Unit{"ms", 1}};
constexpr std::int64_t kLongestMs = 10'000 * std::int64_t{3'600'000};

} // namespace

Expected<Duration> parse_duration(std::string_view text) {
    const Error error{"'" + std::string(text) +
                      "' is not a duration; write a whole number and a unit, such as \"250ms\", "
                      "\"2s\", \"10m\" or \"1h\""};
    const std::size_t digits =
        std::min(text.find_first_not_of("0123456789"), text.size()); // npos is the largest
    const auto number = net::parse_decimal(text.substr(0, digits), 4'000'000'000U);
    const std::string_view suffix = text.substr(digits);
    const auto unit = std::find_if(kUnits.begin(), kUnits.end(),
                                   [&](const Unit& known) { return known.suffix == suffix; });
    if (!number || unit == kUnits.end()) {
        return error;
    }
    const std::int64_t total_ms = std::int64_t{*number} * unit->milliseconds;
    if (total_ms > kLongestMs) {
        return Error{"'" + std::string(text) + "' is longer than the longest duration, 10000h"};
    }
    return Duration(total_ms);
}

std::string to_string(Duration duration) {
    if (duration.count() == 0) {
        return "0s";
    }
    for (const Unit& unit : kUnits) {
        if (duration.count() % unit.milliseconds == 0) {
            return std::to_string(duration.count() / unit.milliseconds) + std::string(unit.suffix);
        }
    }
    return std::to_string(duration.count()) + "ms";
}

} // namespace weir::config
