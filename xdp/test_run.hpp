// SPDX-License-Identifier: BSD-3-Clause
// For tests: one packet through a loaded program, by BPF_PROG_TEST_RUN.
#pragma once

#include <bpf/bpf.h>

#include <cstdint>
#include <optional>
#include <vector>

namespace weir::xdp_test {

struct TestRun {
    uint32_t returned;
    std::vector<uint8_t> frame; // as the program left it
};

// Nothing: the kernel did not run it; errno says why.
inline std::optional<TestRun> run_once(int program, const std::vector<uint8_t>& frame) {
    constexpr size_t kRoom = 64; // for what a program puts before it
    TestRun result{0, std::vector<uint8_t>(frame.size() + kRoom)};
    bpf_test_run_opts run{};
    run.sz = sizeof(run);
    run.data_in = frame.data();
    run.data_out = result.frame.data();
    run.data_size_in = static_cast<uint32_t>(frame.size());
    run.data_size_out = static_cast<uint32_t>(result.frame.size());
    run.repeat = 1;
    if (bpf_prog_test_run_opts(program, &run) != 0)
        return std::nullopt;
    result.returned = run.retval;
    result.frame.resize(run.data_size_out);
    return result;
}

} // namespace weir::xdp_test
