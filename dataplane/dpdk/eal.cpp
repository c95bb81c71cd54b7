// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/eal.hpp"

#include "dataplane/dpdk/output_capture.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <unistd.h>

namespace weir::dpdk {
namespace {

// DPDK's log after the start: a line each to standard error. Its own default stream also writes to
// syslog and opens it for every program that links it.
ssize_t write_line(void*, const char* text, std::size_t length) {
    return ::write(STDERR_FILENO, text, length);
}

void open_log() {
    cookie_io_functions_t functions{};
    functions.write = write_line;
    std::FILE* stream = ::fopencookie(nullptr, "w", functions);
    if (!stream)
        return;
    std::setvbuf(stream, nullptr, _IOLBF, 512);
    rte_openlog_stream(stream);
}

} // namespace

std::string dpdk_reason(const std::string& printed, int error) {
    std::string reason = last_reason(printed);
    if (reason.empty())
        reason = error != 0 ? rte_strerror(error < 0 ? -error : error) : "no reason given";
    return reason;
}

Expected<void> start_eal(const EalPlan& plan) {
    std::vector<std::string> arguments = eal_arguments(plan);
    std::vector<char*> pointers;
    pointers.reserve(arguments.size());
    for (std::string& argument : arguments)
        pointers.push_back(argument.data());
    open_log();
    std::string printed;
    int result;
    {
        const OutputCapture capture;
        result = rte_eal_init(static_cast<int>(pointers.size()), pointers.data());
        printed = capture.text();
    }
    if (result >= 0)
        return {};
    return Error{"DPDK could not start: " + dpdk_reason(printed, rte_errno)};
}

void end_eal() {
    const OutputCapture quiet; // drivers complain about interfaces that have gone already
    rte_eal_cleanup();
}

} // namespace weir::dpdk
