// SPDX-License-Identifier: BSD-3-Clause
// The views over a compiled state and an engine made of plain memory.
#include "control/api/views.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

#include "control/api/server.hpp"
#include "control/compile/sample.hpp"

namespace weir::control {
namespace {

class ViewsTest : public ::testing::Test {
protected:
    ViewsTest() {
        for (const config::BackendConfig& backend : world_.config.pools[0].backends)
            world_.adjacency.hops[backend.address.address] = {
                0, net::MacAddress::parse("02:00:00:00:00:21").value(), 1500};
        compiled_ = world_.compile();
        live_ = Generation::seal(*compiled_, nullptr).value();
        memory_ = channel::SharedMemory::create("counters", lb::CountersView::bytes_needed(1),
                                                false, problem_);
        EXPECT_TRUE(memory_) << problem_;
        counters_.emplace(lb::CountersView::format(memory_->bytes(), 1));
        engine_.counters = *counters_;
        engine_.hello.workers = 1;
        engine_.hello.pid = 4711;
        for (const config::BackendConfig& backend : world_.config.pools[0].backends)
            health_.push_back({.pool = "web",
                               .name = backend.name,
                               .backend = backend.address,
                               .status = HealthStatus::kUp,
                               .reason = "HTTP 200",
                               .last_result = "HTTP 200"});
    }

    Snapshot snapshot() const {
        return {.config = world_.config,
                .admin = world_.admin,
                .health = health_,
                .counts = {},
                .next_hops = next_hops_,
                .compiled = &*compiled_,
                .live = live_,
                .engine = &engine_,
                .ready = true,
                .engine_mode = "dpdk",
                .engine_why = "because",
                .problems = {},
                .now = {}};
    }

