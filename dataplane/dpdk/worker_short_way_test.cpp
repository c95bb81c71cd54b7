// SPDX-License-Identifier: BSD-3-Clause
// The short way (short_way.hpp): it is taken, and what leaves, and is counted, is what would have
// left by the long way.
#include "dataplane/dpdk/short_way.hpp"
#include "dataplane/dpdk/worker_lab.hpp"

#include <random>

namespace weir::dpdk {
namespace {

struct Case {
    weir_forward_mode mode;
    bool exceptions; // else every connection is recorded
    bool v6;
    std::uint8_t protocol;
    std::uint32_t workers;
};

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const auto& [mode, exceptions] : {std::pair{WEIR_FORWARD_DSR_L2, true},
                                           {WEIR_FORWARD_DSR_IPIP, true},
                                           {WEIR_FORWARD_DSR_GUE, true},
                                           {WEIR_FORWARD_DSR_L2, false},
                                           {WEIR_FORWARD_DSR_IPIP, false},
                                           {WEIR_FORWARD_NAT, false},
                                           {WEIR_FORWARD_FULL_NAT, false}})
        for (const bool v6 : {false, true})
            for (const std::uint8_t protocol : {6, 17})
                for (const std::uint32_t workers : {1u, 2u})
                    all.push_back({mode, exceptions, v6, protocol, workers});
    return all;
}

std::vector<Case> cases_of_one_worker() {
    std::vector<Case> some = cases();
    std::erase_if(some, [](const Case& a) { return a.workers != 1; });
    return some;
}

std::string name_of(const ::testing::TestParamInfo<Case>& info) {
    constexpr std::array kModes = {"", "l2", "nat", "full_nat", "ipip", "gue"};
    const Case& a = info.param;
    return std::string(kModes[a.mode]) + (a.exceptions ? "_exceptions" : "_full") +
           (a.v6 ? "_v6" : "_v4") + (a.protocol == 6 ? "_tcp_" : "_udp_") +
           std::to_string(a.workers);
}

Plan plan_of(const Case& a) {
    return {a.mode, a.v6, a.protocol,
            static_cast<std::uint16_t>(weir_forward_is_dsr(a.mode) ? 80 : 8080)};
}

void with_answers(lb::StateTables& tables) {
    tables.node.answers_pps = tables.node.icmp_pps = 1'000'000;
    tables.node.tunnel_source_v4 = to_address("192.0.2.1");
    tables.node.tunnel_source_v6 = to_address("2001:db8:a::1");
    tables.node.tunnel_source_v4_count = tables.node.tunnel_source_v6_count = 4;
}

void with_exceptions(lb::StateTables& tables) {
    with_answers(tables);
    tables.vips[0].flags |= WEIR_VIP_EXCEPTIONS;
}

// While a capture is on, the long way is everybody's. It is after what never comes.
void go_the_long_way(Lab& lab) {
    lab.capture_order().start(1, lb::CaptureFilter{lb::verdict_bit(WEIR_DROP_RING_FULL)},
                              UINT64_MAX);
}

// A connection, and what its two sides send.
struct Conversation {
    PacketPlan from_client;
    std::optional<PacketPlan> from_backend; // NAT
};

// Completes a connection. By its first packet's worker; every packet that comes out is the same in
// all labs.
Conversation converse(std::span<Lab* const> labs, const Plan& plan, std::uint16_t port) {
    Conversation result{from_client(plan, 0x02, port), {}};
    const auto send = [&](const PacketPlan& packet) {
        std::vector<Bytes> sent = labs[0]->send(build(packet));
        for (Lab* lab : labs.subspan(1))
            EXPECT_EQ(lab->send(build(packet)), sent);
        return sent;
    };
    const std::vector<Bytes> there = send(result.from_client);
    result.from_client.tcp_flags = 0x10;
    if (there.size() == 1 && !weir_forward_is_dsr(plan.mode)) {
        PacketPlan reply;
        const std::uint32_t backend = backend_of(there[0]);
        reply.source_mac = backend_mac(backend);
        reply.destination_mac = kOurMac;
        reply.source = plan.backend(backend);
        reply.source_port = plan.backend_port;
        reply.destination = plan.mode == WEIR_FORWARD_NAT ? plan.client() : plan.snat();
        reply.destination_port =
            plan.mode == WEIR_FORWARD_NAT ? port : source_port_of(there[0], plan.v6);
        reply.protocol = plan.protocol;
        reply.tcp_flags = 0x12;
        EXPECT_EQ(send(reply).size(), 1u);
        reply.tcp_flags = 0x10;
        result.from_backend = reply;
    }
    EXPECT_EQ(send(result.from_client).size(), 1u);
    return result;
}

