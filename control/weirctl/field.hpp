// SPDX-License-Identifier: BSD-3-Clause
// Reading an answer that may lack a field or have it in another type (a control of another version
// may answer): nothing throws, what is not there is shown as "-". Pure.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace weir::weirctl {

using nlohmann::json;

const json& member(const json& object, std::string_view key);   // null when there is none
const json& elements(const json& object, std::string_view key); // an empty list when there is none

// For a cell: text as it is (control characters replaced), numbers grouped, yes or no, else "-".
std::string shown(const json& value);
std::string shown(const json& object, std::string_view key);

// A number that is a name rather than a quantity (generation, slot, MTU): its digits alone.
std::string digits_of(const json& object, std::string_view key);
std::string bytes_of(const json& object, std::string_view key);
std::string duration_of(const json& object, std::string_view key); // a number of seconds
std::uint64_t count_of(const json& object, std::string_view key);  // 0 when there is none
bool is_true(const json& object, std::string_view key);
std::string text_of(const json& object, std::string_view key); // empty when there is none
std::vector<std::string> sentences_of(const json& object, std::string_view key);

// How many connections a VIP or backend has; "~" before an estimate.
std::string connections_now(const json& entry);
// "2 of 3"
std::string up_of_total(const json& object, std::string_view up, std::string_view total);

} // namespace weir::weirctl
