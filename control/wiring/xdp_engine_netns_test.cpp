// SPDX-License-Identifier: BSD-3-Clause
// XdpEngine as the controller sees it, on a real device, with one control after the other.
#include "control/wiring/xdp_engine.hpp"

#include <gtest/gtest.h>
#include <net/if.h>

#include <cstdlib>
#include <filesystem>

#include "control/compile/sample.hpp"
#include "xdp/bpffs.hpp"
#include "xdp/test_lab.hpp"

namespace weir::control {
namespace {

namespace fs = std::filesystem;

class XdpEngineTest : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = xdp_test::missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        lab_.emplace();
        place_.emplace();
        directory_ = place_->path();
        world_.config.engine.connections = 4096;
        use({"b0"});
        for (const config::BackendConfig& backend : world_.config.pools[0].backends)
            world_.adjacency.hops[backend.address.address] = {
                0, net::MacAddress::parse("02:00:00:00:00:21").value(), 1500};
    }

    // The configuration's interfaces, by their names in the kernel.
    void use(const std::vector<std::string>& devices) {
        const config::InterfaceConfig model = world_.config.interfaces.front();
        world_.config.interfaces.clear();
        world_.interfaces.clear();
        for (const std::string& device : devices) {
            config::InterfaceConfig interface = model;
            interface.name = interface.kernel_interface = device;
            interface.device = config::KernelInterface{device};
            world_.config.interfaces.push_back(interface);
            world_.interfaces.push_back(
                {net::MacAddress::parse("02:00:00:00:00:02").value(), 1500, false});
        }
    }

    // A control begins; what ran before is in found_.
    void begin() {
        engine_.reset();
        io_.restart();
        found_.reset();
        ready_ = false;
        problems_.clear();
        engine_.emplace(io_, directory_);
        const auto started = engine_->start(
            world_.config,
            {.ready =
                 [this](const std::shared_ptr<const Generation>& running) {
                     ready_ = true;
                     found_ = running;
                 },
             .lost = [] { FAIL() << "the kernel does not go away"; },
             .answered =
                 [this](const std::shared_ptr<const Generation>&, bool accepted,
                        const std::string& reason) {
                     accepted_ = accepted;
                     reason_ = reason;
                 },
             .problems =
                 [this](const std::string& topic, const std::vector<std::string>& sentences) {
                     problems_[topic] = sentences;
                 },
             .make_tap = {}});
        ASSERT_TRUE(started) << started.error().sentence;
        io_.run_for(std::chrono::milliseconds(20));
    }
    void end() { engine_.reset(); }

    void publish() {
        const CompiledState compiled = world_.compile();
        auto generation = Generation::seal(compiled, nullptr);
        ASSERT_TRUE(generation) << generation.error().sentence;
        accepted_.reset();
        engine_->publish(*generation);
        EXPECT_TRUE(engine_->publishing());
        io_.restart();
        io_.run_for(std::chrono::milliseconds(20));
        ASSERT_TRUE(accepted_.has_value());
        EXPECT_FALSE(engine_->publishing());
    }
    bool attached(const std::string& device) {
        return xdp::program_on(if_nametoindex(device.c_str())) == "weir_balance";
    }

    std::optional<xdp_test::Lab> lab_;
    std::optional<xdp_test::MountPlace> place_;
    std::string directory_;
    sample::World world_;
    boost::asio::io_context io_{1};
    std::optional<XdpEngine> engine_;
    bool ready_ = false;
    std::shared_ptr<const Generation> found_;
    std::optional<bool> accepted_;
    std::string reason_;
    std::map<std::string, std::vector<std::string>> problems_;
};

