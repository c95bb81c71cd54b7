// SPDX-License-Identifier: BSD-3-Clause
// Where each key and value of a TOML text stands. toml11 3.7 remembers only where values start, and
// of a table only its header, so the keys are found here, by one walk over text that toml11 has
// already accepted. Total: any bytes give some tree; what it cannot follow it leaves out.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "config/diagnostic.hpp"

namespace weir::config {

struct SourceNode {
    Span key;   // the key itself, or its part of a table header; empty for array items
    Span value; // the value; for a table with a header, that header
    std::map<std::string, std::unique_ptr<SourceNode>, std::less<>> members;
    std::vector<std::unique_ptr<SourceNode>> items;
};

SourceNode map_source(std::string_view text);

// The first place where brackets or dotted keys nest deeper than any configuration needs. toml11
// recurses once per level, so this comes before it.
struct TooDeep {
    bool found = false;
    std::size_t offset = 0;
};
TooDeep find_excessive_nesting(std::string_view text);

} // namespace weir::config
