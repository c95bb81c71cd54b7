// SPDX-License-Identifier: BSD-3-Clause
// Numbers as people read them. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace weir::weirctl {

std::string grouped(std::uint64_t count);    // 1,048,576
std::string bytes_text(std::uint64_t bytes); // 640 B, 64.0 kB, 1.23 GB: powers of 1000
std::string duration_text(double seconds);   // 0.4 s, 12.5 s, 3 min 5 s, 2 h 10 min, 3 d 4 h
std::string percent_text(double fraction);   // 33.3 %
std::string counted(std::uint64_t count, std::string_view noun); // 1 backend, 2 backends

} // namespace weir::weirctl
