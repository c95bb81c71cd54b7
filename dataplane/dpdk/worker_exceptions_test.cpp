// SPDX-License-Identifier: BSD-3-Clause
// VIPs that record exceptions only: what leaves a trace in the table, who gets what while slots
// change, and that no flow ever leaves a backend that lives.
#include "dataplane/dpdk/worker_lab.hpp"
#include "dataplane/lb/maglev.hpp"
#include "dataplane/lb/slot_windows.hpp"

#include <numeric>
#include <random>

namespace weir::dpdk {
namespace {

using std::chrono::seconds;
constexpr std::uint16_t kNone = WEIR_NO_MEMBER;
constexpr std::size_t kSlots = 13;

Plan plan_of(std::uint8_t protocol = 6, bool v6 = false,
             weir_forward_mode mode = WEIR_FORWARD_DSR_L2) {
    return {mode, v6, protocol, 80};
}

void with_exceptions(lb::StateTables& tables) {
    tables.vips[0].flags |= WEIR_VIP_EXCEPTIONS;
    tables.node.answers_pps = tables.node.icmp_pps = 1000;
    tables.node.tunnel_source_v4 = to_address("192.0.2.1");
    tables.node.tunnel_source_v4_count = 1;
}

// All slots are backend 1's now; `elder` had them before.
void in_window(Lab& lab, std::uint32_t elder = 0,
               weir_backend_state state = WEIR_BACKEND_DRAINING) {
    lab.set_slots(std::vector<std::uint16_t>(kSlots, 1), std::vector<std::uint16_t>(kSlots, 0));
    lab.publish({state, WEIR_BACKEND_UP}, [&](lb::StateTables& tables) {
        with_exceptions(tables);
        tables.members.push_back(elder);
        tables.pools[0].elder_count = 1;
    });
}

void after_window(Lab& lab) {
    lab.set_slots(std::vector<std::uint16_t>(kSlots, 1));
    lab.publish({WEIR_BACKEND_DRAINING, WEIR_BACKEND_UP}, with_exceptions);
}

// Who gets it; 99 when it is not forwarded.
std::uint32_t goes_to(Lab& lab, const PacketPlan& packet) {
    const auto sent = lab.send(build(packet));
    return sent.size() == 1 ? backend_of(sent[0]) : 99;
}

PacketPlan quic(const Plan& plan, std::uint8_t first, std::uint32_t version,
                std::size_t bytes = 1200) {
    PacketPlan packet = from_client(plan, 0);
    packet.payload.assign(bytes, 0);
    packet.payload[0] = first;
    for (std::size_t i = 0; i < 4; i++)
        packet.payload[1 + i] = static_cast<std::uint8_t>(version >> (24 - 8 * i));
    return packet;
}

class Exceptions : public ::testing::TestWithParam<bool> {
protected:
    bool v6() const { return GetParam(); }
};

TEST_P(Exceptions, WithoutChangeNothingIsRecorded) {
    Lab lab(plan_of(6, v6()));
    lab.change(with_exceptions);
    for (std::uint16_t port = 1; port <= 200; port++)
        for (std::uint8_t flags : {0x02, 0x10, 0x18})
            ASSERT_EQ(lab.send(build(from_client(lab.plan(), flags, port))).size(), 1u);
    EXPECT_EQ(lab.connections(), 0u);
    EXPECT_EQ(lab.verdicts(WEIR_FORWARDED), 600u);
    EXPECT_EQ(lab.counters().vip(0, 0).connections_opened, 200u) << "counted, as an estimate";
    EXPECT_EQ(lab.counters().vip(0, 0).connections_active, 200u);
    lab.send(build(from_client(lab.plan(), 0x11, 1)));
    EXPECT_EQ(lab.counters().vip(0, 0).connections_active, 199u);
}

// When a worker sees a new generation, the one before may be gone: here its VIPs have been written
// over, as if no exceptions had been recorded under it.
TEST_P(Exceptions, NothingIsReadOfTheGenerationBefore) {
    Lab lab(plan_of(6, v6()));
    lab.change(with_exceptions);
    lab.send(build(from_client(lab.plan(), 0x10, 1)));
    const auto before = lab.state().vips();
    lab.change(with_exceptions);
    std::memset(const_cast<weir_vip_row*>(before.data()), 0, before.size_bytes());
    lab.send(build(from_client(lab.plan(), 0x10, 1)));
    EXPECT_FALSE(lab.worker(0).exceptions->may_have(1)) << "it took it that exceptions begin now";
}

TEST_P(Exceptions, AnOldFlowStaysWithItsBackendAndANewOneGoesToTheNew) {
    Lab lab(plan_of(6, v6()));
    lab.change(with_exceptions);
    in_window(lab);
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 1)), 0u) << "older than the change";
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x02, 2)), 1u) << "begins";
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 2)), 1u) << "was recorded";
    EXPECT_EQ(lab.connections(), 2u);
    after_window(lab);
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 1)), 0u) << "recorded in time";
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 3)), 1u) << "idle through the window";
}

