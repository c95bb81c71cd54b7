// SPDX-License-Identifier: BSD-3-Clause
// Workers behind a NIC that spreads by a table of ours: a simulated one that puts every frame on
// the queue its hash names, computed bit by bit from the frame's bytes. No packet of a DSR or
// full-nat connection is handed over then.
#include "dataplane/dpdk/worker_lab.hpp"
#include "dataplane/lb/spread.hpp"

#include <set>

namespace weir::dpdk {
namespace {

constexpr weir_hash_key kSecret{33, 44};
constexpr std::uint32_t kConnections = 64;

// Shares no code with the parser or the tables of lb::Spread.
std::uint32_t hash_of(const weir_rss_key& key, const Bytes& frame) {
    const bool v6 = get16(frame, 12) == 0x86dd;
    Bytes input(frame.begin() + (v6 ? 22 : 26), frame.begin() + (v6 ? 58 : 38));
    std::uint32_t hash = 0;
    for (std::size_t bit = 0; bit < input.size() * 8; bit++) {
        if ((input[bit / 8] & (0x80u >> bit % 8)) == 0)
            continue;
        for (std::size_t out = 0; out < 32; out++)
            if (key.byte[(bit + out) / 8] & (0x80u >> (bit + out) % 8))
                hash ^= 0x80000000u >> out;
    }
    return hash;
}

struct RssCase {
    weir_forward_mode mode;
    bool v6;
    std::uint8_t protocol;
    std::uint32_t workers;
    std::uint32_t entries;
};

class WorkerRss : public ::testing::TestWithParam<RssCase> {
protected:
    Plan plan() const {
        return {GetParam().mode, GetParam().v6, GetParam().protocol,
                static_cast<std::uint16_t>(GetParam().mode == WEIR_FORWARD_DSR_L2 ? 80 : 8080)};
    }

    // What the NIC does; the workers may believe otherwise.
    std::uint32_t queue(const Bytes& frame) const {
        return hash_of(key_, frame) % GetParam().entries % GetParam().workers;
    }

    // Two SNAT addresses, the second with a range that cuts through blocks of ports.
    static void widen(Lab& lab) {
        const Plan p = lab.plan();
        lab.change([&](lb::StateTables& tables) {
            tables.snat[0].first_port = 30000;
            tables.snat[0].last_port = 38000;
            tables.snat.push_back(tables.snat[0]);
            tables.snat[1].address = to_address(second_snat(p));
            tables.snat[1].first_port = 50007;
            tables.snat[1].last_port = 52345;
            lb::MatchTableBuilder builder;
            builder.add_port(to_address(p.vip()), p.protocol, weir_swap16(80), WEIR_MATCH_VIP, 0);
            if (p.mode == WEIR_FORWARD_FULL_NAT)
                for (std::uint32_t i = 0; i < 2; i++)
                    builder.add_range(tables.snat[i].address, p.protocol, tables.snat[i].first_port,
                                      tables.snat[i].last_port, WEIR_MATCH_SNAT, i);
            if (p.mode == WEIR_FORWARD_NAT) {
                builder.set_flags(WEIR_MATCH_HAS_NAT);
                for (std::uint32_t i = 0; i < 2; i++)
                    builder.add_port(to_address(p.backend(i)), p.protocol,
                                     weir_swap16(p.backend_port), WEIR_MATCH_BACKEND, i);
            }
            std::string problem;
            tables.match = *builder.build(problem);
        });
    }
    static std::string second_snat(const Plan& p) { return p.v6 ? "2001:db8:a::65" : "192.0.2.65"; }

    // The backend's answer to the request of `from_client` that came to it as `frame`.
    static PacketPlan reply_to(const Plan& p, const Bytes& frame, std::uint8_t flags) {
        PacketPlan reply = from_client(p, flags);
        reply.source = p.backend(backend_of(frame));
        reply.source_port = p.backend_port;
        reply.destination_port = source_port_of(frame, p.v6);
        reply.destination = p.client();
        if (p.mode == WEIR_FORWARD_FULL_NAT)
            reply.destination = reply.destination_port < 40000 ? p.snat() : second_snat(p);
        return reply;
    }

    // A packet from the client, and the reply to it: how many of the frames came out where they
    // should.
    int exchange(Lab& lab, std::uint16_t client_port, std::uint8_t flags,
                 std::uint8_t reply_flags) {
        const Plan& p = lab.plan();
        const Bytes request = build(from_client(p, flags, client_port));
        lab.put(request, queue(request));
        const std::vector<Sent> there = lab.run();
        if (there.size() != 1)
            return 0;
        senders_.insert(there[0].worker);
        if (p.mode == WEIR_FORWARD_DSR_L2)
            return 1;
        PacketPlan reply = reply_to(p, there[0].bytes, reply_flags);
        if (p.mode == WEIR_FORWARD_NAT)
            reply.destination_port = client_port;
        const Bytes answer = build(reply);
        lab.put(answer, queue(answer));
        const std::vector<Sent> back = lab.run();
        const std::size_t client_end = p.v6 ? 56 : 36; // the destination port
        return 1 + (back.size() == 1 && get16(back[0].bytes, client_end) == client_port);
    }

