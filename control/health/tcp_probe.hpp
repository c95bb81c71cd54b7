// SPDX-License-Identifier: BSD-3-Clause
// The TCP probe: the connection is the answer. The HTTP probe begins with it too.
#pragma once

#include "control/health/probe.hpp"

namespace weir::control {

// Opens and connects SOCKET. The caller keeps both arguments alive and closes the socket to abort.
boost::asio::awaitable<ProbeResult> tcp_connect(boost::asio::ip::tcp::socket& socket,
                                                const ProbeSpec& spec);

boost::asio::ip::tcp::endpoint probe_endpoint(const ProbeSpec& spec);

} // namespace weir::control