// Mostly data of known connections, in both directions; of the rest some of everything.
class Mixture {
public:
    Mixture(std::vector<Conversation> conversations, std::uint32_t many_flows)
        : conversations_(std::move(conversations)), many_flows_(many_flows) {}

    Bytes next() {
        const Conversation& of = conversations_[random_() % conversations_.size()];
        PacketPlan packet =
            of.from_backend && random_() % 2 == 0 ? *of.from_backend : of.from_client;
        if (many_flows_ != 0)
            packet.source_port = static_cast<std::uint16_t>(1000 + random_() % many_flows_);
        packet.payload.assign(random_() % 100, 7);
        if (packet.source == of.from_client.source && random_() % 30 == 0)
            packet.source_mac[5] = 0x77; // by another router
        if (random_() % 6 == 0)
            vary(packet);
        Bytes frame = build(packet);
        if (random_() % 50 == 0)
            frame.resize(random_() % frame.size());
        if (random_() % 50 == 0 && frame.size() > 60)
            frame[14 + random_() % 40] ^= static_cast<std::uint8_t>(1u << random_() % 8);
        return frame;
    }

private:
    void vary(PacketPlan& packet) {
        switch (random_() % 11) {
        case 0:
        case 1:
            packet.tcp_flags = 0x02;
            break;
        case 2: // ends it for good, so not for too many
            if (many_flows_ != 0 || random_() % 8 == 0)
                packet.tcp_flags = 0x11;
            break;
        case 3:
            packet.tcp_flags = 0x04;
            break;
        case 4:
            packet.payload.resize(1440 + random_() % 30);
            break;
        case 5:
            packet.ttl = 0;
            break;
        case 6:
            packet.vlan_tci = 7;
            break;
        case 7:
            packet.destination_port++;
            break;
        case 8:
            packet.v4_fragment = 0x2000;
            break;
        case 9:
            packet.ttl = 1;
            break;
        default:
            packet.protocol ^= 6 ^ 17;
        }
    }

    std::vector<Conversation> conversations_;
    std::uint32_t many_flows_; // 0: those of the conversations alone
    std::mt19937 random_{7};
};

void expect_the_same_numbers(Lab& shortly, Lab& slowly, std::uint32_t workers) {
    for (std::uint32_t verdict = 0; verdict < WEIR_VERDICT_COUNT; verdict++)
        EXPECT_EQ(shortly.verdicts(static_cast<weir_verdict>(verdict)),
                  slowly.verdicts(static_cast<weir_verdict>(verdict)))
            << lb::verdict_info(verdict).name;
    EXPECT_EQ(shortly.connections(), slowly.connections());
    for (std::uint32_t worker = 0; worker < workers; worker++) {
        const lb::VipCounters &ours = shortly.counters().vip(worker, 0),
                              &theirs = slowly.counters().vip(worker, 0);
        EXPECT_EQ(std::memcmp(&ours, &theirs, sizeof(ours)), 0);
        for (std::uint32_t backend : {0, 1})
            EXPECT_EQ(std::memcmp(&shortly.counters().backend(worker, backend),
                                  &slowly.counters().backend(worker, backend),
                                  sizeof(lb::BackendCounters)),
                      0);
        for (lb::EntryIndex entry = 0; entry < shortly.worker(worker).table.capacity(); entry++)
            EXPECT_EQ(std::memcmp(&shortly.worker(worker).table.row(entry),
                                  &slowly.worker(worker).table.row(entry), sizeof(lb::HotRow)),
                      0)
                << "entry " << entry;
    }
}

class ShortWay : public ::testing::TestWithParam<Case> {};

TEST_P(ShortWay, SendsAndCountsWhatTheLongWayDoes) {
    const Case a = GetParam();
    const Plan plan = plan_of(a);
    Lab shortly(plan, a.workers);
    Lab slowly(plan, a.workers);
    for (Lab* lab : {&shortly, &slowly})
        lab->change(a.exceptions ? with_exceptions : with_answers);
    go_the_long_way(slowly);
    std::vector<Conversation> conversations;
    for (std::uint16_t port = 1000; port < 1050; port++)
        conversations.push_back(converse(std::array{&shortly, &slowly}, plan, port));
    Mixture mixture(std::move(conversations), a.exceptions ? 5000 : 0);
    std::uint32_t tried = 0;
    for (int round = 0; round < 300; round++) {
        for (std::uint32_t i = 0; i < 30; i++) {
            const Bytes frame = mixture.next();
            for (Lab* lab : {&shortly, &slowly})
                lab->put(frame, i % a.workers);
        }
        tried += shortly.worker(0).short_way.worth();
        const std::vector<Sent> sent = shortly.run();
        const std::vector<Sent> expected = slowly.run();
        ASSERT_EQ(sent.size(), expected.size()) << "round " << round;
        for (std::size_t i = 0; i < sent.size(); i++) {
            ASSERT_EQ(sent[i].worker, expected[i].worker) << "round " << round;
            ASSERT_EQ(sent[i].bytes, expected[i].bytes) << "round " << round;
        }
    }
    EXPECT_GT(tried, 200u);
    EXPECT_TRUE(slowly.worker(0).capture.on());
    expect_the_same_numbers(shortly, slowly, a.workers);
}

