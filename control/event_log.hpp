// SPDX-License-Identifier: BSD-3-Clause
// What happened on this node, for `weirctl events`: the last kMost events, each with a number that
// only grows while control runs. One thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <string>
#include <utility>

namespace weir::control {

struct LoggedEvent {
    std::uint64_t number = 0; // from 1
    std::chrono::system_clock::time_point at;
    std::string kind;    // "ownership", "health", "reload", "engine"
    std::string subject; // the group, pool/backend, generation, ...
    std::string text;
};

class EventLog {
public:
    static constexpr std::size_t kMost = 1'000;

    void add(std::string kind, std::string subject, std::string text,
             std::chrono::system_clock::time_point at = std::chrono::system_clock::now()) {
        if (events_.size() == kMost)
            events_.pop_front();
        events_.push_back({++last_, at, std::move(kind), std::move(subject), std::move(text)});
    }

    [[nodiscard]] const std::deque<LoggedEvent>& events() const { return events_; }
    [[nodiscard]] std::uint64_t last() const { return last_; }

private:
    std::deque<LoggedEvent> events_;
    std::uint64_t last_ = 0;
};

} // namespace weir::control