TEST_P(Exceptions, WhatAgreesWithTheTableIsDroppedWhenTheWindowIsClosed) {
    Lab lab(plan_of(6, v6()));
    lab.change(with_exceptions);
    in_window(lab);
    for (std::uint8_t flags : {0x02, 0x10})
        for (std::uint16_t port = 1; port <= 20; port++)
            lab.send(build(from_client(lab.plan(), flags, port)));
    lab.send(build(from_client(lab.plan(), 0x10, 100)));
    ASSERT_EQ(lab.connections(), 21u);
    after_window(lab);
    for (int i = 0; i < 200; i++) { // a whole round of the table and more
        lab.pass(seconds(1));
        lab.poll_all();
    }
    EXPECT_EQ(lab.connections(), 1u) << "the exception";
    EXPECT_EQ(lab.counters().vip(0, 0).connections_active, 20u) << "they go on all the same";
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 100)), 0u);
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 5)), 1u);
}

TEST_P(Exceptions, ADeadOldestBackendTakesNothing) {
    Lab lab(plan_of(6, v6()));
    lab.change(with_exceptions);
    in_window(lab, 0, WEIR_BACKEND_DOWN);
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 1)), 1u);
    in_window(lab); // it is back and drains
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 1)), 1u) << "recorded where it went";
}

TEST_P(Exceptions, WithoutRoomASynGoesWhereItsAckWill) {
    Lab lab(plan_of(6, v6()));
    lab.change(with_exceptions);
    in_window(lab);
    std::uint32_t recorded = 0;
    for (std::uint16_t port = 1; port <= 2000; port++)
        recorded += goes_to(lab, from_client(lab.plan(), 0x02, port)) == 1;
    EXPECT_EQ(recorded, 1024u) << "the table's share for half-open connections";
    EXPECT_EQ(lab.connections(), 1024u) << "none was pushed out";
    for (std::uint16_t port : {1, 1024, 1025, 2000})
        EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, port)), port <= 1024 ? 1u : 0u);
}

TEST_P(Exceptions, ADatagramIsOldUnlessItBeginsQuic) {
    Lab lab(plan_of(17, v6()));
    lab.change(with_exceptions);
    in_window(lab);
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0, 1)), 0u);
    PacketPlan initial = quic(lab.plan(), 0xc3, 1);
    initial.source_port = 2;
    EXPECT_EQ(goes_to(lab, initial), 1u);
    PacketPlan second = quic(lab.plan(), 0xd0, 0x6b3343cf);
    second.source_port = 3;
    EXPECT_EQ(goes_to(lab, second), 1u) << "version 2";
    for (const PacketPlan& other :
         {quic(lab.plan(), 0xe3, 1), quic(lab.plan(), 0x43, 1), quic(lab.plan(), 0xc3, 7),
          quic(lab.plan(), 0xc3, 1, 1199), quic(lab.plan(), 0xc0, 0x6b3343cf)}) {
        PacketPlan packet = other; // handshake, short header, version, too short, v1's type in v2
        packet.source_port = static_cast<std::uint16_t>(packet.source_port + 1);
        EXPECT_EQ(goes_to(lab, packet), 0u);
    }
}

TEST_P(Exceptions, AfterFullTrackingTheOldEntriesStillCount) {
    Lab lab(plan_of(6, v6()));
    for (std::uint8_t flags : {0x02, 0x10})
        lab.send(build(from_client(lab.plan(), flags, 1)));
    ASSERT_EQ(lab.connections(), 1u);
    const std::uint32_t own = goes_to(lab, from_client(lab.plan(), 0x10, 1));
    lab.set_slots(std::vector<std::uint16_t>(kSlots, static_cast<std::uint16_t>(1 - own)));
    lab.change(with_exceptions); // both at once: no window tells of the change
    EXPECT_EQ(goes_to(lab, from_client(lab.plan(), 0x10, 1)), own);
}

