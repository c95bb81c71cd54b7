// SPDX-License-Identifier: BSD-3-Clause
#include "bench/bench.hpp"

namespace weir::bench {
namespace {

constexpr std::uint32_t kLeastCapacity = 1'250'000;

struct Kept {
    Shape shape;
    std::uint64_t capacity = 0;
    std::unique_ptr<Engine> engine;
    std::unique_ptr<Rig> rig; // goes before the engine
};
Kept kept;

double per_packet(std::uint64_t ticks) {
    return ns_of_ticks(static_cast<double>(ticks)) / kBatch;
}

} // namespace

std::string count_text(std::uint64_t count) {
    if (count >= 1'000'000 && count % 1'000'000 == 0)
        return std::to_string(count / 1'000'000) + "M";
    if (count >= 1024 && count % 1024 == 0)
        return std::to_string(count / 1024) + "k";
    if (count >= 1000 && count % 1000 == 0)
        return std::to_string(count / 1000) + "k";
    return std::to_string(count);
}

Row row_of(const Shape& shape, std::uint64_t flows, std::string_view group, std::string_view kind,
           std::string_view remark) {
    Row row;
    row.group = group;
    row.mode = config::to_string(shape.mode);
    row.family = family_name(shape.v6);
    row.tracking = config::to_string(shape.tracking);
    row.flows = flows;
    row.pools = shape.pools;
    row.kind = kind;
    row.name = row.group + " " + row.mode + " " + row.family + " " + row.tracking + " " +
               count_text(flows) + (kind.empty() ? "" : " ") + row.kind;
    if (shape.pools > 1)
        row.name += " pools=" + std::to_string(shape.pools);
    if (!remark.empty())
        row.name += " " + std::string(remark);
    return row;
}

void drop_rig() {
    kept.rig.reset();
    kept.engine.reset();
    kept.capacity = 0;
}

Rig& rig_for(const Shape& shape, std::uint64_t flows) {
    const bool recorded = shape.tracking == config::Tracking::kFull;
    const std::uint64_t capacity =
        recorded ? std::max<std::uint64_t>(kLeastCapacity, flows * 5 / 4) : kLeastCapacity;
    // The number of flows is part of what is measured: a rig only grows into it.
    if (!kept.rig || kept.shape != shape || kept.capacity != capacity ||
        kept.rig->flows() > flows) {
        drop_rig();
        kept.shape = shape;
        kept.capacity = capacity;
        kept.engine = std::make_unique<Engine>(World(shape).step().generation, 1,
                                               static_cast<std::uint32_t>(capacity));
        kept.rig = std::make_unique<Rig>(shape, *kept.engine);
    }
    kept.rig->fill(flows);
    return *kept.rig;
}

Figures interleaved(Rig& rig, const Settings& settings, const Prepare& prepare, const Run& run) {
    std::vector<double> whole, io, macswap;
    for (std::uint32_t repeat = 0; repeat < settings.repeats; repeat++) {
        std::vector<double> batches[3];
        const std::uint64_t end =
            monotonic_ns() + static_cast<std::uint64_t>(settings.seconds / settings.repeats * 1e9);
        do {
            prepare(rig);
            batches[0].push_back(per_packet(run(rig)));
            rig.expect_all_sent();
            rig.prepare_hits();
            batches[1].push_back(per_packet(rig.time_io()));
            rig.prepare_hits();
            batches[2].push_back(per_packet(rig.time_macswap()));
        } while (monotonic_ns() < end);
        whole.push_back(median(batches[0]));
        io.push_back(median(batches[1]));
        macswap.push_back(median(batches[2]));
    }
    return {median(whole), median(io), median(macswap)};
}

void take(Row& row, const Figures& figures) {
    row.more.emplace_back("huge_pages", kept.engine && kept.engine->memory().huge() ? 1 : 0);
    row.ns = figures.whole - figures.io;
    row.ns_macswap = figures.macswap;
    row.ratio = figures.whole / figures.macswap;
    row.more.emplace_back("ns_whole", figures.whole);
    row.more.emplace_back("ns_io", figures.io);
}

} // namespace weir::bench
