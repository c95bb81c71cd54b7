// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/wire.hpp"

#include <gtest/gtest.h>

namespace weir::control::vrrp {
namespace {

net::IpAddress ip(const char* text) {
    return net::IpAddress::parse(text).value();
}

const PresentOn kPresent = {
    {"eth0", {ip("192.0.2.100"), ip("192.0.2.2"), ip("2001:db8::2"), ip("fe80::2")}},
    {"eth1", {ip("198.51.100.2")}},
};

TEST(Source, TheFirstWantedOneThatIsThere) {
    EXPECT_EQ(choose_source(kPresent, "eth0", true, {ip("192.0.2.9"), ip("192.0.2.2")}, {}),
              ip("192.0.2.2"));
}

TEST(Source, WantedOnesThatAreNotThereAreWaitedFor) {
    EXPECT_EQ(choose_source(kPresent, "eth0", false, {ip("2001:db8::9")}, {}), std::nullopt);
}

TEST(Source, WithoutAWishNoneThatMoves) {
    EXPECT_EQ(choose_source(kPresent, "eth0", true, {}, {ip("192.0.2.100")}), ip("192.0.2.2"));
    EXPECT_EQ(choose_source(kPresent, "eth1", true, {}, {ip("198.51.100.2")}), std::nullopt);
}

TEST(Source, OfIpv6TheLinkLocalOne) {
    EXPECT_EQ(choose_source(kPresent, "eth0", false, {}, {}), ip("fe80::2"));
    EXPECT_EQ(choose_source(kPresent, "eth1", false, {}, {}), std::nullopt);
    EXPECT_EQ(choose_source(kPresent, "eth2", false, {}, {}), std::nullopt);
}

TEST(Link, OneThatIsNotThereHasNoIndex) {
    EXPECT_EQ(look_at_link("weir-nothing0"), LinkState{});
    EXPECT_NE(look_at_link("lo").ifindex, 0);
}

} // namespace
} // namespace weir::control::vrrp
