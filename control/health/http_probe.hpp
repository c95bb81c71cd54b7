// SPDX-License-Identifier: BSD-3-Clause
// The HTTP probe: GET over a connected socket, judged by status and body. At most
// kMaxHeaderBytes and kMaxBodyBytes of the answer are read; the caller bounds the time.
#pragma once

#include "control/health/probe.hpp"

namespace weir::control {

inline constexpr uint32_t kMaxHeaderBytes = 16 * 1024;
inline constexpr uint32_t kMaxBodyBytes = 64 * 1024;

// REQUIRES: SOCKET is connected. The caller keeps both arguments alive and closes it to abort.
boost::asio::awaitable<ProbeResult> http_exchange(boost::asio::ip::tcp::socket& socket,
                                                  const ProbeSpec& spec);

// The Host header: as configured, else the backend's own address and port.
std::string probe_host(const ProbeSpec& spec);

bool status_expected(const std::vector<config::StatusRange>& expected, unsigned status);

} // namespace weir::control
