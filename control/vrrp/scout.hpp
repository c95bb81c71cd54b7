// SPDX-License-Identifier: BSD-3-Clause
// Looks after what the kernel may make one wait for: which links are up, which address adverts are
// to come from, the sockets (opening and closing one takes the routing lock, which somebody who
// moves 16,000 addresses holds for long). It has a thread of its own, because adverts must not wait
// for any of it; the runner takes what it has seen.
#pragma once

#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "control/vrrp/mover.hpp"
#include "control/vrrp/wire.hpp"

namespace weir::control::vrrp {

struct Station { // what a group wants to know of
    std::string interface;
    bool v4 = true;
    std::vector<net::IpAddress> sources; // wanted ones; empty: any that does not move
    AddressList moves;
};

struct Sight { // what there is of it
    std::string interface;
    bool v4 = true;
    bool running = false; // the link
    std::optional<net::IpAddress> source;
    std::shared_ptr<Wire> wire;
    std::string problem;
    friend bool operator==(const Sight&, const Sight&) = default;
};

using Sights = std::map<std::string, Sight>; // by group

class Scout {
public:
    // In the network namespace of the calling thread. `wake`, an eventfd, is written when there is
    // something new to see.
    void start(int wake);
    void stop();
    ~Scout() { stop(); }

    void configure(std::map<std::string, Station> stations);

    // What is new since the last call; nothing also when the scout is just writing it (it wakes
    // again when it has). Never waits.
    std::optional<Sights> take();

private:
    using WireKey = std::pair<std::string, bool>; // interface, IPv4

    void run();
    Sights look(const std::map<std::string, Station>& stations);
    Sight look_from(const Station& station);
    std::shared_ptr<Wire> wire_on(const WireKey& key, int ifindex, std::string& problem);
    void close_unused(const std::map<std::string, Station>& stations);

    std::mutex mutex_;
    std::condition_variable changed_;
    std::map<std::string, Station> stations_; // under the mutex, like the four below
    std::uint64_t asked_ = 0;                 // how often they were changed
    Sights sights_;
    bool fresh_ = false;
    bool ending_ = false;

    std::map<std::string, LinkState> links_; // from here on the thread's own
    PresentOn present_;
    int looks_ = 0; // since the addresses were read
    bool reads_due_ = true;
    bool some_lacks_source_ = false;
    std::map<WireKey, std::shared_ptr<Wire>> wires_;
    std::vector<std::shared_ptr<Wire>> closing_; // the runner may still hold them
    int wake_ = -1;
    std::thread thread_;
};

} // namespace weir::control::vrrp
