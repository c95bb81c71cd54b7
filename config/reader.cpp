// SPDX-License-Identifier: BSD-3-Clause
// Typed readers, see reader.hpp.
#include "config/reader.hpp"

#include <algorithm>
#include <utility>

#include "config/keys.hpp"
#include "config/limits.hpp"

namespace weir::config {
namespace {

constexpr std::size_t kLongestShown = 80;

std::string key_in(std::string_view key, std::string_view title) {
    return "\"" + std::string(key) + "\" in " + std::string(title);
}

} // namespace

std::string quoted(std::string_view text) {
    return "\"" + printable(text, kLongestShown) + "\"";
}

bool expect_kind(const Node& node, Kind kind, std::string_view what, Diagnostics& diagnostics) {
    if (node.kind == kind) {
        return true;
    }
    diagnostics.add(node.value,
                    std::string(what) + " must be " + std::string(to_string(kind)) + ", not " +
                        std::string(to_string(node.kind)),
                    kind == Kind::kString    ? "put the value in quotes"
                    : kind == Kind::kBoolean ? "write true or false, without quotes"
                    : kind == Kind::kArray   ? "put the values in brackets: [ ..., ... ]"
                                             : "write its keys in a table: { key = value, ... }");
    return false;
}

bool integer_within(const Node& node, std::string_view what, std::int64_t least, std::int64_t most,
                    Diagnostics& diagnostics) {
    const std::string range =
        "use a number from " + std::to_string(least) + " to " + std::to_string(most);
    if (node.kind != Kind::kInteger) {
        diagnostics.add(node.value,
                        std::string(what) + " must be a whole number, not " +
                            std::string(to_string(node.kind)),
                        range);
        return false;
    }
    if (node.integer < least || node.integer > most) {
        const std::string_view digits = diagnostics.source().slice(node.value);
        diagnostics.add(node.value,
                        printable(digits, 40) + " is out of range for " + std::string(what), range);
        return false;
    }
    return true;
}

bool is_name(std::string_view text) {
    const auto alphanumeric = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    };
    return !text.empty() && text.size() <= kMaxNameLength && alphanumeric(text.front()) &&
           std::all_of(text.begin(), text.end(),
                       [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '-'; });
}

Section::Section(const Node& table, std::string title, std::string_view keys,
                 Diagnostics& diagnostics)
    : table_(table), title_(std::move(title)), title_span_(table.value), diagnostics_(diagnostics) {
    check_keys(keys);
}

void Section::check_keys(std::string_view keys) const {
    for (const auto& [name, node] : table_.members) {
        const Key* known = find_key(keys, name);
        const auto names = available_keys(keys);
        if (known != nullptr && known->availability == Availability::kNow) {
            continue;
        }
        if (known != nullptr) {
            diagnostics_.add(node.key, key_in(name, title_) + " is not available yet",
                             "remove it; this version knows " + listed(names, "and"));
            continue;
        }
        const std::string_view home = section_with(name);
        std::string hint = suggestion(name, names);
        if (nearest(name, names).empty() && !home.empty()) {
            hint = "it belongs in [" + std::string(home) + "]";
        }
        diagnostics_.add(node.key, "unknown key " + quoted(name) + " in " + title_, hint);
    }
}

const Node* Section::find(std::string_view key) const {
    return table_.find(key);
}

Span Section::key_span(std::string_view key) const {
    const Node* node = find(key);
    return node != nullptr ? node->key : title_span_;
}

Span Section::value_span(std::string_view key) const {
    const Node* node = find(key);
    return node != nullptr ? node->value : title_span_;
}

bool Section::require(std::string_view key, std::string hint) const {
    if (find(key) != nullptr) {
        return true;
    }
    diagnostics_.add(title_span_, title_ + " has no \"" + std::string(key) + "\"", std::move(hint));
    return false;
}

Read Section::text(std::string_view key, std::string& out, std::size_t most_bytes) const {
    const Node* node = find(key);
    if (node == nullptr) {
        return Read::kAbsent;
    }
    if (!expect_kind(*node, Kind::kString, "\"" + std::string(key) + "\"", diagnostics_)) {
        return Read::kRefused;
    }
    if (node->text.size() > most_bytes) {
        diagnostics_.add(node->value, "\"" + std::string(key) + "\" is too long",
                         "use at most " + std::to_string(most_bytes) + " bytes");
        return Read::kRefused;
    }
    const bool control = std::any_of(node->text.begin(), node->text.end(), [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    });
    if (control) {
        diagnostics_.add(node->value, "\"" + std::string(key) + "\" contains a control character",
                         "remove it");
        return Read::kRefused;
    }
    out = node->text;
    return Read::kDone;
}

Read Section::name(std::string_view key, std::string& out) const {
    std::string written;
    const Read result = text(key, written, 4096);
    if (result != Read::kDone) {
        return result;
    }
    if (!is_name(written)) {
        diagnostics_.add(value_span(key), quoted(written) + " cannot be a name",
                         "use at most 63 letters, digits, \".\", \"_\" and \"-\", and begin with a "
                         "letter or digit");
        return Read::kRefused;
    }
    out = written;
    return Read::kDone;
}

Read Section::boolean(std::string_view key, bool& out) const {
    const Node* node = find(key);
    if (node == nullptr) {
        return Read::kAbsent;
    }
    if (!expect_kind(*node, Kind::kBoolean, "\"" + std::string(key) + "\"", diagnostics_)) {
        return Read::kRefused;
    }
    out = node->boolean;
    return Read::kDone;
}

