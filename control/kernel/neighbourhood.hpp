// SPDX-License-Identifier: BSD-3-Clause
// Follows the kernel's routing and neighbour tables by netlink and keeps a next hop for every
// address that somebody wants to reach. Unresolved neighbours are asked for and stale ones
// confirmed, at a bounded rate. One io_context, one thread; callbacks come in that thread.
//
// A MAC that was known stays in use while the kernel merely forgot it (kHold) or while the
// interface has no carrier (a TAP whose dataplane restarts): forwarding to the last known place
// beats not forwarding. It is given up when the neighbour was asked and did not answer.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/steady_timer.hpp>

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "control/kernel/netlink_socket.hpp"
#include "control/kernel/next_hop.hpp"

namespace weir::control {

class Neighbourhood {
public:
    using OnChange = std::function<void()>;
    using Clock = std::chrono::steady_clock;

    static constexpr std::chrono::milliseconds kTick{500};
    static constexpr std::chrono::milliseconds kRetry{1'000}; // per neighbour
    static constexpr size_t kTriggersAtOnce = 512;            // in any kRetry
    static constexpr std::chrono::seconds kHold{5};
    // Changes that come together are read together.
    static constexpr std::chrono::milliseconds kSettle{10};

    Neighbourhood(boost::asio::io_context& io, OnChange on_change);
    ~Neighbourhood();
    Neighbourhood(const Neighbourhood&) = delete;
    Neighbourhood& operator=(const Neighbourhood&) = delete;

    // Opens the sockets in the current network namespace, reads the tables once, follows them.
    Expected<void> start();
    void stop();

    // The names of our kernel-side interfaces; they need not exist yet.
    void set_interfaces(const std::vector<std::string>& names);
    void set_targets(const std::vector<net::IpAddress>& targets);

    // One entry for each target, resolved or with the reason why not.
    [[nodiscard]] const std::map<net::IpAddress, NextHop>& current() const { return current_; }
    [[nodiscard]] const KernelTables& tables() const { return tables_; }
    // How often notifications were lost, and the tables read anew for it.
    [[nodiscard]] uint64_t overruns() const { return overruns_; }

private:
    struct Channel; // what the event loop's handlers hold on to

    void wait_for_events();
    void on_events();
    void wait_for_tick();
    void schedule_read();
    void read_again();
    void refresh();
    NextHop hold_or_drop(const net::IpAddress& target, const Lookup& lookup, Clock::time_point now);
    void trigger_where_due(Clock::time_point now);

    boost::asio::io_context& io_;
    OnChange on_change_;
    std::shared_ptr<Channel> channel_; // empty while stopped
    KernelTables tables_;
    std::set<std::string> interfaces_;
    std::set<net::IpAddress> targets_;
    std::map<net::IpAddress, NextHop> current_;
    std::map<net::IpAddress, Clock::time_point> held_since_;
    std::set<NeighbourKey> wanted_; // to be resolved or confirmed
    std::map<NeighbourKey, Clock::time_point> triggered_;
    NeighbourKey last_triggered_{};
    Clock::time_point next_read_{}; // not before: reading is kept to a small share of the time
    bool read_scheduled_ = false;
    uint64_t overruns_ = 0;
};

} // namespace weir::control
