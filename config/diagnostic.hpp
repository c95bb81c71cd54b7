// SPDX-License-Identifier: BSD-3-Clause
// What is wrong with a configuration, and where: collected while reading and checking, handed out
// sorted by position, printed with the source line and a caret. One thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace weir::config {

struct Diagnostic {
    std::string file;
    std::size_t line = 0;    // from 1; 0: about the file as a whole
    std::size_t column = 0;  // from 1, in characters
    std::size_t length = 1;  // characters to underline
    std::string source_line; // printable: tabs kept, other control characters replaced
    std::string message;     // what is wrong
    std::string hint;        // what would be right
};

// file:line:column: error: message / the line / the caret / the hint, for each.
std::string format(const std::vector<Diagnostic>& diagnostics);

// A part of the text, in bytes.
struct Span {
    std::size_t begin = 0;
    std::size_t end = 0;
};

// The text with its line starts, to turn offsets into lines and columns.
class SourceText {
public:
    SourceText(std::string_view text, std::string file);

    [[nodiscard]] std::string_view text() const { return text_; }
    [[nodiscard]] std::string_view slice(Span span) const;
    [[nodiscard]] std::size_t line_of(std::size_t offset) const; // from 1
    // The offset of a 1-based line and byte column; the end of the text when there is no such
    // place.
    [[nodiscard]] std::size_t offset_of(std::size_t line, std::size_t byte_column) const;
    [[nodiscard]] Diagnostic diagnose(Span span, std::string message, std::string hint) const;

private:
    [[nodiscard]] std::string_view line_text(std::size_t line) const; // without its CR and LF

    std::string_view text_;
    std::string file_;
    std::vector<std::size_t> line_starts_;
};

class Diagnostics {
public:
    explicit Diagnostics(const SourceText& source) : source_(source) {}

    void add(Span span, std::string message, std::string hint);
    [[nodiscard]] bool empty() const { return total_ == 0; }
    [[nodiscard]] const SourceText& source() const { return source_; }
    // Sorted by position; past kMost, one last entry says how many more there are.
    [[nodiscard]] std::vector<Diagnostic> take();

    static constexpr std::size_t kMost = 100;

private:
    struct Finding {
        Span span;
        std::string message;
        std::string hint;
    };
    const SourceText& source_;
    std::vector<Finding> findings_;
    std::size_t total_ = 0;
};

// Control characters replaced and the length bounded: safe to print on a terminal.
std::string printable(std::string_view text, std::size_t most_bytes);

} // namespace weir::config
