// SPDX-License-Identifier: BSD-3-Clause
// weir-xdp-sender DEVICE FLOWS FIRST-PORT < FRAME: sends the UDP frame over and over out of DEVICE
// until SIGTERM, as XDP_REDIRECT would. No socket buffer is made on the way, so that most of the
// time is what lies behind DEVICE.
#include "bench/xdp_sender.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

namespace {

constexpr int kRun = 16'384; // frames in one call
constexpr std::uint32_t kBatch = 64;

volatile std::sig_atomic_t told_to_end = 0;

struct CloseObject {
    void operator()(bpf_object* object) const { bpf_object__close(object); }
};
using Object = std::unique_ptr<bpf_object, CloseObject>;

[[noreturn]] void fail(const std::string& what, int error) {
    throw std::runtime_error(what + ": " + std::strerror(error));
}

std::uint32_t number(std::string_view text) {
    std::uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size())
        throw std::runtime_error("not a number: " + std::string(text));
    return value;
}

Object load(const weir_bench_sending& sending) {
    Object object(bpf_object__open_file(WEIR_XDP_SENDER_OBJECT, nullptr));
    if (!object)
        fail(WEIR_XDP_SENDER_OBJECT, errno);
    bpf_map* constants = bpf_object__find_map_by_name(object.get(), ".rodata");
    if (!constants || bpf_map__set_initial_value(constants, &sending, sizeof(sending)) != 0)
        fail("what is to be sent", errno);
    if (const int error = bpf_object__load(object.get()))
        fail("the program is not loaded", -error);
    return object;
}

void send(const bpf_object* object, weir_bench_sending sending) {
    const int program =
        bpf_program__fd(bpf_object__find_program_by_name(object, "weir_bench_send"));
    LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = sending.frame,
                .data_size_in = sizeof(sending.frame), .repeat = kRun,
                .flags = BPF_F_TEST_XDP_LIVE_FRAMES, .batch_size = kBatch);
    while (!told_to_end) {
        const int error = bpf_prog_test_run_opts(program, &options);
        if (error != 0 && error != -EINTR)
            fail("the kernel does not send", -error);
    }
}

} // namespace

int main(int argc, char** argv) try {
    if (argc != 4)
        throw std::runtime_error("usage: weir-xdp-sender DEVICE FLOWS FIRST-PORT < FRAME");
    std::signal(SIGTERM, [](int) { told_to_end = 1; });
    weir_bench_sending sending = {
        static_cast<std::int32_t>(if_nametoindex(argv[1])), number(argv[2]), number(argv[3]), {}};
    if (sending.device == 0)
        fail(argv[1], errno);
    if (std::fread(sending.frame, sizeof(sending.frame), 1, stdin) != 1)
        throw std::runtime_error("a frame of 64 bytes has to come by standard input");
    const Object object = load(sending);
    std::puts("sending");
    std::fflush(stdout);
    send(object.get(), sending);
    return 0;
} catch (const std::exception& problem) {
    std::fprintf(stderr, "weir-xdp-sender: %s\n", problem.what());
    return 1;
}
