// SPDX-License-Identifier: BSD-3-Clause
#include "control/kernel/addresses.hpp"

#include <algorithm>
#include <chrono>
#include <thread>

#include <arpa/inet.h>
#include <sys/socket.h>

#include "control/kernel/default_route.hpp"
#include "control/kernel/sysctl.hpp"
#include "control/kernel/test_namespace.hpp"

namespace weir::control {
namespace {

net::IpPrefix prefix(const char* text) {
    return net::IpPrefix::parse(text).value();
}
ManagedAddress node(const char* text) {
    return {"lb0", prefix(text), AddressKind::kNode};
}
ManagedAddress vip(const char* text) {
    return {"lb0", prefix(text), AddressKind::kVip};
}
PresentAddress present(const char* text, uint8_t protocol) {
    return {.interface = "lb0", .prefix = prefix(text), .protocol = protocol};
}

TEST(PlanAddresses, AddsWhatIsMissingNodeAddressesFirst) {
    const AddressPlan plan = plan_addresses({}, {vip("10.0.0.1/32"), node("192.0.2.2/24")});
    EXPECT_EQ(plan.add, (std::vector{node("192.0.2.2/24"), vip("10.0.0.1/32")}));
    EXPECT_TRUE(plan.remove.empty());
}

TEST(PlanAddresses, RemovesOnlyOurs) {
    const AddressPlan plan =
        plan_addresses({present("10.0.0.1/32", kVipAddressProtocol), present("10.0.0.2/32", 0),
                        present("192.0.2.2/24", kNodeAddressProtocol)},
                       {});
    ASSERT_EQ(plan.remove.size(), 2U);
    EXPECT_EQ(plan.remove[0].prefix, prefix("10.0.0.1/32"));
    EXPECT_EQ(plan.remove[1].prefix, prefix("192.0.2.2/24"));
}

TEST(PlanAddresses, WhatIsThereStays) {
    const AddressPlan plan =
        plan_addresses({present("10.0.0.1/32", kVipAddressProtocol), present("192.0.2.2/24", 0)},
                       {vip("10.0.0.1/32"), node("192.0.2.2/24")});
    EXPECT_TRUE(plan.add.empty());
    EXPECT_TRUE(plan.remove.empty());
}

TEST(PlanAddresses, AnotherKindOrPrefixLengthIsPutAnew) {
    const AddressPlan plan = plan_addresses({present("10.0.0.1/32", kNodeAddressProtocol),
                                             present("192.0.2.2/25", kNodeAddressProtocol)},
                                            {vip("10.0.0.1/32"), node("192.0.2.2/24")});
    EXPECT_EQ(plan.add.size(), 2U);
    EXPECT_EQ(plan.remove.size(), 2U);
}

TEST(PlanAddresses, EachScopeLeavesTheOthersAddressesAlone) {
    const std::vector<PresentAddress> there{present("10.0.0.1/32", kVipAddressProtocol),
                                            present("10.0.0.2/32", kLeasedAddressProtocol)};
    AddressPlan plan = plan_addresses(there, {}, AddressScope::kPermanent);
    ASSERT_EQ(plan.remove.size(), 1U);
    EXPECT_EQ(plan.remove[0].prefix, prefix("10.0.0.1/32"));
    plan = plan_addresses(there, {}, AddressScope::kLeased);
    ASSERT_EQ(plan.remove.size(), 1U);
    EXPECT_EQ(plan.remove[0].prefix, prefix("10.0.0.2/32"));
    EXPECT_EQ(plan_addresses(there, {}, AddressScope::kAll).remove.size(), 2U);
}

TEST(PlanAddresses, TwiceWantedIsAddedOnce) {
    EXPECT_EQ(plan_addresses({}, {vip("10.0.0.1/32"), vip("10.0.0.1/32")}).add.size(), 1U);
}

class AddressesTest : public NamespaceTest {
protected:
    void SetUp() override {
        NamespaceTest::SetUp();
        if (!IsSkipped()) {
            socket_.emplace(NetlinkSocket::open().value());
        }
    }
    AddressResult sync(const std::vector<ManagedAddress>& wanted) {
        Expected<AddressResult> result = sync_addresses(*socket_, wanted);
        EXPECT_TRUE(result);
        for (const Error& error : result->errors) {
            ADD_FAILURE() << error.sentence;
        }
        return *result;
    }
    std::optional<PresentAddress> find(const char* text) {
        const auto all = read_addresses(*socket_).value();
        const auto found = std::find_if(all.begin(), all.end(), [&](const auto& address) {
            return address.prefix == prefix(text);
        });
        return found == all.end() ? std::nullopt : std::optional(*found);
    }
    // Which source the kernel chooses for a connection there.
    static std::string source_for(const char* destination) {
        const auto address = net::IpAddress::parse(destination).value();
        sockaddr_storage storage{};
        socklen_t length = sizeof(sockaddr_in6);
        auto* v4 = reinterpret_cast<sockaddr_in*>(&storage);
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&storage);
        if (address.is_v4()) {
            v4->sin_family = AF_INET;
            v4->sin_addr = address.to_in_addr();
            v4->sin_port = htons(9);
            length = sizeof(sockaddr_in);
        } else {
            v6->sin6_family = AF_INET6;
            v6->sin6_addr = address.to_in6_addr();
            v6->sin6_port = htons(9);
        }
        const int fd = socket(storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        EXPECT_EQ(connect(fd, reinterpret_cast<sockaddr*>(&storage), length), 0) << destination;
        length = sizeof(storage);
        EXPECT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &length), 0);
        close(fd);
        return address.is_v4() ? net::IpAddress::from(v4->sin_addr).to_string()
                               : net::IpAddress::from(v6->sin6_addr).to_string();
    }

