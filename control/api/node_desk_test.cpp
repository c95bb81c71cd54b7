// SPDX-License-Identifier: BSD-3-Clause
// Drains and resumptions against groups that the test moves by hand.
#include "control/api/node_desk.hpp"

#include <boost/asio/steady_timer.hpp>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <optional>

namespace weir::control {
namespace {

using namespace std::chrono_literals;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr NodeDesk::Limits kLimits{600ms, 200ms, 1000ms};

class NodeDeskTest : public ::testing::Test {
protected:
    NodeDeskTest()
        : desk_(io_,
                {.groups = [this] { return groups_; },
                 .set_drained = [this](bool drained) -> Expected<void> {
                     if (refuses_)
                         return Error{"the disk is full"};
                     drained_ = drained;
                     if (when_told_)
                         when_told_(drained);
                     return {};
                 },
                 .traffic = [this] { return traffic_; }},
                kLimits) {
        vrrp::GroupStatus group;
        group.name = "main";
        group.state = vrrp::State::kOwner;
        group.received = 7;
        groups_ = {group};
    }

    // What is answered, and with which status.
    json ask(const std::string& body) {
        std::optional<HttpResponse> got;
        desk_.handle({"POST", "/v1/node", "", body, true},
                     [&](HttpResponse response) { got = std::move(response); });
        io_.restart();
        while (!got && io_.run_one() > 0) {
        }
        EXPECT_TRUE(got);
        json answer = json::parse(got->body);
        answer["status"] = got->status;
        return answer;
    }

    void give_up() { groups_[0].state = vrrp::State::kInit; }
    void hear_of_another() {
        groups_[0].received++;
        groups_[0].owner = net::IpAddress::parse("192.0.2.7").value();
    }

    boost::asio::io_context io_;
    std::vector<vrrp::GroupStatus> groups_;
    NodeDesk::Traffic traffic_{100, 5};
    bool drained_ = false;
    bool refuses_ = false;
    std::function<void(bool)> when_told_;
    NodeDesk desk_;
};

TEST_F(NodeDeskTest, ADrainWaitsForTheOtherNodeAndForTheStrays) {
    when_told_ = [this](bool) { give_up(); };
    boost::asio::steady_timer other(io_, 100ms), stray(io_, 300ms);
    other.async_wait([this](const auto&) { hear_of_another(); });
    stray.async_wait([this](const auto&) { traffic_ = {103, 4}; });
    const auto begin = std::chrono::steady_clock::now();
    const json answer = ask(R"({"action": "drain"})");
    EXPECT_GE(std::chrono::steady_clock::now() - begin, 300ms + kLimits.quiet);
    EXPECT_TRUE(drained_);
    EXPECT_EQ(answer["status"], 200);
    EXPECT_EQ(answer["state"], "drained");
    EXPECT_EQ(answer["groups"][0]["owner"], "192.0.2.7");
    EXPECT_GE(answer["groups"][0]["handover_ms"], 100.0);
    EXPECT_EQ(answer["stray_packets"], 3);
    EXPECT_EQ(answer["quiet"], true);
    EXPECT_EQ(answer["connections"], 4);
}

TEST_F(NodeDeskTest, NobodyTakesOverAndSoTheNodeStays) {
    when_told_ = [this](bool drained) {
        groups_[0].state = drained ? vrrp::State::kInit : vrrp::State::kBackup;
    };
    const json answer = ask(R"({"action": "drain"})");
    EXPECT_EQ(answer["status"], 409);
    EXPECT_THAT(answer["error"].get<std::string>(), HasSubstr("no other node has taken over main"));
    EXPECT_FALSE(drained_);
}

TEST_F(NodeDeskTest, WithForceItIsDrainedAllTheSame) {
    when_told_ = [this](bool) { give_up(); };
    const json answer = ask(R"({"action": "drain", "force": true})");
    EXPECT_EQ(answer["status"], 200);
    EXPECT_TRUE(answer["groups"][0]["owner"].is_null());
    EXPECT_TRUE(drained_);
}

// What it heard before the drain is no sign of a successor.
TEST_F(NodeDeskTest, AnOldAdvertIsNoSuccessor) {
    groups_[0].owner = net::IpAddress::parse("192.0.2.1").value(); // itself
    when_told_ = [this](bool) { give_up(); };
    EXPECT_EQ(ask(R"({"action": "drain"})")["status"], 409);
}

TEST_F(NodeDeskTest, GroupsOfAnotherNodeNeedNoHandover) {
    groups_[0].state = vrrp::State::kBackup;
    const json answer = ask(R"({"action": "drain"})");
    EXPECT_EQ(answer["status"], 200);
    EXPECT_TRUE(answer["groups"].empty());
}

TEST_F(NodeDeskTest, AResumptionWaitsUntilItTakesPart) {
    drained_ = true;
    give_up();
    boost::asio::steady_timer later(io_, 50ms);
    later.async_wait([this](const auto&) { groups_[0].state = vrrp::State::kBackup; });
    const json answer = ask(R"({"action": "resume"})");
    EXPECT_EQ(answer["state"], "in service");
    EXPECT_EQ(answer["groups"][0]["state"], "backup");
    EXPECT_FALSE(drained_);
}

TEST_F(NodeDeskTest, OneAtATime) {
    when_told_ = [this](bool) { give_up(); };
    std::optional<HttpResponse> first;
    desk_.handle({"POST", "/v1/node", "", R"({"action": "drain"})", true},
                 [&](HttpResponse response) { first = std::move(response); });
    EXPECT_EQ(ask(R"({"action": "resume"})")["status"], 409);
    EXPECT_TRUE(drained_);
    hear_of_another();
    while (!first && io_.run_one() > 0) {
    }
    EXPECT_EQ(first->status, 200u);
    EXPECT_EQ(ask(R"({"action": "resume"})")["status"], 200);
}

TEST_F(NodeDeskTest, WhatCannotBeIsRefused) {
    for (const char* body : {"", "[]", R"({"action": "stop"})", R"({"action": 3})",
                             R"({"action": "drain", "force": "yes"})"})
        EXPECT_EQ(ask(body)["status"], 400) << body;
    refuses_ = true;
    EXPECT_EQ(ask(R"({"action": "drain"})")["error"], "the disk is full");
    refuses_ = false;
    groups_.clear();
    const json answer = ask(R"({"action": "drain"})");
    EXPECT_EQ(answer["status"], 409);
    EXPECT_THAT(answer["error"].get<std::string>(), HasSubstr("static"));
    EXPECT_FALSE(drained_);
}

} // namespace
} // namespace weir::control
