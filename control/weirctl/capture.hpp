// SPDX-License-Identifier: BSD-3-Clause
// `weirctl capture`: writes the stream of GET /v1/capture to a file and says what is in it. Called
// by run.cpp. One thread; SIGINT and SIGTERM end the capture well.
#pragma once

#include "control/weirctl/command_line.hpp"
#include "control/weirctl/run.hpp"

namespace weir::weirctl {

int capture(const Command& command, const Surroundings& surroundings);

} // namespace weir::weirctl
