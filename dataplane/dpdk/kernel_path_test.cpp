// SPDX-License-Identifier: BSD-3-Clause
// The kernel path between real rings and a socket pair that stands for the TAP: a datagram is a
// frame. One test attaches a real TAP in a network namespace of its own.
#include "dataplane/dpdk/kernel_path.hpp"

#include "dataplane/dpdk/eal.hpp"
#include "dataplane/dpdk/generations_fixture.hpp"
#include "dataplane/dpdk/memory.hpp"
#include "dataplane/dpdk/tap.hpp"
#include "dataplane/forwarding/test_packet.hpp"

#include <gtest/gtest.h>

#include <rte_mbuf.h>
#include <rte_mempool.h>
#include <rte_ring.h>

#include <chrono>
#include <cstdio>
#include <fcntl.h>
#include <functional>
#include <linux/if_tun.h>
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>

namespace weir::dpdk {
namespace {

using forwarding_test::build;
using forwarding_test::Bytes;
using forwarding_test::PacketPlan;

constexpr std::uint32_t kRow = 2;
constexpr std::uint32_t kBlock = 1; // one worker's block, then the kernel path's

Bytes arp() {
    Bytes frame(60, 0);
    frame[12] = 0x08;
    frame[13] = 0x06;
    return frame;
}
Bytes echo() {
    PacketPlan plan;
    plan.protocol = 1;
    return build(plan);
}
Bytes data() {
    PacketPlan plan;
    plan.protocol = 17;
    return build(plan);
}

bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline)
            return false;
        std::this_thread::yield();
    }
    return true;
}

class KernelPathTest : public ::testing::Test {
protected:
    static void SetUpTestSuite() {
        const Machine machine = inspect_machine();
        auto started = start_eal({{}, machine.allowed, {}, false, std::size_t{32} << 20});
        ASSERT_TRUE(started) << started.error().sentence;
        pool = rte_pktmbuf_pool_create("buffers", 4095, 0, 0, 2048 + 128, SOCKET_ID_ANY);
        control = rte_ring_create("control", 64, SOCKET_ID_ANY, RING_F_SC_DEQ);
        other = rte_ring_create("data", 256, SOCKET_ID_ANY, RING_F_SC_DEQ);
        from_kernel = rte_ring_create("from-kernel", 64, SOCKET_ID_ANY, 0);
        ASSERT_TRUE(pool && control && other && from_kernel);
    }
    static void TearDownTestSuite() { end_eal(); }

    void SetUp() override {
        auto memory = EngineMemory::create(1, 1024, false, false);
        ASSERT_TRUE(memory);
        memory_.emplace(std::move(*memory));
        KernelPathSetup setup;
        setup.pool = pool;
        setup.punt_control = control;
        setup.punt_data = other;
        setup.from_kernel = from_kernel;
        setup.state = &state_;
        setup.rcu = readers_.rcu.get();
        setup.reader = 0;
        setup.counters = &block();
        setup.limits.resize(kRow + 1);
        setup.limits[kRow] = {1000, 100, 1000};
        path_.emplace(std::move(setup));
        int pair[2];
        ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
        kernel_ = channel::Descriptor(pair[0]);
        tap_ = channel::Descriptor(pair[1]);
    }
    void TearDown() override {
        path_.reset();
        drain_from_kernel();
        EXPECT_TRUE(lb::books_of(*memory_->counters().read(kBlock)).balanced());
        EXPECT_EQ(rte_mempool_in_use_count(pool), 0u) << "every buffer came back";
    }

    lb::WorkerCounters& block() { return memory_->counters().worker(kBlock); }
    std::uint64_t verdict(weir_verdict wanted) { return block().verdicts[wanted]; }
    const lb::PortCounters& side() { return block().ports[WEIR_MAX_INTERFACES]; }

    static void put(rte_ring* ring, const Bytes& frame, int count = 1, std::uint16_t row = kRow) {
        for (int i = 0; i < count; i++) {
            rte_mbuf* packet = rte_pktmbuf_alloc(pool);
            ASSERT_NE(packet, nullptr);
            std::memcpy(rte_pktmbuf_append(packet, static_cast<std::uint16_t>(frame.size())),
                        frame.data(), frame.size());
            packet->port = row;
            ASSERT_EQ(rte_ring_enqueue(ring, packet), 0);
        }
    }

