// SPDX-License-Identifier: BSD-3-Clause
// The border to toml11, see document.hpp.
#include "config/document.hpp"

#include <algorithm>
#include <cctype>
#include <exception>
#include <optional>
#include <sstream>

#include <toml.hpp>

#include "config/address.hpp"
#include "config/source_map.hpp"

namespace weir::config {
namespace {

Kind kind_of(const toml::value& value) {
    switch (value.type()) {
    case toml::value_t::string:
        return Kind::kString;
    case toml::value_t::integer:
        return Kind::kInteger;
    case toml::value_t::floating:
        return Kind::kFloat;
    case toml::value_t::boolean:
        return Kind::kBoolean;
    case toml::value_t::array:
        return Kind::kArray;
    case toml::value_t::table:
        return Kind::kTable;
    default:
        return Kind::kDate;
    }
}

// `at` is null where source_map lost its way (a key written with escapes): the node then takes the
// position of what contains it, so that every node has one.
Node convert(const toml::value& value, const SourceNode* at, Span key, Span enclosing) {
    Node node;
    node.kind = kind_of(value);
    node.key = key;
    node.value = at != nullptr ? at->value : enclosing;
    switch (node.kind) {
    case Kind::kString:
        node.text = value.as_string(std::nothrow).str;
        break;
    case Kind::kInteger:
        node.integer = value.as_integer(std::nothrow);
        break;
    case Kind::kBoolean:
        node.boolean = value.as_boolean(std::nothrow);
        break;
    case Kind::kArray: {
        const auto& items = value.as_array(std::nothrow);
        for (std::size_t i = 0; i < items.size(); ++i) {
            const SourceNode* item =
                at != nullptr && i < at->items.size() ? at->items[i].get() : nullptr;
            const Span span = item != nullptr ? item->value : node.value;
            node.items.push_back(convert(items[i], item, span, node.value));
        }
        break;
    }
    case Kind::kTable:
        for (const auto& [name, member] : value.as_table(std::nothrow)) {
            const SourceNode* found = nullptr;
            if (at != nullptr) {
                const auto it = at->members.find(name);
                found = it != at->members.end() ? it->second.get() : nullptr;
            }
            const Span span = found != nullptr ? found->key : node.value;
            node.members.push_back({name, convert(member, found, span, node.value)});
        }
        std::sort(node.members.begin(), node.members.end(), [](const auto& a, const auto& b) {
            return std::pair(a.node.key.begin, std::string_view(a.name)) <
                   std::pair(b.node.key.begin, std::string_view(b.name));
        });
        break;
    default:
        break;
    }
    return node;
}

bool starts_valid_utf8(std::string_view text, std::size_t at, std::size_t& length) {
    const auto byte = [&](std::size_t i) {
        return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0U;
    };
    const auto continues = [&](std::size_t i) { return (byte(i) & 0xc0U) == 0x80U; };
    const unsigned lead = byte(0);
    if (lead < 0x80) {
        length = 1;
        return true;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        length = 2;
        return continues(1);
    }
    if (lead >= 0xe0 && lead <= 0xef) { // no overlong form, no surrogate (RFC 3629 section 4)
        length = 3;
        return continues(1) && continues(2) && (lead != 0xe0 || byte(1) >= 0xa0) &&
               (lead != 0xed || byte(1) < 0xa0);
    }
    length = 4;
    return lead >= 0xf0 && lead <= 0xf4 && continues(1) && continues(2) && continues(3) &&
           (lead != 0xf0 || byte(1) >= 0x90) && (lead != 0xf4 || byte(1) < 0x90);
}

std::optional<SyntaxError> check_characters(std::string_view text) {
    for (std::size_t at = 0; at < text.size();) {
        const auto c = static_cast<unsigned char>(text[at]);
        const bool newline = c == '\n' || (c == '\r' && text.substr(at, 2) == "\r\n");
        if ((c < 0x20 && c != '\t' && !newline) || c == 0x7f) {
            constexpr std::string_view kHex = "0123456789abcdef";
            const std::string code = {kHex[c >> 4], kHex[c & 15]};
            return SyntaxError{{at, at + 1},
                               "control character 0x" + code + " in the file",
                               "TOML is plain text: remove it, or write it as \"\\u00" + code +
                                   "\" in a string"};
        }
        std::size_t length = 1;
        if (!starts_valid_utf8(text, at, length)) {
            return SyntaxError{
                {at, at + 1}, "this byte is not UTF-8", "save the file in UTF-8 encoding"};
        }
        at += length;
    }
    return std::nullopt;
}

// toml11 multiplies a binary number without looking at the limit. A port or a count has no use for
// one that long.
std::optional<SyntaxError> check_binary_numbers(std::string_view text) {
    constexpr std::size_t kMostDigits = 62;
    for (std::size_t at = text.find("0b"); at != std::string_view::npos;
         at = text.find("0b", at + 2)) {
        const std::size_t end = std::min(text.find_first_not_of("01_", at + 2), text.size());
        if (end - at - 2 > kMostDigits) {
            return SyntaxError{{at, end}, "this binary number is too long", "write it in decimal"};
        }
    }
    return std::nullopt;
}

// One place named in a toml11 message:
//   " 12 | the line" / "    |    ^--- what is wrong there"  (or ~~~~ under a longer region)
struct Place {
    std::size_t line = 0;
    std::size_t byte_column = 0;
    std::string comment;
};

std::vector<Place> places_in(const std::string& what) {
    std::vector<Place> places;
    std::istringstream lines(what);
    std::string line;
    std::size_t number = 0;
    while (std::getline(lines, line)) {
        const std::size_t bar = line.find(" | ");
        if (bar == std::string::npos) {
            continue;
        }
        std::string_view before = std::string_view(line).substr(0, bar);
        before.remove_prefix(std::min(before.find_first_not_of(' '), before.size()));
        if (const auto parsed = net::parse_decimal(before, 4'000'000'000U)) {
            number = *parsed;
            continue;
        }
        const std::size_t caret = line.find_first_of("^~", bar + 3);
        if (!before.empty() || number == 0 || caret == std::string::npos ||
            line.find_first_not_of(' ', bar + 3) != caret) {
            continue;
        }
        const std::size_t comment = line.find_first_not_of("^~-", caret);
        places.push_back(
            {number, caret - bar - 2, comment == std::string::npos ? "" : line.substr(comment)});
        number = 0;
    }
    return places;
}

std::string trimmed(std::string_view text) {
    const auto is_edge = [](char c) { return c == ' ' || c == '.' || c == ':'; };
    while (!text.empty() && is_edge(text.front())) {
        text.remove_prefix(1);
    }
    while (!text.empty() && is_edge(text.back())) {
        text.remove_suffix(1);
    }
    return std::string(text);
}

// "[error] toml::parse_table: invalid line format\n ..." -> "invalid line format"
std::string headline(const std::string& what) {
    std::string_view line = std::string_view(what).substr(0, what.find('\n'));
    for (const std::string_view noise : {"[error] ", "[error]", "toml::", "detail::"}) {
        if (line.starts_with(noise)) {
            line.remove_prefix(noise.size());
        }
    }
    std::size_t word = 0;
    while (word < line.size() && (std::isalnum(static_cast<unsigned char>(line[word])) != 0 ||
                                  line[word] == '_' || line[word] == '<' || line[word] == '>')) {
        ++word;
    }
    if (word > 0 && line.substr(word, 1) == ":" &&
        line.substr(0, word).find('_') != std::string::npos) {
        line.remove_prefix(word + 1);
    }
    return trimmed(line);
}

// toml11's words for the commonest slips, in ours.
struct Rewording {
    std::string_view theirs; // part of its headline
    std::string_view message;
    std::string_view hint;
};
constexpr Rewording kRewordings[] = {
    {"not a valid string", "this string does not end, or holds an unknown escape",
     "end it on the same line with the quote it began with, and write a backslash as \"\\\\\""},
    {"unknown value appeared", "this is not a value", "put text in quotes"},
    {"array separator", "a comma is missing in this list", "put a comma between the items"},
    {"appeared in an array", "this list does not end, or holds something that is not a value",
     "end it with \"]\" before the next table, and put text in quotes"},
    {"key-value separator", "there is no \"=\" after the key", "write key = value"},
    {"already exists", "", "each key and table can be given once"},
};

SyntaxError translate(const std::string& what, std::size_t fallback_line,
                      const SourceText& source) {
    const auto places = places_in(what);
    const std::string head = headline(what);
    SyntaxError error;
    error.message = head.empty() ? "this is not TOML" : head;
    error.hint = "see https://toml.io for the format";
    // Where two places are named, the first is the beginning or the earlier definition.
    std::size_t at = source.offset_of(fallback_line, 1);
    if (!places.empty()) {
        at = source.offset_of(places.back().line, places.back().byte_column);
        const std::string comment = trimmed(places.back().comment);
        error.hint = comment.empty() || comment == "here" ? error.hint : comment;
    }
    error.span = {at, at + 1};
    for (const Rewording& rewording : kRewordings) {
        if (head.find(rewording.theirs) != std::string::npos) {
            error.message = rewording.message.empty() ? error.message : rewording.message;
            error.hint = rewording.hint;
            break;
        }
    }
    if (places.size() > 1 && places.front().line != places.back().line) {
        error.hint += "; see also line " + std::to_string(places.front().line);
    }
    return error;
}

} // namespace

std::string_view to_string(Kind kind) {
    switch (kind) {
    case Kind::kString:
        return "a string";
    case Kind::kInteger:
        return "a whole number";
    case Kind::kFloat:
        return "a number with a fraction";
    case Kind::kBoolean:
        return "true or false";
    case Kind::kDate:
        return "a date or time";
    case Kind::kArray:
        return "a list";
    case Kind::kTable:
        return "a table";
    }
    return "";
}

const Node* Node::find(std::string_view name) const {
    const auto found = std::find_if(members.begin(), members.end(),
                                    [&](const auto& member) { return member.name == name; });
    return found != members.end() ? &found->node : nullptr;
}

std::variant<Node, SyntaxError> parse_document(const SourceText& source) {
    const std::string_view text = source.text();
    if (text.size() > kLargestFile) {
        return SyntaxError{{0, 0}, "the file is larger than 16 MiB", "no configuration needs that"};
    }
    if (auto error = check_characters(text)) {
        return *error;
    }
    if (auto error = check_binary_numbers(text)) {
        return *error;
    }
    if (const TooDeep deep = find_excessive_nesting(text); deep.found) {
        return SyntaxError{{deep.offset, deep.offset + 1},
                           "tables and lists are nested too deeply",
                           "no configuration needs more than a few levels; is a bracket missing?"};
    }
    try {
        // toml11 reads past the end of some texts that do not end with a newline.
        std::istringstream stream(std::string(text) + "\n");
        const toml::value root = toml::parse(stream, "configuration");
        const SourceNode positions = map_source(text);
        return convert(root, &positions, Span{0, 0}, Span{0, 0});
    } catch (const toml::exception& failure) {
        return translate(failure.what(), failure.location().line(), source);
    } catch (const std::exception&) {
        return SyntaxError{{0, 0}, "this is not TOML", "see https://toml.io"};
    }
}

} // namespace weir::config
