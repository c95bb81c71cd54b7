// SPDX-License-Identifier: BSD-3-Clause
// weirctl without its main(): parse the command line, ask control, print. Called by main.cpp and
// by the tests. One thread.
#pragma once

#include <ostream>
#include <string>

#include "control/weirctl/client.hpp"

namespace weir::weirctl {

struct Surroundings {
    std::ostream& out;
    std::ostream& err;
    std::string version;
    Limits limits;
};

// The exit code: 0 done, 1 refused or failed, 2 wrong usage or a bad configuration. With --json,
// `out` gets one JSON object whatever happens after the command line was understood.
int run(int argc, const char* const* argv, const Surroundings& surroundings);

} // namespace weir::weirctl
