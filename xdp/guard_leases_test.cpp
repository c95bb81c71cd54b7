// SPDX-License-Identifier: BSD-3-Clause
// Leases: while one is lapsed the kernel is neither asked for its addresses nor says that it has
// them; both by the programs alone and by a kernel that has the addresses.
#include <gtest/gtest.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/if_packet.h>
#include <linux/pkt_cls.h>
#include <sys/socket.h>
#include <time.h>

#include <memory>
#include <string>
#include <thread>

#include "dataplane/forwarding/neighbour.h"
#include "dataplane/forwarding/test_neighbour.hpp"
#include "dataplane/forwarding/test_table.hpp"
#include "xdp/guard.hpp"
#include "xdp/test_lab.hpp"

namespace {

using namespace weir::xdp;
using namespace weir::xdp_test;
using namespace weir::forwarding_test;

constexpr const char* kVip = "198.51.100.10";
constexpr const char* kVip6 = "2001:db8:1::10";
constexpr const char* kNode = "192.0.2.2"; // never on loan
constexpr const char* kNode6 = "2001:db8::2";
constexpr const char* kClient = "192.0.2.1";
constexpr const char* kClientV6 = "2001:db8::1";
constexpr uint32_t kLease = 7, kOther = 8;
constexpr uint64_t kSecond_ns = 1'000'000'000, kMillisecond_ns = 1'000'000;

uint64_t now_ns() {
    timespec now{};
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<uint64_t>(now.tv_sec) * kSecond_ns + static_cast<uint64_t>(now.tv_nsec);
}

void renew(const Leases& leases, uint32_t lease, uint64_t deadline_ns) {
    __atomic_store_n(leases.deadline(lease), deadline_ns, __ATOMIC_RELAXED);
}

// What the client's wire brings that claims an address.
class Listener {
public:
    explicit Listener(const Lab& lab) {
        lab.in_client([this] {
            socket_ = Descriptor(
                socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, be16(0x0003)));
        });
    }
    // Since the last call.
    bool heard(const char* address) {
        const weir_address wanted = address_of(address);
        bool found = false;
        uint8_t frame[2048];
        sockaddr_ll from{};
        socklen_t bytes = sizeof(from);
        for (ssize_t size; (size = recvfrom(socket_.get(), frame, sizeof(frame), 0,
                                            reinterpret_cast<sockaddr*>(&from), &bytes)) >= 0;) {
            weir_neighbour neighbour;
            weir_read_neighbour(frame, frame + size, &neighbour);
            found = found || (from.sll_pkttype != PACKET_OUTGOING && neighbour.claims &&
                              weir_address_equal(&neighbour.claimed, &wanted));
        }
        return found;
    }

private:
    Descriptor socket_;
};

class GuardLeases : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        lab_ = std::make_unique<Lab>();
        auto leases = Leases::make();
        ASSERT_TRUE(leases) << leases.error().sentence;
        leases_ = std::make_unique<Leases>(std::move(*leases));
        auto guard = Guard::load(lab_->ifindex(), leases_.get());
        ASSERT_TRUE(guard) << guard.error().sentence;
        guard_ = std::make_unique<Guard>(std::move(*guard));
        table_.address(kVip, WEIR_MATCH_VIP_ADDRESS);
        table_.serve(kVip, 6, 80, 0);
        ASSERT_TRUE(guard_->publish({table_.header(), table_.range_rows(), table_.rows()}, 1));
    }
    void assign(const std::vector<std::pair<const char*, uint32_t>>& addresses) {
        std::vector<LeasedAddress> leased;
        for (const auto& [text, lease] : addresses)
            leased.push_back({address_of(text), lease});
        auto assigned = leases_->assign(leased);
        ASSERT_TRUE(assigned) << assigned.error().sentence;
    }
    // Whether the program lets the frame pass.
    bool passes(const char* program, const Bytes& frame) {
        LIBBPF_OPTS(bpf_test_run_opts, run, .data_in = frame.data(),
                    .data_size_in = static_cast<uint32_t>(frame.size()), .repeat = 1);
        EXPECT_EQ(bpf_prog_test_run_opts(guard_->program(program), &run), 0);
        EXPECT_TRUE(run.retval == TC_ACT_OK || run.retval == TC_ACT_SHOT) << run.retval;
        return run.retval == TC_ACT_OK;
    }
    bool passes_in(const Bytes& frame) { return passes("weir_guard_in", frame); }
    bool passes_out(const Bytes& frame) { return passes("weir_guard_out", frame); }

    TestTable table_;
    std::unique_ptr<Lab> lab_;
    std::unique_ptr<Leases> leases_;
    std::unique_ptr<Guard> guard_;
};

