// SPDX-License-Identifier: BSD-3-Clause
// Keeps what DPDK and the libraries under it print while they start from reaching the operator: on
// success nobody needs it, on failure its last line belongs into one sentence. Standard output and
// standard error are redirected for the life of the object, so nothing else may print meanwhile.
// Main thread, before any other runs.
#pragma once

#include <string>
#include <string_view>

namespace weir::dpdk {

class OutputCapture {
public:
    OutputCapture();
    ~OutputCapture();
    OutputCapture(const OutputCapture&) = delete;
    OutputCapture& operator=(const OutputCapture&) = delete;

    // Everything printed so far.
    std::string text() const;

private:
    int file_ = -1;
    int saved_output_ = -1;
    int saved_error_ = -1;
};

// The last lines that say why something failed, without their module prefixes, as part of a
// sentence. Empty when nothing was printed.
std::string last_reason(std::string_view printed);

} // namespace weir::dpdk
