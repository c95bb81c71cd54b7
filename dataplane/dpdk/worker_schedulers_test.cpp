// SPDX-License-Identifier: BSD-3-Clause
// Schedulers, persistence and max_connections in real workers. What the choice itself promises is
// tested in dataplane/lb/scheduler_test.cpp; here it gets its counts, clients and generations.
#include "dataplane/dpdk/worker_lab.hpp"

namespace weir::dpdk {
namespace {

Change scheduled_by(
    weir_scheduler scheduler, const Change& more = [](lb::StateTables&) {}) {
    return [scheduler, more](lb::StateTables& tables) {
        tables.pools[0].scheduler = static_cast<std::uint8_t>(scheduler);
        if (scheduler >= WEIR_SCHEDULE_ROUND_ROBIN)
            tables.vips[0].flags &= static_cast<std::uint8_t>(~WEIR_VIP_HASH_RECOVERS);
        more(tables);
    };
}

Change limited_to(std::uint32_t first, std::uint32_t second) {
    return [first, second](lb::StateTables& tables) {
        tables.pools[0].flags |= WEIR_POOL_HAS_LIMITS;
        tables.backends[0].max_connections = first;
        tables.backends[1].max_connections = second;
    };
}

void persist(lb::StateTables& tables) {
    tables.pools[0].persistence_s = 600;
    tables.pools[0].persistence_prefix_v4 = 24;
    tables.pools[0].persistence_prefix_v6 = 64;
}

const Plan kDirect = {WEIR_FORWARD_DSR_L2, false, 6, 80};
const Plan kDirectV6 = {WEIR_FORWARD_DSR_L2, true, 6, 80};

// One SYN of this client; the backend it went to, or nothing.
std::optional<std::uint32_t> open(Lab& lab, const std::string& client, std::uint16_t port,
                                  std::uint32_t worker = 0) {
    PacketPlan syn = from_client(lab.plan(), 0x02, port);
    syn.source = client;
    const std::vector<Bytes> sent = lab.send(build(syn), worker);
    if (sent.empty())
        return std::nullopt;
    return backend_of(sent[0]);
}

std::optional<std::uint32_t> open(Lab& lab, std::uint16_t port, std::uint32_t worker = 0) {
    return open(lab, lab.plan().client(), port, worker);
}

using Counts = std::array<std::uint32_t, 2>;

Counts open_many(Lab& lab, std::uint16_t first_port, std::uint16_t count) {
    Counts counts{};
    for (std::uint16_t i = 0; i < count; i++)
        if (auto backend = open(lab, static_cast<std::uint16_t>(first_port + i)))
            counts[*backend]++;
    return counts;
}

// Thirty SYNs that the worker has in hand at once.
std::size_t open_in_one_burst(Lab& lab, std::uint16_t first_port) {
    PacketPlan syn = from_client(lab.plan());
    for (std::uint16_t i = 0; i < 30; i++) {
        syn.source_port = static_cast<std::uint16_t>(first_port + i);
        lab.put(build(syn));
    }
    return lab.run().size();
}

class SchedulersOfBothFamilies : public ::testing::TestWithParam<bool> {
protected:
    Plan plan() const { return GetParam() ? kDirectV6 : kDirect; }
    // Clients far apart, and two of one network.
    std::string client(unsigned i) const {
        return GetParam() ? "2001:db8:c:" + std::to_string(i + 1) + "::7"
                          : "198.51." + std::to_string(i) + ".7";
    }
    std::string neighbour(unsigned i) const {
        return GetParam() ? "2001:db8:c:" + std::to_string(i + 1) + ":99::1"
                          : "198.51." + std::to_string(i) + ".200";
    }
};
INSTANTIATE_TEST_SUITE_P(All, SchedulersOfBothFamilies, ::testing::Bool(),
                         [](const auto& of) { return of.param ? "v6" : "v4"; });

TEST_P(SchedulersOfBothFamilies, SourceHashIgnoresPortsAndWorkers) {
    Lab lab(plan(), 2);
    lab.change(scheduled_by(WEIR_SCHEDULE_SOURCE_HASH));
    Counts spread{};
    for (unsigned i = 0; i < 64; i++) {
        const auto first = open(lab, client(i), 1000);
        ASSERT_TRUE(first);
        spread[*first]++;
        for (std::uint16_t port = 1001; port < 1009; port++)
            ASSERT_EQ(open(lab, client(i), port, port % 2), first) << client(i);
    }
    // Binomial(64, 7/13): outside of 14..54 once in a million keys.
    EXPECT_GT(spread[0], 14u);
    EXPECT_GT(spread[1], 10u);
}

TEST_P(SchedulersOfBothFamilies, MaglevUsesThePortsToo) { // the control of the test above
    Lab lab(plan());
    const Counts spread = open_many(lab, 1000, 64);
    EXPECT_GT(spread[0], 10u);
    EXPECT_GT(spread[1], 10u);
}

TEST_P(SchedulersOfBothFamilies, RoundRobinIsExactAndOnlyNewConnectionsTakeAStep) {
    Lab lab(plan());
    lab.set_slots({0, 0, 1, 0}); // weights 3 and 1
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN));
    for (std::uint16_t port = 1000; port < 1040; port++) {
        const auto backend = open(lab, port);
        EXPECT_EQ(backend, port % 4 == 2 ? 1u : 0u) << port;
        for (std::uint8_t flags : {0x02, 0x10}) { // again, and on
            const auto more = lab.send(build(from_client(lab.plan(), flags, port)));
            ASSERT_EQ(more.size(), 1u);
            EXPECT_EQ(backend_of(more[0]), backend);
        }
    }
    EXPECT_TRUE(lab.send(build(from_client(lab.plan(), 0x10, 999))).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONNECTION), 1u) << "unknown segments are not scheduled";
    EXPECT_EQ(open(lab, 1040), 0u) << "and took no step";
}

