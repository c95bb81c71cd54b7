// SPDX-License-Identifier: BSD-3-Clause
// Typed reading of one table: each read checks the kind, the bounds and the words, adds a
// diagnostic where something is wrong and leaves the default in place, so that one pass finds every
// error.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "config/config.hpp"
#include "config/diagnostic.hpp"
#include "config/document.hpp"
#include "config/duration.hpp"
#include "config/suggest.hpp"
#include "config/words.hpp"

namespace weir::config {

enum class Read : std::uint8_t { kAbsent, kDone, kRefused };

// Quoted for a message.
std::string quoted(std::string_view text);

class Section {
public:
    // `title` names the table in messages, "[pool.web]"; `keys` is its section in keys.hpp. Unknown
    // and not yet available keys are refused here.
    Section(const Node& table, std::string title, std::string_view keys, Diagnostics& diagnostics);

    [[nodiscard]] const Node* find(std::string_view key) const;
    [[nodiscard]] const std::string& title() const { return title_; }
    [[nodiscard]] Span title_span() const { return title_span_; }
    [[nodiscard]] Span key_span(std::string_view key) const;   // the title's when absent
    [[nodiscard]] Span value_span(std::string_view key) const; // the title's when absent
    [[nodiscard]] Diagnostics& diagnostics() const { return diagnostics_; }

    // The key must be there: `hint` says what to write.
    bool require(std::string_view key, std::string hint) const;

    Read text(std::string_view key, std::string& out, std::size_t most_bytes) const;
    Read name(std::string_view key, std::string& out) const;
    Read boolean(std::string_view key, bool& out) const;
    Read duration(std::string_view key, Duration& out, Duration least, Duration most) const;
    // A duration of whole seconds; `what` are counted in them, for the message.
    Read seconds(std::string_view key, std::chrono::seconds& out, std::chrono::seconds least,
                 std::chrono::seconds most, std::string_view what) const;
    [[nodiscard]] const Node* table(std::string_view key) const; // null when absent or refused
    [[nodiscard]] const Node* list(std::string_view key) const;
    // The string nodes of one string or of a list of strings.
    [[nodiscard]] std::vector<const Node*> strings(std::string_view key) const;

    template <class Integer>
    Read integer(std::string_view key, Integer& out, std::int64_t least, std::int64_t most) const {
        std::int64_t number = 0;
        const Read result = checked_integer(key, number, least, most);
        if (result == Read::kDone) {
            out = static_cast<Integer>(number);
        }
        return result;
    }

    template <class Enum> Read word(std::string_view key, Enum& out) const {
        std::string written;
        const Read result = text(key, written, 64);
        if (result != Read::kDone) {
            return result;
        }
        std::vector<std::string_view> available;
        for (const Word<Enum>& word : words<Enum>()) {
            if (word.text == written && word.availability == Availability::kNow) {
                out = word.value;
                return Read::kDone;
            }
            if (word.availability == Availability::kNow) {
                available.push_back(word.text);
            }
        }
        for (const Word<Enum>& word : words<Enum>()) {
            if (word.text == written) {
                return refuse_unavailable(key, written, available);
            }
        }
        return refuse_word(key, written, available);
    }

private:
    void check_keys(std::string_view keys) const;
    Read checked_integer(std::string_view key, std::int64_t& out, std::int64_t least,
                         std::int64_t most) const;
    Read refuse_unavailable(std::string_view key, const std::string& written,
                            const std::vector<std::string_view>& available) const;
    Read refuse_word(std::string_view key, const std::string& written,
                     const std::vector<std::string_view>& available) const;

    const Node& table_;
    std::string title_;
    Span title_span_;
    Diagnostics& diagnostics_;
};

// False, with a diagnostic, unless `node` is of that kind.
bool expect_kind(const Node& node, Kind kind, std::string_view what, Diagnostics& diagnostics);

// The number of an integer node if it is within bounds, else a diagnostic.
bool integer_within(const Node& node, std::string_view what, std::int64_t least, std::int64_t most,
                    Diagnostics& diagnostics);

// Names appear in POOL/NAME arguments, labels and file names: letters, digits and . _ -
bool is_name(std::string_view text);

// One address or address/length; a sentence where it is neither.
Expected<net::IpPrefix> parse_range(std::string_view text);

// "8000", "8000-8099" or a number; 0 means all when `zero_is_all`.
Read read_ports(const Section& section, std::string_view key, PortRange& out, bool zero_is_all);

} // namespace weir::config
