// SPDX-License-Identifier: BSD-3-Clause
// What was counted: verdicts, ports, workers, and whether the books are closed.
#include <nlohmann/json.hpp>

#include "control/api/views.hpp"

namespace weir::control {
namespace {

using nlohmann::json;

const char* class_word(weir_verdict_class verdict_class) {
    switch (verdict_class) {
    case WEIR_CLASS_FORWARD:
        return "forward";
    case WEIR_CLASS_PUNT:
        return "punt";
    case WEIR_CLASS_HAND_OVER:
        return "hand_over";
    case WEIR_CLASS_DROP:
        return "drop";
    case WEIR_CLASS_NONE:
        break;
    }
    return "none";
}

std::uint64_t verdict_total(const TotalCounters& total, std::uint32_t verdict) {
    std::uint64_t sum = 0;
    for (const auto& block : total.blocks)
        sum += block ? block->verdicts[verdict] : 0;
    return sum;
}

json port_json(const TotalCounters& total, std::size_t port, const std::string& name) {
    lb::PortCounters sum{};
    for (const auto& block : total.blocks) {
        if (!block)
            continue;
        sum.rx_packets += block->ports[port].rx_packets;
        sum.rx_bytes += block->ports[port].rx_bytes;
        sum.tx_packets += block->ports[port].tx_packets;
        sum.tx_bytes += block->ports[port].tx_bytes;
    }
    return {{"name", name},
            {"rx", sum.rx_packets},
            {"rx_bytes", sum.rx_bytes},
            {"tx", sum.tx_packets},
            {"tx_bytes", sum.tx_bytes}};
}

json worker_json(const lb::WorkerCounters& block, std::size_t index, bool kernel) {
    const lb::Books books = lb::books_of(block);
    json entry{{"core", block.core},
               {"generation", block.generation},
               {"connections", block.connections_active},
               {"connections_opened", block.connections_opened},
               {"connections_expired", block.connections_expired},
               {"connections_adopted", block.connections_adopted},
               {"connections_moved", block.connections_moved},
               {"connections_refused", block.connections_refused},
               {"rx_missed", block.rx_missed},
               {"polls", block.polls},
               {"bursts", block.bursts},
               {"books", books_json(books, books.balanced())}};
    if (kernel)
        entry["worker"] = "kernel";
    else
        entry["worker"] = index;
    return entry;
}

} // namespace

nlohmann::json books_json(const lb::Books& books, bool balanced) {
    return {{"rx", books.rx},
            {"generated", books.generated},
            {"handed_in", books.handed_in},
            {"tx", books.tx},
            {"punted", books.punted},
            {"handed_out", books.handed_out},
            {"dropped", books.dropped},
            {"held", books.held},
            {"balanced", balanced}};
}

json counters_view(const Snapshot& snapshot) {
    const TotalCounters total = total_counters(snapshot);
    json verdicts = json::array();
    for (std::uint32_t i = 1; i < WEIR_VERDICT_COUNT; i++) {
        const lb::VerdictInfo& info = lb::verdict_info(i);
        verdicts.push_back({{"name", info.name},
                            {"class", class_word(info.verdict_class)},
                            {"count", verdict_total(total, i)},
                            {"sentence", info.sentence}});
    }
    json ports = json::array();
    bool any_bypassed = false;
    for (std::size_t i = 0; i < snapshot.config.interfaces.size(); i++) {
        ports.push_back(port_json(total, i, snapshot.config.interfaces[i].name));
        any_bypassed = any_bypassed || !snapshot.config.interfaces[i].is_kernel_visible();
    }
    if (any_bypassed)
        ports.push_back(port_json(total, WEIR_MAX_INTERFACES, "kernel-side"));
    json workers = json::array();
    for (std::size_t i = 0; i < total.blocks.size(); i++)
        if (total.blocks[i])
            workers.push_back(worker_json(*total.blocks[i], i, i + 1 == total.blocks.size()));
    json guard = json::array();
    for (const GuardCount& count : snapshot.guard)
        guard.push_back(
            {{"name", count.name}, {"count", count.count}, {"sentence", count.sentence}});
    return {{"generation", snapshot.live ? snapshot.live->number() : 0},
            {"verdicts", std::move(verdicts)},
            {"ports", std::move(ports)},
            {"workers", std::move(workers)},
            {"guard", std::move(guard)},
            {"books", books_json(total.books, total.balanced && total.complete)}};
}

json drops_view(const Snapshot& snapshot) {
    const TotalCounters total = total_counters(snapshot);
    json drops = json::array();
    std::uint64_t sum = 0;
    for (std::uint32_t i = 1; i < WEIR_VERDICT_COUNT; i++) {
        const lb::VerdictInfo& info = lb::verdict_info(i);
        const std::uint64_t count = verdict_total(total, i);
        if (info.verdict_class != WEIR_CLASS_DROP || count == 0)
            continue;
        sum += count;
        drops.push_back({{"name", info.name}, {"count", count}, {"sentence", info.sentence}});
    }
    return {{"total", sum}, {"drops", std::move(drops)}};
}

} // namespace weir::control
