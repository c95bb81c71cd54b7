// SPDX-License-Identifier: BSD-3-Clause
// What ARP and neighbour discovery frames ask and claim, and that nothing else does either.
#include "dataplane/forwarding/neighbour.h"

#include <gtest/gtest.h>

#include <string>

#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_neighbour.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

constexpr const char* kHost = "192.0.2.1";
constexpr const char* kAsked = "198.51.100.10";
constexpr const char* kHost6 = "2001:db8::1";
constexpr const char* kAsked6 = "2001:db8:1::10";
const Bytes kTag = {0x81, 0x00, 0x00, 0x07};
const Bytes kTwoTags = {0x88, 0xa8, 0x00, 0x09, 0x81, 0x00, 0x00, 0x07};

weir_neighbour read(const Bytes& frame) {
    ExactCopy copy(frame);
    weir_neighbour found;
    weir_read_neighbour(copy.data(), copy.end(), &found);
    return found;
}

bool asks(const weir_neighbour& found, const char* address) {
    const weir_address wanted = address_of(address);
    return found.asks && weir_address_equal(&found.asked, &wanted);
}

bool claims(const weir_neighbour& found, const char* address) {
    const weir_address wanted = address_of(address);
    return found.claims && weir_address_equal(&found.claimed, &wanted);
}

TEST(Neighbour, ArpAsksForItsTargetAndClaimsItsSender) {
    for (const Bytes& tags : {Bytes{}, kTag, kTwoTags}) {
        const auto request = read(arp_frame(1, kHost, kAsked, tags));
        EXPECT_TRUE(asks(request, kAsked) && claims(request, kHost));
        const auto reply = read(arp_frame(2, kAsked, kHost, tags));
        EXPECT_TRUE(!reply.asks && claims(reply, kAsked));
    }
    const auto gratuitous = read(arp_frame(1, kAsked, kAsked));
    EXPECT_TRUE(asks(gratuitous, kAsked) && claims(gratuitous, kAsked));
    const auto probe = read(arp_frame(1, "0.0.0.0", kAsked));
    EXPECT_TRUE(asks(probe, kAsked) && !probe.claims);
}

TEST(Neighbour, DiscoveryAsksByASolicitationAndClaimsByBoth) {
    for (const Bytes& tags : {Bytes{}, kTag, kTwoTags}) {
        const auto solicitation = read(discovery_frame(135, kHost6, kAsked6, tags));
        EXPECT_TRUE(asks(solicitation, kAsked6) && claims(solicitation, kHost6));
        const auto advertisement = read(discovery_frame(136, kHost6, kAsked6, tags));
        EXPECT_TRUE(!advertisement.asks && claims(advertisement, kAsked6));
    }
    const auto detection = read(discovery_frame(135, "::", kAsked6)); // RFC 4862 section 5.4.2
    EXPECT_TRUE(asks(detection, kAsked6) && !detection.claims);
}

TEST(Neighbour, WhatIsNotWholeOrNotOfThisKindSaysNothing) {
    for (const Bytes& whole :
         {arp_frame(1, kHost, kAsked, kTwoTags), discovery_frame(136, kHost6, kAsked6, kTwoTags)}) {
        const size_t needed = whole.size() - (whole.size() > 60 ? 8 : 0); // without the option
        for (size_t size = 0; size < needed; size++) {
            const auto found = read(Bytes(whole.begin(), whole.begin() + static_cast<long>(size)));
            EXPECT_FALSE(found.asks || found.claims) << size << " of " << whole.size();
        }
    }
    for (const size_t at : {15u, 17u, 18u, 19u}) { // hardware, protocol and their sizes
        Bytes other = arp_frame(1, kHost, kAsked);
        other[at]++;
        EXPECT_FALSE(read(other).asks || read(other).claims) << at;
    }
    for (const auto& samples : {sound_packets(), unsound_packets()})
        for (const Sample& sample : samples) {
            const auto found = read(build(sample.plan));
            EXPECT_FALSE(found.asks || found.claims) << sample.name;
        }
    const Bytes three = {0x88, 0xa8, 0, 9, 0x81, 0, 0, 8, 0x81, 0, 0, 7};
    EXPECT_FALSE(read(arp_frame(1, kHost, kAsked, three)).asks);
}

TEST(Neighbour, ByteSequencesOfAllKindsAreReadWithinTheirBounds) {
    std::mt19937_64 random(3);
    for (int i = 0; i < 200'000; i++) {
        Bytes frame = i % 2 ? arp_frame(1, kHost, kAsked, kTag)
                            : discovery_frame(135, kHost6, kAsked6, kTwoTags);
        damage(frame, random);
        read(frame);
    }
}

} // namespace
