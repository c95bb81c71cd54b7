// SPDX-License-Identifier: BSD-3-Clause
// Full-nat connections that were opened by one worker and go on with two: half of their ports are
// then the worker's that does not have them, and what the backends send reaches that one.
#include "dataplane/dpdk/worker_lab.hpp"
#include "dataplane/lb/connection_owner.hpp"

#include <map>
#include <set>

namespace weir::dpdk {
namespace {

constexpr std::uint32_t kConnections = 32; // of the 64 ports there are
constexpr std::uint8_t kSyn = 0x02, kSynAck = 0x12, kAck = 0x10;

class WorkerRestart : public ::testing::TestWithParam<bool> {
protected:
    static Plan plan() { return {WEIR_FORWARD_FULL_NAT, GetParam()}; }

    struct Open { // a connection as its backend knows it
        std::uint32_t backend;
        std::uint16_t port;
        bool operator==(const Open&) const = default;
        auto operator<=>(const Open&) const = default;
    };
    static Open seen_in(const Bytes& frame) {
        return {backend_of(frame), source_port_of(frame, GetParam())};
    }
    static Bytes reply(const Open& open, std::uint8_t flags) {
        PacketPlan packet = from_client(plan(), flags);
        packet.source_mac = backend_mac(open.backend);
        packet.source = plan().backend(open.backend);
        packet.source_port = plan().backend_port;
        packet.destination = plan().snat();
        packet.destination_port = open.port;
        return build(packet);
    }
    // The client's port that a frame to it is for.
    static std::uint16_t client_port_of(const Bytes& frame) {
        return static_cast<std::uint16_t>(get16(frame, GetParam() ? 56 : 36));
    }

    static std::map<std::uint16_t, Open> open_connections(Lab& lab, std::uint16_t first_port,
                                                          std::uint32_t count) {
        std::map<std::uint16_t, Open> opened;
        for (std::uint32_t i = 0; i < count; i++) {
            const auto port = static_cast<std::uint16_t>(first_port + i);
            const auto sent = lab.send(build(from_client(plan(), kSyn, port)));
            if (sent.size() != 1)
                continue;
            opened[port] = seen_in(sent[0]);
            lab.send(reply(opened[port], kSynAck));
            lab.send(build(from_client(plan(), kAck, port)));
        }
        return opened;
    }

    // As lb::Takeover does it.
    static std::uint32_t move(Lab& from, Lab& to, bool tell_strays = true) {
        const lb::ForwardingState& state = to.state();
        const lb::Workers workers{2, nullptr};
        std::vector<lb::StrayReplies::Stray> strays;
        const lb::ConnectionTable& table = from.worker(0).table;
        for (lb::EntryIndex entry = 0; entry < table.capacity(); entry++) {
            lb::HotRow row = table.row(entry);
            if (row.state == lb::kRowFree)
                continue;
            const std::uint32_t owner = lb::owner_of_row(state, workers, row);
            if (lb::owner_of_replies(state, workers, row) != owner) {
                const weir_flow flow = lb::reply_flow(state, row);
                strays.push_back({weir_flow_hash(&state.hash_key(), &flow), owner});
                row.flags |= lb::kRowStrayReplies;
            }
            row.last_hop = to.worker(owner).last_hops.acquire(lb::mac_word(kRouterMac.data()),
                                                              WEIR_NO_VLAN, 0) &
                           lb::kNoLastHop;
            EXPECT_EQ(to.worker(owner).table.restore(row, table.cold(entry)).outcome,
                      lb::InsertOutcome::kInserted);
        }
        if (tell_strays)
            to.strays().fill(strays);
        return static_cast<std::uint32_t>(strays.size());
    }
};

TEST_P(WorkerRestart, BothDirectionsGoOnWhicheverWorkerMeetsThem) {
    Lab one(plan(), 1);
    const auto opened = open_connections(one, 30000, kConnections);
    ASSERT_EQ(opened.size(), kConnections);
    Lab two(plan(), 2);
    EXPECT_GT(move(one, two), 5u);
    for (const auto& [port, open] : opened)
        for (std::uint32_t worker = 0; worker < 2; worker++) {
            const auto there = two.send(build(from_client(plan(), kAck, port)), worker);
            ASSERT_EQ(there.size(), 1u);
            EXPECT_EQ(seen_in(there[0]), open) << "the backend knows it by its port";
            const auto back = two.send(reply(open, kAck), worker);
            ASSERT_EQ(back.size(), 1u);
            EXPECT_EQ(client_port_of(back[0]), port);
        }
    EXPECT_EQ(two.verdicts(WEIR_DROP_NO_CONNECTION), 0u);
}

// Negative control: the other worker alone cannot know.
TEST_P(WorkerRestart, RepliesAreLostWhenNobodySaysWhoseTheyAre) {
    Lab one(plan(), 1);
    const auto opened = open_connections(one, 30000, kConnections);
    Lab two(plan(), 2);
    const std::uint32_t strays = move(one, two, false);
    for (const auto& [port, open] : opened)
        two.send(reply(open, kAck));
    EXPECT_EQ(two.verdicts(WEIR_DROP_NO_CONNECTION), strays);
}

TEST_P(WorkerRestart, PortsInUseElsewhereAreNotGivenOutUntilTheirConnectionEnds) {
    Lab one(plan(), 1);
    const auto opened = open_connections(one, 30000, kConnections);
    Lab two(plan(), 2);
    move(one, two);
    std::set<Open> used;
    for (const auto& [port, open] : opened)
        used.insert(open);
    const auto more = open_connections(two, 40000, 200);
    EXPECT_GT(more.size(), 50u);
    for (const auto& [port, open] : more)
        EXPECT_TRUE(used.insert(open).second) << "port " << open.port << " twice";

    // All of them expire; then every port can be had again.
    two.pass(std::chrono::hours(2));
    for (int round = 0; round < 400; round++) {
        two.pass(std::chrono::milliseconds(100));
        two.run();
    }
    ASSERT_EQ(two.connections(), 0u);
    std::set<std::uint16_t> ports;
    for (const auto& [port, open] : open_connections(two, 50000, 400))
        ports.insert(open.port);
    std::uint32_t again = 0;
    for (const auto& [port, open] : opened)
        again += ports.contains(open.port);
    EXPECT_GT(again, kConnections / 2);
}

// Another thread fills the worker's tables with what was left while there is no generation.
TEST(WorkerBeforeItsFirstGeneration, LeavesItsTablesAlone) {
    Lab lab(Plan{});
    lab.unpublish();
    Worker& worker = lab.worker(0);
    lab.run();
    worker.persistence.remember(1, 0, 1000, worker.now_s);
    lab.pass(std::chrono::seconds(lb::kLongestPersistence_s + 1));
    const auto polls_of_a_round =
        [&] { // the sweep over the whole table takes 32 s, 64 entries a poll
            for (int second = 0; second < 33; second++) {
                lab.pass(std::chrono::seconds(1));
                for (int i = 0; i < 33; i++)
                    lab.poll_all();
            }
        };
    polls_of_a_round();
    EXPECT_EQ(worker.persistence.used(), 1u);
    lab.change([](lb::StateTables&) {});
    polls_of_a_round();
    EXPECT_EQ(worker.persistence.used(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Families, WorkerRestart, ::testing::Bool());

} // namespace
} // namespace weir::dpdk