    static std::size_t drain_from_kernel() {
        std::size_t count = 0;
        for (void* packet = nullptr; rte_ring_dequeue(from_kernel, &packet) == 0; count++)
            rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
        return count;
    }

    // What the kernel got, in order.
    std::vector<Bytes> kernel_got() {
        std::vector<Bytes> frames;
        Bytes frame(2048);
        for (ssize_t got; (got = ::read(kernel_.get(), frame.data(), frame.size())) > 0;)
            frames.emplace_back(frame.begin(), frame.begin() + got);
        return frames;
    }

    static inline rte_mempool* pool;
    static inline rte_ring* control;
    static inline rte_ring* other;
    static inline rte_ring* from_kernel;
    Readers readers_;
    std::atomic<const lb::ForwardingState*> state_{nullptr};
    std::optional<EngineMemory> memory_;
    std::optional<KernelPath> path_;
    channel::Descriptor kernel_;
    channel::Descriptor tap_;
};

TEST_F(KernelPathTest, FramesReachTheKernelAsTheyAre) {
    path_->attach(kRow, std::move(tap_));
    put(other, data());
    path_->run_once();
    ASSERT_EQ(kernel_got(), std::vector<Bytes>{data()});
    EXPECT_EQ(block().handed_in, 1u);
    EXPECT_EQ(side().tx_packets, 1u);
    EXPECT_EQ(side().tx_bytes, data().size());
}

TEST_F(KernelPathTest, ControlProtocolsGoFirst) {
    path_->attach(kRow, std::move(tap_));
    put(other, data(), 90);
    put(control, arp(), 5);
    path_->run_once();
    const std::vector<Bytes> frames = kernel_got();
    ASSERT_EQ(frames.size(), 95u);
    for (std::size_t i = 0; i < frames.size(); i++)
        EXPECT_EQ(frames[i], i < 5 ? arp() : data()) << i;
}

TEST_F(KernelPathTest, EachClassHasItsOwnLimit) {
    path_->attach(kRow, std::move(tap_));
    put(other, echo(), 100); // 100 a second: 10 at once
    put(other, data(), 50);
    put(control, arp(), 50);
    path_->run_once();
    EXPECT_EQ(kernel_got().size(), 110u);
    EXPECT_EQ(verdict(WEIR_DROP_PUNT_RATE), 90u);
    EXPECT_EQ(block().handed_in, 200u);
}

TEST_F(KernelPathTest, TheGenerationsLimitsReplaceTheConfigurations) {
    SentGeneration sent(3);
    sent.sample.tables.interfaces.resize(kRow + 1);
    sent.sample.tables.interfaces[kRow].punt_other_pps = 30;
    const auto root = sealed(lb::build_root(sent.sample.tables));
    std::string problem;
    auto state =
        lb::ForwardingState::open(root.bytes(), std::span(&sent.sample.segment, 1), problem);
    ASSERT_TRUE(state) << problem;
    state_.store(&*state);
    path_->attach(kRow, std::move(tap_));
    put(other, data(), 20);
    put(control, arp(), 20); // 0: none
    path_->run_once();
    EXPECT_EQ(kernel_got().size(), 3u);
    EXPECT_EQ(verdict(WEIR_DROP_PUNT_RATE), 37u);
    EXPECT_EQ(block().generation, 3u);
}

TEST_F(KernelPathTest, WithoutATapNothingIsOurs) {
    put(other, data(), 3);
    put(control, arp(), 1, 200); // no such interface
    path_->run_once();
    EXPECT_EQ(verdict(WEIR_DROP_NOT_OURS), 4u);
}

