// SPDX-License-Identifier: BSD-3-Clause
// A walk over TOML text that keeps positions only; see source_map.hpp.
#include "config/source_map.hpp"

#include <algorithm>
#include <utility>

namespace weir::config {
namespace {

constexpr std::size_t kDeepest = 32;

// The offset after the string that starts at `at`, for all four TOML kinds. An unterminated
// one-line string ends with its line.
std::size_t skip_string(std::string_view text, std::size_t at) {
    const char quote = text[at];
    const bool basic = quote == '"';
    const std::string triple(3, quote);
    if (text.substr(at, 3) == triple) {
        at += 3;
        while (at < text.size() && text.substr(at, 3) != triple) {
            at += basic && text[at] == '\\' ? 2 : 1;
        }
        at = std::min(at + 3, text.size());
        for (int extra = 0; extra < 2 && at < text.size() && text[at] == quote; ++extra) {
            ++at; // """a""""" : up to two quotes belong to the text
        }
        return at;
    }
    ++at;
    while (at < text.size() && text[at] != quote && text[at] != '\n') {
        at += basic && text[at] == '\\' ? 2 : 1;
    }
    return std::min(at + 1, text.size());
}

bool is_bare_key_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
}

struct KeyPart {
    std::string name;
    Span span;
};

class Scanner {
public:
    explicit Scanner(std::string_view text)
        : text_(text), at_(text.starts_with("\xEF\xBB\xBF") ? 3 : 0) {} // a byte order mark

    SourceNode run() {
        SourceNode root;
        SourceNode* table = &root;
        for (skip_blank(true); !at_end(); skip_blank(true)) {
            const std::size_t before = at_;
            if (peek() == '[') {
                table = header(root);
            } else {
                key_value(*table, 0);
            }
            skip_line(before);
        }
        return root;
    }

private:
    [[nodiscard]] bool at_end() const { return at_ >= text_.size(); }
    [[nodiscard]] char peek() const { return at_end() ? '\0' : text_[at_]; }

    void skip_blank(bool lines_too) {
        while (!at_end()) {
            if (peek() == '#') {
                at_ = std::min(text_.find('\n', at_), text_.size());
            } else if (peek() == ' ' || peek() == '\t' ||
                       (lines_too && (peek() == '\n' || peek() == '\r'))) {
                ++at_;
            } else {
                return;
            }
        }
    }

    void skip_line(std::size_t statement_start) {
        at_ = std::min(text_.find('\n', at_), text_.size());
        at_ = std::max(at_, statement_start + 1); // progress, whatever the text
    }

    std::vector<KeyPart> key_parts() {
        std::vector<KeyPart> parts;
        while (!at_end()) {
            skip_blank(false);
            const std::size_t begin = at_;
            if (peek() == '"' || peek() == '\'') {
                at_ = skip_string(text_, at_);
                const std::size_t inner = at_ - begin >= 2 ? at_ - begin - 2 : 0;
                parts.push_back({std::string(text_.substr(begin + 1, inner)), {begin, at_}});
            } else {
                while (is_bare_key_character(peek())) {
                    ++at_;
                }
                if (at_ == begin) {
                    return parts;
                }
                parts.push_back({std::string(text_.substr(begin, at_ - begin)), {begin, at_}});
            }
            skip_blank(false);
            if (peek() != '.') {
                return parts;
            }
            ++at_;
        }
        return parts;
    }

    static SourceNode* member(SourceNode& table, const KeyPart& part, Span value) {
        auto& slot = table.members[part.name];
        if (!slot) {
            slot = std::make_unique<SourceNode>();
            slot->key = part.span;
            slot->value = value;
        }
        return slot.get();
    }

    SourceNode* header(SourceNode& root) {
        const std::size_t begin = at_;
        ++at_;
        const bool array = peek() == '[';
        at_ += array ? 1 : 0;
        const auto parts = key_parts();
        while (peek() == ']') {
            ++at_;
        }
        const Span whole{begin, at_};
        SourceNode* node = &root;
        for (std::size_t i = 0; i < parts.size(); ++i) {
            node = member(*node, parts[i], whole);
            if (!node->items.empty() && !(array && i + 1 == parts.size())) {
                node = node->items.back().get(); // [a.b] under [[a]] means its last element
            }
        }
        if (array) {
            node->items.push_back(std::make_unique<SourceNode>());
            node = node->items.back().get();
        }
        node->value = whole;
        return node;
    }

    void key_value(SourceNode& table, std::size_t depth) {
        const auto parts = key_parts();
        SourceNode* node = &table;
        for (const KeyPart& part : parts) {
            node = member(*node, part, part.span);
        }
        skip_blank(false);
        if (parts.empty() || peek() != '=') {
            return;
        }
        ++at_;
        skip_blank(false);
        value(*node, depth);
    }

    void value(SourceNode& node, std::size_t depth) {
        const std::size_t begin = at_;
        if (peek() == '"' || peek() == '\'') {
            at_ = skip_string(text_, at_);
        } else if ((peek() == '[' || peek() == '{') && depth < kDeepest) {
            collection(node, depth);
        } else {
            at_ = std::min(text_.find_first_of(" \t\r\n,]}#", at_), text_.size());
        }
        node.value = {begin, at_};
    }

    void collection(SourceNode& node, std::size_t depth) {
        const bool array = peek() == '[';
        const char close = array ? ']' : '}';
        ++at_;
        for (skip_blank(true); !at_end() && peek() != close; skip_blank(true)) {
            const std::size_t before = at_;
            if (array && peek() != ',') {
                node.items.push_back(std::make_unique<SourceNode>());
                value(*node.items.back(), depth + 1);
            } else if (!array && peek() != ',') {
                key_value(node, depth + 1);
            }
            at_ = std::max(at_, before + (peek() == ',' || at_ == before ? 1 : 0));
        }
        at_ = std::min(at_ + 1, text_.size());
    }

    std::string_view text_;
    std::size_t at_;
};

} // namespace

SourceNode map_source(std::string_view text) {
    return Scanner(text).run();
}

TooDeep find_excessive_nesting(std::string_view text) {
    std::size_t depth = 0;
    std::size_t dots = 0; // in this line, outside strings
    for (std::size_t at = 0; at < text.size();) {
        const char c = text[at];
        if (c == '"' || c == '\'') {
            at = skip_string(text, at);
            continue;
        }
        if (c == '#') {
            at = std::min(text.find('\n', at), text.size());
            continue;
        }
        depth += c == '[' || c == '{' ? 1 : 0;
        depth -= (c == ']' || c == '}') && depth > 0 ? 1 : 0;
        dots = c == '\n' ? 0 : dots + (c == '.' ? 1 : 0);
        if (depth > kDeepest || dots > kDeepest) {
            return {true, at};
        }
        ++at;
    }
    return {};
}

} // namespace weir::config
