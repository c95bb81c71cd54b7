// SPDX-License-Identifier: BSD-3-Clause
// VIPs that record exceptions only, on the loaded balancer: what leaves a trace in its maps, how
// many connections there are said to be, and what sweeps make of entries. Who gets which packet is
// the conformance suite's business.
#include <gtest/gtest.h>

#include <optional>

#include "xdp/balancer_sample.hpp"

namespace weir::xdp {
namespace {

constexpr uint64_t kSecond_ns = 1'000'000'000;
constexpr uint8_t kSyn = 0x02;
constexpr uint8_t kAck = 0x10;
constexpr uint8_t kFinAck = 0x11;
constexpr int kOld = 1; // last byte of the backends' MACs
constexpr int kNew = 2;

// The VIP of SampleGeneration on two backends with a next hop each. Every slot is the old
// backend's, or the new one's.
class Exceptions : public InjectedBalancer {
protected:
    struct Settings {
        bool to_new = false;
        bool window = false; // the slots were the old backend's
        bool exceptions = true;
    };
    void publish(const Settings& settings) {
        sample_.emplace(++number_, uint8_t{0});
        lb::StateTables& tables = sample_->tables;
        tables.vips[0].flags |= WEIR_VIP_HASH_RECOVERS;
        if (settings.exceptions)
            tables.vips[0].flags |= WEIR_VIP_EXCEPTIONS;
        tables.next_hops.resize(2, tables.next_hops[0]);
        for (uint8_t i = 0; i < 2; i++) {
            tables.next_hops[i].destination_mac[5] = static_cast<uint8_t>(kOld + i);
            tables.backends[i].next_hop = i;
            tables.backends[i].pool = 0;
        }
        slots_.assign(7, settings.to_new ? 1 : 0);
        elders_.assign(7, 0);
        segments_ = {lb::inspect_segment(lb::segment_id(slots_), slots_)};
        if (settings.window) {
            // Content names a table, so that of the elders must not be that of the slots.
            segments_.push_back(lb::inspect_segment(lb::segment_id(elders_), elders_));
            tables.pools[0].elder_count = 1;
            tables.pools[0].oldest_segment = 1;
            tables.members.push_back(0);
        }
        tables.segments.clear();
        for (const lb::Segment& segment : segments_)
            tables.segments.push_back({segment.id, 14});
        root_.emplace(lb::build_root(tables));
        std::string problem;
        state_ = lb::ForwardingState::open(root_->span(), segments_, problem);
        ASSERT_TRUE(state_) << problem;
        const uint32_t loopback = 1;
        auto done = balancer_->publish(*state_, {&loopback, 1}, now_ns_);
        ASSERT_TRUE(done) << done.error().sentence;
    }

    int send(uint8_t flags, uint16_t source_port) {
        balancer_->injection().now_ns = now_ns_;
        balancer_->injection().interface = 0;
        return run_segment(*balancer_, flags, source_port);
    }
    void sweep() {
        const auto swept = balancer_->sweep(*state_, now_ns_);
        ASSERT_TRUE(swept) << swept.error().sentence;
    }
    uint64_t entries() { return connections_of(*balancer_); }