    std::string problem_;
    sample::World world_;
    std::optional<CompiledState> compiled_;
    std::shared_ptr<const Generation> live_;
    std::optional<channel::SharedMemory> memory_;
    std::optional<lb::CountersView> counters_;
    Engine engine_;
    std::vector<BackendHealth> health_;
    std::map<net::IpAddress, NextHop> next_hops_;
};

TEST_F(ViewsTest, StatusCountsWhoIsUp) {
    health_[0].status = HealthStatus::kChecking;
    const auto status = status_view(snapshot());
    EXPECT_EQ(status["ready"], true);
    EXPECT_EQ(status["generation"], 1);
    EXPECT_EQ(status["engine"]["pid"], 4711);
    EXPECT_EQ(status["vips"][0]["backends_up"], 2) << "checking is not up yet";
    EXPECT_EQ(status["vips"][0]["backends_total"], 3);
    EXPECT_EQ(status["vips"][0]["port"], "80");
    EXPECT_EQ(status["books"]["balanced"], true);
}

TEST_F(ViewsTest, BooksThatDoNotAddUpAreSaid) {
    counters_->worker(0).ports[0].rx_packets = 3;
    counters_->worker(0).verdicts[WEIR_DROP_LAND] = 2;
    auto books = counters_view(snapshot())["books"];
    EXPECT_EQ(books["balanced"], false);
    counters_->worker(0).held = 1;
    const auto counters = counters_view(snapshot());
    EXPECT_EQ(counters["books"]["balanced"], true);
    EXPECT_EQ(counters["books"]["dropped"], 2);
    EXPECT_EQ(counters["ports"][0]["rx"], 3);
    EXPECT_EQ(counters["verdicts"].size(), std::size_t{WEIR_VERDICT_COUNT - 1});
    EXPECT_EQ(counters["workers"][1]["worker"], "kernel");
    const auto drops = drops_view(snapshot());
    EXPECT_EQ(drops["total"], 2);
    EXPECT_EQ(drops["drops"][0]["name"], "drop_land");
}

TEST_F(ViewsTest, AStoppedWriterIsNotBalanced) {
    counters_->worker(0).sequence = 1;
    EXPECT_EQ(status_view(snapshot())["books"]["balanced"], false);
}

TEST_F(ViewsTest, StatesOfBackends) {
    world_.admin[{"web", health_[0].name}] = {AdminState::kDrain, {}};
    world_.admin[{"web", health_[1].name}] = {AdminState::kDisable, {}};
    health_[2].status = HealthStatus::kDown;
    const auto pool = pool_view(snapshot(), "web");
    ASSERT_TRUE(pool);
    EXPECT_EQ((*pool)["backends"][0]["state"], "draining");
    EXPECT_EQ((*pool)["backends"][1]["state"], "disabled");
    EXPECT_EQ((*pool)["backends"][2]["state"], "down");
    EXPECT_NEAR((*pool)["backends"][0]["share"].get<double>(), 1.0 / 3, 0.001);
    EXPECT_FALSE(pool_view(snapshot(), "nowhere"));
}

TEST_F(ViewsTest, ExplainFollowsAPacket) {
    const auto explained = explain_view(snapshot(), "tcp 198.51.100.7:40000 203.0.113.10:80");
    ASSERT_TRUE(explained) << explained.error().sentence;
    EXPECT_EQ((*explained)["verdict"], "forwarded");
    EXPECT_EQ((*explained)["vip"], "web");
    EXPECT_EQ((*explained)["maglev"]["slots"], 251);
    EXPECT_EQ((*explained)["next_hop"]["destination_mac"], "02:00:00:00:00:21");
    EXPECT_EQ((*explained)["rewrite"]["source"], "192.0.2.2:(a free port)");
    EXPECT_EQ((*explained)["rewrite"]["destination"], (*explained)["backend_address"]);
}

TEST_F(ViewsTest, ExplainOfWhatIsNotForwarded) {
    const auto verdict = [&](const char* packet) {
        const auto explained = explain_view(snapshot(), packet);
        return explained ? (*explained)["verdict"].get<std::string>() : "refused";
    };
    EXPECT_EQ(verdict("tcp 198.51.100.7:40000 203.0.113.10:81"), "punted_other");
    EXPECT_EQ(verdict("udp 198.51.100.7:40000 192.0.2.2:53"), "punted_other");
    EXPECT_EQ(verdict("tcp 192.0.2.11:80 192.0.2.2:45000"), "drop_no_connection");
    EXPECT_EQ(verdict("tcp 198.51.100.7 203.0.113.10:80"), "refused");
    EXPECT_EQ(verdict("icmp 198.51.100.7:1 203.0.113.10:80"), "refused");
    EXPECT_EQ(verdict(""), "refused");
}

TEST_F(ViewsTest, MetricsAreWellFormed) {
    const std::string text = metrics_text(snapshot());
    EXPECT_NE(text.find("# TYPE weir_packets counter\n"), std::string::npos);
    EXPECT_NE(text.find("weir_packets_total{worker=\"0\",verdict=\"forwarded\"} 0\n"),
              std::string::npos);
    EXPECT_NE(text.find("weir_vip_connections{vip=\"web\"} 0\n"), std::string::npos);
    EXPECT_EQ(text.substr(text.size() - 6), "# EOF\n");
}

TEST_F(ViewsTest, UnknownFiltersAreRefused) {
    EXPECT_FALSE(connections_view(snapshot(), {.vip = "nowhere"}));
    EXPECT_FALSE(connections_view(snapshot(), {.backend = "web"}));
    const auto none = connections_view(snapshot(), {.count_only = true});
    ASSERT_TRUE(none);
    EXPECT_EQ((*none)["count"], 0);
}

TEST(Query, IsDecoded) {
    EXPECT_EQ(query_value("a=1&packet=tcp+1.2.3.4%3A5+x", "packet"), "tcp 1.2.3.4:5 x");
    EXPECT_EQ(query_value("a=1", "b"), "");
    EXPECT_EQ(percent_decoded("a%2", false), "a%2");
    EXPECT_EQ(percent_decoded("a+b%zz", false), "a+b%zz");
}

} // namespace
} // namespace weir::control
