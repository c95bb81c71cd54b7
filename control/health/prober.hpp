// SPDX-License-Identifier: BSD-3-Clause
// Probes every backend of every pool on its own schedule and keeps their health. One io_context,
// one thread: everything here is called from, and calls back in, that thread.
//
// A new set of targets keeps the health of what stays. A backend is the same when pool, address,
// port and health settings are; when only the settings changed, its status is the starting point
// of a new count, so that editing an interval neither revives nor removes anybody.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "config/config.hpp"
#include "control/health/health_state.hpp"
#include "control/health/pool_alarm.hpp"

namespace weir::control {

struct ProbeTarget {
    std::string pool;
    std::string name; // of the backend, for messages
    net::Endpoint backend;
    uint16_t probe_port = 0;
    config::HealthConfig health;
    std::string device; // probe through this interface only; empty: as the kernel routes
    // For a backend that was not probed before: what the running forwarding state says of it.
    HealthStatus initial = HealthStatus::kChecking;
};

struct BackendHealth {
    std::string pool;
    std::string name;
    net::Endpoint backend;
    HealthStatus status = HealthStatus::kChecking;
    std::string reason;
    std::string last_result;
    Instant last_change{};
    std::optional<Instant> last_sample;
    uint32_t consecutive_successes = 0;
    uint32_t consecutive_failures = 0;
    uint64_t samples = 0;
    uint64_t discarded = 0;    // late, out of order or inconclusive
    Milliseconds last_took{0}; // how long the last sample took
    std::optional<Instant> held_until;

    [[nodiscard]] bool usable() const { return status != HealthStatus::kDown; }
};

class Prober {
public:
    using OnChange = std::function<void(const BackendHealth&)>;

    Prober(boost::asio::io_context& io, OnChange on_change);
    ~Prober(); // stops; no callback afterwards
    Prober(const Prober&) = delete;
    Prober& operator=(const Prober&) = delete;

    void set_targets(const std::vector<ProbeTarget>& targets);
    void stop();

    [[nodiscard]] std::vector<BackendHealth> backends() const; // by pool, then address
    [[nodiscard]] std::optional<BackendHealth> find(const std::string& pool,
                                                    const net::Endpoint& backend) const;
    // Counts of one pool, and the alarm; zeros for a pool that has no targets.
    [[nodiscard]] PoolCounts counts(const std::string& pool);

private:
    class Task;
    using Key = std::pair<std::string, net::Endpoint>;

    void changed(const Task& task);

    boost::asio::io_context& io_;
    OnChange on_change_;
    std::map<Key, std::shared_ptr<Task>> tasks_;
    std::map<std::string, PoolAlarm> alarms_;
};

} // namespace weir::control