TEST_P(SchedulersOfBothFamilies, PersistenceKeepsANetworkTogetherWhicheverWorkerReceives) {
    Lab lab(plan(), 2);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, persist));
    Counts spread{};
    for (unsigned i = 0; i < 32; i++) {
        const auto first = open(lab, client(i), 1000, i % 2);
        ASSERT_TRUE(first);
        spread[*first]++;
        for (std::uint16_t port = 1001; port < 1007; port++)
            ASSERT_EQ(open(lab, port % 3 ? client(i) : neighbour(i), port, port % 2), first)
                << client(i) << ":" << port;
    }
    EXPECT_NEAR(spread[0], 16, 1) << "networks are dealt out in turn, by each of two workers";
    EXPECT_GT(lab.verdicts(WEIR_HANDED_OVER), 0u);
}

TEST(WorkerSchedulers, WithoutPersistenceANetworkIsDealtOut) { // the control of the test above
    Lab lab(kDirect);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN));
    EXPECT_EQ(open_many(lab, 1000, 10), (Counts{5, 5}));
}

TEST(WorkerSchedulers, PersistenceInNatBringsRepliesToTheWorkerOfTheNetwork) {
    for (weir_forward_mode mode : {WEIR_FORWARD_NAT, WEIR_FORWARD_FULL_NAT}) {
        Lab lab({mode}, 2);
        lab.change(persist);
        for (std::uint16_t port = 1000; port < 1016; port++) {
            lab.put(build(from_client(lab.plan(), 0x02, port)), port % 2);
            const std::vector<Sent> there = lab.run();
            ASSERT_EQ(there.size(), 1u);
            const bool translated = mode == WEIR_FORWARD_FULL_NAT;
            PacketPlan reply = from_client(lab.plan(), 0x12);
            reply.source_mac = backend_mac(backend_of(there[0].bytes));
            reply.source = lab.plan().backend(backend_of(there[0].bytes));
            reply.source_port = 8080;
            reply.destination = translated ? lab.plan().snat() : lab.plan().client();
            reply.destination_port = translated ? source_port_of(there[0].bytes, false) : port;
            lab.put(build(reply), (port + 1) % 2);
            const std::vector<Sent> back = lab.run();
            ASSERT_EQ(back.size(), 1u) << "mode " << mode << " port " << port;
            EXPECT_EQ(back[0].worker, there[0].worker);
        }
        EXPECT_EQ(lab.verdicts(WEIR_REPLIED), 16u);
    }
}

TEST(WorkerSchedulers, PersistenceLastsAsLongAsItSays) {
    Lab lab(kDirect);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, persist));
    EXPECT_EQ(open(lab, 1000), 0u);
    lab.pass(std::chrono::seconds(599));
    EXPECT_EQ(open(lab, 1001), 0u) << "and counts anew from here";
    lab.pass(std::chrono::seconds(599));
    EXPECT_EQ(open(lab, 1002), 0u);
    lab.pass(std::chrono::seconds(600));
    EXPECT_EQ(open(lab, 1003), 1u) << "the next in the round";
}

