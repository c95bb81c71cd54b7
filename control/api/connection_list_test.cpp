// SPDX-License-Identifier: BSD-3-Clause
// The list over an engine whose two tables lie in plain memory.
#include "control/api/connection_list.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <set>

#include "control/compile/sample.hpp"
#include "dataplane/lb/connection_lifetime.hpp"

namespace weir::control {
namespace {

using nlohmann::json;
using ::testing::HasSubstr;
using State = lb::ConnectionState;

struct Free {
    void operator()(std::byte* memory) const { std::free(memory); }
};

// A worker's table of 100,000 entries: more than one slice.
struct Worker {
    explicit Worker(std::uint32_t number)
        : geometry{100'000, 8, number, 2, 25'000},
          bytes(lb::ConnectionTable::bytes_needed(geometry)),
          memory(static_cast<std::byte*>(std::aligned_alloc(64, bytes))),
          table(lb::ConnectionTable::format({memory.get(), bytes}, geometry)) {}

    lb::TableGeometry geometry;
    std::size_t bytes;
    std::unique_ptr<std::byte, Free> memory;
    lb::ConnectionTable table;
};

class ConnectionListTest : public ::testing::Test {
protected:
    ConnectionListTest() {
        config::VipConfig six = world_.config.vips[0];
        six.name = "web6";
        six.address = sample::ip("2001:db8::10");
        world_.config.vips.push_back(six);
        config::PoolConfig other = world_.config.pools[0];
        other.name = "other";
        world_.config.pools.push_back(other);
        for (const config::BackendConfig& backend : world_.config.pools[0].backends)
            world_.adjacency.hops[backend.address.address] = {
                0, net::MacAddress::parse("02:00:00:00:00:21").value(), 1500};
        compiled_ = world_.compile();
        live_ = Generation::seal(*compiled_, nullptr).value();
        engine_.hello.workers = 2;
        engine_.hello.pid = 4711;
        for (Worker& worker : workers_)
            engine_.connections.push_back(std::make_shared<WorkerTable>(
                lb::ConnectionReader::open({worker.memory.get(), worker.bytes}).value()));
    }

    Snapshot snapshot() const {
        return {.config = world_.config,
                .admin = world_.admin,
                .health = {},
                .counts = {},
                .next_hops = next_hops_,
                .compiled = &*compiled_,
                .live = live_,
                .engine = connected_ ? &engine_ : nullptr,
                .ready = true,
                .choice = {EngineKind::kDpdk, "because"},
                .problems = {},
                .now = {}};
    }

    void add(std::size_t worker, std::size_t vip, std::size_t backend, const std::string& client,
             State state = State::kEstablished) {
        lb::NewConnection connection;
        ports_++;
        connection.key =
            lb::forward_key(to_weir(sample::ip(client)), static_cast<std::uint16_t>(ports_), 0x5000,
                            static_cast<std::uint16_t>(compiled_->vip_ids.at(vip)));
        connection.forward_hash = lb::index_hash(ports_ * 0x9e3779b97f4a7c15);
        connection.backend = compiled_->backend_ids.at(0).at(backend);
        connection.state = static_cast<std::uint8_t>(state);
        connection.probation = false;
        ASSERT_EQ(workers_[worker]
                      .table
                      .insert(
                          connection, 5, 0xffffffff, [](const lb::HotRow&) { return false; },
                          [](lb::EntryIndex, const lb::HotRow&) {})
                      .outcome,
                  lb::InsertOutcome::kInserted);
    }

    // What the walk answers; `between` is called before each slice.
    json list(const std::string& query, const std::function<void()>& between = {}) {
        boost::asio::io_context io;
        json answer;
        status_ = 0;
        slices_ = 0;
        const auto now = [&] {
            if (slices_++ > 0 && between)
                between();
            return snapshot();
        };
        list_connections(io, now, query, [&](const HttpResponse& response) {
            EXPECT_EQ(status_, 0u) << "answered twice";
            status_ = response.status;
            answer = json::parse(response.body);
        });
        io.run();
        EXPECT_NE(status_, 0u) << "not answered";
        return answer;
    }
    std::uint64_t count(const std::string& filter) {
        const json answer = list(filter + (filter.empty() ? "" : "&") + "count=1");
        EXPECT_EQ(status_, 200u) << answer;
        EXPECT_EQ(answer.size(), 1u);
        return answer.value("count", std::uint64_t{9999});
    }
    std::string refusal(const std::string& query, unsigned status = 400) {
        const json answer = list(query);
        EXPECT_EQ(status_, status) << query;
        return answer.value("error", "");
    }

