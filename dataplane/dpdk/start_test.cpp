// SPDX-License-Identifier: BSD-3-Clause
// weir-dataplane as its user meets it: what it says when it cannot start, how it ends, and that a
// control process finds it. On a device that needs no privileges and has no traffic.
#include "dataplane/dpdk/generations_fixture.hpp"
#include "dataplane/dpdk/start_fixture.hpp"
#include "dataplane/lb/counters.hpp"

namespace weir::dpdk {
namespace {

using channel::MessageType;
using ::testing::HasSubstr;
using ::testing::Not;

TEST_F(StartTest, StartsServesControlAndEndsCleanly) {
    Program program = start(write_config(kQuietDevice));
    const channel::Socket control = connect();
    const auto hello = next(control).as<channel::Hello>();
    ASSERT_TRUE(hello) << log();
    EXPECT_EQ(hello->interfaces, 1u);
    EXPECT_STREQ(hello->interface[0].name, "uplink");
    EXPECT_STREQ(hello->interface[0].driver, "net_null");
    EXPECT_EQ(hello->interface[0].kind, channel::InterfaceKind::bypassed);
    channel::Packet counters = next(control);
    std::string problem;
    auto memory = channel::SharedMemory::map(std::move(counters.descriptor),
                                             channel::Access::read_only, false, problem);
    ASSERT_TRUE(memory) << problem;
    auto view = lb::CountersView::open(memory->bytes(), problem);
    ASSERT_TRUE(view) << problem;
    while (next(control).type() != MessageType::ready) {
    }

    const SentGeneration sent(1);
    auto segment = channel::make_message<channel::Memory>(MessageType::memory);
    segment.kind = channel::MemoryKind::segment;
    segment.id = sent.segment_id();
    ASSERT_TRUE(control.send(segment, sent.segment.descriptor()));
    auto publish = channel::make_message<channel::Publish>(MessageType::publish);
    publish.generation = 1;
    ASSERT_TRUE(control.send(publish, sent.root.descriptor()));
    const auto ack = next(control).as<channel::Ack>();
    ASSERT_TRUE(ack);
    EXPECT_EQ(ack->accepted, 1u) << ack->sentence;
    for (std::uint32_t block = 0; block < view->blocks(); block++)
        EXPECT_TRUE(eventually([&] { return view->read(block)->generation == 1; })) << block;

    program.send(SIGHUP);
    program.send(SIGTERM);
    EXPECT_EQ(program.wait(), 0) << log();
    EXPECT_FALSE(std::filesystem::exists(runtime() + "/" + channel::kSocketName));
    for (std::uint32_t block = 0; block < view->blocks(); block++)
        EXPECT_TRUE(lb::books_of(*view->read(block)).balanced()) << block;
}

TEST_F(StartTest, StartsAgainAfterItWasKilled) {
    const std::string config = write_config(kQuietDevice);
    {
        Program program = start(config);
        next(connect());
        program.send(SIGKILL);
        EXPECT_EQ(program.wait(), 128 + SIGKILL);
    }
    Program again = start(config);
    EXPECT_TRUE(next(connect()).as<channel::Hello>()) << log();
    again.send(SIGINT);
    EXPECT_EQ(again.wait(), 0) << log();
}

TEST_F(StartTest, EndsUnderAFlood) {
    // Hands out frames as fast as they are taken.
    Program program = start(write_config("vdev:net_null0"));
    next(connect());
    program.send(SIGTERM);
    EXPECT_EQ(program.wait(), 0) << log();
}

TEST_F(StartTest, ASecondOneInTheSameDirectoryIsRefused) {
    Program first = start(write_config(kQuietDevice));
    next(connect());
    std::string second_log = directory_ + "/second";
    Program second({"--config", directory_ + "/weir.toml", "--runtime-dir", runtime()}, second_log);
    EXPECT_EQ(second.wait(), 1);
    std::ostringstream said;
    said << std::ifstream(second_log).rdbuf();
    EXPECT_THAT(said.str(), HasSubstr("another weir-dataplane runs in " + runtime()));
}

TEST_F(StartTest, ABadEditCannotStopARestart) {
    std::filesystem::create_directories(runtime());
    write_config(kQuietDevice, "", "run/accepted.toml");
    Program program = start(write_config(kQuietDevice, "wokers = [0]"));
    EXPECT_TRUE(next(connect()).as<channel::Hello>()) << log();
    EXPECT_THAT(log(), HasSubstr("accepted.toml, the last configuration that was accepted"));
    EXPECT_THAT(log(), HasSubstr("wokers"));
    program.send(SIGTERM);
    EXPECT_EQ(program.wait(), 0);
}

TEST_F(StartTest, ABadConfigurationIsShownWithItsPlace) {
    EXPECT_EQ(run(write_config(kQuietDevice, "wokers = [0]")), 2);
    EXPECT_THAT(log(), HasSubstr("weir.toml:4:1: error"));
}

TEST_F(StartTest, WrongUsageIsCodeTwo) {
    Program program({"--nonsense"}, directory_ + "/log");
    EXPECT_EQ(program.wait(), 2);
}

TEST_F(StartTest, WhatCannotBeIsOneSentence) {
    struct Case {
        const char* device;
        const char* engine;
        const char* says;
    };
    const Case cases[] = {
        {kQuietDevice, "workers = [0, 1000]", "core 1000 is not available: this machine has"},
        {"nosuch0", "", "there is no interface 'nosuch0' here"},
        {"0000:ff:1f.7", "", "there is no PCI device 0000:ff:1f.7"},
        {"vdev:net_nosuch0", "", "DPDK cannot make 'net_nosuch0'"},
        {"vdev:net_pcap0,rx_pcap=/nonexistent", "", "Couldn't open /nonexistent"},
    };
    for (const Case& c : cases) {
        EXPECT_EQ(run(write_config(c.device, c.engine)), 1) << c.says;
        const std::string said = log();
        EXPECT_THAT(said, HasSubstr(c.says));
        EXPECT_EQ(std::count(said.begin(), said.end(), '\n'), 1) << said;
        EXPECT_THAT(said, Not(HasSubstr("EAL:")));
    }
}

} // namespace
} // namespace weir::dpdk