TEST(WorkerSchedulers, PersistenceIsSweptBeforeTheClockComesRound) {
    Lab lab(kDirect);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, persist));
    EXPECT_EQ(open(lab, 1000), 0u);
    lab.pass(std::chrono::seconds(64'900));
    for (int second = 0; second < 40; second++) {
        lab.pass(std::chrono::seconds(1));
        for (int i = 0; i < 40; i++)
            lab.run();
    }
    lab.pass(std::chrono::seconds(65'536 - 64'940)); // 16 bits of seconds later to the second
    EXPECT_EQ(open(lab, 1001), 1u);
}

TEST(WorkerSchedulers, PersistenceEndsWithDrainingAndWithWeightZero) {
    for (bool drains : {true, false}) {
        Lab lab(kDirect);
        lab.set_slots({0, 1});
        lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, persist));
        EXPECT_EQ(open_many(lab, 1000, 4), (Counts{4, 0}));
        lab.set_slots({1});
        lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, [&](lb::StateTables& tables) {
            persist(tables);
            if (drains)
                tables.backends[0].state = WEIR_BACKEND_DRAINING;
            else
                tables.backends[0].weight = 0;
        }));
        EXPECT_EQ(open_many(lab, 2000, 4), (Counts{0, 4}));
        lab.set_slots({0, 1});
        lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, persist));
        EXPECT_EQ(open_many(lab, 3000, 4), (Counts{0, 4})) << "it stays where it is now";
    }
}

TEST(WorkerSchedulers, PersistenceDoesNotOutliveTheBackendInItsRow) {
    Lab lab(kDirect);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, persist));
    EXPECT_EQ(open(lab, 1000), 0u);
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, [](lb::StateTables& tables) {
        persist(tables);
        tables.backends[0].identity = 4711; // the row is another's now
    }));
    EXPECT_EQ(open(lab, 1001), 1u) << "the next in the round";
}

TEST(WorkerSchedulers, PersistenceMovesOnWhenItsBackendIsFull) {
    Lab lab(kDirect);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, [](lb::StateTables& tables) {
        persist(tables);
        limited_to(3, 0)(tables);
    }));
    EXPECT_EQ(open_many(lab, 1000, 10), (Counts{3, 7}));
}

TEST(WorkerSchedulers, PersistenceIsByPool) {
    Lab lab(kDirect);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, persist));
    EXPECT_EQ(open(lab, 1000), 0u);
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN, [](lb::StateTables& tables) {
        persist(tables);
        tables.pools[0].identity = 2; // another pool in the same row
    }));
    EXPECT_EQ(open(lab, 1001), 1u);
}

TEST(WorkerSchedulers, LeastConnectionsCountsThoseOfAllWorkers) {
    Lab lab(kDirect, 2);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_MAGLEV, [](lb::StateTables& tables) {
        tables.pools[0].slot_count = 1; // all to the first
    }));
    for (std::uint16_t port = 1000; port < 1100; port++)
        ASSERT_EQ(open(lab, port), 0u);
    for (std::uint32_t worker : {0u, 1u})
        ASSERT_GT(lab.counters().backend(worker, 0).connections_active, 20u);
    lab.change(scheduled_by(WEIR_SCHEDULE_LEAST));
    const Counts caught_up = open_many(lab, 2000, 100);
    // Each choice meets both backends but for one in 2^5: 3 in 100, above 13 once in a million.
    EXPECT_GE(caught_up[1], 87u);
    const Counts level = open_many(lab, 3000, 200);
    EXPECT_NEAR(100.0 + caught_up[0] + level[0], 200, 8);
}

TEST(WorkerSchedulers, ABurstOfNewConnectionsIsNotDecidedByOldCounts) {
    Lab lab(kDirect);
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_LEAST, limited_to(0, 5)));
    EXPECT_EQ(open_in_one_burst(lab, 1000), 30u);
    EXPECT_EQ(lab.counters().backend(0, 1).connections_active, 5u) << "not one over its limit";
    lab.change(scheduled_by(WEIR_SCHEDULE_LEAST));
    EXPECT_EQ(open_in_one_burst(lab, 2000), 30u);
    EXPECT_NEAR(static_cast<double>(lab.counters().backend(0, 1).connections_active), 30, 6);
}

