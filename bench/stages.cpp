// SPDX-License-Identifier: BSD-3-Clause
// poll() and process() taken apart, a clock between the stages. That the sum is near what poll()
// itself takes is what a row shows beside it: a stage that is missing here would be seen there.
#include "bench/rig.hpp"

#include "dataplane/dpdk/stages.hpp"

namespace weir::bench {
namespace {

using Stage = void (*)(dpdk::Worker&, dpdk::Burst&);
void short_way(dpdk::Worker& worker, dpdk::Burst& burst) {
    dpdk::forward_shortly(worker, burst);
}
constexpr std::pair<const char*, Stage> kStages[] = {
    {"read", dpdk::read},     {"short_way", short_way},
    {"parse", dpdk::parse},   {"fragments", dpdk::follow_fragments},
    {"match", dpdk::match},   {"hand_over", dpdk::hand_over},
    {"track", dpdk::track},   {"rewrite", dpdk::rewrite},
    {"answer", dpdk::answer}, {"transmit", dpdk::transmit},
};

} // namespace

std::vector<std::string> stage_names() {
    std::vector<std::string> names = {"receive"};
    for (const auto& [name, stage] : kStages)
        names.emplace_back(name);
    names.emplace_back("housekeeping");
    names.emplace_back("clock"); // what each of the others holds of the clock itself
    return names;
}

std::vector<std::uint64_t> Rig::time_stages() {
    std::vector<std::uint64_t> ticks(std::size(kStages) + 3);
    for (std::uint32_t i = 0; i < kBatchBursts; i++) {
        auto at = ticks.begin();
        std::uint64_t last = rte_rdtsc();
        const auto lap = [&] {
            const std::uint64_t now = rte_rdtsc();
            *at++ += now - last;
            last = now;
        };
        dpdk::receive_from_port(worker_, context_.ports[0], burst_);
        lap();
        for (const auto& [name, stage] : kStages) {
            stage(worker_, burst_);
            lap();
        }
        const std::uint64_t now_ns = monotonic_ns();
        worker_.follow_generation();
        worker_.fragments.expire(worker_.now_ms);
        worker_.capture.follow(now_ns);
        worker_.expire(now_ns);
        worker_.sweep_persistence();
        worker_.count(now_ns, true);
        lap();
        lap();
    }
    return ticks;
}

} // namespace weir::bench
