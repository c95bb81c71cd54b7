// SPDX-License-Identifier: BSD-3-Clause
// The neighbourhood against a real kernel: a veth pair, the other end answering ARP and NDP.
#include "control/kernel/neighbourhood.hpp"

#include "control/kernel/test_namespace.hpp"

namespace weir::control {
namespace {

net::IpAddress ip(const char* text) {
    return net::IpAddress::parse(text).value();
}
net::MacAddress mac(const char* text) {
    return net::MacAddress::parse(text).value();
}

class NeighbourhoodTest : public NamespaceTest {
protected:
    void SetUp() override {
        NamespaceTest::SetUp();
        if (IsSkipped()) {
            return;
        }
        run("ip address add 10.9.0.2/24 dev lb0");
        run("ip address add fd00:9::2/64 dev lb0 nodad");
        in_peer([] {
            run("ip address add 10.9.0.11/24 dev peer0");
            run("ip address add fd00:9::11/64 dev peer0 nodad");
        });
        const Expected<void> started = neighbourhood_.start();
        ASSERT_TRUE(started) << started.error().sentence;
        neighbourhood_.set_interfaces({"lb0"});
    }
    NextHop hop(const char* target) const {
        const auto found = neighbourhood_.current().find(ip(target));
        return found == neighbourhood_.current().end() ? NextHop{} : found->second;
    }
    bool resolves(const char* target, const char* to = "02:00:00:00:00:11") {
        return run_until(io_, [&] { return hop(target).resolved && hop(target).mac == mac(to); });
    }

