// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/dpdk/output_capture.hpp"

#include <cstdio>
#include <gtest/gtest.h>
#include <string>

namespace weir::dpdk {
namespace {

TEST(OutputCapture, TakesBothStreamsAndGivesThemBack) {
    testing::internal::CaptureStderr();
    std::string text;
    {
        OutputCapture capture;
        std::fprintf(stderr, "EAL: no\n");
        std::printf("usage\n");
        text = capture.text();
    }
    std::fprintf(stderr, "after\n");
    EXPECT_NE(text.find("EAL: no\n"), std::string::npos);
    EXPECT_NE(text.find("usage\n"), std::string::npos);
    EXPECT_EQ(testing::internal::GetCapturedStderr(), "after\n");
}

TEST(OutputCapture, TheLastLinesBecomePartOfASentence) {
    EXPECT_EQ(last_reason(""), "");
    EXPECT_EQ(last_reason("EAL: FATAL: Cannot set affinity\nEAL: Cannot set affinity\n"),
              "Cannot set affinity");
    EXPECT_EQ(last_reason("a\nlibbpf: failed to load.\ninit_internals(): Failed queue 2\nx\n"),
              "failed to load; Failed queue 2; x");
    EXPECT_EQ(last_reason("two words: kept"), "two words: kept");
    EXPECT_EQ(last_reason("PMD: no such file\nEAL: Driver cannot attach the device (x)\n"
                          "EAL: Failed to attach device on primary process\n"),
              "no such file");
}

} // namespace
} // namespace weir::dpdk