    std::optional<NetlinkSocket> socket_;
};

TEST_F(AddressesTest, PutsRecognisesAndRemoves) {
    run("ip address add 10.7.7.7/32 dev lb0");
    const std::vector<ManagedAddress> wanted{node("192.0.2.2/24"), node("2001:db8::2/64"),
                                             vip("203.0.113.10/32"), vip("2001:db8:f::10/128")};
    EXPECT_EQ(sync(wanted).added.size(), 4U);
    EXPECT_EQ(find("203.0.113.10/32")->protocol, kVipAddressProtocol);
    EXPECT_EQ(find("192.0.2.2/24")->protocol, kNodeAddressProtocol);
    EXPECT_FALSE(find("2001:db8::2/64")->tentative);
    EXPECT_FALSE(find("2001:db8:f::10/128")->tentative);
    EXPECT_TRUE(find("2001:db8:f::10/128")->deprecated);
    EXPECT_FALSE(find("2001:db8::2/64")->deprecated);
    // A second control process finds everything in place.
    socket_.emplace(NetlinkSocket::open().value());
    EXPECT_TRUE(sync(wanted).added.empty());
    // One VIP less: it goes, the operator's own address stays.
    const AddressResult result =
        sync({node("192.0.2.2/24"), node("2001:db8::2/64"), vip("203.0.113.10/32")});
    ASSERT_EQ(result.removed.size(), 1U);
    EXPECT_EQ(result.removed[0].prefix, prefix("2001:db8:f::10/128"));
    EXPECT_TRUE(find("10.7.7.7/32").has_value());
    EXPECT_FALSE(find("2001:db8:f::10/128").has_value());
}

TEST_F(AddressesTest, ALeasedAddressThatNobodyRenewsGoesByItself) {
    const auto lease = [](const char* text) {
        return ManagedAddress{"lb0", prefix(text), AddressKind::kLeased};
    };
    const std::vector<ManagedAddress> both{lease("203.0.113.10/32"), lease("2001:db8:f::10/128")};
    const std::vector<ManagedAddress> one{both.front()};
    ASSERT_EQ(sync_addresses(*socket_, both, AddressScope::kLeased).value().added.size(), 2U);
    EXPECT_EQ(find("203.0.113.10/32")->protocol, kLeasedAddressProtocol);
    EXPECT_TRUE(find("2001:db8:f::10/128")->deprecated);
    // Both are renewed once; then it is as if control had been killed.
    EXPECT_TRUE(sync_addresses(*socket_, both, AddressScope::kLeased).value().errors.empty());
    const auto begin = std::chrono::steady_clock::now();
    while (find("203.0.113.10/32") || find("2001:db8:f::10/128")) {
        ASSERT_LT(std::chrono::steady_clock::now() - begin, kLeaseLifetime * 3);
        std::this_thread::sleep_for(std::chrono::milliseconds{20});
    }
    EXPECT_GT(std::chrono::steady_clock::now() - begin, kLeaseLifetime / 2);
}

TEST_F(AddressesTest, ASecondaryThatIsStillWantedOutlivesItsPrimary) {
    sync({node("192.0.2.2/24"), node("192.0.2.3/24")});
    sync({node("192.0.2.3/24")});
    EXPECT_TRUE(find("192.0.2.3/24").has_value());
    EXPECT_FALSE(find("192.0.2.2/24").has_value());
}

