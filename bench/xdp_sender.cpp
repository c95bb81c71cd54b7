// SPDX-License-Identifier: BSD-3-Clause
// weir-xdp-sender DEVICE FLOWS FIRST-PORT < FRAME: sends the UDP frame over and over out of DEVICE
// until SIGTERM, as XDP_REDIRECT would. No socket buffer is made on the way, so that most of the
// time is what lies behind DEVICE.
#include "bench/xdp_sender.h"

#include <CLI/CLI.hpp>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <net/if.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>
#include <stdexcept>
#include <string>

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
    CLI::App app{"Sends the UDP frame of standard input over and over, until SIGTERM"};
    std::string device;
    weir_bench_sending sending{};
    app.add_option("device", device, "where it leaves")->required();
    app.add_option("flows", sending.flows, "how many source ports")
        ->required()
        ->check(CLI::Range(1, 65535));
    app.add_option("first-port", sending.first_port, "the first of them")
        ->required()
        ->check(CLI::Range(1, 65535));
    CLI11_PARSE(app, argc, argv);
    std::signal(SIGTERM, [](int) { told_to_end = 1; });
    sending.device = static_cast<std::int32_t>(if_nametoindex(device.c_str()));
    if (sending.device == 0)
        fail(device, errno);
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
