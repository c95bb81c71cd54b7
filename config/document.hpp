// SPDX-License-Identifier: BSD-3-Clause
// A TOML text as a tree of plain nodes with the position of every key and value: toml11's values
// joined with source_map's positions. The only border to toml11; no exception of it passes.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "config/diagnostic.hpp"

namespace weir::config {

enum class Kind : std::uint8_t { kString, kInteger, kFloat, kBoolean, kDate, kArray, kTable };

std::string_view to_string(Kind kind); // "a string", "a table", ...

struct Member;

struct Node {
    Kind kind = Kind::kTable;
    Span key;
    Span value;
    std::string text;            // kString
    std::int64_t integer = 0;    // kInteger; out of range saturates, the digits are in the source
    bool boolean = false;        // kBoolean
    std::vector<Node> items;     // kArray
    std::vector<Member> members; // kTable, in the order of the file

    [[nodiscard]] const Node* find(std::string_view name) const;
};

struct Member {
    std::string name;
    Node node;
};

struct SyntaxError {
    Span span;
    std::string message;
    std::string hint;
};

inline constexpr std::size_t kLargestFile = 16U << 20U; // bytes

std::variant<Node, SyntaxError> parse_document(const SourceText& source);

} // namespace weir::config
