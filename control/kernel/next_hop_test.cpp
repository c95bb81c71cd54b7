// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/next_hop.hpp"

#include <gtest/gtest.h>

namespace weir::control {
namespace {

net::IpAddress ip(const char* text) {
    return net::IpAddress::parse(text).value();
}
net::IpPrefix prefix(const char* text) {
    return net::IpPrefix::parse(text).value();
}
net::MacAddress mac(const char* text) {
    return net::MacAddress::parse(text).value();
}

constexpr int kUplink = 2;
constexpr int kManagement = 3;

class NextHopTest : public testing::Test {
protected:
    NextHopTest() {
        add_link(kUplink, "uplink", "02:00:00:00:00:02");
        add_link(kManagement, "mgmt", "02:00:00:00:00:03");
        tables.own_addresses = {ip("10.0.0.2"), ip("203.0.113.10")};
        on_link("10.0.0.0/24", kUplink);
        on_link("2001:db8::/64", kUplink);
        on_link("192.168.0.0/16", kManagement);
    }
    void add_link(int index, const char* name, const char* address) {
        tables.links[index] = {.index = index,
                               .name = name,
                               .mac = mac(address),
                               .mtu = 1500,
                               .up = true,
                               .carrier = true};
    }
    void on_link(const char* destination, int ifindex) {
        tables.routes[prefix(destination)].push_back({.hops = {{.ifindex = ifindex}}});
    }
    Route& via(const char* destination, const char* gateway, int ifindex, uint32_t metric = 0) {
        tables.routes[prefix(destination)].push_back(
            {.metric = metric, .hops = {{.ifindex = ifindex, .gateway = ip(gateway)}}});
        return tables.routes[prefix(destination)].back();
    }
    void neighbour(const char* address, const char* is_at,
                   NeighbourState state = NeighbourState::kValid, int ifindex = kUplink) {
        tables.neighbours[{ifindex, ip(address)}] = {mac(is_at), state};
    }
    Lookup look(const char* target) const { return look_up(tables, ip(target), {"uplink"}); }