Read Section::duration(std::string_view key, Duration& out, Duration least, Duration most) const {
    const Node* node = find(key);
    if (node != nullptr && node->kind == Kind::kInteger) {
        diagnostics_.add(node->value, "\"" + std::string(key) + "\" has no unit",
                         "write it with one, such as \"250ms\" or \"2s\"");
        return Read::kRefused;
    }
    std::string written;
    const Read result = text(key, written, 64);
    if (result != Read::kDone) {
        return result;
    }
    const auto parsed = parse_duration(written);
    if (!parsed) {
        diagnostics_.add(node->value, parsed.error().sentence, "");
        return Read::kRefused;
    }
    if (*parsed < least || *parsed > most) {
        diagnostics_.add(
            node->value, quoted(written) + " is out of range for \"" + std::string(key) + "\"",
            "use a duration from \"" + to_string(least) + "\" to \"" + to_string(most) + "\"");
        return Read::kRefused;
    }
    out = *parsed;
    return Read::kDone;
}

Read Section::seconds(std::string_view key, std::chrono::seconds& out, std::chrono::seconds least,
                      std::chrono::seconds most, std::string_view what) const {
    Duration written = out;
    const Read result = duration(key, written, least, most);
    if (result != Read::kDone) {
        return result;
    }
    if (written % std::chrono::seconds(1) != Duration(0)) {
        diagnostics_.add(value_span(key), std::string(what) + " are counted in whole seconds",
                         "round it, such as \"" +
                             to_string(std::chrono::ceil<std::chrono::seconds>(written)) + "\"");
        return Read::kRefused;
    }
    out = std::chrono::duration_cast<std::chrono::seconds>(written);
    return Read::kDone;
}

const Node* Section::table(std::string_view key) const {
    const Node* node = find(key);
    if (node == nullptr || !expect_kind(*node, Kind::kTable, key_in(key, title_), diagnostics_)) {
        return nullptr;
    }
    return node;
}

const Node* Section::list(std::string_view key) const {
    const Node* node = find(key);
    if (node == nullptr || !expect_kind(*node, Kind::kArray, key_in(key, title_), diagnostics_)) {
        return nullptr;
    }
    return node;
}

std::vector<const Node*> Section::strings(std::string_view key) const {
    const Node* node = find(key);
    if (node == nullptr) {
        return {};
    }
    if (node->kind == Kind::kString) {
        return {node};
    }
    std::vector<const Node*> found;
    if (expect_kind(*node, Kind::kArray, key_in(key, title_), diagnostics_)) {
        for (const Node& item : node->items) {
            if (expect_kind(item, Kind::kString, "each item of " + key_in(key, title_),
                            diagnostics_)) {
                found.push_back(&item);
            }
        }
    }
    return found;
}

Read Section::checked_integer(std::string_view key, std::int64_t& out, std::int64_t least,
                              std::int64_t most) const {
    const Node* node = find(key);
    if (node == nullptr) {
        return Read::kAbsent;
    }
    if (!integer_within(*node, "\"" + std::string(key) + "\"", least, most, diagnostics_)) {
        return Read::kRefused;
    }
    out = node->integer;
    return Read::kDone;
}

Read Section::refuse_unavailable(std::string_view key, const std::string& written,
                                 const std::vector<std::string_view>& available) const {
    diagnostics_.add(value_span(key),
                     std::string(key) + " " + quoted(written) + " is not available yet",
                     "use " + listed(available));
    return Read::kRefused;
}

Read Section::refuse_word(std::string_view key, const std::string& written,
                          const std::vector<std::string_view>& available) const {
    diagnostics_.add(value_span(key), std::string(key) + " cannot be " + quoted(written),
                     suggestion(written, available));
    return Read::kRefused;
}

Expected<net::IpPrefix> parse_range(std::string_view text) {
    if (const auto address = net::IpAddress::parse(text)) {
        return net::IpPrefix::host(*address);
    }
    return net::IpPrefix::parse(text);
}

Read read_ports(const Section& section, std::string_view key, PortRange& out, bool zero_is_all) {
    const Node* node = section.find(key);
    if (node == nullptr) {
        return Read::kAbsent;
    }
    const std::int64_t least = zero_is_all ? 0 : 1;
    if (node->kind == Kind::kInteger) {
        if (!integer_within(*node, "\"" + std::string(key) + "\"", least, 65535,
                            section.diagnostics())) {
            return Read::kRefused;
        }
        const auto port = static_cast<std::uint16_t>(node->integer);
        out = port == 0 ? kAllPorts : PortRange{port, port};
        return Read::kDone;
    }
    const std::string hint = std::string("write one port, such as 80, or a range from low to high, "
                                         "such as \"8000-8099\"") +
                             (zero_is_all ? ", or 0 for all" : "");
    if (node->kind != Kind::kString) {
        section.diagnostics().add(
            node->value,
            "\"" + std::string(key) + "\" cannot be " + std::string(to_string(node->kind)), hint);
        return Read::kRefused;
    }
    std::string written;
    const Read result = section.text(key, written, 64);
    if (result != Read::kDone) {
        return result;
    }
    const std::size_t dash = written.find('-');
    const auto first = net::parse_decimal(std::string_view(written).substr(0, dash), 65535);
    const auto last = dash == std::string::npos
                          ? first
                          : net::parse_decimal(std::string_view(written).substr(dash + 1), 65535);
    if (!first || !last || *first == 0 || *last < *first) {
        section.diagnostics().add(node->value, quoted(written) + " is not a port range", hint);
        return Read::kRefused;
    }
    out = {static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)};
    return Read::kDone;
}

} // namespace weir::config
