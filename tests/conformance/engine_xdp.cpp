// SPDX-License-Identifier: BSD-3-Clause
// The XDP balancer behind the conformance suite's protocol: the real program and maps, packets by
// BPF_PROG_TEST_RUN, a clock that stands still unless the suite moves it. There is one table for
// all CPUs, so the suite's workers are one here.
#include "config/or_throw.hpp"
#include "dataplane/lb/counters.hpp"
#include "tests/conformance/protocol.hpp"
#include "tests/conformance/state_text.hpp"
#include "xdp/balancer.hpp"

#include <bpf/bpf.h>
#include <linux/bpf.h>
#include <sched.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <vector>

namespace weir::conformance {
namespace {

constexpr std::uint64_t kStart_ns = 1'000'000'000'000; // the clock at a sequence's begin
constexpr std::uint32_t kLoopback = 1; // a device that is always there: nothing is really sent
constexpr std::size_t kRoom = 2048;    // bytes an answer may be longer than its packet

constexpr xdp::BalancerSizes kSizes = {.rows = {.vips = 64,
                                                .pools = 64,
                                                .members = 512,
                                                .backends = 256,
                                                .next_hops = 256,
                                                .slot_rows = 1u << 17},
                                       .connections = 1u << 16,
                                       .injected = true};

class XdpEngine final : public Engine {
public:
    XdpEngine() : balancer_(or_throw(xdp::Balancer::load(kSizes))) {
        // Rates are counted per CPU.
        cpu_set_t here;
        CPU_ZERO(&here);
        CPU_SET(static_cast<std::size_t>(sched_getcpu()), &here);
        if (sched_setaffinity(0, sizeof(here), &here) != 0)
            throw std::runtime_error("cannot stay on one CPU");
    }

    void begin(std::uint32_t /*workers*/, std::uint32_t /*connections*/,
               std::uint32_t /*half_open*/) override {
        or_throw(balancer_.withdraw());
        or_throw(balancer_.forget_all());
        generation_.reset();
        generations_ = 0;
        outcome_ = {};
        now_ns_ = kStart_ns;
    }

    void publish(const std::string& state_text) override {
        auto next = std::make_unique<Generation>(state_text, ++generations_);
        const std::vector<std::uint32_t> devices(next->state().interfaces().size(), kLoopback);
        or_throw(balancer_.publish(next->state(), devices, now_ns_));
        generation_ = std::move(next);
    }

    void unpublish() override {
        or_throw(balancer_.withdraw());
        generation_.reset();
    }

    Outcome pass(std::uint64_t milliseconds) override {
        now_ns_ += milliseconds * 1'000'000;
        if (generation_)
            or_throw(balancer_.sweep(generation_->state(), now_ns_));
        return {};
    }

    void put(const Input& input) override {
        if (input.from_kernel)
            throw std::runtime_error("what the kernel sends passes no XDP program");
        volatile weir_balancer_injection& injection = balancer_.injection();
        injection.now_ns = now_ns_;
        injection.interface = input.interface;
        Outcome::Frame frame{0, 0, input.interface, {}};
        frame.bytes.resize(input.frame.size() + kRoom);
        LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = input.frame.data(),
                    .data_out = frame.bytes.data(),
                    .data_size_in = static_cast<std::uint32_t>(input.frame.size()),
                    .data_size_out = static_cast<std::uint32_t>(frame.bytes.size()), .repeat = 1);
        if (bpf_prog_test_run_opts(balancer_.program(), &run) != 0)
            throw std::runtime_error("the kernel does not run a packet of " +
                                     std::to_string(input.frame.size()) +
                                     " bytes: " + std::strerror(errno));
        frame.bytes.resize(run.data_size_out);
        const auto verdict = static_cast<std::uint8_t>(injection.verdict);
        outcome_.verdicts.push_back({0, verdict, 1});
        if (run.retval == XDP_DROP || run.retval == XDP_ABORTED)
            return;
        if (run.retval == XDP_PASS)
            frame.way = verdict == WEIR_PUNTED_CONTROL ? 1 : 2;
        else
            frame.interface = static_cast<std::uint8_t>(injection.out_interface);
        outcome_.frames.push_back(std::move(frame));
    }

    Outcome run() override { return std::exchange(outcome_, {}); }

    End end() override {
        const weir_balancer_counts counts = or_throw(balancer_.counts());
        return {xdp::adds_up(counts) && counts.verdicts[WEIR_UNDECIDED] == 0, 0};
    }

private:
    xdp::Balancer balancer_;
    std::unique_ptr<Generation> generation_;
    std::uint64_t generations_ = 0;
    std::uint64_t now_ns_ = kStart_ns;
    Outcome outcome_;
};

} // namespace
} // namespace weir::conformance

int main() {
    try {
        static weir::conformance::XdpEngine engine;
        return weir::conformance::serve(engine);
    } catch (const std::exception& problem) {
        std::fprintf(stderr, "%s\n", problem.what());
        return 1;
    }
}
