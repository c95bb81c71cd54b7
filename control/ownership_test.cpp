// SPDX-License-Identifier: BSD-3-Clause
#include "control/ownership.hpp"

#include <gtest/gtest.h>

#include "config/parse.hpp"

namespace weir::control {
namespace {

config::Config config_with(const std::string& ownership) {
    const std::string text = R"(
[interface.uplink]
device = "eth0"
addresses = ["192.0.2.2/24"]
[interface.lan]
device = "eth1"
addresses = ["10.0.0.2/24"]
[snat]
addresses = ["192.0.2.64/31"]
[pool.web]
backends = [{ address = "10.0.0.11:8080" }, { address = "10.0.0.12:8080" }]
[pool.mail]
backends = [{ address = "10.0.0.21:25" }]
[vip.web]
address = "203.0.113.10"
port = 80
protocol = "tcp"
forward = "full-nat"
pool = "web"
[vip.mail]
address = "10.0.0.100"
port = 25
protocol = "tcp"
forward = "nat"
pool = "mail"
[ownership]
mode = "vrrp"
)" + ownership;
    auto result = config::parse_config(text, "test.toml");
    EXPECT_TRUE(result.config) << config::format(result.diagnostics);
    return result.config ? *result.config : config::Config{};
}

std::vector<std::string> moving(const config::Config& config, std::size_t group) {
    std::vector<std::string> texts;
    for (const ManagedAddress& address : moving_addresses(config, config.vrrp_groups.at(group)))
        texts.push_back(address.interface + " " + address.prefix.to_string());
    return texts;
}

TEST(Ownership, OneGroupMovesAllThatBelongsTogether) {
    const auto config = config_with("[ownership.group.main]\nvrid = 51\n"
                                    "addresses = [\"10.0.0.1\"]\n");
    EXPECT_EQ(
        moving(config, 0),
        (std::vector<std::string>{"eth0 203.0.113.10/32", "eth1 10.0.0.100/32", "eth1 10.0.0.1/32",
                                  "eth0 192.0.2.64/32", "eth0 192.0.2.65/32"}));
    // What the VIPs' own adverts name is the same on every node, whatever its SNAT range.
    EXPECT_EQ(config.vrrp_groups[0].advertised.size(), 3U);
}

TEST(Ownership, OfSeveralGroupsNoneMovesTheSnatRangeUnlessItSaysSo) {
    const auto config = config_with("[ownership.group.a]\nvrid = 51\nvips = [\"web\"]\n"
                                    "[ownership.group.b]\nvrid = 52\n");
    EXPECT_EQ(moving(config, 0), std::vector<std::string>{"eth0 203.0.113.10/32"});
    EXPECT_EQ(moving(config, 1), std::vector<std::string>{"eth1 10.0.0.100/32"});
}

TEST(Ownership, FactsLowerThePrioritiesOfTheGroupsThatTrackThem) {
    const auto config = config_with(
        "[ownership.group.a]\nvrid = 51\nvips = [\"web\"]\n"
        "track = { interface_down = 20, worker_stalled = 100, below_quorum = 7, quorum = 50 }\n"
        "[ownership.group.b]\nvrid = 52\n");
    OwnershipFacts facts{.can_forward = true,
                         .worker_stalled = false,
                         .interfaces_down = {},
                         .pool_percent_up = {50, 0}};
    EXPECT_EQ(facts_for(config, facts).lower.at("a"), 0U); // mail is not a pool of its VIPs
    facts.pool_percent_up = {49, 100};
    EXPECT_EQ(facts_for(config, facts).lower.at("a"), 7U);
    facts.interfaces_down = {"lan"};
    EXPECT_EQ(facts_for(config, facts).lower.at("a"), 27U);
    facts.interfaces_down = {"uplink"}; // its own: another matter
    EXPECT_EQ(facts_for(config, facts).lower.at("a"), 7U);
    facts.worker_stalled = true;
    EXPECT_EQ(facts_for(config, facts).lower.at("a"), 107U);
    EXPECT_EQ(facts_for(config, facts).lower.at("b"), 0U);
}

TEST(Ownership, ALeaseKeepsItsNumberWhateverComesAndGoesBesideIt) {
    auto numbers = number_names({"a", "b", "c"}, {});
    EXPECT_EQ(numbers, (std::map<std::string, std::size_t>{{"a", 0}, {"b", 1}, {"c", 2}}));
    numbers = number_names({"new", "c", "a"}, numbers);
    EXPECT_EQ(numbers, (std::map<std::string, std::size_t>{{"a", 0}, {"c", 2}, {"new", 1}}));
    numbers = number_names({"c", "x", "y", "a"}, numbers);
    EXPECT_EQ(numbers,
              (std::map<std::string, std::size_t>{{"a", 0}, {"c", 2}, {"x", 1}, {"y", 3}}));
    EXPECT_TRUE(number_names({}, numbers).empty());
}

} // namespace
} // namespace weir::control
