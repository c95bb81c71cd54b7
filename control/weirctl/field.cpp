// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/field.hpp"

#include <array>
#include <cstdio>

#include "config/diagnostic.hpp"
#include "control/weirctl/quantity.hpp"

namespace weir::weirctl {
namespace {

constexpr const char* kAbsent = "-";
constexpr std::size_t kMostBytes = 1000; // of one text: a cell, not a page

} // namespace

const json& member(const json& object, std::string_view key) {
    static const json kNull;
    if (!object.is_object())
        return kNull;
    const auto found = object.find(std::string(key));
    return found != object.end() ? *found : kNull;
}

const json& elements(const json& object, std::string_view key) {
    static const json kNone = json::array();
    const json& value = member(object, key);
    return value.is_array() ? value : kNone;
}

std::string shown(const json& value) {
    if (value.is_string()) {
        const auto& text = value.get_ref<const std::string&>();
        return text.empty() ? kAbsent : config::printable(text, kMostBytes);
    }
    if (value.is_number_unsigned())
        return grouped(value.get<std::uint64_t>());
    if (value.is_number()) {
        std::array<char, 64> text{};
        std::snprintf(text.data(), text.size(), "%g", value.get<double>());
        return text.data();
    }
    if (value.is_boolean())
        return value.get<bool>() ? "yes" : "no";
    return kAbsent;
}

std::string shown(const json& object, std::string_view key) {
    return shown(member(object, key));
}

std::string digits_of(const json& object, std::string_view key) {
    const json& value = member(object, key);
    return value.is_number_unsigned() ? std::to_string(value.get<std::uint64_t>()) : shown(value);
}

std::string bytes_of(const json& object, std::string_view key) {
    const json& value = member(object, key);
    return value.is_number_unsigned() ? bytes_text(value.get<std::uint64_t>()) : shown(value);
}

std::string duration_of(const json& object, std::string_view key) {
    const json& value = member(object, key);
    return value.is_number() ? duration_text(value.get<double>()) : shown(value);
}

std::uint64_t count_of(const json& object, std::string_view key) {
    const json& value = member(object, key);
    return value.is_number_unsigned() ? value.get<std::uint64_t>() : 0;
}

bool is_true(const json& object, std::string_view key) {
    const json& value = member(object, key);
    return value.is_boolean() && value.get<bool>();
}

std::string text_of(const json& object, std::string_view key) {
    const json& value = member(object, key);
    return value.is_string() ? value.get<std::string>() : std::string();
}

std::vector<std::string> sentences_of(const json& object, std::string_view key) {
    std::vector<std::string> sentences;
    for (const json& sentence : elements(object, key))
        sentences.push_back(shown(sentence));
    return sentences;
}

std::string connections_now(const json& entry) {
    return (is_true(entry, "connections_estimated") ? "~" : "") + shown(entry, "connections");
}

std::string up_of_total(const json& object, std::string_view up, std::string_view total) {
    return shown(object, up) + " of " + shown(object, total);
}

} // namespace weir::weirctl
