// SPDX-License-Identifier: BSD-3-Clause
// Plays runs of the model (vrrp.pml, simulated by check.py) on the real state machine: after each
// event both must be in the same state, with the same timer, having sent the same priority.
//   vrrp_replay PREEMPT EQUAL < TRACE
// Exit code 0 and the number of events, or 1 and the first that differs.
#include <array>
#include <cstdlib>
#include <iostream>
#include <sstream>
#include <string>

#include "control/vrrp/machine.hpp"

namespace {

using namespace weir::control::vrrp;

constexpr Micros kInterval{40'000};
constexpr Micros kUnit = kInterval / 4;
constexpr int kNothing = -1;

struct Outcome { // as the model writes it
    int state = 0;
    int timer = 0;
    int sent = kNothing;
    friend bool operator==(const Outcome&, const Outcome&) = default;
};

std::ostream& operator<<(std::ostream& out, const Outcome& outcome) {
    return out << "state " << outcome.state << ", timer " << outcome.timer << ", sent "
               << outcome.sent;
}

struct Player {
    bool preempt = true;
    bool equal = false;
    std::array<Machine, 3> machines{};
    Moment now{std::chrono::hours{1}};

    Settings settings_of(std::size_t node) const {
        weir::net::IpAddress::Bytes address{};
        address[15] = static_cast<std::uint8_t>(1 + node); // the model's tie-breaker
        return {.version = Version::k3,
                .priority = static_cast<std::uint8_t>(equal ? 128 : 192 - 64 * node),
                .interval = kInterval,
                .preempt = preempt,
                .preempt_delay = {},
                .source = weir::net::IpAddress::from_bytes(address)};
    }

    Outcome give(std::size_t node, const Event& event) {
        Machine& machine = machines.at(node);
        const Step result = step(settings_of(node), machine, event, now);
        machine = result.machine;
        Outcome outcome{.state = static_cast<int>(machine.state)};
        if (machine.timer)
            outcome.timer = static_cast<int>((*machine.timer - now) / kUnit);
        if (result.actions.send)
            outcome.sent = *result.actions.send;
        return outcome;
    }

    Outcome play(const std::string& what, std::size_t node, std::size_t other, int priority) {
        if (what == "start")
            return give(node, Startup{});
        if (what == "stop")
            return give(node, Shutdown{});
        if (what == "tick")
            return give(node, Tick{});
        if (what == "heard")
            return give(node, Heard{static_cast<std::uint8_t>(priority), kInterval,
                                    settings_of(other).source});
        machines.at(node) = Machine{}; // crash
        return {};
    }
};

} // namespace

int main(int argc, char** argv) {
    if (argc != 3)
        return 2;
    Player player{.preempt = std::string(argv[1]) == "1", .equal = std::string(argv[2]) == "1"};
    std::size_t events = 0;
    for (std::string line; std::getline(std::cin, line);) {
        std::istringstream words(line);
        std::string word;
        std::string what;
        words >> word >> what;
        if (word != "trace")
            continue;
        if (what == "advance") {
            player.now += kUnit;
            continue;
        }
        std::size_t node = 0;
        std::size_t other = 0;
        int priority = 0;
        Outcome wanted;
        words >> node >> other >> priority >> word >> wanted.state >> wanted.timer >> wanted.sent;
        const Outcome got = player.play(what, node, other, priority);
        events++;
        if (!words || node >= player.machines.size() || !(got == wanted)) {
            std::cout << "event " << events << ": " << line << "\n  the model: " << wanted
                      << "\n  machine.cpp: " << got << "\n";
            return 1;
        }
    }
    std::cout << events << "\n";
    return 0;
}
