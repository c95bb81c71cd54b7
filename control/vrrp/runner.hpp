// SPDX-License-Identifier: BSD-3-Clause
// Runs the state machines of all groups on a thread of their own, with real-time priority where the
// system allows it: hears and sends adverts, renews the leases, serves timers, and gives orders to
// the mover. Nothing that probes, reloads or serves the API can delay it: what it shares with other
// threads it only tries to lock, and tries again a moment later.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "control/vrrp/machine.hpp"
#include "control/vrrp/mover.hpp"
#include "control/vrrp/replay.hpp"
#include "control/vrrp/scout.hpp"
#include "control/vrrp/wire.hpp"

namespace weir::control::vrrp {

struct Group {
    std::string name;
    std::string interface; // of the kernel
    bool v4 = true;
    std::uint8_t vrid = 0;
    Settings settings; // without the source, which is found when the interface is there
    ChecksumForm checksum = ChecksumForm::kPseudoHeader;
    std::string key;                        // empty: adverts are not signed
    std::vector<net::IpAddress> sources;    // preferred ones
    std::vector<net::IpAddress> peers;      // empty: multicast
    std::vector<net::IpAddress> advertised; //
    AddressList moves;
    // Until when (CLOCK_MONOTONIC, nanoseconds) the guard lets the kernel answer for them. Written
    // by the runner's thread only, and before every advert. Null: there is no guard.
    std::uint64_t* lease = nullptr;

    // The same virtual router: it stays in its state when the rest changes.
    [[nodiscard]] bool same_router(const Group& other) const {
        return interface == other.interface && v4 == other.v4 && vrid == other.vrid &&
               settings.version == other.settings.version;
    }
};

struct Facts {
    bool can_forward = false;
    std::map<std::string, unsigned> lower; // by group: what tracked facts take off the priority
    friend bool operator==(const Facts&, const Facts&) = default;
};

using RejectCounts = std::array<std::uint64_t, kRejects>;

struct GroupStatus {
    std::string name;
    State state = State::kInit;
    std::string why; // of the last change
    std::uint8_t priority = 0;
    std::optional<net::IpAddress> source;
    std::optional<net::IpAddress> owner; // last heard; ourselves when we are it
    std::uint8_t owner_priority = 0;
    Micros down_interval{};
    std::uint64_t sent = 0;
    std::uint64_t received = 0; // accepted ones
    std::uint64_t transitions = 0;
    std::uint64_t late = 0; // timers that were served late
    std::string problem;
};

struct Transition { // told once
    std::string group;
    State before = State::kInit;
    State after = State::kInit;
    std::string why;
    std::chrono::system_clock::time_point at;
};

struct Status {
    std::vector<GroupStatus> groups;
    RejectCounts rejected{}; // of all groups together
    bool real_time = false;  // the thread has real-time priority
};

class Runner {
public:
    Runner() = default;
    Runner(const Runner&) = delete;
    Runner& operator=(const Runner&) = delete;
    ~Runner() { stop(); }

    // In the network namespace of the calling thread.
    Expected<void> start();
    void configure(std::vector<Group> groups);
    void set_facts(const Facts& facts);
    // Releases everything, waits until it is so.
    void stop();

    [[nodiscard]] bool running() const { return thread_.joinable(); }
    [[nodiscard]] Status status();
    [[nodiscard]] std::vector<Transition> take_transitions();
    [[nodiscard]] std::vector<std::string> problems() { return mover_.problems(); }

private:
    struct Router { // a group at work
        Group group;
        Machine machine;
        Replay replay;
        std::shared_ptr<Wire> wire;
        GroupStatus seen;
    };
    using WireKey = std::pair<std::string, bool>; // interface, IPv4

    void run();
    bool take_mail();
    void reconcile(std::vector<Group> groups);
    void see(Sights sights);
    void look_after(Moment now);
    void look_after(Router& router, Moment now);
    void hear(Wire& wire, const std::string& interface, bool v4, Moment now);
    void hear(Router& router, const Received& packet, Moment now);
    Router* router_of(const std::string& interface, bool v4, std::uint8_t vrid);
    void reject(Reject reason);
    void give(Router& router, const Event& event, Moment now);
    static void renew_lease(const Router& router, bool advert, Moment now);
    void send(Router& router, std::uint8_t priority);
    void give_orders();
    void publish();
    void wait_until(Moment due);

    Mover mover_;
    Scout scout_;
    std::thread thread_;
    int wake_ = -1; // an eventfd

    std::mutex mutex_;                             // of the mail, both ways
    std::optional<std::vector<Group>> new_groups_; //
    std::optional<Facts> new_facts_;               //
    bool ending_ = false;                          //
    Status status_;                                //
    std::vector<Transition> transitions_;          //

    // The thread's own.
    std::vector<Router> routers_;
    Sights sights_;
    std::map<WireKey, std::shared_ptr<Wire>> wires_; // of the sights
    Facts facts_;
    RejectCounts rejected_{};
    std::vector<Transition> untold_;
    std::vector<AddressList> to_announce_;
    bool look_due_ = true;
    bool orders_due_ = true;
    bool publish_due_ = true;
    bool real_time_ = false;
};

} // namespace weir::control::vrrp