    KernelTables tables;
};

TEST_F(NextHopTest, OnLink) {
    neighbour("10.0.0.11", "02:00:00:00:00:11");
    const NextHop hop = look("10.0.0.11").hop;
    EXPECT_TRUE(hop.resolved);
    EXPECT_EQ(hop.mac, mac("02:00:00:00:00:11"));
    EXPECT_EQ(hop.source_mac, mac("02:00:00:00:00:02"));
    EXPECT_EQ(hop.via, ip("10.0.0.11"));
    EXPECT_EQ(hop.ifindex, kUplink);
    EXPECT_EQ(hop.interface, "uplink");
    EXPECT_EQ(hop.mtu, 1500U);
    EXPECT_EQ(hop.why_not, "");
}

TEST_F(NextHopTest, OnLinkIpv6) {
    neighbour("2001:db8::11", "02:00:00:00:00:11");
    EXPECT_TRUE(look("2001:db8::11").hop.resolved);
}

TEST_F(NextHopTest, LongestPrefixWins) {
    via("0.0.0.0/0", "10.0.0.1", kUplink);
    via("10.1.0.0/16", "10.0.0.3", kUplink);
    via("10.1.2.0/24", "10.0.0.4", kUplink);
    via("10.1.2.3/32", "10.0.0.5", kUplink);
    EXPECT_EQ(look("10.2.0.1").hop.via, ip("10.0.0.1"));
    EXPECT_EQ(look("10.1.0.1").hop.via, ip("10.0.0.3"));
    EXPECT_EQ(look("10.1.2.1").hop.via, ip("10.0.0.4"));
    EXPECT_EQ(look("10.1.2.3").hop.via, ip("10.0.0.5"));
}

TEST_F(NextHopTest, TheDefaultRouteOfOneFamilyIsNotThatOfTheOther) {
    via("::/0", "fe80::1", kUplink);
    EXPECT_EQ(look("8.8.8.8").hop.why_not, "no route to 8.8.8.8");
    EXPECT_EQ(look("2001:4860::1").hop.via, ip("fe80::1"));
}

TEST_F(NextHopTest, LowestMetricWins) {
    via("172.16.0.0/12", "10.0.0.4", kUplink, 20);
    via("172.16.0.0/12", "10.0.0.3", kUplink, 10);
    EXPECT_EQ(look("172.16.0.1").hop.via, ip("10.0.0.3"));
}

TEST_F(NextHopTest, OfEqualPrefixesOurInterfaceWins) {
    via("0.0.0.0/0", "192.168.0.1", kManagement, 0);
    via("0.0.0.0/0", "10.0.0.1", kUplink, 1024);
    EXPECT_EQ(look("8.8.8.8").hop.via, ip("10.0.0.1"));
}

TEST_F(NextHopTest, AMoreSpecificRouteElsewhereIsNotOverruled) {
    via("0.0.0.0/0", "10.0.0.1", kUplink);
    EXPECT_EQ(look("192.168.7.7").hop.why_not,
              "the route to 192.168.7.7 goes through mgmt, which is not an interface of ours");
    EXPECT_FALSE(look("192.168.7.7").neighbour.has_value());
}

TEST_F(NextHopTest, TheFirstLiveHopOfSeveral) {
    Route& route = via("172.16.0.0/12", "10.0.0.3", kUplink);
    route.hops.push_back({.ifindex = kUplink, .gateway = ip("10.0.0.4")});
    EXPECT_EQ(look("172.16.0.1").hop.via, ip("10.0.0.3"));
    route.hops[0].dead = true;
    EXPECT_EQ(look("172.16.0.1").hop.via, ip("10.0.0.4"));
    route.hops[1].dead = true;
    EXPECT_EQ(look("172.16.0.1").hop.why_not, "no route to 172.16.0.1");
}

TEST_F(NextHopTest, AnIpv6GatewayForAnIpv4Route) {
    via("172.16.0.0/12", "fe80::1", kUplink);
    neighbour("fe80::1", "02:00:00:00:00:01");
    EXPECT_TRUE(look("172.16.0.1").hop.resolved);
}

TEST_F(NextHopTest, WhyNot) {
    EXPECT_EQ(look("8.8.8.8").hop.why_not, "no route to 8.8.8.8");
    EXPECT_EQ(look("203.0.113.10").hop.why_not, "203.0.113.10 is an address of this host");
    EXPECT_EQ(look("10.0.0.11").hop.why_not, "10.0.0.11 does not answer ARP on uplink");
    EXPECT_EQ(look("2001:db8::11").hop.why_not,
              "2001:db8::11 does not answer neighbour solicitations on uplink");
    tables.routes[prefix("198.51.100.0/24")].push_back({.unicast = false});
    EXPECT_EQ(look("198.51.100.1").hop.why_not, "the route to 198.51.100.1 forbids it");
    tables.links[kUplink].ethernet = false;
    EXPECT_EQ(look("10.0.0.11").hop.why_not, "interface uplink has no Ethernet neighbours");
    tables.links[kUplink].up = false;
    EXPECT_EQ(look("10.0.0.11").hop.why_not, "interface uplink is down");
}

TEST_F(NextHopTest, StatesOfANeighbour) {
    EXPECT_EQ(look("10.0.0.11").neighbour, NeighbourState::kUnknown);
    neighbour("10.0.0.11", "02:00:00:00:00:11", NeighbourState::kStale);
    EXPECT_TRUE(look("10.0.0.11").hop.resolved);
    EXPECT_EQ(look("10.0.0.11").neighbour, NeighbourState::kStale);
    neighbour("10.0.0.11", "02:00:00:00:00:11", NeighbourState::kFailed);
    EXPECT_FALSE(look("10.0.0.11").hop.resolved);
    EXPECT_TRUE(look("10.0.0.11").hop.mac.is_zero());
    // The same address on another link is somebody else.
    neighbour("10.0.0.12", "02:00:00:00:00:12", NeighbourState::kValid, kManagement);
    EXPECT_FALSE(look("10.0.0.12").hop.resolved);
}

TEST_F(NextHopTest, MtuIsTheSmallerOfRouteAndLink) {
    via("172.16.0.0/12", "10.0.0.3", kUplink).mtu = 1400;
    EXPECT_EQ(look("172.16.0.1").hop.mtu, 1400U);
    tables.routes[prefix("172.16.0.0/12")][0].mtu = 9000;
    EXPECT_EQ(look("172.16.0.1").hop.mtu, 1500U);
}

} // namespace
} // namespace weir::control
