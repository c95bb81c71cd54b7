// SPDX-License-Identifier: BSD-3-Clause
// The API's answers as pure functions of a snapshot; docs/api.md describes each. Called by the
// routes, in the event loop's thread.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <optional>
#include <string>

#include "config/expected.hpp"
#include "control/api/snapshot.hpp"
#include "control/event_log.hpp"
#include "control/reload.hpp"
#include "dataplane/lb/counters.hpp"

namespace weir::control {

nlohmann::json status_view(const Snapshot& snapshot);
nlohmann::json vips_view(const Snapshot& snapshot);
std::optional<nlohmann::json> vip_view(const Snapshot& snapshot, const std::string& name);
nlohmann::json pools_view(const Snapshot& snapshot);
std::optional<nlohmann::json> pool_view(const Snapshot& snapshot, const std::string& name);
nlohmann::json counters_view(const Snapshot& snapshot);
nlohmann::json drops_view(const Snapshot& snapshot);
nlohmann::json apply_view(const ReloadDecision& decision, std::uint64_t generation);

// null with static ownership.
nlohmann::json vrrp_view(const Snapshot& snapshot);
// The events after the one with number `after`, oldest first.
nlohmann::json events_view(const EventLog& log, std::uint64_t after);

// `packet`: "tcp A:P B:P". An error: it cannot be read, or nothing runs.
Expected<nlohmann::json> explain_view(const Snapshot& snapshot, const std::string& packet);

std::string metrics_text(const Snapshot& snapshot);

// --- parts that several views use ----------------------------------------------------------------

struct TotalCounters {
    std::vector<std::optional<lb::WorkerCounters>> blocks; // nothing: its writer stands still
    lb::Books books;
    bool balanced = true;
    bool complete = true;
};
TotalCounters total_counters(const Snapshot& snapshot);

nlohmann::json books_json(const lb::Books& books, bool balanced);

// The row of the VIP of this name, or which names there are.
// REQUIRES: snapshot.compiled.
Expected<std::uint32_t> vip_row(const Snapshot& snapshot, const std::string& name);

// Sums over all blocks of the counters of a row.
lb::VipCounters vip_counters(const Snapshot& snapshot, std::uint32_t row);
lb::BackendCounters backend_counters(const Snapshot& snapshot, std::uint32_t row);

// up | checking | down | draining | disabled
std::string backend_state(const Snapshot& snapshot, std::size_t pool, std::size_t backend);

struct UpCount {
    std::size_t up = 0;
    std::size_t total = 0;
};
UpCount count_up(const Snapshot& snapshot, std::size_t pool);

// By row of the live generation: names of the configuration, or of the row itself when it has left.
std::string vip_name(const Snapshot& snapshot, std::uint32_t row);
struct BackendName {
    std::string pool;
    std::string name;
    std::string address;
    std::string state;
};
BackendName backend_name(const Snapshot& snapshot, std::uint32_t row);

net::Endpoint endpoint_of(const weir_address& address, weir_be16 port);

} // namespace weir::control
