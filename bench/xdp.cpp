// SPDX-License-Identifier: BSD-3-Clause
// The balancer in the kernel, by BPF_PROG_TEST_RUN: what a packet of a random flow costs it, the
// harness subtracted. No device is in it.
#include "bench/bench.hpp"
#include "bench/xdp_rig.hpp"

#include <memory>

namespace weir::bench {
namespace {

using config::ForwardMode;
using config::Tracking;

constexpr std::array<std::uint64_t, 5> kFlows = {1, 1000, 131'072, 1'000'000, 4'000'000};
constexpr std::array<std::uint64_t, 2> kFewFlows = {1000, 1'000'000};
constexpr std::uint32_t kRun = 16'384;           // packets of one kind at a time
constexpr std::uint32_t kMostNewRuns = 8;        // until the new connections are forgotten
constexpr std::uint64_t kFlowsOfNew = 1'000'000; // known ones beside them

std::unique_ptr<XdpRig> kept;

XdpRig& xdp_rig_for(const Shape& shape, std::uint64_t flows) {
    if (!kept || kept->shape() != shape || kept->flows() != flows) {
        drop_rig(); // the workers' memory
        kept.reset();
        kept = std::make_unique<XdpRig>(shape, flows);
    }
    return *kept;
}

double mean(const std::vector<double>& samples) {
    double sum = 0;
    for (const double sample : samples)
        sum += sample;
    return sum / static_cast<double>(samples.size());
}

// The kernel tells whole nanoseconds, so runs are averaged; the median is taken over the repeats.
void measure(Row& row, const Settings& settings, XdpRig& rig, XdpRig::Packets packets,
             weir_bench_target measured) {
    std::vector<double> whole, harness, macswap;
    for (std::uint32_t repeat = 0; repeat < settings.repeats; repeat++) {
        std::vector<double> runs[WEIR_BENCH_TARGETS];
        const std::uint64_t end =
            monotonic_ns() + static_cast<std::uint64_t>(settings.seconds / settings.repeats * 1e9);
        do {
            for (const weir_bench_target target :
                 {WEIR_BENCH_NOTHING, WEIR_BENCH_MACSWAP, measured})
                runs[target].push_back(rig.run(packets, target, kRun));
        } while (monotonic_ns() < end && (packets != XdpRig::Packets::kNew || !rig.records() ||
                                          runs[0].size() < kMostNewRuns));
        if (packets == XdpRig::Packets::kNew && rig.records())
            rig.forget_new();
        whole.push_back(mean(runs[measured]));
        harness.push_back(mean(runs[WEIR_BENCH_NOTHING]));
        macswap.push_back(mean(runs[WEIR_BENCH_MACSWAP]));
    }
    row.ns = median(whole) - median(harness);
    row.ns_macswap = median(macswap);
    row.ratio = median(whole) / median(macswap);
    row.more.emplace_back("ns_whole", median(whole));
    row.more.emplace_back("ns_io", median(harness));
    if (rig.records())
        row.more.emplace_back("table_fill", static_cast<double>(rig.flows()) /
                                                static_cast<double>(rig.capacity()));
}

void add(Rows& rows, const Shape& shape, std::uint64_t flows, XdpRig::Packets packets) {
    const bool opens = packets == XdpRig::Packets::kNew;
    Row row = row_of(shape, flows, "xdp", opens ? "new" : "hit",
                     packets == XdpRig::Packets::kReply ? "reply" : "");
    row.engine = "xdp";
    rows.push_back({row, [=](Row& measured, const Settings& settings) {
                        measure(measured, settings, xdp_rig_for(shape, flows), packets,
                                WEIR_BENCH_BALANCER);
                    }});
}

// What a packet costs before it is given to a dataplane's socket.
void add_sorter(Rows& rows, const Shape& shape) {
    Row row = row_of(shape, kFewFlows[0], "xdp", "hit", "sorter");
    row.engine = "xdp";
    rows.push_back({row, [=](Row& measured, const Settings& settings) {
                        measure(measured, settings, xdp_rig_for(shape, kFewFlows[0]),
                                XdpRig::Packets::kHit, WEIR_BENCH_SORTER);
                    }});
}

} // namespace

void add_xdp_rows(Rows& rows) {
    using Packets = XdpRig::Packets;
    for (const ForwardMode mode : {ForwardMode::kDsrL2, ForwardMode::kDsrIpip}) {
        const Shape shape = {.mode = mode, .tracking = Tracking::kExceptions};
        for (const std::uint64_t flows : kFlows)
            add(rows, shape, flows, Packets::kHit);
        add(rows, shape, kFlowsOfNew, Packets::kNew);
    }
    for (const ForwardMode mode : {ForwardMode::kDsrL2, ForwardMode::kFullNat}) {
        const Shape shape = {.mode = mode, .tracking = Tracking::kFull};
        for (const std::uint64_t flows : kFlows) {
            add(rows, shape, flows, Packets::kHit);
            if (mode == ForwardMode::kFullNat)
                add(rows, shape, flows, Packets::kReply);
            if (flows == kFlowsOfNew) // the last of its rig: it leaves replies of forgotten ones
                add(rows, shape, flows, Packets::kNew);
        }
    }
    for (const Tracking tracking : {Tracking::kExceptions, Tracking::kFull})
        for (const std::uint64_t flows : kFewFlows)
            add(rows, {.v6 = true, .tracking = tracking}, flows, Packets::kHit);
    for (const bool v6 : {false, true})
        add_sorter(rows, {.v6 = v6, .tracking = Tracking::kExceptions});
}

} // namespace weir::bench
