// SPDX-License-Identifier: BSD-3-Clause
// weir-dataplane on a kernel-visible interface: a veth pair in a network namespace of the test's
// own. What must hold about the XDP program on it, in good and bad endings.
#include "dataplane/dpdk/kernel_interface.hpp"
#include "dataplane/dpdk/start_fixture.hpp"
#include "dataplane/dpdk/xdp_program.hpp"

#include <cstring>
#include <linux/bpf.h>
#include <net/if.h>
#include <sched.h>
#include <sys/syscall.h>

namespace weir::dpdk {
namespace {

using ::testing::HasSubstr;

constexpr const char* kInterface = "weirveth0";

class StartVethTest : public StartTest {
protected:
    static void SetUpTestSuite() { own_namespace = ::unshare(CLONE_NEWNET) == 0; }

    void SetUp() override {
        if (!own_namespace)
            GTEST_SKIP() << "needs the right to make a network namespace";
        StartTest::SetUp();
        ip("link add weirveth0 numrxqueues 2 numtxqueues 2 type veth "
           "peer name weirveth1 numrxqueues 2 numtxqueues 2");
        ip("link set weirveth0 up");
        ip("link set weirveth1 up");
    }
    void TearDown() override {
        if (!own_namespace)
            return;
        ip("link del weirveth0");
        StartTest::TearDown();
    }

    static void ip(const std::string& arguments) {
        ASSERT_EQ(std::system(("ip " + arguments).c_str()), 0) << arguments;
    }
    static std::uint32_t program() {
        auto id = attached_program(::if_nametoindex(kInterface));
        EXPECT_TRUE(id);
        return id ? *id : 0;
    }
    // Starts it and returns when it is ready to be told what to forward.
    Program ready(const std::string& engine = "workers = [0]") {
        return start(write_config(kInterface, engine));
    }

    static inline bool own_namespace = false;
};

// A program that only says XDP_PASS, attached for as long as the descriptor is open.
channel::Descriptor foreign_program(const char* name) {
    const bpf_insn code[] = {{BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_PASS},
                             {BPF_JMP | BPF_EXIT, 0, 0, 0, 0}};
    bpf_attr load{};
    load.prog_type = BPF_PROG_TYPE_XDP;
    load.insns = reinterpret_cast<std::uintptr_t>(code);
    load.insn_cnt = 2;
    load.license = reinterpret_cast<std::uintptr_t>("GPL");
    std::strncpy(load.prog_name, name, sizeof(load.prog_name) - 1);
    const channel::Descriptor program(
        static_cast<int>(::syscall(SYS_bpf, BPF_PROG_LOAD, &load, sizeof(load))));
    bpf_attr link{};
    link.link_create.prog_fd = static_cast<std::uint32_t>(program.get());
    link.link_create.target_ifindex = ::if_nametoindex(kInterface);
    link.link_create.attach_type = BPF_XDP;
    return channel::Descriptor(
        static_cast<int>(::syscall(SYS_bpf, BPF_LINK_CREATE, &link, sizeof(link))));
}

TEST_F(StartVethTest, AttachesTheSteeringProgramAndTakesItOffAtTheEnd) {
    Program dataplane = ready();
    const auto hello = next(connect()).as<channel::Hello>();
    ASSERT_TRUE(hello) << log();
    EXPECT_EQ(hello->workers, 1u);
    EXPECT_EQ(hello->interface[0].kind, channel::InterfaceKind::kernel_visible);
    EXPECT_STREQ(hello->interface[0].kernel_name, kInterface);
    EXPECT_EQ(hello->interface[0].queues, 2u) << "no queue is left without a worker";
    auto facts = look_at_interface(kInterface, "");
    ASSERT_TRUE(facts);
    EXPECT_EQ(std::memcmp(hello->interface[0].mac, facts->mac.data(), 6), 0);
    EXPECT_NE(program(), 0u);
    dataplane.send(SIGTERM);
    EXPECT_EQ(dataplane.wait(), 0) << log();
    EXPECT_EQ(program(), 0u);
}

TEST_F(StartVethTest, WhatAKilledOneLeftBehindIsReplaced) {
    std::uint32_t left = 0;
    {
        Program dataplane = ready();
        next(connect());
        dataplane.send(SIGKILL);
        dataplane.wait();
        left = program();
        EXPECT_NE(left, 0u) << "the steering program stays: traffic that is not ours goes on";
    }
    Program again = ready();
    EXPECT_TRUE(next(connect()).as<channel::Hello>()) << log();
    EXPECT_NE(program(), left);
    EXPECT_THAT(log(), HasSubstr("took off 'weirveth0'"));
}

TEST_F(StartVethTest, AProgramOfSomebodyElseStays) {
    const channel::Descriptor theirs = foreign_program("theirs");
    ASSERT_TRUE(theirs) << std::strerror(errno);
    const std::uint32_t before = program();
    ASSERT_NE(before, 0u);
    EXPECT_EQ(run(write_config(kInterface)), 1);
    EXPECT_THAT(log(), HasSubstr("has the XDP program 'theirs', which is not Weir's"));
    EXPECT_EQ(program(), before);
}

TEST_F(StartVethTest, AnInterfaceHasOneDataplane) {
    Program first = ready();
    next(connect());
    const std::uint32_t before = program();
    Program second({"--config", directory_ + "/weir.toml", "--runtime-dir", directory_ + "/other"},
                   directory_ + "/second");
    EXPECT_EQ(second.wait(), 1);
    std::ostringstream said;
    said << std::ifstream(directory_ + "/second").rdbuf();
    EXPECT_THAT(said.str(), HasSubstr("'weirveth0' is driven by another weir-dataplane"));
    EXPECT_EQ(program(), before);
}

TEST_F(StartVethTest, MoreWorkersThanQueuesIsASentence) {
    if (std::thread::hardware_concurrency() < 2)
        GTEST_SKIP() << "needs two cores";
    ip("link del weirveth0");
    ip("link add weirveth0 numrxqueues 1 numtxqueues 1 type veth peer name weirveth1");
    ip("link set weirveth0 up");
    EXPECT_EQ(run(write_config(kInterface, "workers = [0, 1]")), 1);
    EXPECT_THAT(log(), HasSubstr("'weirveth0' has 1 queue, but there are 2 workers"));
}

TEST_F(StartVethTest, AMissingSteeringProgramIsASentence) {
    ::setenv("WEIR_BPF_DIR", "/nonexistent", 1);
    EXPECT_EQ(run(write_config(kInterface)), 1);
    ::unsetenv("WEIR_BPF_DIR");
    EXPECT_THAT(log(), HasSubstr("/nonexistent/steer.bpf.o is not there"));
}

TEST_F(StartVethTest, AnInterfaceThatIsDownIsASentence) {
    ip("link set weirveth0 down");
    EXPECT_EQ(run(write_config(kInterface)), 1);
    EXPECT_THAT(log(), HasSubstr("interface 'weirveth0' is down: weir-control brings it up"));
}

TEST_F(StartVethTest, AnInterfaceThatComesUpMeanwhileIsWaitedFor) {
    ip("link set weirveth0 down");
    Program dataplane = ready();
    ip("link set weirveth0 up");
    EXPECT_TRUE(next(connect()).as<channel::Hello>()) << log();
}

} // namespace
} // namespace weir::dpdk
