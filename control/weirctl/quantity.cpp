// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/quantity.hpp"

#include <array>
#include <cstdio>

namespace weir::weirctl {
namespace {

std::string fixed(double value, int decimals) {
    std::array<char, 64> text{};
    std::snprintf(text.data(), text.size(), "%.*f", decimals, value);
    return text.data();
}

struct Unit {
    std::uint64_t seconds;
    const char* name;
};

} // namespace

std::string grouped(std::uint64_t count) {
    std::string text = std::to_string(count);
    for (std::size_t at = text.size(); at > 3;) {
        at -= 3;
        text.insert(at, 1, ',');
    }
    return text;
}

std::string bytes_text(std::uint64_t bytes) {
    if (bytes < 1000)
        return std::to_string(bytes) + " B";
    static constexpr std::array<const char*, 6> kUnits{"kB", "MB", "GB", "TB", "PB", "EB"};
    double value = static_cast<double>(bytes) / 1000;
    std::size_t unit = 0;
    // 999.95 would be printed as 1000.
    while (value >= 999.5 && unit + 1 < kUnits.size()) {
        value /= 1000;
        unit++;
    }
    const int decimals = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
    return fixed(value, decimals) + " " + kUnits[unit];
}

std::string duration_text(double seconds) {
    if (seconds < 0)
        seconds = 0;
    if (seconds < 59.95)
        return fixed(seconds, 1) + " s";
    static constexpr std::array<Unit, 4> kUnits{{{86400, "d"}, {3600, "h"}, {60, "min"}, {1, "s"}}};
    // Beyond any uptime, and safely inside the integer.
    const auto whole = static_cast<std::uint64_t>(seconds < 1e15 ? seconds + 0.5 : 1e15);
    std::size_t first = 0;
    while (whole < kUnits[first].seconds)
        first++;
    const std::uint64_t rest = whole % kUnits[first].seconds;
    std::string text = grouped(whole / kUnits[first].seconds) + " " + kUnits[first].name;
    const Unit& second = kUnits[first + 1 < kUnits.size() ? first + 1 : first];
    if (rest / second.seconds != 0)
        text += " " + std::to_string(rest / second.seconds) + " " + second.name;
    return text;
}

std::string percent_text(double fraction) {
    return fixed(100 * fraction, 1) + " %";
}

std::string counted(std::uint64_t count, std::string_view noun) {
    return grouped(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

} // namespace weir::weirctl
