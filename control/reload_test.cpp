// SPDX-License-Identifier: BSD-3-Clause
#include "control/reload.hpp"

#include <gtest/gtest.h>

#include "config/parse.hpp"

namespace weir::control {
namespace {

constexpr const char* kText = R"([engine]
connections = 65_536
[interface.uplink]
device = "eth1"
addresses = ["192.0.2.2/24"]
[pool.web]
backends = [
  { address = "10.0.0.11:80", weight = 10 },
  { address = "10.0.0.12:80", weight = 10, name = "b" },
]
health = { type = "none" }
[vip.web]
address = "203.0.113.10"
port = 80
protocol = "tcp"
forward = "full-nat"
pool = "web"
)";

std::string with(const std::string& from, const std::string& to) {
    std::string text = kText;
    const std::size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

class ReloadTest : public ::testing::Test {
protected:
    ReloadDecision decide(const std::string& text) {
        return decide_reload(running_, text, "weir.toml");
    }
    config::Config running_ = config::parse_config(kText, "weir.toml").config.value();
};

TEST_F(ReloadTest, TheSameTextChangesNothing) {
    const ReloadDecision decision = decide(kText);
    EXPECT_TRUE(decision.config);
    EXPECT_TRUE(decision.changes.empty());
}

TEST_F(ReloadTest, NamesWhatChanges) {
    const ReloadDecision decision = decide(with("weight = 10, name", "weight = 20, name"));
    ASSERT_TRUE(decision.config);
    EXPECT_EQ(decision.changes, std::vector<std::string>{"pool web: backend b: weight 10 -> 20"});
}

TEST_F(ReloadTest, NamesTheLiveKeysOfTheNode) {
    const ReloadDecision decision = decide(with(
        "connections = 65_536",
        "connections = 65_536\nanswers_pps = 5\n[tunnel]\ngue_port = 6081\n[snat]\naddresses = "
        "[\"192.0.2.64\"]"));
    ASSERT_TRUE(decision.config) << config::format(decision.diagnostics);
    EXPECT_EQ(decision.changes,
              (std::vector<std::string>{"engine: changed", "snat: changed", "tunnel: changed"}));
}

TEST_F(ReloadTest, NamesWhatChangesInAPool) {
    const auto changes = [&](const std::string& text) { return decide(text).changes; };
    EXPECT_EQ(
        changes(with("weight = 10, name = \"b\"", "weight = 10, name = \"b\", backup = true")),
        std::vector<std::string>{"pool web: backend b: changed"});
    EXPECT_EQ(changes(with("health =", "persistence.timeout = \"5m\"\nhealth =")),
              std::vector<std::string>{"pool web: persistence changed; with several workers its "
                                       "connections start anew, as after a restart"});
    EXPECT_EQ(changes(with("health =", "scheduler = \"rr\"\nhealth =")),
              std::vector<std::string>{"pool web: changed"});
}

TEST_F(ReloadTest, RefusesABrokenFileWhole) {
    const ReloadDecision decision = decide(with("pool = \"web\"", "pool = \"nowhere\""));
    EXPECT_FALSE(decision.config);
    ASSERT_FALSE(decision.diagnostics.empty());
    EXPECT_EQ(decision.diagnostics[0].file, "weir.toml");
}

TEST_F(ReloadTest, RefusesWhatNeedsARestartTogetherWithWhatDoesNot) {
    std::string text = with("connections = 65_536", "connections = 32_768");
    text.replace(text.find("weight = 10"), 11, "weight = 20");
    const ReloadDecision decision = decide(text);
    EXPECT_FALSE(decision.config) << "nothing is half applied";
    EXPECT_EQ(decision.restart_needed, std::vector<std::string>{"engine.connections"});
    EXPECT_TRUE(decision.diagnostics.empty());
}

TEST_F(ReloadTest, SnatPortsNeedARestart) {
    const ReloadDecision decision =
        decide(with("[pool.web]", "[snat]\nports = \"20000-29999\"\n[pool.web]"));
    EXPECT_EQ(decision.restart_needed, std::vector<std::string>{"snat.ports"});
}

} // namespace
} // namespace weir::control
