// SPDX-License-Identifier: BSD-3-Clause
// Text in aligned columns, as every view prints it. Pure; widths are in characters, no line ends in
// blanks.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace weir::weirctl {

enum class Align { kLeft, kRight };

struct Column {
    std::string title;
    Align align = Align::kLeft;
};

class Table {
public:
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

    // REQUIRES: one cell per column.
    void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
    // The titles and the rows, a line each.
    [[nodiscard]] std::string text() const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

// "label  value" lines; a value of several lines goes on under itself.
class Sheet {
public:
    void add(std::string label, std::string value) {
        lines_.push_back({std::move(label), std::move(value)});
    }
    [[nodiscard]] std::string text() const;

private:
    struct Line {
        std::string label;
        std::string value;
    };
    std::vector<Line> lines_;
};

// "title:" and each sentence on its own indented line; nothing when there is none.
std::string listing(std::string_view title, const std::vector<std::string>& sentences);

// Characters of a UTF-8 text.
std::size_t display_width(std::string_view text);

} // namespace weir::weirctl