INSTANTIATE_TEST_SUITE_P(BothFamilies, Exceptions, ::testing::Bool());

// --- the property ------------------------------------------------------------------------------

constexpr std::uint32_t kBackends = 8;
constexpr std::uint32_t kTableSlots = 1009;

// Backends that come, go, drain and die at random, and what control makes of that.
class Churn {
public:
    Churn(std::uint32_t length_s, bool told) : length_s_(length_s), told_(told) {
        states_.fill(WEIR_BACKEND_UP);
        weights_.fill(1);
    }

    void change(std::mt19937& random) {
        const std::uint32_t backend = random() % kBackends;
        const std::uint32_t kind = random() % 8;
        if (kind == 0)
            weights_[backend] = 1 + random() % 3;
        else
            states_[backend] = kind < 4   ? WEIR_BACKEND_UP
                               : kind < 7 ? WEIR_BACKEND_DRAINING
                                          : WEIR_BACKEND_DOWN;
        states_[random() % kBackends] = WEIR_BACKEND_UP;
    }

    void publish(Lab& lab, std::uint32_t now_s) {
        std::vector<std::uint32_t> members;
        std::vector<lb::MaglevBackend> walkers;
        for (std::uint32_t i = 0; i < kBackends; i++)
            if (states_[i] == WEIR_BACKEND_UP) {
                members.push_back(i);
                walkers.push_back({i * 7919 + 3, i * 104729 + 11, weights_[i]});
            }
        std::vector<std::uint16_t> slots(kTableSlots);
        lb::build_maglev(walkers, slots);
        windows_.follow(slots, members, now_s, length_s_);
        lab.set_slots(slots, told_ ? windows_.oldest() : std::vector<std::uint16_t>{});
        lab.change([&](lb::StateTables& tables) {
            with_exceptions(tables);
            weir_pool_row& pool = tables.pools[0];
            pool.member_count = static_cast<std::uint32_t>(members.size());
            pool.elder_count = told_ ? static_cast<std::uint32_t>(windows_.elders().size()) : 0;
            tables.members = members;
            tables.members.insert(tables.members.end(), windows_.elders().begin(),
                                  windows_.elders().end());
            const weir_backend_row backend = tables.backends[0];
            const weir_next_hop_row hop = tables.next_hops[0];
            tables.backends.assign(kBackends, backend);
            tables.next_hops.assign(kBackends, hop);
            for (std::uint32_t i = 0; i < kBackends; i++) {
                tables.backends[i].state = static_cast<std::uint8_t>(states_[i]);
                tables.backends[i].next_hop = i;
                std::memcpy(tables.next_hops[i].destination_mac, backend_mac(i).data(), 6);
            }
        });
    }

    bool lives(std::uint32_t backend) const { return states_[backend] != WEIR_BACKEND_DOWN; }
    bool open() const { return windows_.open(); }

private:
    std::uint32_t length_s_;
    bool told_; // the workers learn of the windows
    std::array<weir_backend_state, kBackends> states_;
    std::array<std::uint32_t, kBackends> weights_;
    lb::SlotWindows windows_;
};

struct Flow {
    std::uint32_t address = 0;
    std::uint32_t backend = 0;
    std::uint32_t seen_s = 0; // 0: has not begun
};

struct Tally {
    std::uint64_t packets = 0;
    std::uint64_t in_windows = 0; // those of them that came while one was open
    std::uint64_t left = 0;       // flows that went away from a backend that lives
    std::uint64_t fled = 0;       // and from dead ones
    std::uint32_t begun = 0;      // flows
};

// Months of random churn under flows that send at least one packet within the idle timeout.
class Traffic {
public:
    Traffic(std::uint8_t protocol, bool windows, std::uint32_t rounds)
        : idle_s_(protocol == 6 ? 3600 : 60), random_(protocol), lab_(large(protocol)),
          churn_(idle_s_, windows), flows_(kFlows) {
        for (std::uint32_t round = 0; round < rounds; round++) {
            pass_time();
            for (std::uint32_t batch = 0; batch < 4; batch++)
                begin_some();
            go_on();
        }
    }
    const Tally& tally() const { return tally_; }
    std::uint64_t entries() const { return lab_.connections(); }

    static constexpr std::uint32_t kFlows = 101'000;

private:
    static constexpr std::uint32_t kBatch = 500;