TEST_F(AddressesTest, AMissingInterfaceIsNamedAndTheRestIsDone) {
    const Expected<AddressResult> result = sync_addresses(
        *socket_, {{"lb7", prefix("203.0.113.11/32"), AddressKind::kVip}, vip("203.0.113.10/32")});
    ASSERT_TRUE(result);
    EXPECT_EQ(result->added.size(), 1U);
    ASSERT_EQ(result->errors.size(), 1U);
    EXPECT_EQ(result->errors[0].sentence,
              "putting 203.0.113.11/32 on lb7: there is no such interface");
}

// The worst order: the VIPs were there before the node addresses, and one is inside the network.
TEST_F(AddressesTest, AVipIsNeverChosenAsSource) {
    sync({vip("192.0.2.10/32"), vip("203.0.113.10/32"), vip("2001:db8::10/128"),
          vip("2001:db8::ffff/128")});
    sync({vip("192.0.2.10/32"), vip("203.0.113.10/32"), vip("2001:db8::10/128"),
          vip("2001:db8::ffff/128"), node("192.0.2.2/24"), node("2001:db8::2/64")});
    const Expected<void> routes =
        sync_default_routes(*socket_, {{"lb0", net::IpAddress::parse("192.0.2.1").value()},
                                       {"lb0", net::IpAddress::parse("2001:db8::1").value()}});
    ASSERT_TRUE(routes) << routes.error().sentence;
    EXPECT_EQ(source_for("192.0.2.11"), "192.0.2.2");
    EXPECT_EQ(source_for("192.0.2.9"), "192.0.2.2");
    EXPECT_EQ(source_for("198.51.100.1"), "192.0.2.2");
    EXPECT_EQ(source_for("203.0.113.11"), "192.0.2.2");
    EXPECT_EQ(source_for("2001:db8::fffe"), "2001:db8::2");
    EXPECT_EQ(source_for("2001:db8:5::1"), "2001:db8::2");
    // A route on the link beside the node's network has no better source than the node's either.
    run("ip route add 203.0.113.0/24 dev lb0");
    EXPECT_EQ(source_for("203.0.113.11"), "192.0.2.2");
}

// The kernel at the other end asks for a VIP: it is told, although the VIP has host scope.
TEST_F(AddressesTest, AVipIsAnsweredByArpAndNdpAndEcho) {
    ASSERT_TRUE(prepare_interface("lb0"));
    sync({node("192.0.2.2/24"), node("2001:db8::2/64"), vip("203.0.113.10/32"),
          vip("2001:db8:f::10/128")});
    in_peer([] {
        run("ip address add 192.0.2.11/24 dev peer0");
        run("ip address add 2001:db8::11/64 dev peer0 nodad");
        run("ip route add 203.0.113.10/32 dev peer0");
        run("ip route add 2001:db8:f::10/128 dev peer0");
        run("ping -q -c 1 -W 5 203.0.113.10 > /dev/null");
        run("ping -q -c 3 -i 0.5 -W 5 2001:db8:f::10 > /dev/null");
    });
}

TEST_F(AddressesTest, DefaultRoutesOfOursComeAndGo) {
    sync({node("192.0.2.2/24")});
    const auto gateway = net::IpAddress::parse("192.0.2.1").value();
    const auto other = net::IpAddress::parse("192.0.2.254").value();
    run("ip route add default via 192.0.2.253 metric 5"); // the operator's
    ASSERT_TRUE(sync_default_routes(*socket_, {{"lb0", gateway}}));
    ASSERT_TRUE(sync_default_routes(*socket_, {{"lb0", gateway}}));
    run("test $(ip route show default via 192.0.2.1 proto 87 | wc -l) = 1");
    ASSERT_TRUE(sync_default_routes(*socket_, {{"lb0", other}}));
    run("test $(ip route show default via 192.0.2.1 | wc -l) = 0");
    run("test $(ip route show default via 192.0.2.254 | wc -l) = 1");
    ASSERT_TRUE(sync_default_routes(*socket_, {}));
    run("test \"$(ip route show default)\" = 'default via 192.0.2.253 dev lb0 metric 5 '");
    const Expected<void> refused =
        sync_default_routes(*socket_, {{"lb0", net::IpAddress::parse("10.1.1.1").value()}});
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().sentence.find("10.1.1.1 on lb0"), std::string::npos);
}

} // namespace
} // namespace weir::control