TEST_F(XdpEngineTest, TheNextControlFindsWhatTheFirstHasPublished) {
    begin();
    ASSERT_TRUE(ready_);
    EXPECT_FALSE(found_);
    EXPECT_FALSE(attached("b0")) << "a program that knows nothing would only be in the way";
    publish();
    EXPECT_TRUE(*accepted_) << reason_;
    EXPECT_TRUE(attached("b0"));
    const auto first = engine_->live();
    EXPECT_EQ(first->number(), 1u);
    EXPECT_STREQ(engine_->engine()->hello.interface[0].driver, "xdp, native");
    end();
    EXPECT_TRUE(attached("b0"));

    begin();
    ASSERT_TRUE(ready_);
    ASSERT_TRUE(found_);
    EXPECT_EQ(found_->number(), 1u);
    EXPECT_TRUE(found_->same_content(*first));
    EXPECT_EQ(engine_->live(), found_);
    publish();
    EXPECT_TRUE(*accepted_) << reason_;
    EXPECT_EQ(engine_->live()->number(), 2u);
    EXPECT_EQ(XdpEngine::release(directory_), std::set<std::string>{"b0"});
    EXPECT_FALSE(attached("b0"));
    EXPECT_FALSE(fs::exists(directory_ + "/links"));
}

TEST_F(XdpEngineTest, MapsOfAControlThatWasKilledWhileItChangedThemAreFound) {
    begin();
    publish();
    end();
    const std::string maps = directory_ + "/maps_" + std::to_string(WEIR_BALANCER_LAYOUT);
    fs::rename(maps, maps + "_new");
    begin();
    ASSERT_TRUE(found_);
    EXPECT_EQ(engine_->live(), found_);
    EXPECT_TRUE(fs::exists(maps));
    EXPECT_FALSE(fs::exists(maps + "_new"));
}

TEST_F(XdpEngineTest, WhatCannotBeTakenUpForwardsUntilItIsReplaced) {
    begin();
    publish();
    end();
    world_.config.engine.connections = 8192;
    begin();
    ASSERT_TRUE(found_) << "row numbers go on all the same";
    EXPECT_FALSE(engine_->live()) << "and everything has to be published";
    EXPECT_TRUE(attached("b0"));
    const auto before = xdp::Attachments(directory_ + "/links").maps_of("b0");
    publish();
    EXPECT_TRUE(*accepted_) << reason_;
    EXPECT_NE(xdp::Attachments(directory_ + "/links").maps_of("b0"), before);
    EXPECT_EQ(engine_->engine()->hello.connections_per_worker, 8192u);
    end();
    begin();
    EXPECT_EQ(engine_->live(), found_);
}

TEST_F(XdpEngineTest, OnlyAnInterfaceThatIsNoLongerConfiguredLosesIt) {
    lab_->ip("link add d0 type veth peer name d1");
    lab_->ip("link set d0 up");
    use({"b0", "d0"});
    begin();
    publish();
    EXPECT_TRUE(*accepted_) << reason_;
    EXPECT_TRUE(attached("b0") && attached("d0"));
    end();
    use({"b0"});
    begin();
    publish();
    EXPECT_TRUE(attached("b0"));
    EXPECT_FALSE(attached("d0"));
}

TEST_F(XdpEngineTest, ItWaitsForAnInterfaceThatIsNotThere) {
    use({"d0"});
    begin();
    EXPECT_FALSE(ready_);
    EXPECT_EQ(engine_->engine(), nullptr);
    EXPECT_EQ(problems_["engine"], std::vector<std::string>{"interface d0: there is no d0"});
    lab_->ip("link add d0 type veth peer name d1");
    io_.restart();
    EXPECT_TRUE(xdp_test::eventually([this] {
        io_.run_for(std::chrono::milliseconds(50));
        return ready_;
    }));
    EXPECT_TRUE(problems_["engine"].empty());
}

TEST_F(XdpEngineTest, SomebodyElsesProgramMakesItRefuseAndForwardNothing) {
    auto other = xdp::Balancer::load({.rows = {1, 1, 1, 1, 1, 1}, .connections = 16});
    ASSERT_TRUE(other);
    ASSERT_TRUE(xdp::prepare_bpffs(directory_));
    ASSERT_TRUE(xdp::make_directory(directory_ + "/other"));
    ASSERT_TRUE(xdp::Attachments(directory_ + "/other").attach("b0", other->program()));
    begin();
    publish();
    EXPECT_FALSE(*accepted_);
    EXPECT_NE(reason_.find("cannot attach the balancer to b0"), std::string::npos) << reason_;
    EXPECT_FALSE(engine_->live());
    xdp::Attachments(directory_ + "/other").release("b0");
    publish();
    EXPECT_TRUE(*accepted_) << reason_;
}

} // namespace
} // namespace weir::control
