// SPDX-License-Identifier: BSD-3-Clause
// The prober against real servers on loopback, driven until conditions hold.
#include "control/health/prober.hpp"

#include <gtest/gtest.h>

#include "control/health/fake_backend.hpp"

namespace weir::control {
namespace {

using namespace std::chrono_literals;

constexpr const char* kGood = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
constexpr const char* kBad = "HTTP/1.1 500 Broken\r\nContent-Length: 0\r\n\r\n";

ProbeTarget target_on(const FakeBackend& server, const char* pool = "web") {
    ProbeTarget target;
    target.pool = pool;
    target.backend = {net::IpAddress::parse("127.0.0.1").value(), server.port()};
    target.name = target.backend.to_string();
    target.probe_port = server.port();
    target.health.type = config::HealthType::kHttp;
    target.health.interval = 30ms;
    target.health.timeout = 1s;
    return target;
}

class ProberTest : public testing::Test {
protected:
    HealthStatus status(const ProbeTarget& target) const {
        const auto health = prober_.find(target.pool, target.backend);
        return health ? health->status : HealthStatus::kChecking;
    }
    bool becomes(const ProbeTarget& target, HealthStatus wanted) {
        return run_until(io_, [&] { return status(target) == wanted; });
    }

    boost::asio::io_context io_;
    std::vector<BackendHealth> changes_;
    Prober prober_{io_, [this](const BackendHealth& health) { changes_.push_back(health); }};
};

TEST_F(ProberTest, UpThenDownThenUpAgain) {
    FakeBackend server(io_);
    server.reply = kGood;
    const ProbeTarget target = target_on(server);
    prober_.set_targets({target});
    EXPECT_EQ(status(target), HealthStatus::kChecking);
    ASSERT_TRUE(becomes(target, HealthStatus::kUp));
    server.reply = kBad;
    ASSERT_TRUE(becomes(target, HealthStatus::kDown));
    const BackendHealth down = prober_.find("web", target.backend).value();
    EXPECT_EQ(down.reason, "HTTP 500");
    EXPECT_EQ(down.consecutive_failures, 3U);
    server.reply = kGood;
    ASSERT_TRUE(becomes(target, HealthStatus::kUp));
    ASSERT_EQ(changes_.size(), 3U);
    EXPECT_EQ(changes_[1].status, HealthStatus::kDown);
    EXPECT_EQ(changes_[2].consecutive_successes, 2U);
}

TEST_F(ProberTest, AServerThatDiesIsRefused) {
    FakeBackend server(io_);
    server.reply = kGood;
    const ProbeTarget target = target_on(server);
    prober_.set_targets({target});
    ASSERT_TRUE(becomes(target, HealthStatus::kUp));
    server.close();
    ASSERT_TRUE(becomes(target, HealthStatus::kDown));
    EXPECT_EQ(prober_.find("web", target.backend)->reason, "connection refused");
}

TEST_F(ProberTest, AChangeOfTargetsKeepsTheHealthOfThoseThatStay) {
    FakeBackend stays(io_);
    FakeBackend goes(io_);
    stays.reply = kGood;
    goes.reply = kGood;
    const ProbeTarget first = target_on(stays);
    const ProbeTarget second = target_on(goes);
    prober_.set_targets({first, second});
    ASSERT_TRUE(becomes(first, HealthStatus::kUp) && becomes(second, HealthStatus::kUp));
    const BackendHealth before = prober_.find("web", first.backend).value();

    ProbeTarget renamed = first;
    renamed.name = "web-a";
    prober_.set_targets({renamed});
    const BackendHealth after = prober_.find("web", first.backend).value();
    EXPECT_EQ(after.status, HealthStatus::kUp);
    EXPECT_EQ(after.last_change, before.last_change);
    EXPECT_EQ(after.name, "web-a");
    EXPECT_FALSE(prober_.find("web", second.backend).has_value());
    // The one that went is no longer probed, the one that stayed is.
    const int gone_connections = goes.connections;
    const int kept_connections = stays.connections;
    ASSERT_TRUE(run_until(io_, [&] { return stays.connections >= kept_connections + 3; }));
    EXPECT_LE(goes.connections, gone_connections + 1); // one may have been in flight
}

TEST_F(ProberTest, NewSettingsStartANewCountFromTheOldStatus) {
    FakeBackend server(io_);
    server.reply = kBad;
    const ProbeTarget target = target_on(server);
    prober_.set_targets({target});
    ASSERT_TRUE(becomes(target, HealthStatus::kDown));
    ProbeTarget edited = target;
    edited.health.path = "/other";
    prober_.set_targets({edited});
    EXPECT_EQ(status(edited), HealthStatus::kDown);
    server.reply = kGood;
    ASSERT_TRUE(becomes(edited, HealthStatus::kUp));
    EXPECT_EQ(changes_.back().consecutive_successes, 2U);
    EXPECT_EQ(server.last_request.rfind("GET /other ", 0), 0U);
}

TEST_F(ProberTest, ARestartBeginsWithWhatTheForwardingStateSays) {
    FakeBackend server(io_);
    server.reply = kBad;
    ProbeTarget target = target_on(server);
    target.initial = HealthStatus::kDown;
    prober_.set_targets({target});
    EXPECT_EQ(status(target), HealthStatus::kDown);
    ASSERT_TRUE(run_until(io_, [&] { return server.connections >= 3; }));
    EXPECT_EQ(status(target), HealthStatus::kDown);
    EXPECT_TRUE(changes_.empty());
}

TEST_F(ProberTest, HealthTypeNoneIsUpAndNotProbed) {
    FakeBackend server(io_);
    ProbeTarget silent = target_on(server, "silent");
    silent.health.type = config::HealthType::kNone;
    FakeBackend other(io_);
    other.reply = kGood;
    prober_.set_targets({silent, target_on(other)});
    EXPECT_EQ(status(silent), HealthStatus::kUp);
    ASSERT_TRUE(run_until(io_, [&] { return other.connections >= 5; }));
    EXPECT_EQ(server.connections, 0);
}

TEST_F(ProberTest, OneSampleInFlight) {
    FakeBackend server(io_); // silent: every sample lasts until its timeout
    ProbeTarget target = target_on(server);
    target.health.interval = 20ms;
    target.health.timeout = 300ms;
    const auto started = std::chrono::steady_clock::now();
    prober_.set_targets({target});
    ASSERT_TRUE(becomes(target, HealthStatus::kDown));
    EXPECT_GE(std::chrono::steady_clock::now() - started, 900ms);
    EXPECT_EQ(changes_.back().samples, 3U);
}

TEST_F(ProberTest, MostOfAPoolAtOnceRaisesTheAlarm) {
    std::vector<std::unique_ptr<FakeBackend>> servers;
    std::vector<ProbeTarget> targets;
    for (int i = 0; i < 4; i++) {
        servers.push_back(std::make_unique<FakeBackend>(io_));
        servers.back()->reply = kGood;
        targets.push_back(target_on(*servers.back()));
    }
    prober_.set_targets(targets);
    ASSERT_TRUE(run_until(io_, [&] { return prober_.counts("web").up == 4; }));
    EXPECT_FALSE(prober_.counts("web").mass_failure);
    for (int i = 0; i < 3; i++) {
        servers[static_cast<size_t>(i)]->close();
    }
    ASSERT_TRUE(run_until(io_, [&] { return prober_.counts("web").mass_failure; }));
    EXPECT_EQ(prober_.counts("web").up, 1U);
    EXPECT_EQ(prober_.counts("none").total, 0U);
}

TEST_F(ProberTest, NoCallbackAfterStop) {
    FakeBackend server(io_);
    server.reply = kGood;
    prober_.set_targets({target_on(server)});
    ASSERT_TRUE(run_until(io_, [&] { return server.connections == 1; }));
    prober_.stop();
    changes_.clear();
    // Everything left in the loop is the server's; the prober's own work has ended.
    io_.restart();
    io_.poll();
    EXPECT_TRUE(changes_.empty());
    EXPECT_TRUE(prober_.backends().empty());
}

} // namespace
} // namespace weir::control