TEST_F(KernelPathTest, AFullQueueToTheKernelIsCounted) {
    int small = 1;
    ::setsockopt(tap_.get(), SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
    path_->attach(kRow, std::move(tap_));
    put(other, data(), 100);
    path_->run_once();
    const std::size_t got = kernel_got().size();
    EXPECT_GT(got, 0u);
    EXPECT_EQ(verdict(WEIR_DROP_PUNT_QUEUE_FULL), 100 - got);
}

TEST_F(KernelPathTest, WhatTheKernelSendsIsHandedToTheFirstWorker) {
    path_->attach(kRow, std::move(tap_));
    const Bytes frame = echo();
    ASSERT_EQ(::write(kernel_.get(), frame.data(), frame.size()),
              static_cast<ssize_t>(frame.size()));
    path_->run_once();
    EXPECT_EQ(side().rx_packets, 1u);
    EXPECT_EQ(side().rx_bytes, frame.size());
    EXPECT_EQ(verdict(WEIR_HANDED_OVER), 1u);
    void* taken = nullptr;
    ASSERT_EQ(rte_ring_dequeue(from_kernel, &taken), 0);
    auto* packet = static_cast<rte_mbuf*>(taken);
    EXPECT_EQ(packet->port, kRow);
    const auto* at = rte_pktmbuf_mtod(packet, const std::uint8_t*);
    EXPECT_EQ(Bytes(at, at + rte_pktmbuf_pkt_len(packet)), frame);
    rte_pktmbuf_free(packet);
}

TEST_F(KernelPathTest, AFullRingToTheWorkerIsCounted) {
    path_->attach(kRow, std::move(tap_));
    const Bytes frame = data();
    for (int i = 0; i < 80; i++)
        ASSERT_GT(::write(kernel_.get(), frame.data(), frame.size()), 0);
    while (path_->run_once() > 0) {
    }
    EXPECT_EQ(side().rx_packets, 80u);
    EXPECT_EQ(verdict(WEIR_HANDED_OVER), 63u);
    EXPECT_EQ(verdict(WEIR_DROP_RING_FULL), 17u);
}

TEST_F(KernelPathTest, TheThreadTakesPacketsAndANewTapAndEnds) {
    path_->start();
    path_->attach(kRow, std::move(tap_));
    put(control, arp());
    std::vector<Bytes> frames;
    EXPECT_TRUE(eventually([&] { return (frames = kernel_got()).size() == 1; }));
    EXPECT_EQ(frames, std::vector<Bytes>{arp()});
    const Bytes frame = data();
    ASSERT_GT(::write(kernel_.get(), frame.data(), frame.size()), 0);
    EXPECT_TRUE(eventually([] { return drain_from_kernel() == 1; }));

    int pair[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
    kernel_ = channel::Descriptor(pair[0]);
    path_->attach(kRow, channel::Descriptor(pair[1]));
    put(control, arp());
    EXPECT_TRUE(eventually([&] { return kernel_got().size() == 1; }));
    path_->stop();
}

TEST_F(KernelPathTest, ItRestsWhenThereIsNothingToDo) {
    path_->attach(kRow, std::move(tap_));
    path_->start();
    EXPECT_TRUE(eventually([&] { return memory_->counters().read(kBlock)->polls > 1; }));
    const std::uint64_t before = memory_->counters().read(kBlock)->polls;
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    // At first every 50 us for 20 ms, then every millisecond.
    EXPECT_LT(memory_->counters().read(kBlock)->polls - before, 1200u);
    path_->stop();
}

TEST_F(KernelPathTest, ARealTapCarriesFrames) {
    // On a thread, so that the namespace goes with it.
    std::thread([&] {
        if (::unshare(CLONE_NEWNET) != 0) {
            GTEST_SKIP() << "needs the right to make a network namespace";
        }
        EXPECT_FALSE(open_tap("weirtest0"));
        EXPECT_FALSE(open_tap("lo"));
        EXPECT_FALSE(open_tap(""));
        channel::Descriptor owner(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
        ASSERT_TRUE(owner);
        ifreq request{};
        std::snprintf(request.ifr_name, sizeof(request.ifr_name), "weirtest0");
        request.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE;
        ASSERT_EQ(::ioctl(owner.get(), TUNSETIFF, &request), 0);
        auto tap = open_tap("weirtest0");
        ASSERT_TRUE(tap) << tap.error().sentence;
        path_->attach(kRow, std::move(*tap));
        put(control, arp());
        path_->run_once(); // the TAP is down
        EXPECT_EQ(verdict(WEIR_DROP_NOT_OURS), 1u);

        const channel::Descriptor socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
        request.ifr_flags = IFF_UP;
        ASSERT_EQ(::ioctl(socket.get(), SIOCSIFFLAGS, &request), 0);
        put(control, arp(), 2);
        path_->run_once();
        EXPECT_EQ(side().tx_packets, 2u);
    }).join();
}

} // namespace
} // namespace weir::dpdk