INSTANTIATE_TEST_SUITE_P(Cases, ShortWay, ::testing::ValuesIn(cases()), name_of);

// What is plain and of known connections it takes itself, all of it, and the rest it leaves.
class ShortWayOfOneWorker : public ::testing::TestWithParam<Case> {};

TEST_P(ShortWayOfOneWorker, TakesDataAndLeavesTheRest) {
    const Case a = GetParam();
    const Plan plan = plan_of(a);
    Lab lab(plan);
    lab.change(a.exceptions ? with_exceptions : with_answers);
    const Conversation known = converse(std::array{&lab}, plan, 1000);
    PacketPlan data = known.from_client;
    data.payload.assign(40, 7);
    lab.send(build(data));
    ASSERT_TRUE(lab.worker(0).short_way.worth());
    // Not where a tunnel's clients are to be learned.
    const bool takes = !(a.exceptions && a.protocol == 17 && a.mode != WEIR_FORWARD_DSR_L2);
    const auto one_burst = [&](const PacketPlan& most, const PacketPlan& odd) {
        for (int i = 0; i < 8; i++)
            lab.put(build(i == 3 ? odd : most));
        Burst burst{};
        lab.worker(0).short_way.worth_a_try();
        EXPECT_TRUE(receive_from_port(lab.worker(0), lab.worker(0).context.ports[0], burst));
        read(lab.worker(0), burst);
        const bool all_gone = forward_shortly(lab.worker(0), burst);
        const auto gone =
            8 - std::count(burst.verdict, burst.verdict + 8, std::uint8_t{WEIR_UNDECIDED});
        EXPECT_EQ(all_gone, gone == 8);
        for (std::uint32_t i = 0; i < 8; i++)
            rte_pktmbuf_free(burst.mbuf[i]);
        return gone;
    };
    PacketPlan tagged = data;
    tagged.vlan_tci = 7;
    EXPECT_EQ(one_burst(data, data), takes ? 8 : 0);
    // It may be a reset, which nothing may overtake where that says something.
    EXPECT_EQ(one_burst(data, tagged), !takes ? 0 : a.exceptions ? 7 : 3);
    if (!known.from_backend)
        return;
    PacketPlan reply = *known.from_backend;
    reply.payload.assign(40, 7);
    EXPECT_EQ(one_burst(reply, reply), 8);
    PacketPlan stranger = reply;
    stranger.source_port++;
    EXPECT_EQ(one_burst(reply, stranger), 7);
}

INSTANTIATE_TEST_SUITE_P(Cases, ShortWayOfOneWorker, ::testing::ValuesIn(cases_of_one_worker()),
                         name_of);

const Plan kFullNat{WEIR_FORWARD_FULL_NAT, false, 6, 8080};

// Data behind a reset of its own side takes it back; it does not overtake it.
TEST(ShortWayOrder, AResetIsNotOvertaken) {
    for (const bool of_backend : {false, true}) {
        Lab lab(kFullNat);
        const Conversation known = converse(std::array{&lab}, kFullNat, 1000);
        const PacketPlan data = of_backend ? *known.from_backend : known.from_client;
        PacketPlan reset = data;
        reset.tcp_flags = 0x04;
        lab.send(build(data));
        ASSERT_TRUE(lab.worker(0).short_way.worth());
        lab.put(build(reset));
        lab.put(build(data));
        EXPECT_EQ(lab.run().size(), 2u);
        std::map<int, int> states;
        for (lb::EntryIndex entry = 0; entry < lab.worker(0).table.capacity(); entry++)
            states[lab.worker(0).table.row(entry).state]++;
        EXPECT_EQ(states[WEIR_STATE_ESTABLISHED], 1);
    }
}

// The router in front has changed: replies take the new way from the next packet on, whatever kind
// of packet shows it.
TEST(ShortWayOrder, FollowsTheClientsLastHop) {
    for (const std::uint8_t flags : {0x10, 0x11, 0x02}) {
        Lab lab(kFullNat);
        const Conversation known = converse(std::array{&lab}, kFullNat, 1000);
        lab.send(build(known.from_client));
        ASSERT_TRUE(lab.worker(0).short_way.worth());
        PacketPlan moved = known.from_client;
        moved.source_mac = {2, 0, 0, 0, 0, 0x77};
        moved.tcp_flags = flags;
        lab.put(build(moved));
        lab.put(build(*known.from_backend));
        const std::vector<Sent> sent = lab.run();
        ASSERT_EQ(sent.size(), 2u);
        EXPECT_TRUE(
            std::equal(moved.source_mac.begin(), moved.source_mac.end(), sent[1].bytes.begin()));
    }
}

