// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/output_capture.hpp"

#include <cstdio>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <vector>

namespace weir::dpdk {
namespace {

// "EAL: Cannot ..." and "rte_pmd_tap_probe(): Failed ..." without what stands before the words.
std::string_view without_prefix(std::string_view line) {
    for (int part = 0; part < 2; part++) {
        const std::size_t colon = line.find(": ");
        if (colon == std::string_view::npos || line.substr(0, colon).find(' ') != line.npos)
            break;
        line.remove_prefix(colon + 2);
    }
    return line;
}

// EAL's own way of saying that what it just reported ended the attempt.
bool says_nothing(std::string_view line) {
    return line.starts_with("Driver cannot attach the device") ||
           line.starts_with("Failed to attach device on primary process");
}

} // namespace

OutputCapture::OutputCapture() {
    std::fflush(stdout);
    std::fflush(stderr);
    file_ = ::memfd_create("weir-start-output", MFD_CLOEXEC);
    saved_output_ = ::dup(STDOUT_FILENO);
    saved_error_ = ::dup(STDERR_FILENO);
    if (file_ >= 0) {
        ::dup2(file_, STDOUT_FILENO);
        ::dup2(file_, STDERR_FILENO);
    }
}

OutputCapture::~OutputCapture() {
    std::fflush(stdout);
    std::fflush(stderr);
    for (auto [saved, original] :
         {std::pair{saved_output_, STDOUT_FILENO}, std::pair{saved_error_, STDERR_FILENO}}) {
        if (saved >= 0) {
            ::dup2(saved, original);
            ::close(saved);
        }
    }
    if (file_ >= 0)
        ::close(file_);
}

std::string OutputCapture::text() const {
    std::fflush(stdout);
    std::fflush(stderr);
    struct stat status {};
    if (file_ < 0 || ::fstat(file_, &status) != 0)
        return {};
    std::string text(static_cast<std::size_t>(status.st_size), '\0');
    const ssize_t got = ::pread(file_, text.data(), text.size(), 0);
    text.resize(got > 0 ? static_cast<std::size_t>(got) : 0);
    return text;
}

std::string last_reason(std::string_view printed) {
    std::vector<std::string_view> lines;
    while (!printed.empty()) {
        const std::size_t end = printed.find('\n');
        std::string_view line = without_prefix(printed.substr(0, end));
        while (!line.empty() && (line.back() == '\r' || line.back() == ' ' || line.back() == '.'))
            line.remove_suffix(1);
        if (!line.empty() && !says_nothing(line) && (lines.empty() || lines.back() != line))
            lines.push_back(line);
        printed = end == std::string_view::npos ? std::string_view() : printed.substr(end + 1);
    }
    // Libraries report upwards: the cause comes first, who gave up because of it comes after.
    constexpr std::size_t kMost = 3;
    std::string reason;
    for (std::size_t i = lines.size() > kMost ? lines.size() - kMost : 0; i < lines.size(); i++)
        reason += (reason.empty() ? "" : "; ") + std::string(lines[i]);
    return reason;
}

} // namespace weir::dpdk
