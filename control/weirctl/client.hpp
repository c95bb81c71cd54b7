// SPDX-License-Identifier: BSD-3-Clause
// One HTTP exchange with weir-control over its Unix socket, in bounded time and memory. Called by
// run.cpp; nothing else knows the transport.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

#include "config/expected.hpp"

namespace weir::weirctl {

struct Request {
    std::string method = "GET";
    std::string target; // path and query, percent-encoded
    std::string body;
    std::string content_type = "application/json"; // of the body
};

struct Answer {
    unsigned status = 0;
    std::string body;
};

struct Limits {
    std::chrono::milliseconds deadline{15'000}; // the server answers within 10 s
    std::size_t most_bytes = std::size_t{64} << 20;
};

// Takes a piece of a body as it comes; false: it cannot, and the rest is not wanted.
using Piece = std::function<bool(std::string_view piece)>;

inline constexpr const char* kSocketName = "control.sock";

// An error: no complete answer came, and why.
Expected<Answer> exchange(const std::string& runtime_directory, const Request& request,
                          const Limits& limits);

// The same for a body without an end of its own, which goes to `piece` when the status is 200; the
// answer's body is then empty. The deadline is for the first piece. SIGINT and SIGTERM ask the
// server for the end, for which it has the deadline again; a second one is the end at once.
Expected<Answer> download(const std::string& runtime_directory, const Request& request,
                          const Limits& limits, const Piece& piece);

} // namespace weir::weirctl
