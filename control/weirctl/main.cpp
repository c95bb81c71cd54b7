// SPDX-License-Identifier: BSD-3-Clause
// weirctl: asks weir-control and prints. Exit codes: 0 done, 1 refused or failed, 2 wrong usage or
// bad configuration.
#include <csignal>
#include <iostream>

#include "control/weirctl/command_line.hpp"
#include "control/weirctl/run.hpp"

int main(int argc, char** argv) {
    std::signal(SIGPIPE, SIG_IGN); // `weirctl connections | head` is not a crash
    const int exit_code = weir::weirctl::run(argc, argv, {std::cout, std::cerr, WEIR_VERSION, {}});
    if (!std::cout.flush() && exit_code == weir::weirctl::kDone)
        return weir::weirctl::kFailed;
    return exit_code;
}
