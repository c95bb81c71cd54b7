// SPDX-License-Identifier: BSD-3-Clause
// A Command -> the HTTP request that docs/api.md gives for it. Pure.
#pragma once

#include <string>
#include <string_view>

#include "control/weirctl/client.hpp"
#include "control/weirctl/command_line.hpp"

namespace weir::weirctl {

// `configuration`: the text to apply. REQUIRES: a command other than `check`.
Request request_of(const Command& command, std::string configuration);

// RFC 3986 section 2.1, for one path segment or query value: all but the unreserved characters and
// ':' (which both allow, and names are full of) is encoded.
std::string percent_encoded(std::string_view text);

} // namespace weir::weirctl