    boost::asio::io_context io_;
    int changes_ = 0;
    Neighbourhood neighbourhood_{io_, [this] { changes_++; }};
};

TEST_F(NeighbourhoodTest, ResolvesBothFamiliesOnLink) {
    neighbourhood_.set_targets({ip("10.9.0.11"), ip("fd00:9::11")});
    ASSERT_TRUE(resolves("10.9.0.11"));
    ASSERT_TRUE(resolves("fd00:9::11"));
    const NextHop found = hop("10.9.0.11");
    EXPECT_EQ(found.interface, "lb0");
    EXPECT_EQ(found.source_mac, mac("02:00:00:00:00:02"));
    EXPECT_EQ(found.mtu, 1500U);
    EXPECT_GE(changes_, 1);
}

TEST_F(NeighbourhoodTest, FollowsRoutesAsTheyComeAndGo) {
    neighbourhood_.set_targets({ip("172.20.0.1"), ip("fd00:20::1")});
    EXPECT_EQ(hop("172.20.0.1").why_not, "no route to 172.20.0.1");
    run("ip route add 172.20.0.0/16 via 10.9.0.11 mtu 1400");
    run("ip -6 route add fd00:20::/64 via fd00:9::11");
    ASSERT_TRUE(resolves("172.20.0.1"));
    ASSERT_TRUE(resolves("fd00:20::1"));
    EXPECT_EQ(hop("172.20.0.1").via, ip("10.9.0.11"));
    EXPECT_EQ(hop("172.20.0.1").mtu, 1400U);
    run("ip route del 172.20.0.0/16");
    ASSERT_TRUE(run_until(io_, [&] { return !hop("172.20.0.1").resolved; }));
}

TEST_F(NeighbourhoodTest, EqualCostHopsGiveALiveOne) {
    run("ip route add 172.20.0.0/16 nexthop via 10.9.0.11 dev lb0 nexthop via 10.9.0.12 dev lb0");
    neighbourhood_.set_targets({ip("172.20.0.1")});
    ASSERT_TRUE(resolves("172.20.0.1"));
    EXPECT_EQ(hop("172.20.0.1").via, ip("10.9.0.11"));
}

TEST_F(NeighbourhoodTest, OneThatDoesNotAnswerSaysSoAndIsAskedAgain) {
    neighbourhood_.set_targets({ip("10.9.0.99")});
    ASSERT_TRUE(run_until(io_, [&] {
        const auto& neighbours = neighbourhood_.tables().neighbours;
        const auto found = neighbours.find({hop("10.9.0.99").ifindex, ip("10.9.0.99")});
        return found != neighbours.end() && found->second.state == NeighbourState::kFailed;
    }));
    EXPECT_FALSE(hop("10.9.0.99").resolved);
    EXPECT_EQ(hop("10.9.0.99").why_not, "10.9.0.99 does not answer ARP on lb0");
    run_in_peer("ip address add 10.9.0.99/24 dev peer0");
    EXPECT_TRUE(resolves("10.9.0.99"));
}

TEST_F(NeighbourhoodTest, ANewMacIsFollowed) {
    neighbourhood_.set_targets({ip("10.9.0.11")});
    ASSERT_TRUE(resolves("10.9.0.11"));
    run("echo 1 > /proc/sys/net/ipv4/neigh/lb0/delay_first_probe_time");
    run("echo 50 > /proc/sys/net/ipv4/neigh/lb0/retrans_time_ms");
    run_in_peer("ip link set peer0 address 02:00:00:00:00:12");
    run("ip neighbour change 10.9.0.11 dev lb0 lladdr 02:00:00:00:00:11 nud stale");
    // Confirming the stale entry goes to the old MAC first and then asks everybody.
    EXPECT_TRUE(resolves("10.9.0.11", "02:00:00:00:00:12"));
}

TEST_F(NeighbourhoodTest, AMacTheKernelForgotIsHeldUntilItIsBack) {
    neighbourhood_.set_targets({ip("10.9.0.11")});
    ASSERT_TRUE(resolves("10.9.0.11"));
    changes_ = 0;
    run("ip neighbour flush dev lb0");
    ASSERT_TRUE(run_until(io_, [&] {
        const auto& neighbours = neighbourhood_.tables().neighbours;
        const auto found = neighbours.find({hop("10.9.0.11").ifindex, ip("10.9.0.11")});
        return found != neighbours.end() && found->second.state == NeighbourState::kValid;
    }));
    EXPECT_EQ(changes_, 0);
    EXPECT_TRUE(hop("10.9.0.11").resolved);
}

TEST_F(NeighbourhoodTest, WithoutCarrierTheLastKnownMacStays) {
    neighbourhood_.set_targets({ip("10.9.0.11")});
    ASSERT_TRUE(resolves("10.9.0.11"));
    run_in_peer("ip link set peer0 down");
    ASSERT_TRUE(run_until(io_, [&] {
        const Link* link = neighbourhood_.tables().link_named("lb0");
        return link != nullptr && !link->carrier;
    }));
    EXPECT_TRUE(hop("10.9.0.11").resolved);
    run("ip link set lb0 down");
    ASSERT_TRUE(run_until(io_, [&] { return !hop("10.9.0.11").resolved; }));
}

TEST_F(NeighbourhoodTest, AnInterfaceThatComesLater) {
    neighbourhood_.set_interfaces({"lb1"});
    neighbourhood_.set_targets({ip("10.8.0.1")});
    run("ip link add lb1 type veth peer name peer1");
    run("ip link set peer1 address 02:00:00:00:00:21 up");
    run("ip link set lb1 up");
    run("ip address add 10.8.0.2/24 dev lb1");
    run("ip neighbour add 10.8.0.1 dev lb1 lladdr 02:00:00:00:00:31 nud permanent");
    EXPECT_TRUE(resolves("10.8.0.1", "02:00:00:00:00:31"));
}

// More changes than the notification queue holds, while nobody reads it: the tables are read anew.
TEST_F(NeighbourhoodTest, LostNotificationsAreMadeUpFor) {
    neighbourhood_.set_targets({ip("172.20.0.1")});
    EXPECT_FALSE(hop("172.20.0.1").resolved);
    run("for i in $(seq 1 40); do for j in $(seq 1 250); do "
        "echo route add 100.64.$i.$j/32 dev lb0; echo route del 100.64.$i.$j/32 dev lb0; "
        "done; done | ip -batch -");
    run("ip route add 172.20.0.0/16 via 10.9.0.11");
    EXPECT_TRUE(resolves("172.20.0.1"));
    EXPECT_GE(neighbourhood_.overruns(), 1U);
}

TEST_F(NeighbourhoodTest, StoppedIsSilent) {
    neighbourhood_.set_targets({ip("10.9.0.99")});
    neighbourhood_.stop();
    changes_ = 0;
    run("ip route add 172.20.0.0/16 via 10.9.0.11");
    io_.restart();
    io_.run_for(std::chrono::milliseconds(50)); // returns at once when nothing is left to do
    EXPECT_EQ(changes_, 0);
    EXPECT_TRUE(io_.stopped());
}

} // namespace
} // namespace weir::control
