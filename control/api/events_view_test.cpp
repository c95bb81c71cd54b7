// SPDX-License-Identifier: BSD-3-Clause
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "control/api/views.hpp"

namespace weir::control {
namespace {

TEST(EventsView, OldestFirstWithTheTimeInUtc) {
    EventLog log;
    log.add("ownership", "main", "backup -> owner: no owner was heard",
            std::chrono::system_clock::time_point{std::chrono::milliseconds{1'500}});
    log.add("engine", "weir-dataplane", "is gone");
    const auto view = events_view(log, 0);
    ASSERT_EQ(view["events"].size(), 2U);
    EXPECT_EQ(view["events"][0]["time"], "1970-01-01T00:00:01.500Z");
    EXPECT_EQ(view["events"][0]["kind"], "ownership");
    EXPECT_EQ(view["events"][1]["number"], 2);
    EXPECT_EQ(view["last"], 2);
}

TEST(EventsView, OnlyWhatIsNewIsToldAgain) {
    EventLog log;
    for (int i = 0; i < 5; i++)
        log.add("health", "web/a", "up");
    EXPECT_EQ(events_view(log, 3)["events"].size(), 2U);
    EXPECT_TRUE(events_view(log, 5)["events"].empty());
}

TEST(EventsView, TheOldestMakeRoom) {
    EventLog log;
    for (std::size_t i = 0; i < EventLog::kMost + 7; i++)
        log.add("health", "web/a", "up");
    const auto view = events_view(log, 0);
    EXPECT_EQ(view["events"].size(), EventLog::kMost);
    EXPECT_EQ(view["events"][0]["number"], 8);
}

} // namespace
} // namespace weir::control
