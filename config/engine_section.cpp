// SPDX-License-Identifier: BSD-3-Clause
// Reads [node], [engine], [api] and [cluster].
#include <algorithm>

#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

constexpr std::int64_t kHighestCore = 1023;
constexpr std::int64_t kHighestPps = 10'000'000;

void read_workers(const Section& section, EngineConfig& engine) {
    const Node* node = section.find("workers");
    if (node == nullptr || (node->kind == Kind::kString && node->text == "auto")) {
        return;
    }
    Diagnostics& diagnostics = section.diagnostics();
    if (node->kind != Kind::kArray || node->items.empty()) {
        diagnostics.add(node->value, "\"workers\" is neither \"auto\" nor a list of cores",
                        "write \"auto\", or the cores to use, such as [2, 3]");
        return;
    }
    if (node->items.size() > kMaxWorkers) {
        diagnostics.add(node->value, "too many workers",
                        "use at most " + std::to_string(kMaxWorkers) + " cores");
        return;
    }
    for (const Node& item : node->items) {
        if (!integer_within(item, "a core in \"workers\"", 0, kHighestCore, diagnostics)) {
            continue;
        }
        const auto core = static_cast<unsigned>(item.integer);
        if (std::find(engine.workers.begin(), engine.workers.end(), core) != engine.workers.end()) {
            diagnostics.add(item.value, "core " + std::to_string(core) + " is listed twice",
                            "each worker needs a core of its own");
            continue;
        }
        engine.workers.push_back(core);
    }
}

void read_engine(const Node& table, Draft& draft) {
    const Section section(table, "[engine]", "engine", draft.diagnostics);
    EngineConfig& engine = draft.config.engine;
    section.word("mode", engine.mode);
    read_workers(section, engine);
    section.word("idle", engine.idle);
    section.integer("connections", engine.connections, 1024, 1 << 28);
    section.word("hugepages", engine.hugepages);
    section.seconds("reset_grace", engine.reset_grace, std::chrono::seconds(0),
                    std::chrono::hours(1), "grace periods");
    section.integer("answers_pps", engine.answers_pps, 0, kHighestPps);
    section.integer("icmp_pps", engine.icmp_pps, 0, kHighestPps);
}

void read_api(const Node& table, Draft& draft) {
    const Section section(table, "[api]", "api", draft.diagnostics);
    std::string written;
    if (section.text("listen", written, 128) != Read::kDone) {
        return;
    }
    const Span span = section.value_span("listen");
    const auto endpoint = net::Endpoint::parse(written);
    if (!endpoint) {
        draft.diagnostics.add(span, endpoint.error().sentence,
                              "write an address and a port, such as \"127.0.0.1:9640\"");
    } else if (!endpoint->port) {
        draft.diagnostics.add(span, quoted(written) + " has no port",
                              "write it as \"" +
                                  net::Endpoint{endpoint->address, 9640}.to_string() + "\"");
    } else {
        draft.config.api_listen = *endpoint;
    }
}

} // namespace

void read_node_wide(const Node& root, Draft& draft) {
    const Section top(root, "the configuration", "", draft.diagnostics);
    if (const Node* node = top.table("node")) {
        const Section section(*node, "[node]", "node", draft.diagnostics);
        section.name("name", draft.config.node.name);
    }
    if (const Node* engine = top.table("engine")) {
        read_engine(*engine, draft);
    }
    if (const Node* api = top.table("api")) {
        read_api(*api, draft);
    }
    if (const Node* cluster = top.table("cluster")) {
        const Section section(*cluster, "[cluster]", "cluster", draft.diagnostics);
        section.text("hash_key_file", draft.config.hash_key_file, 4096);
    }
}

} // namespace weir::config
