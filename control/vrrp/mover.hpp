// SPDX-License-Identifier: BSD-3-Clause
// Puts the addresses of owned groups on their interfaces, takes the others off, and tells the
// neighbours. It has a thread of its own, because the kernel may make it wait (another process
// holds the routing lock, 16,000 addresses take their time) and adverts must not wait for it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "control/kernel/addresses.hpp"
#include "control/kernel/announce.hpp"
#include "control/kernel/netlink_socket.hpp"

namespace weir::control::vrrp {

using AddressList = std::shared_ptr<const std::vector<ManagedAddress>>;

// What is to be so; the latest orders replace all before.
struct Orders {
    std::vector<AddressList> owned;    // all others of kind kLeased come off
    std::vector<AddressList> announce; // of these, again what is on already
};

class Mover {
public:
    // In the network namespace of the calling thread.
    Expected<void> start();
    ~Mover() { stop(); }

    // False: the mover is just taking its orders; try again in a moment. Never waits.
    bool give(Orders& orders);

    // Carries out the last orders, then ends. May be called again.
    void stop();

    [[nodiscard]] std::vector<std::string> problems();

private:
    struct Round { // announcements that are repeated: nobody acknowledges them
        std::chrono::steady_clock::time_point due;
        std::vector<ManagedAddress> addresses;
    };

    void run();
    void carry_out(const Orders& orders);
    void announce(const std::vector<ManagedAddress>& addresses);
    void announce_now(const std::vector<ManagedAddress>& addresses);
    void announce_what_is_due();

    std::mutex mutex_;
    std::condition_variable wake_;
    Orders orders_;       // under the mutex, like the two below
    bool fresh_ = false;  // orders have come since the last look
    bool ending_ = false; //
    std::vector<std::string> problems_;

    std::optional<NetlinkSocket> socket_; // from here on the thread's own
    std::vector<Round> rounds_;
    std::set<ManagedAddress> on_;
    std::thread thread_;
};

} // namespace weir::control::vrrp