    static Plan large(std::uint8_t protocol) {
        Plan plan = plan_of(protocol);
        plan.connections = 1 << 18;
        return plan;
    }
    bool idle(const Flow& flow) const {
        return flow.seen_s == 0 || now_s_ - flow.seen_s >= idle_s_;
    }

    void pass_time() {
        const std::uint32_t step_s = 1 + random_() % (idle_s_ / 12);
        now_s_ += step_s;
        lab_.pass(seconds(step_s));
        for (std::uint32_t i = 0; i < lab_.plan().connections / 64 + 1; i++)
            lab_.poll_all();
        if (random_() % 6 == 0)
            churn_.change(random_);
        churn_.publish(lab_, now_s_);
    }

    // Sends these flows' packets and says who got them.
    std::vector<std::uint32_t> send(const std::vector<Flow*>& flows, std::uint8_t flags) {
        for (const Flow* flow : flows) {
            const auto port = static_cast<std::uint16_t>(1000 + flow->address % 50000);
            PacketPlan packet = from_client(lab_.plan(), flags, port);
            packet.source = "10." + std::to_string(flow->address >> 16 & 255) + "." +
                            std::to_string(flow->address >> 8 & 255) + "." +
                            std::to_string(flow->address & 255);
            lab_.put(build(packet));
        }
        std::vector<std::uint32_t> backends;
        for (const Sent& sent : lab_.run())
            backends.push_back(sent.bytes[5]);
        EXPECT_EQ(backends.size(), flows.size());
        backends.resize(flows.size());
        tally_.packets += flows.size();
        tally_.in_windows += churn_.open() ? flows.size() : 0;
        return backends;
    }

    void begin_some() {
        std::vector<Flow*> fresh;
        for (std::uint32_t i = 0; i < 400; i++) {
            Flow& flow = flows_[random_() % kFlows];
            if (!idle(flow))
                continue;
            flow = {++tally_.begun, 0, now_s_};
            fresh.push_back(&flow);
        }
        const std::vector<std::uint32_t> got = send(fresh, 0x02);
        for (std::size_t i = 0; i < fresh.size(); i++)
            fresh[i]->backend = got[i];
        follow(fresh);
    }

    // Who was last seen long ago speaks up in time; the others now and then.
    void go_on() {
        std::vector<Flow*> chosen;
        for (Flow& flow : flows_) {
            if (!idle(flow) && (now_s_ - flow.seen_s >= idle_s_ * 5 / 6 || random_() % 64 == 0))
                chosen.push_back(&flow);
            if (chosen.size() == kBatch)
                follow(std::exchange(chosen, {}));
        }
        follow(chosen);
    }

    void follow(const std::vector<Flow*>& chosen) {
        const std::vector<std::uint32_t> got = send(chosen, 0x10);
        for (std::size_t i = 0; i < got.size(); i++) {
            if (got[i] != chosen[i]->backend)
                (churn_.lives(chosen[i]->backend) ? tally_.left : tally_.fled)++;
            chosen[i]->backend = got[i];
            chosen[i]->seen_s = now_s_;
        }
    }

    std::uint32_t idle_s_;
    std::mt19937 random_;
    Lab lab_;
    Churn churn_;
    std::vector<Flow> flows_; // what a model that remembers everything has
    Tally tally_;
    std::uint32_t now_s_ = 1000;
};

class ExceptionsProperty : public ::testing::TestWithParam<std::uint8_t> {};

TEST_P(ExceptionsProperty, NoFlowLeavesABackendThatLives) {
    const Traffic traffic(GetParam(), true, 650);
    const Tally& tally = traffic.tally();
    std::printf("%u flows, %llu packets, %llu of them in windows, %llu flows fled dead backends, "
                "%llu entries at the end\n",
                tally.begun, static_cast<unsigned long long>(tally.packets),
                static_cast<unsigned long long>(tally.in_windows),
                static_cast<unsigned long long>(tally.fled),
                static_cast<unsigned long long>(traffic.entries()));
    EXPECT_EQ(tally.left, 0u);
    EXPECT_GT(tally.begun, 100'000u);
    EXPECT_GT(tally.fled, 0u);
    EXPECT_GT(tally.in_windows, tally.packets / 10);
}

TEST_P(ExceptionsProperty, AndThatIsTheWindowsDoing) {
    EXPECT_GT(Traffic(GetParam(), false, 60).tally().left, 0u);
}

INSTANTIATE_TEST_SUITE_P(TcpAndUdp, ExceptionsProperty, ::testing::Values(6, 17));

} // namespace
} // namespace weir::dpdk
