// SPDX-License-Identifier: BSD-3-Clause
#include "control/weirctl/layout.hpp"

#include <algorithm>

namespace weir::weirctl {
namespace {

constexpr std::string_view kGap = "  ";

std::string padded(std::string_view cell, std::size_t width, Align align) {
    const std::size_t own = display_width(cell);
    const std::string blanks(width > own ? width - own : 0, ' ');
    return align == Align::kRight ? blanks + std::string(cell) : std::string(cell) + blanks;
}

void end_line(std::string& text) {
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
}

} // namespace

std::size_t display_width(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) >> 6) != 2;
    }));
}

std::string Table::text() const {
    std::vector<std::size_t> widths;
    for (std::size_t i = 0; i < columns_.size(); i++) {
        std::size_t width = display_width(columns_[i].title);
        for (const auto& row : rows_)
            width = std::max(width, display_width(row.at(i)));
        widths.push_back(width);
    }
    std::string text;
    const auto add_cell = [&](std::size_t i, std::string_view cell) {
        text += i == 0 ? std::string_view() : kGap;
        text += padded(cell, widths[i], columns_[i].align);
    };
    for (std::size_t i = 0; i < columns_.size(); i++)
        add_cell(i, columns_[i].title);
    end_line(text);
    for (const auto& row : rows_) {
        for (std::size_t i = 0; i < columns_.size(); i++)
            add_cell(i, row[i]);
        end_line(text);
    }
    return text;
}

std::string Sheet::text() const {
    std::size_t width = 0;
    for (const Line& line : lines_)
        width = std::max(width, display_width(line.label));
    std::string text;
    for (const Line& line : lines_) {
        text += padded(line.label, width, Align::kLeft);
        text += kGap;
        for (const char c : line.value) {
            if (c != '\n') {
                text += c;
                continue;
            }
            end_line(text);
            text += std::string(width, ' ');
            text += kGap;
        }
        end_line(text);
    }
    return text;
}

std::string listing(std::string_view title, const std::vector<std::string>& sentences) {
    if (sentences.empty())
        return {};
    std::string text = std::string(title) + ":\n";
    for (const std::string& sentence : sentences)
        text += "  " + sentence + "\n";
    return text;
}

} // namespace weir::weirctl
