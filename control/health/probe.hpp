// SPDX-License-Identifier: BSD-3-Clause
// One sample of one backend: connects, asks what the pool's health settings say, and gives one
// verdict within the timeout. Runs in the event loop; every size and time is bounded, whatever the
// backend answers.
//
// A lost packet is not a dead backend: as long as nothing has connected, another attempt joins at
// a third and at two thirds of the timeout, because the kernel's own SYN retransmission (1 s) comes
// too late for usual timeouts. The first attempt with an answer, good or bad, decides.
#pragma once

#include <utility> // Boost 1.74's awaitable.hpp uses std::exchange without it

#include <boost/asio/awaitable.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/steady_timer.hpp>

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/config.hpp"

namespace weir::control {

struct ProbeSpec {
    net::IpAddress address;
    uint16_t port = 0;
    std::string device; // SO_BINDTODEVICE; empty: the interface that the routes say
    config::HealthConfig health;
};

enum class ProbeOutcome : uint8_t {
    kSuccess,
    kFailure,
    kInconclusive // this host's own trouble (descriptors, memory, ports): says nothing
};

struct ProbeResult {
    ProbeOutcome outcome = ProbeOutcome::kInconclusive;
    std::string text;
};

// The health types that a Probe can run.
bool probe_available(config::HealthType type);

class Probe : public std::enable_shared_from_this<Probe> {
public:
    static constexpr int kAttempts = 3;

    Probe(boost::asio::io_context& io, ProbeSpec spec);

    // Once per object. REQUIRES: held by a shared_ptr, probe_available(spec.health.type).
    boost::asio::awaitable<ProbeResult> run();
    // Makes run() return soon; its result is meaningless then.
    void abort();

private:
    using Socket = boost::asio::ip::tcp::socket;

    void start_attempt();
    static boost::asio::awaitable<void> attempt(std::shared_ptr<Probe> self,
                                                std::shared_ptr<Socket> socket);
    void finish(ProbeResult result);
    ProbeResult timed_out() const;

    boost::asio::io_context& io_;
    ProbeSpec spec_;
    boost::asio::steady_timer timer_;
    std::vector<std::shared_ptr<Socket>> sockets_; // one per attempt, closed when decided
    std::optional<ProbeResult> result_;
    bool connected_ = false;
};

} // namespace weir::control