TEST_F(GuardLeases, QuestionsForALapsedAddressDoNotReachTheKernel) {
    assign({{kVip, kLease}, {kVip6, kLease}});
    const Bytes tag = {0x81, 0, 0, 7};
    for (const bool valid : {false, true, false}) {
        renew(*leases_, kLease, valid ? now_ns() + 60 * kSecond_ns : now_ns());
        for (const Bytes& tags : {Bytes{}, tag}) {
            EXPECT_EQ(passes_in(arp_frame(1, kClient, kVip, tags)), valid);
            EXPECT_EQ(passes_in(discovery_frame(135, kClientV6, kVip6, tags)), valid);
        }
        // Another's news about it, and questions for what is not on loan, are the kernel's.
        EXPECT_TRUE(passes_in(arp_frame(2, kVip, kNode)));
        EXPECT_TRUE(passes_in(discovery_frame(136, kClientV6, kVip6)));
        EXPECT_TRUE(passes_in(arp_frame(1, kClient, kNode)));
        EXPECT_TRUE(passes_in(discovery_frame(135, kClientV6, kNode6)));
    }
    EXPECT_EQ(guard_->counters()->dropped_question, 8u);
    EXPECT_EQ(guard_->counters()->dropped_claim, 0u);
}

TEST_F(GuardLeases, ClaimsOfALapsedAddressDoNotLeave) {
    assign({{kVip, kLease}, {kVip6, kLease}});
    for (const bool valid : {false, true}) {
        renew(*leases_, kLease, valid ? now_ns() + 60 * kSecond_ns : 0);
        EXPECT_EQ(passes_out(arp_frame(2, kVip, kClient)), valid); // the kernel's answer
        EXPECT_EQ(passes_out(arp_frame(1, kVip, kVip)), valid);    // gratuitous
        EXPECT_EQ(passes_out(arp_frame(1, kVip, kClient)), valid); // a question from it
        EXPECT_EQ(passes_out(discovery_frame(136, kVip6, kVip6)), valid);
        EXPECT_EQ(passes_out(discovery_frame(136, kNode6, kVip6)), valid);
        EXPECT_EQ(passes_out(discovery_frame(135, kVip6, kClientV6)), valid);
        EXPECT_TRUE(passes_out(arp_frame(1, kNode, kVip)));
        EXPECT_TRUE(passes_out(discovery_frame(135, kNode6, kVip6)));
    }
    EXPECT_EQ(guard_->counters()->dropped_claim, 6u);
}

TEST_F(GuardLeases, WhatIsForwardedIsNotTouchedByALease) {
    assign({{kVip, kLease}});
    PacketPlan plan; // TCP to the VIP: in, the guard drops it as ever; out, it is the kernel's
    EXPECT_FALSE(passes_in(build(plan)));
    EXPECT_EQ(guard_->counters()->dropped_vip, 1u);
    plan.destination_port = 81;
    EXPECT_TRUE(passes_in(build(plan)));
    std::swap(plan.source, plan.destination);
    EXPECT_TRUE(passes_out(build(plan)));
    plan.source = kVip6;
    plan.destination = kClientV6;
    EXPECT_TRUE(passes_out(build(plan)));
}

TEST_F(GuardLeases, EachAddressFollowsItsOwnLease) {
    EXPECT_TRUE(passes_in(arp_frame(1, kClient, kVip))) << "none is on loan yet";
    assign({{kVip, kLease}, {kVip6, kOther}});
    renew(*leases_, kOther, now_ns() + 60 * kSecond_ns);
    EXPECT_FALSE(passes_in(arp_frame(1, kClient, kVip)));
    EXPECT_TRUE(passes_in(discovery_frame(135, kClientV6, kVip6)));
    assign({{kVip, kOther}, {kVip6, kLease}});
    EXPECT_TRUE(passes_in(arp_frame(1, kClient, kVip)));
    EXPECT_FALSE(passes_in(discovery_frame(135, kClientV6, kVip6)));
    assign({{kVip, kLease}}); // the other one is no longer on loan
    EXPECT_FALSE(passes_in(arp_frame(1, kClient, kVip)));
    EXPECT_TRUE(passes_in(discovery_frame(135, kClientV6, kVip6)));
    assign({});
    EXPECT_TRUE(passes_in(arp_frame(1, kClient, kVip)));
    const LeasedAddress beyond{address_of(kVip), WEIR_MAX_LEASES};
    EXPECT_FALSE(leases_->assign({&beyond, 1}));
}

