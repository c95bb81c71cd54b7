// SPDX-License-Identifier: BSD-3-Clause
// One worker, its packets from and to memory: what the stages cost, by mode, family, number of
// flows and by how many packets belong to a known connection.
#include "bench/bench.hpp"

namespace weir::bench {
namespace {

constexpr std::array<std::uint64_t, 6> kFlows = {1, 1000, 16'384, 131'072, 1'000'000, 4'000'000};
constexpr std::array<std::uint64_t, 2> kFewFlows = {1000, 1'000'000};
constexpr std::array<std::uint64_t, 4> kFlowsUnrecorded = {1000, 1'000'000, 10'000'000,
                                                           100'000'000};
constexpr std::uint32_t kManyPools = 100;
constexpr std::uint32_t kStageBatches = 256;

struct Case {
    std::string_view kind;
    std::string_view remark;
    Prepare prepare;
};

const Case kHit = {"hit", "", &Rig::prepare_hits};
const Case kReply = {"hit", "reply", &Rig::prepare_replies};
const Case kMixed = {"mixed", "", &Rig::prepare_mixed};
const Case kNew = {"new", "", &Rig::prepare_new};

// Medians over batches; the clock's own share is taken off.
void measure_stages(Row& row, Rig& rig, const Case& what) {
    const std::vector<std::string> names = stage_names();
    std::vector<std::vector<double>> ns(names.size());
    for (std::uint32_t batch = 0; batch < kStageBatches; batch++) {
        what.prepare(rig);
        const std::vector<std::uint64_t> ticks = rig.time_stages();
        for (std::size_t i = 0; i < names.size(); i++)
            ns[i].push_back(ns_of_ticks(static_cast<double>(ticks[i])) / kBatch);
    }
    const double clock = median(ns.back());
    for (std::size_t i = 0; i + 1 < names.size(); i++)
        row.stages.emplace_back(names[i], std::max(0.0, median(ns[i]) - clock));
}

double bytes_a_connection() {
    constexpr std::uint32_t kMany = 1'000'000;
    return static_cast<double>(dpdk::EngineMemory::table_bytes(2 * kMany) -
                               dpdk::EngineMemory::table_bytes(kMany)) /
           kMany;
}

void add(Rows& rows, const Shape& shape, std::uint64_t flows, const Case& what) {
    const auto measure = [shape, flows, what](Row& row, const Settings& settings) {
        Rig& rig = rig_for(shape, flows);
        take(row, interleaved(rig, settings, what.prepare));
        measure_stages(row, rig, what);
        rig.close_new();
        row.more.emplace_back("table_fill", static_cast<double>(rig.worker().table.entries()) /
                                                rig.worker().table.capacity());
        row.more.emplace_back("bytes_a_connection", bytes_a_connection());
    };
    rows.push_back({row_of(shape, flows, "pipeline", what.kind, what.remark), measure});
}

void add_full_tracking(Rows& rows, Shape shape) {
    shape.tracking = config::Tracking::kFull;
    for (const std::uint64_t flows : kFlows) {
        add(rows, shape, flows, kHit);
        if (!config::is_dsr(shape.mode))
            add(rows, shape, flows, kReply);
        if (std::find(kFewFlows.begin(), kFewFlows.end(), flows) == kFewFlows.end())
            continue;
        add(rows, shape, flows, kMixed);
        add(rows, shape, flows, kNew);
    }
}

void add_exceptions(Rows& rows, Shape shape) {
    shape.tracking = config::Tracking::kExceptions;
    for (const std::uint64_t flows : kFlowsUnrecorded)
        add(rows, shape, flows, kHit);
    add(rows, shape, kFewFlows[1], kNew);
}

void add_many_pools(Rows& rows, Shape shape) {
    shape.pools = shape.vips = kManyPools;
    for (const config::Tracking tracking : {config::Tracking::kFull, config::Tracking::kExceptions})
        for (const std::uint64_t flows : kFewFlows) {
            shape.tracking = tracking;
            add(rows, shape, flows, kHit);
        }
}

} // namespace

void add_pipeline_rows(Rows& rows) {
    for (const config::ForwardMode mode : kModes)
        for (const bool v6 : {false, true}) {
            Shape shape;
            shape.mode = mode;
            shape.v6 = v6;
            add_full_tracking(rows, shape);
            if (config::is_dsr(mode))
                add_exceptions(rows, shape);
            if (mode == config::ForwardMode::kDsrL2)
                add_many_pools(rows, shape);
        }
}

} // namespace weir::bench
