// SPDX-License-Identifier: BSD-3-Clause
// One HTTP exchange with weir-control over its Unix socket, in bounded time and memory. Called by
// run.cpp; nothing else knows the transport.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

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

inline constexpr const char* kSocketName = "control.sock";

// An error: no complete answer came, and why.
Expected<Answer> exchange(const std::string& runtime_directory, const Request& request,
                          const Limits& limits);

} // namespace weir::weirctl