TEST_F(GuardLeases, AKernelThatHasTheAddressFallsSilentByItself) {
    ASSERT_TRUE(guard_->attach());
    assign({{kVip, kLease}, {kVip6, kLease}});
    Listener listener(*lab_);
    const auto ask = [&] {
        lab_->send_frame(arp_frame(1, kClient, kVip));
        lab_->send_frame(discovery_frame(135, kClientV6, kVip6));
    };
    const auto answered = [&](const char* address) {
        return eventually([&] {
            ask();
            return listener.heard(address);
        });
    };
    const uint64_t lease_ns = 75 * kMillisecond_ns;
    // Renewed a few times, as control does it; then never again.
    for (const char* address : {kVip, kVip6}) {
        renew(*leases_, kLease, now_ns() + 60 * kSecond_ns);
        EXPECT_TRUE(answered(address)) << address;
    }
    const uint64_t deadline = now_ns() + lease_ns;
    renew(*leases_, kLease, deadline);
    while (now_ns() < deadline + kMillisecond_ns)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    // What was answered in time has arrived: the wire is a function call.
    for (const char* address : {kVip, kVip6})
        listener.heard(address);
    const uint64_t before = guard_->counters()->dropped_question;
    ask();
    EXPECT_TRUE(eventually([&] { return guard_->counters()->dropped_question == before + 2; }));
    EXPECT_FALSE(listener.heard(kVip));
    // The next renewal ends it, and so does (the negative control) a guard that knows no lease.
    renew(*leases_, kLease, now_ns() + 60 * kSecond_ns);
    EXPECT_TRUE(answered(kVip));
    renew(*leases_, kLease, 0);
    auto unaware = Guard::load(lab_->ifindex());
    ASSERT_TRUE(unaware);
    ASSERT_TRUE(unaware->publish({table_.header(), table_.range_rows(), table_.rows()}, 2));
    ASSERT_TRUE(unaware->attach());
    EXPECT_TRUE(answered(kVip));
    EXPECT_TRUE(answered(kVip6));
}

TEST_F(GuardLeases, OutlivesWhoRenewsAndHeedsTheLastDeadline) {
    assign({{kVip, kLease}});
    ASSERT_TRUE(guard_->attach());
    renew(*leases_, kLease, now_ns() + 200 * kMillisecond_ns);
    guard_.reset();
    leases_.reset();
    Listener listener(*lab_);
    EXPECT_TRUE(eventually([&] {
        lab_->send_frame(arp_frame(1, kClient, kVip));
        return listener.heard(kVip);
    }));
    EXPECT_TRUE(eventually([&] {
        listener.heard(kVip);
        lab_->send_frame(arp_frame(1, kClient, kVip));
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
        return !listener.heard(kVip);
    }));
}

TEST_F(GuardLeases, BothProgramsComeAndGoTogether) {
    ASSERT_TRUE(guard_->attach());
    EXPECT_TRUE(*guard_->attached());
    ASSERT_TRUE(Guard::detach(lab_->ifindex()));
    EXPECT_FALSE(*guard_->attached());
    ASSERT_TRUE(guard_->attach());
    for (const bpf_tc_attach_point point : {BPF_TC_INGRESS, BPF_TC_EGRESS}) {
        LIBBPF_OPTS(bpf_tc_hook, hook, .ifindex = static_cast<int>(lab_->ifindex()),
                    .attach_point = point);
        LIBBPF_OPTS(bpf_tc_opts, filter, .handle = 1, .priority = 7);
        ASSERT_EQ(bpf_tc_detach(&hook, &filter), 0);
        EXPECT_FALSE(*guard_->attached()) << "one of them is missing";
        ASSERT_TRUE(guard_->attach());
        EXPECT_TRUE(*guard_->attached());
    }
}

} // namespace
