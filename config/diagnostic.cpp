// SPDX-License-Identifier: BSD-3-Clause
// Positions and the printed form of diagnostics.
#include "config/diagnostic.hpp"

#include <algorithm>
#include <utility>

namespace weir::config {
namespace {

constexpr std::size_t kLongestMessage = 600; // bytes
constexpr std::size_t kWidestExcerpt = 120;  // characters of a source line shown
constexpr std::size_t kBeforeCaret = 60;     // of these, before the caret in a clipped line

// The length of the UTF-8 sequence at `at`, or 0 when the bytes there are none.
std::size_t sequence_length(std::string_view text, std::size_t at) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const std::size_t length = lead < 0x80             ? 1
                               : (lead & 0xe0) == 0xc0 ? 2
                               : (lead & 0xf0) == 0xe0 ? 3
                               : (lead & 0xf8) == 0xf0 ? 4
                                                       : 0;
    if (length == 0 || at + length > text.size()) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((static_cast<unsigned char>(text[at + i]) & 0xc0) != 0x80) {
            return 0;
        }
    }
    return length;
}

// What stands for one character on a terminal: itself, or '?' when it is not printable.
std::string_view shown_character(std::string_view text, std::size_t at, std::size_t length) {
    const auto lead = static_cast<unsigned char>(text[at]);
    const bool control = lead != '\t' && (lead < 0x20 || lead == 0x7f);
    const bool high_control = length == 2 && lead == 0xc2 &&
                              static_cast<unsigned char>(text[at + 1]) < 0xa0; // U+0080..U+009F
    return length == 0 || control || high_control ? std::string_view("?") : text.substr(at, length);
}

std::vector<std::string_view> characters(std::string_view text) {
    std::vector<std::string_view> found;
    for (std::size_t at = 0; at < text.size();) {
        const std::size_t length = sequence_length(text, at);
        found.push_back(shown_character(text, at, length));
        at += std::max<std::size_t>(length, 1);
    }
    return found;
}

std::string joined(const std::vector<std::string_view>& parts, std::size_t first,
                   std::size_t count) {
    std::string text;
    for (std::size_t i = first; i < parts.size() && i < first + count; ++i) {
        text += parts[i];
    }
    return text;
}

void format_excerpt(const Diagnostic& diagnostic, std::string& out) {
    const auto line = characters(diagnostic.source_line);
    const std::size_t caret = diagnostic.column - 1;
    const std::size_t first =
        line.size() > kWidestExcerpt && caret > kBeforeCaret ? caret - kBeforeCaret : 0;
    const std::size_t shown =
        std::min(line.size() > first ? line.size() - first : 0, kWidestExcerpt);
    const std::string number = std::to_string(diagnostic.line);
    const std::string gutter(std::max<std::size_t>(number.size(), 4) - number.size() + 1, ' ');
    const std::string excerpt = joined(line, first, shown);
    out += gutter + number + " |" + (excerpt.empty() ? "" : " " + excerpt) + "\n";

    out += std::string(gutter.size() + number.size(), ' ') + " | ";
    for (std::size_t i = first; i < caret; ++i) {
        out += i < line.size() && line[i] == "\t" ? '\t' : ' ';
    }
    const std::size_t room = first + shown > caret ? first + shown - caret : 1;
    out += '^' + std::string(std::clamp<std::size_t>(diagnostic.length, 1, room) - 1, '~') + "\n";
    if (!diagnostic.hint.empty()) {
        out += std::string(gutter.size() + number.size(), ' ') + " = " + diagnostic.hint + "\n";
    }
}

} // namespace

std::string printable(std::string_view text, std::size_t most_bytes) {
    std::string out;
    for (const std::string_view character : characters(text.substr(0, most_bytes * 2))) {
        if (out.size() + character.size() > most_bytes) {
            return out + "...";
        }
        out += character == "\t" ? std::string_view(" ") : character;
    }
    return out.size() < most_bytes && text.size() > most_bytes * 2 ? out + "..." : out;
}