    // A connection of two exchanges: how many of its frames went wrong.
    int wrong_in(Lab& lab, std::uint16_t client_port) {
        const int right =
            exchange(lab, client_port, 0x02, 0x12) + exchange(lab, client_port, 0x10, 0x10);
        return (lab.plan().mode == WEIR_FORWARD_DSR_L2 ? 2 : 4) - right;
    }

    weir_rss_key key_ = lb::rss_key_of(kSecret);
    std::set<std::uint32_t> senders_;
};

class WorkerRssElsewise : public WorkerRss {};

TEST_P(WorkerRss, EveryConnectionWorksAndNothingIsHandedOver) {
    const auto spread = *lb::Spread::make(key_, GetParam().entries, GetParam().workers);
    Lab lab(plan(), GetParam().workers, false, &spread);
    widen(lab);
    for (std::uint16_t i = 0; i < kConnections; i++)
        ASSERT_EQ(wrong_in(lab, static_cast<std::uint16_t>(20000 + i)), 0) << i;
    EXPECT_EQ(lab.connections(), kConnections);
    EXPECT_EQ(senders_.size(), GetParam().workers) << "all workers had something to do";
    if (plan().mode == WEIR_FORWARD_NAT && GetParam().workers > 1)
        EXPECT_GT(lab.verdicts(WEIR_HANDED_OVER), 0u) << "known and documented";
    else
        EXPECT_EQ(lab.verdicts(WEIR_HANDED_OVER), 0u);
}

// The negative control: the same NIC with workers that take it for an uncontrolled device. All
// connections still work, by the rings.
TEST_P(WorkerRssElsewise, WithoutItPacketsAreHandedOver) {
    Lab lab(plan(), GetParam().workers);
    widen(lab);
    for (std::uint16_t i = 0; i < kConnections; i++)
        ASSERT_EQ(wrong_in(lab, static_cast<std::uint16_t>(20000 + i)), 0) << i;
    EXPECT_GT(lab.verdicts(WEIR_HANDED_OVER), kConnections / 4);
}

// A NIC that was told and does not do it costs hand-overs and breaks nothing.
TEST_P(WorkerRssElsewise, ANicThatDoesOtherwiseLosesNoConnection) {
    const auto spread = *lb::Spread::make(key_, GetParam().entries, GetParam().workers);
    key_ = lb::rss_key_of({55, 66}); // of the NIC
    Lab lab(plan(), GetParam().workers, false, &spread);
    widen(lab);
    for (std::uint16_t i = 0; i < kConnections; i++)
        ASSERT_EQ(wrong_in(lab, static_cast<std::uint16_t>(20000 + i)), 0) << i;
    EXPECT_EQ(lab.connections(), kConnections) << "each is known to one worker only";
    EXPECT_GT(lab.verdicts(WEIR_HANDED_OVER), kConnections / 4);
}

std::vector<RssCase> all_cases() {
    std::vector<RssCase> cases;
    for (bool v6 : {false, true})
        for (std::uint8_t protocol : {std::uint8_t{6}, std::uint8_t{17}}) {
            for (std::uint32_t workers : {1u, 2u, 3u, 4u, 8u})
                for (std::uint32_t entries : {64u, 128u, 512u})
                    if (protocol == 6 || entries == 128)
                        cases.push_back({WEIR_FORWARD_FULL_NAT, v6, protocol, workers, entries});
            for (weir_forward_mode mode : {WEIR_FORWARD_DSR_L2, WEIR_FORWARD_NAT})
                cases.push_back({mode, v6, protocol, 4, 128});
        }
    return cases;
}

std::vector<RssCase> few_cases() {
    std::vector<RssCase> cases;
    for (weir_forward_mode mode : {WEIR_FORWARD_FULL_NAT, WEIR_FORWARD_DSR_L2})
        for (bool v6 : {false, true})
            for (std::uint32_t workers : {2u, 3u, 4u})
                cases.push_back({mode, v6, 6, workers, 128});
    return cases;
}

std::string case_name(const ::testing::TestParamInfo<RssCase>& info) {
    const RssCase& c = info.param;
    const char* mode = c.mode == WEIR_FORWARD_DSR_L2 ? "DsrL2"
                       : c.mode == WEIR_FORWARD_NAT  ? "Nat"
                                                     : "FullNat";
    return std::string(mode) + (c.v6 ? "V6" : "V4") + (c.protocol == 6 ? "Tcp" : "Udp") + "On" +
           std::to_string(c.workers) + "Of" + std::to_string(c.entries);
}

INSTANTIATE_TEST_SUITE_P(Few, WorkerRssElsewise, ::testing::ValuesIn(few_cases()), case_name);
INSTANTIATE_TEST_SUITE_P(All, WorkerRss, ::testing::ValuesIn(all_cases()), case_name);

} // namespace
} // namespace weir::dpdk
