// SPDX-License-Identifier: BSD-3-Clause
// The views over a compiled state and an engine made of plain memory.
#include "control/api/views.hpp"

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <cstdlib>

#include "control/api/server.hpp"
#include "control/compile/sample.hpp"
#include "dataplane/lb/spread.hpp"

namespace weir::control {
namespace {

using nlohmann::json;

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
                .choice = {EngineKind::kDpdk, "because"},
                .problems = {},
                .now = {}};
    }

    void recompile() {
        compiled_ = world_.compile();
        live_ = Generation::seal(*compiled_, nullptr).value();
    }

    json explain(const std::string& packet) const {
        const auto explained = explain_view(snapshot(), packet);
        EXPECT_TRUE(explained) << explained.error().sentence;
        return explained ? *explained : json{};
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

TEST_F(ViewsTest, ExplainNamesTheWorkerThatControlledDevicesGiveThePacketTo) {
    engine_.hello.workers = 4;
    const auto worker_of = [&](int port) {
        const auto explained = explain_view(snapshot(), "tcp 198.51.100.7:" + std::to_string(port) +
                                                            " 203.0.113.10:80");
        return explained ? (*explained)["worker"].get<std::uint32_t>() : 99;
    };
    const weir_rss_key key = lb::rss_key_of(live_->state().hash_key());
    int otherwise = 0;
    for (std::uint16_t port = 40000; port < 40032; port++) {
        weir_flow flow;
        weir_flow_set_v4(&flow, weir_swap32(0xc6336407), weir_swap32(0xcb00710a), weir_swap16(port),
                         weir_swap16(80), 6);
        const std::uint32_t expected = weir_toeplitz(&key, &flow) % 128 % 4;
        engine_.hello.spread_entries = 128;
        EXPECT_EQ(worker_of(port), expected);
        engine_.hello.spread_entries = 0;
        otherwise += worker_of(port) != expected;
    }
    EXPECT_GT(otherwise, 8) << "another rule where devices spread as they like";
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

TEST_F(ViewsTest, ExplainOfTurnsListsTheCandidates) {
    world_.config.pools[0].scheduler = config::Scheduler::kLeastConnections;
    world_.config.pools[0].backends[1].max_connections = 5;
    recompile();
    counters_->backend(0, 1).connections_active = 5;
    const json explained = explain("tcp 198.51.100.7:40000 203.0.113.10:80");
    EXPECT_EQ(explained["scheduler"], "lc");
    EXPECT_EQ(explained["maglev"], nullptr);
    EXPECT_EQ(explained["backend"], nullptr) << "the worker's turn decides";
    ASSERT_EQ(explained["candidates"].size(), 3u);
    std::uint64_t connections = 0;
    for (const json& candidate : explained["candidates"]) {
        EXPECT_EQ(candidate["weight"], 1) << "lc knows no weights";
        connections += candidate["connections"].get<std::uint64_t>();
    }
    EXPECT_EQ(connections, 5u);
    EXPECT_EQ(explained["verdict"], "forwarded");
    for (config::BackendConfig& backend : world_.config.pools[0].backends)
        backend.max_connections = 1;
    for (const std::uint32_t id : {0u, 1u, 2u})
        counters_->backend(0, id).connections_active = 1;
    recompile();
    EXPECT_EQ(explain("tcp 198.51.100.7:40000 203.0.113.10:80")["verdict"], "answered_reset");
    world_.config.vips[0].on_limit = config::OnLimit::kDrop;
    recompile();
    EXPECT_EQ(explain("tcp 198.51.100.7:40000 203.0.113.10:80")["verdict"], "drop_backend_limit");
}

TEST_F(ViewsTest, ExplainPassesFullBackendsBy) {
    const char* packet = "tcp 198.51.100.7:40000 203.0.113.10:80";
    const std::string first = explain(packet)["backend"];
    for (config::BackendConfig& backend : world_.config.pools[0].backends)
        backend.max_connections = backend.name == first ? 1 : 0;
    recompile();
    EXPECT_EQ(explain(packet)["backend"], first) << "it has room";
    for (std::uint32_t id = 0; id < 3; id++)
        counters_->backend(0, id).connections_active = 1;
    EXPECT_NE(explain(packet)["backend"], first);
    EXPECT_EQ(explain(packet)["verdict"], "forwarded");
}

TEST_F(ViewsTest, ExplainOfATunnelNamesTheOuterPacket) {
    world_.config.vips[0].forward = config::ForwardMode::kDsrGue;
    recompile();
    const json explained = explain("tcp 198.51.100.7:40000 203.0.113.10:80");
    EXPECT_EQ(explained["forward"], "dsr-gue");
    EXPECT_EQ(explained["rewrite"], nullptr);
    const json& outer = explained["encapsulation"];
    EXPECT_EQ(outer["overhead"], 20 + 8 + 4);
    EXPECT_EQ(outer["inner_mtu"], 1500 - 32);
    EXPECT_EQ(outer["mss"], 1500 - 32 - 40);
    EXPECT_EQ(outer["source"].get<std::string>().substr(0, 10), "192.0.2.2:");
    const std::string backend = explained["backend_address"];
    EXPECT_EQ(outer["destination"], backend.substr(0, backend.find(':')) + ":6080");
    const std::string steps = explained["steps"].dump();
    EXPECT_NE(steps.find("fragmentation needed, MTU 1468"), std::string::npos) << steps;
    EXPECT_NE(steps.find("into fragments before the tunnel"), std::string::npos) << steps;
}

TEST_F(ViewsTest, ExplainOfAnEmptyPoolFollowsItsPolicy) {
    for (const config::BackendConfig& backend : world_.config.pools[0].backends)
        world_.health.down.insert({"web", backend.address});
    const auto verdict = [&](config::OnAllDown policy) {
        world_.config.vips[0].on_all_down = policy;
        recompile();
        return explain("tcp 198.51.100.7:40000 203.0.113.10:80")["verdict"].get<std::string>();
    };
    EXPECT_EQ(verdict(config::OnAllDown::kOpen), "forwarded");
    EXPECT_EQ(verdict(config::OnAllDown::kDrop), "drop_no_backend");
    EXPECT_EQ(verdict(config::OnAllDown::kReject), "answered_reset");
}

TEST_F(ViewsTest, PersistenceHasItsNetworkAndOwner) {
    engine_.hello.workers = 8;
    world_.config.pools[0].persistence = {std::chrono::minutes(10), 24, 64};
    recompile();
    const json first = explain("tcp 198.51.100.7:40000 203.0.113.10:80");
    EXPECT_EQ(first["persistence"], (json{{"network", "198.51.100.0/24"}, {"timeout_s", 600}}));
    for (const char* port : {"40001", "50000", "60000"})
        EXPECT_EQ(explain(std::string("tcp 198.51.100.99:") + port + " 203.0.113.10:80")["worker"],
                  first["worker"])
            << "one worker for the network";
    const auto pool = pool_view(snapshot(), "web");
    EXPECT_EQ((*pool)["persistence"]["prefix_v4"], 24);
}

TEST_F(ViewsTest, PoolsShowBackupsAndLimits) {
    world_.config.pools[0].backends[2].backup = true;
    world_.config.pools[0].backends[2].max_connections = 9;
    world_.config.pools[0].backends[0].weight = 30;
    recompile();
    json pool = *pool_view(snapshot(), "web");
    EXPECT_EQ(pool["on_backups"], false);
    EXPECT_EQ(pool["backends"][2]["backup"], true);
    EXPECT_EQ(pool["backends"][2]["max_connections"], 9);
    EXPECT_EQ(pool["backends"][2]["share"], 0.0);
    EXPECT_EQ(pool["backends"][0]["share"], 0.75);
    world_.config.pools[0].scheduler = config::Scheduler::kRoundRobin;
    world_.health.down.insert({"web", world_.config.pools[0].backends[1].address});
    recompile();
    EXPECT_EQ((*pool_view(snapshot(), "web"))["backends"][0]["share"], 1.0);
    world_.health.down.insert({"web", world_.config.pools[0].backends[0].address});
    recompile();
    pool = *pool_view(snapshot(), "web");
    EXPECT_EQ(pool["on_backups"], true);
    EXPECT_EQ(pool["backends"][2]["share"], 1.0);
}

TEST_F(ViewsTest, MetricsAreWellFormed) {
    const std::string text = metrics_text(snapshot());
    EXPECT_NE(text.find("# TYPE weir_packets counter\n"), std::string::npos);
    EXPECT_NE(text.find("weir_packets_total{worker=\"0\",verdict=\"forwarded\"} 0\n"),
              std::string::npos);
    EXPECT_NE(text.find("weir_vip_connections{vip=\"web\"} 0\n"), std::string::npos);
    EXPECT_EQ(text.substr(text.size() - 6), "# EOF\n");
}

TEST(Query, IsDecoded) {
    EXPECT_EQ(query_value("a=1&packet=tcp+1.2.3.4%3A5+x", "packet"), "tcp 1.2.3.4:5 x");
    EXPECT_EQ(query_value("a=1", "b"), "");
    EXPECT_EQ(percent_decoded("a%2", false), "a%2");
    EXPECT_EQ(percent_decoded("a+b%zz", false), "a+b%zz");
}

} // namespace
} // namespace weir::control
