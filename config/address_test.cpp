// SPDX-License-Identifier: BSD-3-Clause
#include "config/address.hpp"

#include <unordered_set>

#include <arpa/inet.h>
#include <gtest/gtest.h>

namespace weir::net {
namespace {

IpAddress ip(std::string_view text) {
    return IpAddress::parse(text).value();
}
IpPrefix prefix(std::string_view text) {
    return IpPrefix::parse(text).value();
}

TEST(IpAddress, KeepsIpv4AsV4Mapped) {
    const IpAddress address = ip("192.0.2.1");
    const IpAddress::Bytes expected = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1};
    EXPECT_EQ(address.bytes(), expected);
    EXPECT_TRUE(address.is_v4());
    EXPECT_EQ(address.v4_be(), htonl(0xc0000201));
    EXPECT_EQ(address.to_string(), "192.0.2.1");
}

TEST(IpAddress, RoundTripsThroughTheKernelTypes) {
    for (const char* text : {"0.0.0.0", "10.0.0.1", "255.255.255.255"}) {
        EXPECT_EQ(IpAddress::from(ip(text).to_in_addr()), ip(text)) << text;
        EXPECT_EQ(IpAddress::from(ip(text).to_in6_addr()), ip(text)) << text;
    }
    for (const char* text : {"::", "::1", "2001:db8::1", "fe80::1", "ff02::1"}) {
        EXPECT_EQ(IpAddress::from(ip(text).to_in6_addr()), ip(text)) << text;
        EXPECT_EQ(ip(text).to_string(), text);
        EXPECT_FALSE(ip(text).is_v4()) << text;
    }
}

TEST(IpAddress, RefusesWhatIsNotAnAddress) {
    for (const char* text : {"", "1.2.3", "1.2.3.256", "1.2.3.4 ", "01.2.3.4", "2001:db8::g",
                             "::1%lo", "example.org", "1.2.3.4/24"}) {
        EXPECT_FALSE(IpAddress::parse(text)) << text;
    }
    EXPECT_FALSE(IpAddress::parse(std::string_view("1.2.3.4\0", 8)));
    const auto mapped = IpAddress::parse("::ffff:1.2.3.4");
    ASSERT_FALSE(mapped);
    EXPECT_NE(mapped.error().sentence.find("\"1.2.3.4\""), std::string::npos);
}

TEST(IpAddress, KnowsItsScope) {
    EXPECT_TRUE(ip("0.0.0.0").is_unspecified());
    EXPECT_TRUE(ip("::").is_unspecified());
    EXPECT_FALSE(ip("::1").is_unspecified());
    EXPECT_TRUE(ip("224.0.0.18").is_multicast());
    EXPECT_TRUE(ip("ff02::12").is_multicast());
    EXPECT_FALSE(ip("223.255.255.255").is_multicast());
    EXPECT_TRUE(ip("127.3.2.1").is_loopback());
    EXPECT_TRUE(ip("::1").is_loopback());
    EXPECT_FALSE(ip("::2").is_loopback());
    EXPECT_TRUE(ip("169.254.1.1").is_link_local());
    EXPECT_TRUE(ip("fe80::1").is_link_local());
    EXPECT_TRUE(ip("febf::1").is_link_local());
    EXPECT_FALSE(ip("fec0::1").is_link_local());
    EXPECT_TRUE(ip("255.255.255.255").is_broadcast());
    EXPECT_FALSE(ip("255.255.255.254").is_broadcast());
}

TEST(IpPrefix, ParsesAndPrints) {
    EXPECT_EQ(prefix("192.0.2.2/24").to_string(), "192.0.2.2/24");
    EXPECT_EQ(prefix("2001:db8::2/64").length, 64);
    for (const char* text : {"192.0.2.2", "192.0.2.2/", "192.0.2.2/33", "192.0.2.2/-1", "::/129",
                             "192.0.2.2/24/1", "192.0.2.2/ 4", "/24", "1.2.3.4/99999999999"}) {
        EXPECT_FALSE(IpPrefix::parse(text)) << text;
    }
}

TEST(IpPrefix, NetworkLastAndContains) {
    EXPECT_EQ(prefix("192.0.2.77/28").network(), ip("192.0.2.64"));
    EXPECT_EQ(prefix("192.0.2.77/28").last(), ip("192.0.2.79"));
    EXPECT_EQ(prefix("192.0.2.77/32").network(), ip("192.0.2.77"));
    EXPECT_EQ(prefix("1.2.3.4/0").network(), ip("0.0.0.0"));
    EXPECT_EQ(prefix("1.2.3.4/0").last(), ip("255.255.255.255"));
    EXPECT_EQ(prefix("2001:db8::5/65").last(), ip("2001:db8::7fff:ffff:ffff:ffff"));
    EXPECT_TRUE(prefix("192.0.2.2/24").contains(ip("192.0.2.255")));
    EXPECT_FALSE(prefix("192.0.2.2/24").contains(ip("192.0.3.0")));
    EXPECT_FALSE(prefix("::/0").contains(ip("192.0.3.0"))); // families never mix
    EXPECT_FALSE(prefix("0.0.0.0/0").contains(ip("::1")));
}

TEST(IpPrefix, Overlaps) {
    EXPECT_TRUE(prefix("10.0.0.0/8").overlaps(prefix("10.1.0.0/16")));
    EXPECT_TRUE(prefix("10.1.0.0/16").overlaps(prefix("10.0.0.0/8")));
    EXPECT_FALSE(prefix("10.0.0.0/16").overlaps(prefix("10.1.0.0/16")));
}

TEST(MacAddress, ParsesAndPrints) {
    EXPECT_EQ(MacAddress::parse("02:00:5E:10:00:01")->to_string(), "02:00:5e:10:00:01");
    EXPECT_TRUE(MacAddress::parse("01:00:5e:00:00:01")->is_multicast());
    for (const char* text : {"", "02:00:5e:10:00", "02:00:5e:10:00:0g", "02-00-5e-10-00-01",
                             "02:00:5e:10:00:01:", "0200:5e:10:00:01:"}) {
        EXPECT_FALSE(MacAddress::parse(text)) << text;
    }
}

TEST(Endpoint, ParsesBothFamiliesWithAndWithoutPort) {
    EXPECT_EQ(Endpoint::parse("10.0.0.1:80").value(), (Endpoint{ip("10.0.0.1"), 80}));
    EXPECT_EQ(Endpoint::parse("10.0.0.1").value(), (Endpoint{ip("10.0.0.1"), std::nullopt}));
    EXPECT_EQ(Endpoint::parse("[2001:db8::1]:80").value(), (Endpoint{ip("2001:db8::1"), 80}));
    EXPECT_EQ(Endpoint::parse("[2001:db8::1]").value(),
              (Endpoint{ip("2001:db8::1"), std::nullopt}));
    EXPECT_EQ(Endpoint::parse("2001:db8::1:80").value(),
              (Endpoint{ip("2001:db8::1:80"), std::nullopt}));
    for (const char* text : {"10.0.0.1:80", "[2001:db8::1]:80", "2001:db8::1", "10.0.0.1"}) {
        EXPECT_EQ(Endpoint::parse(text)->to_string(), text);
    }
}

TEST(Endpoint, RefusesBadPortsAndBrackets) {
    for (const char* text : {"", ":80", "10.0.0.1:", "10.0.0.1:0", "10.0.0.1:65536", "10.0.0.1:+80",
                             "10.0.0.1:80:80", "[10.0.0.1]:80", "[2001:db8::1", "[2001:db8::1]80",
                             "[2001:db8::1]:", "[2001:db8::1]:0", "[]:80", "web:80"}) {
        EXPECT_FALSE(Endpoint::parse(text)) << text;
    }
}

TEST(Hashes, TellDifferentValuesApart) {
    std::unordered_set<Endpoint> endpoints;
    std::unordered_set<IpAddress> addresses;
    std::unordered_set<MacAddress> macs;
    for (std::uint8_t i = 0; i < 100; ++i) {
        const IpAddress address = IpAddress::from(in_addr{htonl(0x0a000000U + i)});
        addresses.insert(address);
        addresses.insert(address);
        endpoints.insert(Endpoint{address, std::nullopt});
        endpoints.insert(Endpoint{address, i});
        macs.insert(MacAddress::from_bytes({2, 0, 0, 0, 0, i}));
    }
    EXPECT_EQ(addresses.size(), 100U);
    EXPECT_EQ(endpoints.size(), 200U);
    EXPECT_EQ(macs.size(), 100U);
}

TEST(Expected, HoldsAValueOrASentence) {
    Expected<int> good = 3;
    EXPECT_TRUE(good);
    EXPECT_EQ(*good, 3);
    EXPECT_EQ(good.value_or(4), 3);
    Expected<int> bad = Error{"no"};
    EXPECT_FALSE(bad);
    EXPECT_EQ(bad.error().sentence, "no");
    EXPECT_EQ(bad.value_or(4), 4);
    EXPECT_THROW((void)bad.value(), std::bad_variant_access);
    Expected<void> done;
    EXPECT_TRUE(done);
    Expected<void> failed = Error{"why"};
    EXPECT_FALSE(failed);
    EXPECT_EQ(failed.error().sentence, "why");
}

} // namespace
} // namespace weir::net
