// SPDX-License-Identifier: BSD-3-Clause
// For tests of the loaded balancer: a generation with the VIP 203.0.113.10:80, by dsr-l2 to two
// backends behind one next hop; a SYN for it through the program; how many connections it knows.
#pragma once

#include <gtest/gtest.h>
#include <linux/bpf.h>

#include <optional>

#include "dataplane/forwarding/test_packet.hpp"
#include "dataplane/lb/state_sample.hpp"
#include "xdp/balancer.hpp"
#include "xdp/test_lab.hpp"
#include "xdp/test_run.hpp"

namespace weir::xdp {

constexpr BalancerSizes kSampleSizes = {
    .rows = {.vips = 4, .pools = 4, .members = 8, .backends = 8, .next_hops = 4, .slot_rows = 16},
    .connections = 4096};

// A balancer whose clock and devices are the test's.
class InjectedBalancer : public testing::Test {
protected:
    void SetUp() override {
        if (std::string why = xdp_test::missing_permission(); !why.empty())
            GTEST_SKIP() << why;
        load(kSampleSizes.connections);
    }
    void load(uint32_t connections) {
        BalancerSizes sizes = kSampleSizes;
        sizes.connections = connections;
        sizes.injected = true;
        auto loaded = Balancer::load(sizes);
        ASSERT_TRUE(loaded) << loaded.error().sentence;
        balancer_.emplace(std::move(*loaded));
    }

    std::optional<Balancer> balancer_;
};

class SampleGeneration : public lb::Sample {
public:
    SampleGeneration(uint64_t number, uint8_t hop_mac) {
        tables.generation = number;
        tables.vips[0].address = weir_address_from_v4(0x0a7100cb);
        tables.vips[0].protocol = WEIR_IP_TCP;
        tables.vips[0].forward = WEIR_FORWARD_DSR_L2;
        tables.vips[0].timeouts = {30, 3600, 60, 10, 60};
        tables.next_hops[0].resolved = 1;
        tables.next_hops[0].mtu = 1500;
        tables.next_hops[0].vlan_tci = WEIR_NO_VLAN;
        tables.next_hops[0].destination_mac[5] = hop_mac;
    }
    // Of the tables as they are now; valid until asked again.
    const lb::ForwardingState& state() {
        root_.emplace(lb::build_root(tables));
        opened_ = lb::ForwardingState::open(root_->span(), std::span(&segment, 1), problem);
        EXPECT_TRUE(opened_) << problem;
        return *opened_;
    }
    // REQUIRES: state() was called.
    std::span<const std::byte> root() const { return root_->span(); }

private:
    std::optional<lb::Root> root_;
    std::optional<lb::ForwardingState> opened_;
};

// The last byte of the MAC that a segment with these flags leaves for, or minus the program's
// action. Not inlined: GCC 12 warns of the plan's payload where it is copied in loops.
[[gnu::noinline]] inline int run_segment(const Balancer& balancer, uint8_t tcp_flags,
                                         uint16_t source_port) {
    forwarding_test::PacketPlan plan;
    plan.destination = "203.0.113.10";
    plan.source_port = source_port;
    plan.tcp_flags = tcp_flags;
    const auto ran = xdp_test::run_once(balancer.program(), build(plan));
    if (!ran)
        return -1000;
    return ran->returned == XDP_TX ? ran->frame[5] : -static_cast<int>(ran->returned);
}

inline int run_syn(const Balancer& balancer, uint16_t source_port) {
    return run_segment(balancer, 0x02, source_port);
}

inline uint64_t connections_of(const Balancer& balancer) {
    uint64_t count = 0;
    EXPECT_TRUE(balancer.for_each_connection([&](const auto&, const auto&) { count++; }));
    return count;
}

} // namespace weir::xdp
