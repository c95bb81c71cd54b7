// SPDX-License-Identifier: BSD-3-Clause
// What happened, and who owns what: /v1/events, and the part of /v1/status about VRRP.
#include <nlohmann/json.hpp>

#include <cstdio>
#include <ctime>

#include "control/api/views.hpp"

namespace weir::control {
namespace {

using nlohmann::json;

std::string rfc3339(std::chrono::system_clock::time_point at) {
    const auto since = at.time_since_epoch();
    const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
    const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(since - seconds);
    const std::time_t whole = seconds.count();
    std::tm utc{};
    ::gmtime_r(&whole, &utc);
    char text[64];
    const std::size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
    std::snprintf(text + length, sizeof(text) - length, ".%03dZ", static_cast<int>(ms.count()));
    return text;
}

} // namespace

json vrrp_view(const Snapshot& snapshot) {
    if (snapshot.config.ownership != config::OwnershipMode::kVrrp)
        return nullptr;
    json groups = json::array();
    for (const vrrp::GroupStatus& group : snapshot.election.groups)
        groups.push_back(
            {{"name", group.name},
             {"state", vrrp::to_string(group.state)},
             {"why", group.why},
             {"priority", group.priority},
             {"source", group.source ? group.source->to_string() : ""},
             {"owner", group.owner ? group.owner->to_string() : ""},
             {"owner_priority", group.owner_priority},
             {"down_interval_ms", static_cast<double>(group.down_interval.count()) / 1000.0},
             {"sent", group.sent},
             {"received", group.received},
             {"transitions", group.transitions},
             {"late", group.late}});
    json rejected = json::object();
    for (std::size_t i = 0; i < vrrp::kRejects; i++)
        rejected[std::string(vrrp::to_string(static_cast<vrrp::Reject>(i)))] =
            snapshot.election.rejected[i];
    return {{"groups", std::move(groups)},
            {"rejected", std::move(rejected)},
            {"real_time", snapshot.election.real_time}};
}

json events_view(const EventLog& log, std::uint64_t after) {
    json events = json::array();
    for (const LoggedEvent& event : log.events())
        if (event.number > after)
            events.push_back({{"number", event.number},
                              {"time", rfc3339(event.at)},
                              {"kind", event.kind},
                              {"subject", event.subject},
                              {"text", event.text}});
    return {{"events", std::move(events)}, {"last", log.last()}};
}

} // namespace weir::control