TEST(WorkerSchedulers, WeightedLeastConnectionsFollowsWeightsChangedLive) {
    Lab lab(kDirect);
    const auto weigh = [](std::uint32_t first, std::uint32_t second) {
        return scheduled_by(WEIR_SCHEDULE_LEAST, [=](lb::StateTables& tables) {
            tables.backends[0].weight = first;
            tables.backends[1].weight = second;
        });
    };
    lab.set_slots({0, 0, 1, 0});
    lab.change(weigh(3, 1));
    const Counts before = open_many(lab, 1000, 400);
    EXPECT_NEAR(before[0], 300, 10);
    lab.set_slots({0, 1});
    lab.change(weigh(1, 1));
    const Counts after = open_many(lab, 2000, 200);
    EXPECT_GE(after[1], 180u) << "the lighter one catches up: all but the draws of one backend";
}

TEST(WorkerSchedulers, RoundRobinFollowsWeightsChangedLive) {
    Lab lab(kDirect);
    lab.set_slots({0, 0, 1, 0});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN));
    EXPECT_EQ(open_many(lab, 1000, 40), (Counts{30, 10}));
    lab.set_slots({1, 0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN));
    EXPECT_EQ(open_many(lab, 2000, 30), (Counts{10, 20}));
}

TEST(WorkerSchedulers, TwoWorkersWalkTheirOwnRounds) {
    Lab lab(kDirect, 2);
    lab.set_slots({0, 1, 0});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN));
    const Counts counts = open_many(lab, 1000, 300);
    EXPECT_NEAR(counts[0], 200, 2) << "each worker is less than a round off";
}

TEST(WorkerSchedulers, LimitsOfAllSchedulersAreKeptAndNamed) {
    for (weir_scheduler scheduler : {WEIR_SCHEDULE_MAGLEV, WEIR_SCHEDULE_SOURCE_HASH,
                                     WEIR_SCHEDULE_ROUND_ROBIN, WEIR_SCHEDULE_LEAST})
        for (bool reject : {false, true}) {
            Lab lab(kDirect, 2);
            lab.change(scheduled_by(scheduler, [&](lb::StateTables& tables) {
                limited_to(7, 4)(tables);
                if (reject)
                    tables.vips[0].flags |= WEIR_VIP_REJECT_AT_LIMIT;
            }));
            EXPECT_EQ(open_many(lab, 1000, 30), (Counts{7, 4})) << scheduler;
            EXPECT_EQ(lab.connections(), 11u);
            if (!reject) {
                EXPECT_EQ(lab.verdicts(WEIR_DROP_BACKEND_LIMIT), 19u) << scheduler;
            }
        }
}

TEST(WorkerSchedulers, APlaceThatBecomesFreeIsTakenAgain) {
    Lab lab(kDirect);
    lab.change(scheduled_by(WEIR_SCHEDULE_MAGLEV, limited_to(1, 1)));
    EXPECT_EQ(open_many(lab, 1000, 3), (Counts{1, 1}));
    lab.change(scheduled_by(WEIR_SCHEDULE_MAGLEV, limited_to(2, 1)));
    EXPECT_FALSE(open(lab, 2000)) << "found full in this millisecond";
    lab.pass(std::chrono::milliseconds(1));
    EXPECT_EQ(open(lab, 2000), 0u) << "a cap raised live";
    // The SYN of an ended connection takes the place that it frees.
    for (std::uint16_t known = 1000; known < 1002; known++) {
        lab.send(build(from_client(lab.plan(), 0x10, known)));
        lab.send(build(from_client(lab.plan(), 0x14, known)));
        EXPECT_TRUE(open(lab, known));
    }
    EXPECT_FALSE(open(lab, 3000));
    EXPECT_EQ(lab.connections(), 3u);
}

TEST(WorkerSchedulers, AConnectionFoundAgainByHashIsNotHeldUpByALimit) {
    Lab lab(kDirect);
    lab.change(scheduled_by(WEIR_SCHEDULE_SOURCE_HASH, limited_to(1, 1)));
    EXPECT_EQ(open_many(lab, 1000, 4), (Counts{1, 1}));
    EXPECT_EQ(lab.send(build(from_client(lab.plan(), 0x10, 5000))).size(), 1u)
        << "its backend knows it; only we do not";
}

TEST(WorkerSchedulers, UdpIsScheduledByItsFirstDatagram) {
    Lab lab({WEIR_FORWARD_DSR_L2, false, 17, 80});
    lab.set_slots({0, 1});
    lab.change(scheduled_by(WEIR_SCHEDULE_ROUND_ROBIN));
    for (std::uint16_t port = 1000; port < 1010; port++)
        for (int again = 0; again < 3; again++)
            EXPECT_EQ(open(lab, port), port % 2) << port;
}

} // namespace
} // namespace weir::dpdk