    sample::World world_;
    std::optional<CompiledState> compiled_;
    std::shared_ptr<const Generation> live_;
    std::array<Worker, 2> workers_{Worker(0), Worker(1)};
    Engine engine_;
    bool connected_ = true;
    std::map<net::IpAddress, NextHop> next_hops_;
    unsigned ports_ = 0;
    unsigned status_ = 0;
    int slices_ = 0;
};

TEST_F(ConnectionListTest, ShowsWhatAConnectionIs) {
    add(1, 0, 2, "198.51.100.7", State::kFinClient);
    const json answer = list("");
    EXPECT_EQ(answer["count"], 1);
    EXPECT_EQ(answer["truncated"], false);
    const json& shown = answer["connections"].at(0);
    EXPECT_EQ(shown["worker"], 1);
    EXPECT_EQ(shown["vip"], "web");
    EXPECT_EQ(shown["protocol"], "tcp");
    EXPECT_EQ(shown["client"], "198.51.100.7:256");
    EXPECT_EQ(shown["service"], "203.0.113.10:80");
    EXPECT_EQ(shown["pool"], "web");
    EXPECT_EQ(shown["backend"], "192.0.2.13:80");
    EXPECT_EQ(shown["state"], "fin_client");
    EXPECT_EQ(shown["probation"], false);
}

TEST_F(ConnectionListTest, FiltersAreAllToHold) {
    add(0, 0, 0, "198.51.100.7");
    add(1, 0, 1, "198.51.100.7", State::kFinClient);
    add(1, 0, 1, "198.51.101.7");
    add(0, 0, 2, "203.0.113.9", State::kSynSeen);
    add(0, 1, 0, "2001:db8:1::7");
    add(1, 1, 0, "2001:db8:2::7", State::kRstBackend);
    EXPECT_EQ(count(""), 6u);
    EXPECT_EQ(count("vip=web"), 4u);
    EXPECT_EQ(count("vip=web6"), 2u);
    EXPECT_EQ(count("backend=web/192.0.2.12:80"), 2u);
    EXPECT_EQ(count("backend=other/192.0.2.12:80"), 0u);
    EXPECT_EQ(count("client=198.51.100.7"), 2u);
    EXPECT_EQ(count("client=198.51.100.0/23"), 3u);
    EXPECT_EQ(count("client=198.51.100.99/24"), 2u) << "host bits do not count";
    EXPECT_EQ(count("client=0.0.0.0/0"), 4u);
    EXPECT_EQ(count("client=2001:db8::/32"), 2u);
    EXPECT_EQ(count("client=2001%3Adb8%3A1%3A%3A7"), 1u);
    EXPECT_EQ(count("client=::/0"), 2u) << "IPv4 is kept inside IPv6, and is not of it";
    EXPECT_EQ(count("state=established"), 3u);
    EXPECT_EQ(count("state=fin_client,syn_seen"), 2u);
    EXPECT_EQ(count("state=rst_backend&vip=web"), 0u);
    EXPECT_EQ(count("vip=web&backend=web/192.0.2.12:80&client=198.51.100.0/24"), 1u);
}

TEST_F(ConnectionListTest, CountsAllAndListsTheLimit) {
    for (int i = 0; i < 60; i++)
        add(static_cast<std::size_t>(i % 2), 0, 0, "198.51.100.7");
    const json answer = list("limit=7");
    EXPECT_EQ(answer["count"], 60);
    EXPECT_EQ(answer["truncated"], true);
    EXPECT_EQ(answer["connections"].size(), 7u);
    EXPECT_EQ(list("limit=60")["truncated"], false);
}

TEST_F(ConnectionListTest, TheLoopIsHeldForASliceAtATime) {
    EXPECT_EQ(list("")["count"], 0);
    EXPECT_EQ(slices_, 1 + 4) << "200,000 entries, 65,536 at a time";
    for (int i = 0; i < 1000; i++)
        add(0, 0, 0, "198.51.100.7");
    const json answer = list("");
    EXPECT_GE(slices_, 1 + 5 + 3) << "200 listed at a time";
    std::set<std::string> clients;
    for (const json& shown : answer["connections"])
        clients.insert(shown["client"]);
    EXPECT_EQ(clients.size(), 1000u) << "each once";
}

TEST_F(ConnectionListTest, AnEngineThatEndsMeanwhileIsSaid) {
    EXPECT_THAT(list("", [&] { connected_ = slices_ < 3; })["error"].get<std::string>(),
                HasSubstr("ended while"));
    EXPECT_EQ(status_, 503u);
    connected_ = true;
    list("", [&] { engine_.hello.pid = slices_ < 3 ? 4711 : 4712; });
    EXPECT_EQ(status_, 503u);
    connected_ = false;
    EXPECT_THAT(refusal(""), HasSubstr("not connected"));
}

TEST_F(ConnectionListTest, BadFiltersAreRefusedWithWhatWouldBeRight) {
    EXPECT_THAT(refusal("vip=wbe"), HasSubstr("did you mean \"web\"?"));
    EXPECT_THAT(refusal("backend=web"), HasSubstr("POOL/NAME"));
    EXPECT_THAT(refusal("backend=web/192.0.2.19:80"), HasSubstr("did you mean"));
    for (const char* client :
         {"example.org", "198.51.100.0/33", "198.51.100.7:80", "2001:db8::/129"})
        EXPECT_THAT(refusal(std::string("client=") + client), HasSubstr("an address or a network"));
    EXPECT_THAT(refusal("state=establised"), HasSubstr("did you mean \"established\"?"));
    EXPECT_THAT(refusal("state=established,"), HasSubstr("no state \"\""));
    EXPECT_THAT(refusal("state=free"), HasSubstr("no state"));
    for (const char* limit : {"0", "10001", "-1", "ten", "1x", "99999999999999999999"})
        EXPECT_THAT(refusal(std::string("limit=") + limit), HasSubstr("from 1 to 10000"));
    EXPECT_THAT(refusal("count=yes"), HasSubstr("0 or 1"));
    EXPECT_THAT(refusal("clinet=198.51.100.7"), HasSubstr("did you mean \"client\"?"));
}

} // namespace
} // namespace weir::control
