// SPDX-License-Identifier: BSD-3-Clause
// The VRRP state machine (RFC 9568 section 6) of one group as a pure function:
// (settings, machine, event, now) -> (machine, actions). Times are microseconds of a monotonic
// clock. No I/O and no threads: whoever runs it feeds it what was heard before it feeds it time,
// so that an advert that lies in the socket counts before the timer it would have stopped, and says
// how long it lay there: the owner's silence begins when it was received, not when it was read.
//
// Beyond the RFC:
// - preempt_delay: how long a lower-priority owner is left alone once it has been heard.
// - Lateness: a node whose timer is served late (starved, stopped, a paused virtual machine) does
//   not believe its own timer. A backup listens for one more interval before it promotes itself; an
//   owner that was away for as long as its peers wait knows that it has been replaced, and steps
//   down before it sends anything.
// - An owner that hears a lower priority asserts itself at once (RFC 9568 section 6.4.3), but not
//   more often than once an interval, and announces its addresses again: somebody else did.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>
#include <variant>

#include "config/address.hpp"
#include "control/vrrp/packet.hpp"

namespace weir::control::vrrp {

using Moment = std::chrono::time_point<std::chrono::steady_clock, Micros>;

struct Settings {
    Version version = Version::k3;
    std::uint8_t priority = 100; // 255: owns its addresses for good
    Micros interval{30'000};
    bool preempt = true;
    Micros preempt_delay{};
    net::IpAddress source; // breaks ties between equal priorities
};

enum class State : std::uint8_t { kInit, kBackup, kOwner }; // the RFC's Initialize, Backup, Active

std::string_view to_string(State state);

struct Machine {
    State state = State::kInit;
    std::uint8_t priority = 0; // in force: the configured one less what tracked facts take away
    Micros owner_interval{};   // the RFC's Active_Adver_Interval
    std::optional<Moment> timer;
    std::optional<Moment> lower_since;  // backup: since when a lower-priority owner is heard
    std::optional<Moment> assert_after; // owner: the next assertion is not before
    bool listening = false;             // backup: it was late and listens once more
    bool released = false;              // backup: the owner said that it gives up
    friend bool operator==(const Machine&, const Machine&) = default;
};

struct Startup {};  // the node can forward, the link is there
struct Shutdown {}; // or no longer
struct Tick {};     // time has passed; cheap and harmless at any time
struct Heard {      // a valid advert
    std::uint8_t priority = 0;
    Micros interval{};
    net::IpAddress source;
    Micros age{}; // since it was received
};
struct SetPriority { // tracked facts have changed it; never 0
    std::uint8_t priority = 0;
};
using Event = std::variant<Startup, Shutdown, Tick, Heard, SetPriority>;

enum class Why : std::uint8_t {
    kNone,
    kStarted,
    kStopped,
    kSilence,        // the owner was not heard for the down interval
    kReleased,       // the owner gave up by itself, and nobody else took over
    kHigherPriority, // a better owner is there
    kSameHigherAddress,
    kLate, // we were away for too long
};

std::string_view to_string(Why why);

struct Actions {
    std::optional<std::uint8_t> send; // an advert with this priority
    bool acquire = false;             // put the addresses on, announce them
    bool release = false;             // take them off
    bool announce = false;            // announce again what is on already
    bool listening_once_more = false; // would have promoted itself, but was late
    Why why = Why::kNone;             // of a change of state
    friend bool operator==(const Actions&, const Actions&) = default;
};

struct Step {
    Machine machine;
    Actions actions;
};

// 6.1: Skew_Time and Active_Down_Interval. In version 2 the skew is a part of a second.
Micros skew(const Settings& settings, std::uint8_t priority, Micros owner_interval);
Micros down_interval(const Settings& settings, std::uint8_t priority, Micros owner_interval);

// An owner's lease on its addresses, from before each advert on: over half an interval before the
// quickest possible peer takes over. An owner that comes a little late finds it lapsed and goes on;
// meanwhile the neighbours' questions were not answered.
Micros lease_time(const Settings& settings);

Step step(const Settings& settings, Machine machine, const Event& event, Moment now);

} // namespace weir::control::vrrp
