// SPDX-License-Identifier: BSD-3-Clause
// The same numbers as OpenMetrics 1.0 text.
#include <map>

#include "control/api/views.hpp"

namespace weir::control {
namespace {

std::string escaped(const std::string& value) {
    std::string result;
    for (const char c : value) {
        if (c == '\\' || c == '"')
            result += '\\';
        if (c == '\n')
            result += "\\n";
        else
            result += c;
    }
    return result;
}

class Exposition {
public:
    using Labels = std::vector<std::pair<std::string, std::string>>;

    // `name` without _total: the format wants the family so and the samples with it.
    void counter(const std::string& name, const std::string& help, const Labels& labels,
                 std::uint64_t value) {
        add(name, "counter", help, name + "_total", labels, std::to_string(value));
    }
    void gauge(const std::string& name, const std::string& help, const Labels& labels,
               std::uint64_t value) {
        add(name, "gauge", help, name, labels, std::to_string(value));
    }

    std::string text() const {
        std::string result;
        for (const auto& [name, family] : families_)
            result += family;
        return result + "# EOF\n";
    }

private:
    void add(const std::string& family, const char* type, const std::string& help,
             const std::string& sample, const Labels& labels, const std::string& value) {
        std::string& text = families_[family];
        if (text.empty())
            text = "# HELP " + family + " " + help + "\n# TYPE " + family + " " + type + "\n";
        text += sample;
        if (!labels.empty()) {
            text += '{';
            for (std::size_t i = 0; i < labels.size(); i++)
                text +=
                    (i > 0 ? "," : "") + labels[i].first + "=\"" + escaped(labels[i].second) + "\"";
            text += '}';
        }
        text += " " + value + "\n";
    }

    std::map<std::string, std::string> families_;
};

void add_workers(const Snapshot& snapshot, Exposition& out) {
    const TotalCounters total = total_counters(snapshot);
    for (std::size_t i = 0; i < total.blocks.size(); i++) {
        if (!total.blocks[i])
            continue;
        const lb::WorkerCounters& block = *total.blocks[i];
        const std::string worker = i + 1 == total.blocks.size() ? "kernel" : std::to_string(i);
        for (std::uint32_t verdict = 1; verdict < WEIR_VERDICT_COUNT; verdict++)
            out.counter("weir_packets", "Packets by what became of them.",
                        {{"worker", worker}, {"verdict", lb::verdict_info(verdict).name}},
                        block.verdicts[verdict]);
        for (std::size_t port = 0; port < snapshot.config.interfaces.size(); port++) {
            const Exposition::Labels labels{{"worker", worker},
                                            {"interface", snapshot.config.interfaces[port].name}};
            const lb::PortCounters& counters = block.ports[port];
            out.counter("weir_interface_receive_packets", "Packets received.", labels,
                        counters.rx_packets);
            out.counter("weir_interface_receive_bytes", "Bytes received.", labels,
                        counters.rx_bytes);
            out.counter("weir_interface_transmit_packets", "Packets sent.", labels,
                        counters.tx_packets);
            out.counter("weir_interface_transmit_bytes", "Bytes sent.", labels, counters.tx_bytes);
        }
        out.gauge("weir_worker_connections", "Connections in the worker's table.",
                  {{"worker", worker}}, block.connections_active);
        out.counter("weir_worker_connections_adopted", "Connections that the dataplane before had.",
                    {{"worker", worker}}, block.connections_adopted);
        out.counter("weir_worker_connections_moved",
                    "Of the adopted, those that another worker had.", {{"worker", worker}},
                    block.connections_moved);
        out.counter("weir_worker_connections_refused",
                    "Connections of the dataplane before that could not go on.",
                    {{"worker", worker}}, block.connections_refused);
        out.gauge("weir_worker_generation", "The generation the worker forwards by.",
                  {{"worker", worker}}, block.generation);
        out.counter("weir_worker_missed_packets", "Packets lost before the worker saw them.",
                    {{"worker", worker}}, block.rx_missed);
    }
    for (const GuardCount& count : snapshot.guard)
        out.counter("weir_guard_dropped_packets", "Packets that the guard kept from the kernel.",
                    {{"reason", count.name}}, count.count);
    out.gauge("weir_books_balanced", "1: every packet is accounted for.", {},
              total.balanced && total.complete ? 1 : 0);
}

void add_vips(const Snapshot& snapshot, Exposition& out) {
    const auto& ids = snapshot.compiled->vip_ids;
    for (std::size_t i = 0; i < snapshot.config.vips.size() && i < ids.size(); i++) {
        const lb::VipCounters counters = vip_counters(snapshot, ids[i]);
        const Exposition::Labels labels{{"vip", snapshot.config.vips[i].name}};
        out.counter("weir_vip_packets", "Packets from clients.", labels, counters.packets);
        out.counter("weir_vip_bytes", "Bytes from clients.", labels, counters.bytes);
        out.counter("weir_vip_reply_packets", "Packets to clients (NAT modes).", labels,
                    counters.reply_packets);
        out.counter("weir_vip_reply_bytes", "Bytes to clients (NAT modes).", labels,
                    counters.reply_bytes);
        out.counter("weir_vip_connections_opened", "Connections begun.", labels,
                    counters.connections_opened);
        out.gauge("weir_vip_connections",
                  "Connections now; an estimate where only exceptions are recorded.", labels,
                  counters.connections_active);
        out.counter("weir_vip_drops", "Packets of the VIP that were dropped.", labels,
                    counters.drops);
    }
}

void add_backends(const Snapshot& snapshot, Exposition& out) {
    const auto& pools = snapshot.compiled->backend_ids;
    for (std::size_t pool = 0; pool < snapshot.config.pools.size() && pool < pools.size(); pool++) {
        const config::PoolConfig& settings = snapshot.config.pools[pool];
        for (std::size_t i = 0; i < settings.backends.size() && i < pools[pool].size(); i++) {
            const lb::BackendCounters counters = backend_counters(snapshot, pools[pool][i]);
            const Exposition::Labels labels{{"pool", settings.name},
                                            {"backend", settings.backends[i].name}};
            out.gauge("weir_backend_up", "1: takes new connections.", labels,
                      backend_state(snapshot, pool, i) == "up" ? 1 : 0);
            out.gauge("weir_backend_connections",
                      "Connections now; an estimate where only exceptions are recorded.", labels,
                      counters.connections_active);
            out.counter("weir_backend_connections_opened", "Connections begun.", labels,
                        counters.connections_opened);
            out.counter("weir_backend_packets", "Packets to the backend.", labels,
                        counters.packets);
            out.counter("weir_backend_bytes", "Bytes to the backend.", labels, counters.bytes);
        }
    }
}

} // namespace

std::string metrics_text(const Snapshot& snapshot) {
    Exposition out;
    out.gauge("weir_ready", "1: packets are forwarded.", {}, snapshot.ready ? 1 : 0);
    out.gauge("weir_generation", "The live generation.", {},
              snapshot.live ? snapshot.live->number() : 0);
    add_workers(snapshot, out);
    if (snapshot.compiled != nullptr) {
        add_vips(snapshot, out);
        add_backends(snapshot, out);
    }
    return out.text();
}

} // namespace weir::control
