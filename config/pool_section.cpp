// SPDX-License-Identifier: BSD-3-Clause
// Reads [pool.NAME], its backends and [pool.NAME.health].
#include <algorithm>

#include "config/draft.hpp"
#include "config/limits.hpp"
#include "config/reader.hpp"

namespace weir::config {
namespace {

constexpr std::uint32_t kLargestMaglev = WEIR_MAGLEV_MAX_SIZE;
constexpr Duration kShortestInterval{10};
constexpr Duration kLongestInterval = std::chrono::hours(1);
// Worker tables stamp in 16-bit seconds, as for the idle timeouts of connections.
constexpr std::chrono::seconds kLongestPersistence = std::chrono::hours(18);
constexpr std::int64_t kMostConnections = 1'000'000'000;

bool is_prime(std::uint32_t number) {
    for (std::uint32_t divisor = 2; divisor * divisor <= number; ++divisor) {
        if (number % divisor == 0) {
            return false;
        }
    }
    return number >= 2;
}

std::uint32_t nearest_prime(std::uint32_t number) {
    for (std::uint32_t gap = 0;; ++gap) {
        if (number + gap <= kLargestMaglev && is_prime(number + gap)) {
            return number + gap;
        }
        if (is_prime(number - gap)) {
            return number - gap;
        }
    }
}

void read_maglev_size(const Section& section, PoolConfig& pool) {
    std::uint32_t size = 0;
    // The least is what still gives a handful of backends shares within a few percent.
    if (section.integer("maglev_size", size, 251, kLargestMaglev) != Read::kDone) {
        return;
    }
    if (!is_prime(size)) {
        section.diagnostics().add(
            section.value_span("maglev_size"), std::to_string(size) + " is not a prime number",
            "a Maglev table needs a prime size, such as " + std::to_string(nearest_prime(size)));
        return;
    }
    pool.maglev_size = size;
}

bool is_backend_name(std::string_view text) {
    return !text.empty() && text.size() <= kMaxNameLength &&
           std::all_of(text.begin(), text.end(),
                       [](char c) { return c > 0x20 && c < 0x7f && c != '/' && c != '"'; });
}

const char* unusable_as_backend(const net::IpAddress& address) {
    if (address.is_unspecified() || address.is_multicast() || address.is_broadcast() ||
        address.is_loopback()) {
        return "cannot be the address of a backend";
    }
    if (address.is_v6() && address.is_link_local()) {
        return "is link-local: it means a different host on every link";
    }
    return nullptr;
}

bool read_backend_address(const Section& section, BackendConfig& backend) {
    std::string written;
    if (!section.require("address", "write one, such as { address = \"10.0.0.11:8080\" }") ||
        section.text("address", written, 128) != Read::kDone) {
        return false;
    }
    const Span span = section.value_span("address");
    const auto endpoint = net::Endpoint::parse(written);
    if (!endpoint) {
        section.diagnostics().add(
            span, endpoint.error().sentence,
            "names are not looked up; the port may be left out to use the VIP's");
        return false;
    }
    if (const char* why = unusable_as_backend(endpoint->address)) {
        section.diagnostics().add(span, quoted(written) + " " + why,
                                  "give the address of the server");
        return false;
    }
    backend.address = *endpoint;
    backend.name = endpoint->to_string();
    return true;
}

void read_backend(const Node& node, const std::string& pool_title, PoolConfig& pool,
                  PoolSource& source, Diagnostics& diagnostics) {
    const std::string title = "a backend of " + pool_title;
    if (!expect_kind(node, Kind::kTable, title, diagnostics)) {
        source.backends_refused = true;
        return;
    }
    const Section section(node, title, "pool.NAME.backends", diagnostics);
    BackendConfig backend;
    backend.max_connections = source.max_connections;
    const bool address_read = read_backend_address(section, backend);
    std::string name;
    if (section.text("name", name, 4096) == Read::kDone) {
        if (is_backend_name(name)) {
            backend.name = name;
        } else {
            diagnostics.add(section.value_span("name"),
                            quoted(name) + " cannot be the name of a backend",
                            "use at most 63 printable characters without blanks, \"/\" and quotes");
        }
    }
    section.integer("weight", backend.weight, 0, 65535);
    section.boolean("backup", backend.backup);
    section.integer("max_connections", backend.max_connections, 0, kMostConnections);
    if (!address_read) {
        source.backends_refused = true;
        return;
    }
    pool.backends.push_back(std::move(backend));
    source.backends.push_back(
        {section.value_span("address"), section.value_span("name"), section.value_span("backup")});
}

void read_backends(const Section& section, PoolConfig& pool, PoolSource& source) {
    const std::string hint = "list them: backends = [ { address = \"10.0.0.11:8080\" } ]";
    if (!section.require("backends", hint)) {
        source.backends_refused = true;
        return;
    }
    const Node* list = section.list("backends");
    if (list == nullptr) {
        source.backends_refused = true;
        return;
    }
    if (list->items.empty()) {
        section.diagnostics().add(list->value, section.title() + " has no backends", hint);
        source.backends_refused = true;
        return;
    }
    if (list->items.size() > kMaxBackendsPerPool) {
        section.diagnostics().add(list->value, "too many backends in one pool",
                                  "use at most " + std::to_string(kMaxBackendsPerPool));
        source.backends_refused = true;
        return;
    }
    for (const Node& item : list->items) {
        read_backend(item, section.title(), pool, source, section.diagnostics());
    }
}

void read_persistence(const Node& table, const std::string& pool_name, PoolConfig& pool,
                      Diagnostics& diagnostics) {
    const Section section(table, "[pool." + pool_name + ".persistence]", "pool.NAME.persistence",
                          diagnostics);
    PersistenceConfig persistence;
    const bool timeout_read =
        section.require("timeout", "write how long a client is remembered, such as \"10m\"") &&
        section.seconds("timeout", persistence.timeout, std::chrono::seconds(1),
                        kLongestPersistence, "persistence timeouts") == Read::kDone;
    const Read v4 = section.integer("prefix_v4", persistence.prefix_v4, 1, 32);
    const Read v6 = section.integer("prefix_v6", persistence.prefix_v6, 1, 128);
    if (timeout_read && v4 != Read::kRefused && v6 != Read::kRefused) {
        pool.persistence = persistence;
    }
}

bool read_status(const Node& node, std::vector<StatusRange>& ranges, Diagnostics& diagnostics) {
    if (node.kind == Kind::kInteger) {
        if (!integer_within(node, "an HTTP status", 100, 599, diagnostics)) {
            return false;
        }
        const auto status = static_cast<std::uint16_t>(node.integer);
        ranges.push_back({status, status});
        return true;
    }
    if (node.kind == Kind::kString) {
        const std::string_view text = node.text;
        const std::size_t dash = std::min(text.find('-'), text.size());
        const auto first = net::parse_decimal(text.substr(0, dash), 599);
        const auto last =
            dash == text.size() ? first : net::parse_decimal(text.substr(dash + 1), 599);
        if (first && last && *first >= 100 && *first <= *last) {
            ranges.push_back(
                {static_cast<std::uint16_t>(*first), static_cast<std::uint16_t>(*last)});
            return true;
        }
    }
    diagnostics.add(node.value,
                    printable(diagnostics.source().slice(node.value), 80) + " is no HTTP status",
                    "write a status such as 200, a range such as \"200-399\", or a list of these");
    return false;
}

void read_expect_status(const Section& section, HealthConfig& health) {
    const Node* node = section.find("expect_status");
    if (node == nullptr) {
        return;
    }
    if (node->kind == Kind::kArray && (node->items.empty() || node->items.size() > 64)) {
        section.diagnostics().add(node->value, "\"expect_status\" must list 1 to 64 statuses",
                                  "leave it out to accept 200 to 399");
        return;
    }
    std::vector<StatusRange> ranges;
    bool all_read = true;
    if (node->kind == Kind::kArray) {
        for (const Node& item : node->items) {
            all_read = read_status(item, ranges, section.diagnostics()) && all_read;
        }
    } else {
        all_read = read_status(*node, ranges, section.diagnostics());
    }
    if (all_read) {
        health.expect_status = ranges;
    }
}

// A request line and a Host header are one line each: a blank would end the word too early.
bool is_one_word(std::string_view text) {
    return std::all_of(text.begin(), text.end(), [](char c) { return c > 0x20 && c < 0x7f; });
}

void read_http(const Section& section, HealthConfig& health) {
    if (section.text("path", health.path, 1024) == Read::kDone &&
        (!health.path.starts_with('/') || !is_one_word(health.path))) {
        section.diagnostics().add(section.value_span("path"),
                                  quoted(health.path) + " is not a path",
                                  "begin with \"/\" and write blanks as \"%20\"");
    }
    if (section.text("host", health.host, 255) == Read::kDone &&
        (health.host.empty() || !is_one_word(health.host))) {
        section.diagnostics().add(section.value_span("host"),
                                  quoted(health.host) + " is not a host name",
                                  "write what the Host header should say, such as \"example.org\"");
    }
    read_expect_status(section, health);
    section.text("expect_body", health.expect_body, 1024);
    if (health.type == HealthType::kHttp || health.type == HealthType::kNone) {
        return;
    }
    for (const char* key : {"path", "host", "expect_status", "expect_body"}) {
        if (section.find(key) != nullptr) {
            section.diagnostics().add(section.key_span(key),
                                      "\"" + std::string(key) +
                                          "\" means nothing to a health check of type " +
                                          quoted(to_string(health.type)),
                                      "set type = \"http\", or remove it");
        }
    }
}

void read_health(const Node& table, const std::string& pool_name, PoolConfig& pool,
                 PoolSource& source, Diagnostics& diagnostics) {
    const Section section(table, "[pool." + pool_name + ".health]", "pool.NAME.health",
                          diagnostics);
    HealthConfig& health = pool.health;
    source.health = section.title_span();
    source.health_type_given = section.find("type") != nullptr;
    const Read type = section.word("type", health.type);
    source.health_refused = type == Read::kRefused;
    if (!source.health_refused) { // without a type, which keys belong is not known
        read_http(section, health);
    }
    std::uint16_t port = 0;
    const Read port_read = section.integer("port", port, 1, 65535);
    if (port_read == Read::kDone) {
        health.port = port;
    }
    source.health_refused = source.health_refused || port_read == Read::kRefused;
    const Read interval =
        section.duration("interval", health.interval, kShortestInterval, kLongestInterval);
    const Read timeout = section.duration("timeout", health.timeout, Duration(1), kLongestInterval);
    if (interval != Read::kRefused && timeout != Read::kRefused &&
        health.timeout > health.interval) {
        const char* key = timeout == Read::kDone ? "timeout" : "interval";
        diagnostics.add(section.value_span(key),
                        "the timeout (" + to_string(health.timeout) +
                            ") is longer than the interval (" + to_string(health.interval) + ")",
                        "a check must end before the next begins");
    }
    section.integer("rise", health.rise, 1, 1000);
    section.integer("fall", health.fall, 1, 1000);
}

void read_pool(const std::string& name, const Node& node, Draft& draft) {
    Diagnostics& diagnostics = draft.diagnostics;
    const std::string shown = printable(name, 64);
    if (!expect_kind(node, Kind::kTable, "[pool." + shown + "]", diagnostics)) {
        return;
    }
    if (!is_name(name)) {
        diagnostics.add(node.key, quoted(name) + " cannot be the name of a pool",
                        "use at most 63 letters, digits, \".\", \"_\" and \"-\"");
    }
    const Section section(node, "[pool." + shown + "]", "pool.NAME", diagnostics);
    PoolConfig pool;
    PoolSource source;
    pool.name = name;
    source.title = node.key;
    source.health = node.key;
    section.word("scheduler", pool.scheduler);
    read_maglev_size(section, pool);
    section.integer("max_connections", source.max_connections, 0, kMostConnections);
    read_backends(section, pool, source);
    if (const Node* persistence = section.table("persistence")) {
        read_persistence(*persistence, shown, pool, diagnostics);
    }
    source.persistence_refused = section.find("persistence") != nullptr && !pool.persistence;
    section.integer("panic_threshold", pool.panic_threshold_percent, 0, 100);
    if (const Node* health = section.table("health")) {
        read_health(*health, shown, pool, source, diagnostics);
    }
    draft.config.pools.push_back(std::move(pool));
    draft.pools.push_back(std::move(source));
}

} // namespace

void read_pools(const Node& root, Draft& draft) {
    const Node* tables = root.find("pool");
    if (tables == nullptr || !expect_kind(*tables, Kind::kTable, "\"pool\"", draft.diagnostics)) {
        return;
    }
    std::size_t backends = 0;
    for (const auto& [name, node] : tables->members) {
        if (draft.pools.size() >= kMaxPools) {
            draft.diagnostics.add(node.key, "too many pools",
                                  "use at most " + std::to_string(kMaxPools));
            return;
        }
        const std::size_t read_before = draft.pools.size();
        read_pool(name, node, draft);
        backends +=
            draft.pools.size() > read_before ? draft.config.pools.back().backends.size() : 0;
        if (backends > kMaxBackends) {
            draft.diagnostics.add(node.key, "too many backends in all pools together",
                                  "use at most " + std::to_string(kMaxBackends));
            return;
        }
    }
}

} // namespace weir::config