// The connection ends with the client's packet, because its backend is down: there is none any more
// when the backend's comes.
TEST(ShortWayOrder, FollowsTheEndOfAConnection) {
    Lab lab(kFullNat);
    const Conversation known = converse(std::array{&lab}, kFullNat, 1000);
    lab.send(build(known.from_client));
    lab.publish({WEIR_BACKEND_DOWN, WEIR_BACKEND_DOWN}, [](lb::StateTables& tables) {
        tables.vips[0].on_backend_down = WEIR_BACKEND_DOWN_RESELECT;
    });
    lab.put(build(known.from_client));
    lab.put(build(*known.from_backend));
    EXPECT_EQ(lab.run().size(), 0u);
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONNECTION), 2u);
}

// What a generation made of a destination holds no longer than the generation.
TEST(ShortWayGenerations, NothingIsRememberedOfTheOneBefore) {
    const Plan plan{WEIR_FORWARD_DSR_L2, false, 6, 80};
    Lab lab(plan);
    lab.change(with_exceptions);
    const Bytes data = build(from_client(plan, 0x10));
    for (int i = 0; i < 3; i++)
        EXPECT_EQ(lab.send(data).size(), 1u);
    ASSERT_TRUE(lab.worker(0).short_way.worth());
    EXPECT_EQ(lab.connections(), 0u);
    lab.change(with_answers); // from now on all is recorded
    EXPECT_EQ(lab.send(data).size(), 1u);
    EXPECT_EQ(lab.connections(), 1u);
    lab.change([](lb::StateTables& tables) {
        with_answers(tables);
        tables.match = *lb::MatchTableBuilder{}.build(*std::make_unique<std::string>());
    });
    EXPECT_TRUE(lab.send(data).empty()) << "nobody's any more";
}

// The backend's packet is the reply to a probe once the client's address is the node's own.
TEST(ShortWayGenerations, ANodesOwnAddressIsNoClient) {
    for (const bool v6 : {false, true}) {
        const Plan plan{WEIR_FORWARD_NAT, v6, 6, 8080};
        Lab lab(plan);
        const Conversation known = converse(std::array{&lab}, plan, 1000);
        const Bytes reply = build(*known.from_backend);
        PacketPlan to_another = *known.from_backend; // makes the backend known again
        to_another.destination = v6 ? "2001:db8:c::8" : "198.51.100.8";
        for (int i = 0; i < 3; i++)
            EXPECT_EQ(lab.send(reply).size(), 1u);
        lab.change([&](lb::StateTables& tables) {
            lb::MatchTableBuilder builder = State::match_table(plan);
            builder.add_address(to_address(plan.client()), WEIR_MATCH_LOCAL);
            tables.match = *builder.build(*std::make_unique<std::string>());
        });
        EXPECT_TRUE(lab.send(build(to_another)).empty());
        ASSERT_TRUE(lab.worker(0).short_way.worth());
        EXPECT_TRUE(lab.send(reply).empty());
        lab.change([](lb::StateTables&) {});
        EXPECT_EQ(lab.send(reply).size(), 1u);
    }
}

// A generation that is taken away leaves nobody who could decide.
TEST(ShortWayGenerations, WithoutOneNothingIsSent) {
    const Plan plan{WEIR_FORWARD_DSR_L2, false, 6, 80};
    Lab lab(plan);
    lab.change(with_exceptions);
    const Bytes data = build(from_client(plan, 0x10));
    EXPECT_EQ(lab.send(data).size(), 1u);
    ASSERT_TRUE(lab.worker(0).short_way.worth());
    lab.unpublish();
    EXPECT_TRUE(lab.send(data).empty());
    EXPECT_EQ(lab.verdicts(WEIR_DROP_NO_CONFIGURATION), 1u);
}

TEST(ShortWayTrust, EndsAfterSomeBurstsInVainAndBeginsWithOnePacket) {
    ShortWayTrust trust;
    EXPECT_FALSE(trust.worth());
    trust.worth_a_try();
    EXPECT_TRUE(trust.worth());
    trust.tried(false);
    EXPECT_FALSE(trust.worth());
    trust.worth_a_try();
    trust.tried(true);
    int tries = 0;
    for (; trust.worth() && tries < 100; tries++)
        trust.tried(false);
    EXPECT_GT(tries, 2) << "a flood between the bursts does not end it at once";
    EXPECT_LT(tries, 100);
}

} // namespace
} // namespace weir::dpdk