std::string format(const std::vector<Diagnostic>& diagnostics) {
    std::string out;
    for (const Diagnostic& diagnostic : diagnostics) {
        out += diagnostic.file;
        if (diagnostic.line != 0) {
            out += ":" + std::to_string(diagnostic.line) + ":" + std::to_string(diagnostic.column);
        }
        out += ": error: " + diagnostic.message + "\n";
        if (diagnostic.line != 0) {
            format_excerpt(diagnostic, out);
        } else if (!diagnostic.hint.empty()) {
            out += "      = " + diagnostic.hint + "\n";
        }
    }
    return out;
}

SourceText::SourceText(std::string_view text, std::string file)
    : text_(text), file_(printable(file, 4096)), line_starts_{0} {
    for (std::size_t i = 0; i < text_.size(); ++i) {
        if (text_[i] == '\n') {
            line_starts_.push_back(i + 1);
        }
    }
}

std::string_view SourceText::slice(Span span) const {
    const std::size_t begin = std::min(span.begin, text_.size());
    return text_.substr(begin, std::max(span.end, begin) - begin);
}

std::size_t SourceText::line_of(std::size_t offset) const {
    const auto after = std::upper_bound(line_starts_.begin(), line_starts_.end(), offset);
    return static_cast<std::size_t>(after - line_starts_.begin());
}

std::size_t SourceText::offset_of(std::size_t line, std::size_t byte_column) const {
    if (line == 0 || line > line_starts_.size() || byte_column == 0) {
        return text_.size();
    }
    return std::min(line_starts_[line - 1] + byte_column - 1, text_.size());
}

std::string_view SourceText::line_text(std::size_t line) const {
    const std::size_t begin = line_starts_[line - 1];
    std::string_view found = text_.substr(begin, text_.find('\n', begin) - begin);
    if (found.ends_with('\r')) {
        found.remove_suffix(1);
    }
    return found;
}

Diagnostic SourceText::diagnose(Span span, std::string message, std::string hint) const {
    Diagnostic diagnostic;
    diagnostic.file = file_;
    const std::size_t offset = std::min(span.begin, text_.size());
    diagnostic.line = line_of(offset);
    const std::string_view line = line_text(diagnostic.line);
    const std::size_t start = line_starts_[diagnostic.line - 1];
    const std::size_t before = std::min(offset - start, line.size());
    const std::size_t underlined =
        std::min(std::max(span.end, offset) - offset, line.size() - before);
    diagnostic.column = characters(line.substr(0, before)).size() + 1;
    diagnostic.length =
        std::max<std::size_t>(characters(line.substr(before, underlined)).size(), 1);
    const auto shown = characters(line);
    diagnostic.source_line = joined(shown, 0, shown.size());
    diagnostic.message = printable(message, kLongestMessage);
    diagnostic.hint = printable(hint, kLongestMessage);
    return diagnostic;
}

void Diagnostics::add(Span span, std::string message, std::string hint) {
    ++total_;
    if (findings_.size() <= kMost) {
        findings_.push_back({span, std::move(message), std::move(hint)});
    }
}

std::vector<Diagnostic> Diagnostics::take() {
    std::stable_sort(findings_.begin(), findings_.end(), [](const Finding& a, const Finding& b) {
        return a.span.begin < b.span.begin;
    });
    if (total_ > kMost) {
        findings_.resize(kMost + 1);
        findings_.back().message = "there are " + std::to_string(total_ - kMost) + " more errors";
        findings_.back().hint = "mend the ones above first";
    }
    std::vector<Diagnostic> diagnostics;
    for (Finding& finding : findings_) {
        diagnostics.push_back(
            source_.diagnose(finding.span, std::move(finding.message), std::move(finding.hint)));
    }
    findings_.clear();
    total_ = 0;
    return diagnostics;
}

} // namespace weir::config