    uint64_t now_ns_ = 1000 * kSecond_ns;

private:
    uint64_t number_ = 0;
    std::vector<uint16_t> slots_, elders_;
    std::vector<lb::Segment> segments_;
    std::optional<SampleGeneration> sample_;
    std::optional<lb::Root> root_;
    std::optional<lb::ForwardingState> state_;
};

TEST_F(Exceptions, WithoutChangeNothingIsRecordedAndTheCountIsAnEstimate) {
    publish({});
    for (uint16_t port = 1; port <= 100; port++) {
        EXPECT_EQ(send(kSyn, port), kOld);
        EXPECT_EQ(send(kAck, port), kOld);
    }
    EXPECT_EQ(entries(), 0u);
    EXPECT_EQ(balancer_->vip_active(0), 100u);
    EXPECT_EQ(balancer_->vip_recorded(0), 0u);
    EXPECT_EQ(balancer_->backend_active(0), 100u);
    EXPECT_EQ(balancer_->vip_counts(0)->connections_opened, 100u);
    EXPECT_EQ(balancer_->vip_counts(0)->packets, 200u);
    sweep();
    EXPECT_EQ(balancer_->vip_active(0), 100u) << "a sweep knows nothing of them";
    for (uint16_t port = 1; port <= 110; port++)
        send(kFinAck, port);
    EXPECT_EQ(balancer_->vip_active(0), 0u) << "never below it";
    EXPECT_EQ(balancer_->backend_active(0), 0u);
}

TEST_F(Exceptions, WhatAgreesWithTheTableGoesWithTheWindowAndIsStillCounted) {
    publish({});
    publish({.to_new = true, .window = true});
    for (uint16_t port = 1; port <= 20; port++) {
        EXPECT_EQ(send(kSyn, port), kNew);
        EXPECT_EQ(send(kAck, port), kNew);
    }
    EXPECT_EQ(send(kAck, 100), kOld);
    EXPECT_EQ(entries(), 21u);
    publish({.to_new = true});
    EXPECT_EQ(send(kAck, 100), kOld) << "recorded in time";
    EXPECT_EQ(send(kAck, 101), kNew) << "idle through the window";
    sweep();
    EXPECT_EQ(entries(), 1u) << "the exception";
    EXPECT_EQ(balancer_->vip_recorded(0), 1u);
    EXPECT_EQ(balancer_->vip_active(0), 21u) << "they go on all the same";
    for (int pass = 0; pass < 3; pass++) {
        sweep();
        EXPECT_EQ(send(kAck, 100), kOld) << "found again after " << pass + 2 << " passes";
    }
    EXPECT_EQ(send(kAck, 5), kNew);
    now_ns_ += 4000 * kSecond_ns;
    sweep();
    EXPECT_EQ(entries(), 0u);
}

TEST_F(Exceptions, WithoutRoomASynGoesWhereItsAckWill) {
    publish({});
    publish({.to_new = true, .window = true});
    uint32_t recorded = 0;
    for (uint16_t port = 1; port <= 2000; port++)
        recorded += send(kSyn, port) == kNew;
    EXPECT_EQ(recorded, 1024u) << "a quarter of the table";
    EXPECT_EQ(entries(), 1024u);
    for (uint16_t port : {1025, 2000, 1, 1024})
        EXPECT_EQ(send(kAck, port), port <= 1024 ? kNew : kOld) << port;
    EXPECT_EQ(send(kSyn, 3000), kNew) << "two have shown to be real: there is room again";
    EXPECT_EQ(send(kSyn, 3001), kNew);
    EXPECT_EQ(send(kSyn, 3002), kOld);
    now_ns_ += 31 * kSecond_ns;
    sweep();
    EXPECT_EQ(entries(), 2u) << "of those who answered";
    EXPECT_EQ(send(kSyn, 3002), kNew) << "a sweep counts them anew";
}

TEST_F(Exceptions, AfterFullTrackingTheOldEntriesStillCount) {
    publish({.exceptions = false});
    EXPECT_EQ(send(kSyn, 1), kOld);
    EXPECT_EQ(send(kAck, 1), kOld);
    ASSERT_EQ(entries(), 1u);
    publish({.to_new = true}); // both at once: no window tells of the change
    EXPECT_EQ(send(kAck, 1), kOld);
    EXPECT_EQ(send(kAck, 2), kNew);
    for (int pass = 0; pass < 4; pass++) {
        sweep();
        EXPECT_EQ(send(kAck, 1), kOld) << pass;
    }
    publish({.to_new = true, .exceptions = false});
    sweep();
    EXPECT_EQ(balancer_->vip_active(0), balancer_->vip_recorded(0)) << "nothing is estimated";
}

} // namespace
} // namespace weir::xdp
