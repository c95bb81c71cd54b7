// SPDX-License-Identifier: BSD-3-Clause
#include "control/vrrp/packet.hpp"

#include <gtest/gtest.h>

#include "control/vrrp/replay.hpp"

namespace weir::control::vrrp {
namespace {

net::IpAddress ip(const char* text) {
    return net::IpAddress::parse(text).value();
}

constexpr std::string_view kKey = "a secret of sixteen or more";

struct Case {
    const char* name;
    Version version;
    bool v6;
    ChecksumForm form = ChecksumForm::kPseudoHeader;
    std::string_view key{};
};

Sending sending(const Case& c, std::uint64_t sequence = 7) {
    Sending how{.version = c.version,
                .source = ip(c.v6 ? "fe80::1" : "192.0.2.2"),
                .destination = ip(c.v6 ? "ff02::12" : "224.0.0.18"),
                .checksum = c.form,
                .signature = {}};
    if (!c.key.empty())
        how.signature = Signed{sequence, c.key};
    return how;
}

Advert advert_of(const Case& c) {
    Advert advert{.vrid = 51, .priority = 150, .interval = Micros{30'000}, .addresses = {}};
    if (c.version == Version::k2)
        advert.interval = Micros{1'000'000};
    if (c.v6)
        advert.addresses = {ip("fe80::100"), ip("2001:db8::10")};
    else
        advert.addresses = {ip("203.0.113.10"), ip("203.0.113.11"), ip("203.0.113.12")};
    return advert;
}

Demands demands_of(const Case& c) {
    return {.version = c.version, .vrid = 51, .interval = advert_of(c).interval, .key = c.key};
}

Received received(const Sending& how, const Bytes& message) {
    return {how.source, how.destination, kWholeHopLimit, message};
}

std::string outcome(const Received& packet, const Demands& demands) {
    const auto result = decode(packet, demands);
    const auto* reason = std::get_if<Reject>(&result);
    return reason != nullptr ? std::string(to_string(*reason)) : "accepted";
}

class EachForm : public testing::TestWithParam<Case> {};

TEST_P(EachForm, WhatIsSentIsReadBack) {
    const Sending how = sending(GetParam());
    const Bytes message = encode(advert_of(GetParam()), how);
    const auto result = decode(received(how, message), demands_of(GetParam()));
    ASSERT_TRUE(std::holds_alternative<Accepted>(result)) << to_string(std::get<Reject>(result));
    EXPECT_EQ(std::get<Accepted>(result).advert, advert_of(GetParam()));
    EXPECT_EQ(std::get<Accepted>(result).sequence.has_value(), !GetParam().key.empty());
}

TEST_P(EachForm, EveryTruncationIsRefused) {
    const Sending how = sending(GetParam());
    const Bytes message = encode(advert_of(GetParam()), how);
    for (std::size_t length = 0; length < message.size(); length++) {
        const Bytes cut(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(length));
        EXPECT_NE(outcome(received(how, cut), demands_of(GetParam())), "accepted") << length;
    }
}

TEST_P(EachForm, EveryFlippedBitIsRefused) {
    const Sending how = sending(GetParam());
    const Bytes message = encode(advert_of(GetParam()), how);
    for (std::size_t bit = 0; bit < message.size() * 8; bit++) {
        Bytes changed = message;
        changed[bit / 8] = static_cast<std::uint8_t>(changed[bit / 8] ^ (1U << (bit % 8)));
        EXPECT_NE(outcome(received(how, changed), demands_of(GetParam())), "accepted") << bit;
    }
}

TEST_P(EachForm, HopLimitOtherThan255IsRefusedFirst) {
    const Sending how = sending(GetParam());
    const Bytes message = encode(advert_of(GetParam()), how);
    Received packet = received(how, message);
    packet.hop_limit = 254;
    EXPECT_EQ(outcome(packet, demands_of(GetParam())), "hop_limit");
}

TEST_P(EachForm, AForeignAddressBreaksTheChecksumOrTheSignatureWhereOneCoversIt) {
    const Sending how = sending(GetParam());
    const Bytes message = encode(advert_of(GetParam()), how);
    Received packet = received(how, message);
    packet.source = ip(GetParam().v6 ? "fe80::2" : "192.0.2.3");
    const bool covered =
        GetParam().v6 || !GetParam().key.empty() ||
        (GetParam().version == Version::k3 && GetParam().form == ChecksumForm::kPseudoHeader);
    EXPECT_EQ(outcome(packet, demands_of(GetParam())) != "accepted", covered);
}

INSTANTIATE_TEST_SUITE_P(
    All, EachForm,
    testing::Values(Case{"v2", Version::k2, false}, Case{"v3", Version::k3, false},
                    Case{"v3plain", Version::k3, false, ChecksumForm::kPlain},
                    Case{"v6", Version::k3, true},
                    Case{"v3signed", Version::k3, false, ChecksumForm::kPseudoHeader, kKey},
                    Case{"v6signed", Version::k3, true, ChecksumForm::kPseudoHeader, kKey}),
    [](const auto& tested) { return std::string(tested.param.name); });

const Case kPlainV3{"v3", Version::k3, false};
const Case kPlainV2{"v2", Version::k2, false};

// Changes a byte of an advert and makes the checksum right again, so that the reason is the byte.
std::string with_byte(const Case& c, std::size_t at, std::uint8_t value) {
    const Sending how = sending(c);
    Bytes message = encode(advert_of(c), how);
    const int change = (value - message[at]) << (at % 2 == 0 ? 8 : 0);
    message[at] = value;
    int sum = (message[6] << 8 | message[7]) - change;
    sum = sum < 0 ? sum - 1 : sum > 0xffff ? sum + 1 : sum; // ones' complement
    message[6] = static_cast<std::uint8_t>(sum >> 8);
    message[7] = static_cast<std::uint8_t>(sum);
    return outcome(received(how, message), demands_of(c));
}

TEST(Packet, EachReasonHasItsAdvert) {
    EXPECT_EQ(with_byte(kPlainV3, 2, 200), "accepted"); // the checksum was mended rightly
    EXPECT_EQ(with_byte(kPlainV3, 0, 0x21), "version");
    EXPECT_EQ(with_byte(kPlainV2, 0, 0x31), "version");
    EXPECT_EQ(with_byte(kPlainV3, 0, 0x32), "type");
    EXPECT_EQ(with_byte(kPlainV3, 1, 52), "vrid");
    EXPECT_EQ(with_byte(kPlainV3, 5, 0), "interval");
    EXPECT_EQ(with_byte(kPlainV2, 5, 2), "interval");
    EXPECT_EQ(with_byte(kPlainV2, 4, 1), "auth_type");
    EXPECT_EQ(with_byte(kPlainV3, 3, 2), "length");
    EXPECT_EQ(with_byte(kPlainV3, 3, 4), "short");
    Advert empty = advert_of(kPlainV3);
    empty.addresses.clear();
    const Sending how = sending(kPlainV3);
    EXPECT_EQ(outcome(received(how, encode(empty, how)), demands_of(kPlainV3)), "addresses");
}

TEST(Packet, ChecksumOverIpv4IsTakenInBothFormsButSentInOne) {
    const Sending rfc = sending({"", Version::k3, false, ChecksumForm::kPlain});
    const Sending keepalived = sending(kPlainV3);
    const Bytes plain = encode(advert_of(kPlainV3), rfc);
    const Bytes pseudo = encode(advert_of(kPlainV3), keepalived);
    EXPECT_NE(plain, pseudo);
    EXPECT_EQ(outcome(received(rfc, plain), demands_of(kPlainV3)), "accepted");
    EXPECT_EQ(outcome(received(keepalived, pseudo), demands_of(kPlainV3)), "accepted");
}

// What keepalived 2.2.7 was seen to send: it pins the codec to something other than itself.
struct Capture {
    const char* name;
    Version version;
    const char* source;
    const char* destination;
    Bytes message;
    Advert advert;
};

const std::vector<Capture>& captures() {
    static const std::vector<Capture> kAll{
        {"v3",
         Version::k3,
         "192.0.2.3",
         "224.0.0.18",
         {0x31, 0x33, 0x64, 0x02, 0x00, 0x32, 0x4f, 0xea, 0xcb, 0x00, 0x71, 0x0a, 0xcb, 0x00, 0x71,
          0x0b},
         {51, 100, Micros{500'000}, {ip("203.0.113.10"), ip("203.0.113.11")}}},
        {"v6",
         Version::k3,
         "fe80::3",
         "ff02::12",
         {0x31, 0x34, 0x64, 0x02, 0x00, 0x32, 0x3f, 0x1c, 0xfe, 0x80, 0,    0,    0,    0,
          0,    0,    0,    0,    0,    0,    0,    0,    0x01, 0x00, 0x20, 0x01, 0x0d, 0xb8,
          0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0,    0x10},
         {52, 100, Micros{500'000}, {ip("fe80::100"), ip("2001:db8::10")}}},
        {"v2",
         Version::k2,
         "192.0.2.3",
         "224.0.0.18",
         {0x21, 0x35, 0x64, 0x01, 0x00, 0x01, 0x3e, 0xb3, 0xcb, 0x00,
          0x71, 0x14, 0,    0,    0,    0,    0,    0,    0,    0},
         {53, 100, Micros{1'000'000}, {ip("203.0.113.20")}}},
    };
    return kAll;
}

TEST(Packet, ReadsAndWritesKeepalivedsBytes) {
    for (const Capture& capture : captures()) {
        const Received packet{ip(capture.source), ip(capture.destination), 255, capture.message};
        const auto result = decode(packet, {.version = capture.version,
                                            .vrid = capture.advert.vrid,
                                            .interval = capture.advert.interval,
                                            .key = {}});
        ASSERT_TRUE(std::holds_alternative<Accepted>(result)) << capture.name;
        EXPECT_EQ(std::get<Accepted>(result).advert, capture.advert) << capture.name;
        EXPECT_EQ(encode(capture.advert, {.version = capture.version,
                                          .source = ip(capture.source),
                                          .destination = ip(capture.destination),
                                          .checksum = ChecksumForm::kPseudoHeader,
                                          .signature = {}}),
                  capture.message)
            << capture.name;
    }
}

TEST(Packet, SignaturesAreDemandedOnlyWhereThereIsAKey) {
    const Case keyed{"", Version::k3, false, ChecksumForm::kPseudoHeader, kKey};
    const Sending plain = sending(kPlainV3);
    const Sending with_key = sending(keyed);
    const Bytes unsigned_advert = encode(advert_of(kPlainV3), plain);
    const Bytes signed_advert = encode(advert_of(kPlainV3), with_key);
    EXPECT_EQ(outcome(received(plain, unsigned_advert), demands_of(keyed)), "unsigned");
    EXPECT_EQ(outcome(received(plain, signed_advert), demands_of(kPlainV3)), "length");
    Demands other = demands_of(keyed);
    other.key = "another secret altogether";
    EXPECT_EQ(outcome(received(with_key, signed_advert), other), "signature");
}

TEST(Packet, SplitsAnIpv4PacketByItsHeader) {
    Bytes packet(24 + 12, 0);
    packet[0] = 0x46; // with one word of options
    packet[3] = 24 + 8;
    packet[8] = 255;
    packet[12] = 192;
    packet[24] = 0x31;
    const auto split = split_ipv4(packet);
    ASSERT_TRUE(split);
    EXPECT_EQ(split->message.size(), 8U); // what lies behind the total length is padding
    EXPECT_EQ(split->message[0], 0x31);
    EXPECT_EQ(split->source, ip("192.0.0.0"));
    EXPECT_EQ(split->hop_limit, 255);
    packet[3] = 200;
    EXPECT_FALSE(split_ipv4(packet));
    packet[3] = 23; // less than the header
    EXPECT_FALSE(split_ipv4(packet));
    packet[0] = 0x44;
    EXPECT_FALSE(split_ipv4(packet));
}

TEST(Packet, AddressListsAreComparedWithoutTheirOrder) {
    EXPECT_TRUE(
        same_addresses({ip("192.0.2.1"), ip("192.0.2.2")}, {ip("192.0.2.2"), ip("192.0.2.1")}));
    EXPECT_FALSE(same_addresses({ip("192.0.2.1")}, {ip("192.0.2.1"), ip("192.0.2.1")}));
}

TEST(Replay, RefusesWhatWasHeardAndIsAheadOfAllAfterARestart) {
    const net::IpAddress a = ip("192.0.2.2");
    const net::IpAddress b = ip("192.0.2.3");
    Replay at_b;
    Replay at_a;
    std::uint64_t last = 0;
    for (int i = 0; i < 5; i++) {
        last = at_a.next();
        EXPECT_TRUE(at_b.accept(a, last));
    }
    EXPECT_FALSE(at_b.accept(a, last));
    EXPECT_FALSE(at_b.accept(a, last - 1));
    Replay restarted; // of a: its own count is gone
    EXPECT_FALSE(at_b.accept(a, restarted.next()));
    EXPECT_TRUE(restarted.accept(b, at_b.next()));
    EXPECT_TRUE(at_b.accept(a, restarted.next()));
}

} // namespace
} // namespace weir::control::vrrp
