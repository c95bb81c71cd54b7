// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forwarding/parse.h"

#include <gtest/gtest.h>

#include "dataplane/forwarding/test_corpus.hpp"
#include "dataplane/forwarding/test_table.hpp"

namespace {

using namespace weir::forwarding_test;

struct Parsed {
    weir_verdict verdict;
    weir_packet packet;
};

// Parsed from a heap copy of exactly its size, so that AddressSanitizer sees a read past the end.
Parsed parse(const Bytes& frame) {
    ExactCopy copy(frame);
    Parsed parsed{};
    parsed.verdict = weir_parse(copy.data(), copy.end(), &parsed.packet);
    return parsed;
}

Parsed parse(const PacketPlan& plan) {
    return parse(build(plan));
}

PacketPlan plan6() {
    PacketPlan plan;
    plan.source = kClient6;
    plan.destination = kVip6;
    return plan;
}

TEST(Parse, ReadsEverySoundPacket) {
    for (const Sample& sample : sound_packets()) {
        const PacketPlan& plan = sample.plan;
        const Parsed parsed = parse(plan);
        const weir_packet& packet = parsed.packet;
        SCOPED_TRACE(sample.name);
        ASSERT_EQ(parsed.verdict, WEIR_UNDECIDED);
        EXPECT_EQ(packet.defect, WEIR_UNDECIDED);
        const bool six = plan.source.find(':') != std::string::npos;
        EXPECT_EQ(packet.family, six ? 6 : 4);
        EXPECT_EQ(packet.ethertype, six ? 0x86dd : 0x0800);
        EXPECT_EQ(packet.protocol, plan.protocol);
        EXPECT_EQ(packet.ttl, plan.ttl);
        EXPECT_EQ(packet.vlan_tci, plan.vlan_tci.value_or(WEIR_NO_VLAN));
        EXPECT_EQ(packet.l3_offset, plan.vlan_tci ? 18 : 14);
        EXPECT_EQ(packet.l3_offset + packet.l3_length + plan.padding, build(plan).size());
        const weir_address source = weir_packet_source(&packet);
        const weir_address destination = weir_packet_destination(&packet);
        const weir_address want_source = address_of(plan.source);
        const weir_address want_destination = address_of(plan.destination);
        EXPECT_TRUE(weir_address_equal(&source, &want_source));
        EXPECT_TRUE(weir_address_equal(&destination, &want_destination));
        const bool ports = plan.protocol == 6 || plan.protocol == 17;
        EXPECT_EQ((packet.flags & WEIR_PACKET_PORTS) != 0, ports);
        EXPECT_EQ(packet.source_port, ports ? be16(plan.source_port) : 0);
        EXPECT_EQ(packet.destination_port, ports ? be16(plan.destination_port) : 0);
        EXPECT_EQ(packet.tcp_flags, plan.protocol == 6 ? plan.tcp_flags : 0);
        EXPECT_EQ(packet.flags & WEIR_PACKET_FRAGMENT, 0);
    }
}

// The flow key is the 5-tuple's own bytes, in SipHash's final-block form.
TEST(Parse, EmitsTheFlowKeyAsBytes) {
    for (const Sample& sample : sound_packets()) {
        const PacketPlan& plan = sample.plan;
        if (plan.protocol != 6 && plan.protocol != 17)
            continue;
        Bytes key = address_bytes(plan.source);
        put(key, address_bytes(plan.destination));
        put16(key, plan.source_port);
        put16(key, plan.destination_port);
        put8(key, plan.protocol);
        const size_t length = key.size();
        key.resize((length / 8 + 1) * 8);
        key.back() = static_cast<uint8_t>(length);
        const Parsed parsed = parse(plan);
        ASSERT_EQ(parsed.packet.flow.words * 8, key.size()) << sample.name;
        EXPECT_EQ(memcmp(parsed.packet.flow.word, key.data(), key.size()), 0) << sample.name;
    }
}

// Cut anywhere, a packet has a reason to be dropped; cut in its Ethernet padding, it is whole.
TEST(Parse, EveryTruncationHasAReason) {
    for (const auto& samples : {sound_packets(), unsound_packets()}) {
        for (const Sample& sample : samples) {
            const Bytes whole = build(sample.plan);
            const size_t needed = whole.size() - sample.plan.padding;
            for (size_t size = 0; size < whole.size(); size++) {
                const Parsed parsed =
                    parse(Bytes(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size)));
                if (size < needed) {
                    EXPECT_TRUE(parsed.verdict == WEIR_DROP_TRUNCATED ||
                                parsed.verdict == WEIR_DROP_EXTENSION_CHAIN)
                        << sample.name << " cut to " << size << ": " << parsed.verdict;
                } else {
                    EXPECT_EQ(parsed.verdict, parse(whole).verdict) << sample.name;
                }
            }
        }
    }
}

// With the IP length made to fit the cut, what is missing is a header: still a reason, or a packet
// whose headers are all there.
TEST(Parse, EveryShortenedPacketIsReadOnlyToItsEnd) {
    for (const Sample& sample : sound_packets()) {
        const Bytes whole = build(sample.plan);
        const Parsed full = parse(whole);
        const size_t l3 = full.packet.l3_offset;
        const bool six = full.packet.family == 6;
        for (size_t size = l3 + (six ? 40 : 20); size < l3 + full.packet.l3_length; size++) {
            Bytes cut(whole.begin(), whole.begin() + static_cast<ptrdiff_t>(size));
            set16(cut, l3 + (six ? 4 : 2), static_cast<unsigned>(size - l3 - (six ? 40 : 0)));
            repair_v4_checksum(cut);
            const Parsed parsed = parse(cut);
            if (size < full.packet.l4_offset) {
                EXPECT_NE(parsed.verdict, WEIR_UNDECIDED) << sample.name << " " << size;
            }
            const size_t header = sample.plan.protocol == 6    ? 20
                                  : sample.plan.protocol == 89 ? 0
                                                               : 8;
            if (size >= full.packet.l4_offset && size < full.packet.l4_offset + header) {
                EXPECT_EQ(parsed.verdict, WEIR_DROP_TRUNCATED) << sample.name << " " << size;
            }
        }
    }
}

struct Broken {
    const char* name;
    weir_verdict verdict;
    Bytes frame;
};

template <class Change> Bytes changed(const PacketPlan& plan, Change change, bool repair = true) {
    Bytes frame = build(plan);
    change(frame);
    if (repair)
        repair_v4_checksum(frame);
    return frame;
}

TEST(Parse, RefusesWhatCannotBeRead) {
    const PacketPlan four, six = plan6();
    PacketPlan five_headers = six;
    five_headers.v6_extensions.assign(5, extension(60, 8));
    PacketPlan late_hop_by_hop = six;
    late_hop_by_hop.v6_extensions = {extension(60, 8), extension(0, 8)};
    PacketPlan chain_past_end = six;
    chain_past_end.v6_extensions = {extension(60, 8)};
    chain_past_end.v6_extensions[0].body[0] = 200;
    const Broken cases[] = {
        {"version 5", WEIR_DROP_BAD_IP_HEADER, changed(four, [](Bytes& f) { f[14] = 0x55; })},
        {"IHL 4", WEIR_DROP_BAD_IP_HEADER, changed(four, [](Bytes& f) { f[14] = 0x44; })},
        {"total below the header", WEIR_DROP_BAD_IP_HEADER,
         changed(four, [](Bytes& f) { set16(f, 16, 19); })},
        {"total past the frame", WEIR_DROP_TRUNCATED,
         changed(four, [](Bytes& f) { set16(f, 16, 2000); })},
        {"IHL past the total", WEIR_DROP_BAD_IP_HEADER,
         changed(four, [](Bytes& f) { f[14] = 0x4f; })},
        {"header checksum", WEIR_DROP_BAD_IP_CHECKSUM,
         changed(
             four, [](Bytes& f) { f[24] ^= 1; }, false)},
        {"v6 with version 4", WEIR_DROP_BAD_IP_HEADER,
         changed(six, [](Bytes& f) { f[14] = 0x40; })},
        {"v6 length past the frame", WEIR_DROP_TRUNCATED,
         changed(six, [](Bytes& f) { set16(f, 18, 1000); })},
        {"v6 length above 65,535 with its header", WEIR_DROP_BAD_IP_HEADER,
         changed(six, [](Bytes& f) { set16(f, 18, 65500); })},
        {"five extension headers", WEIR_DROP_EXTENSION_CHAIN, build(five_headers)},
        {"hop-by-hop not first", WEIR_DROP_EXTENSION_CHAIN, build(late_hop_by_hop)},
        {"extension past the end", WEIR_DROP_TRUNCATED, build(chain_past_end)},
    };
    for (const Broken& broken : cases)
        EXPECT_EQ(parse(broken.frame).verdict, broken.verdict) << broken.name;
}

TEST(Parse, BadHeaderChecksumIsSeenInEveryByteOfAnyHeader) {
    PacketPlan plan;
    plan.v4_options = Bytes(40, 1);
    const Bytes frame = build(plan);
    for (size_t at = 14; at < 14 + 60; at++) {
        if (at == 14 || at == 16 || at == 17)
            continue; // IHL and length change what else is read
        Bytes flipped = frame;
        flipped[at] ^= 0x10;
        EXPECT_EQ(parse(flipped).verdict, WEIR_DROP_BAD_IP_CHECKSUM) << at;
    }
}

TEST(Parse, NotesWhatMakesAPacketUnfit) {
    const PacketPlan four, six = plan6();
    PacketPlan udp;
    udp.protocol = 17;
    auto with = [](PacketPlan plan, auto change) {
        change(plan);
        return build(plan);
    };
    auto options = [&](Bytes bytes) {
        return with(four, [&](PacketPlan& p) { p.v4_options = bytes; });
    };
    auto source = [&](const PacketPlan& plan, const char* text) {
        return with(plan, [&](PacketPlan& p) { p.source = text; });
    };
    auto flags = [&](uint8_t value) {
        return with(four, [&](PacketPlan& p) { p.tcp_flags = value; });
    };
    const Broken cases[] = {
        {"loose source route", WEIR_DROP_SOURCE_ROUTED, options({131, 3, 4, 0})},
        {"strict source route", WEIR_DROP_SOURCE_ROUTED, options({1, 137, 3, 4})},
        {"option of length 0", WEIR_DROP_BAD_IP_OPTIONS, options({7, 0, 0, 0})},
        {"option of length 1", WEIR_DROP_BAD_IP_OPTIONS, options({7, 1, 0, 0})},
        {"option past the header", WEIR_DROP_BAD_IP_OPTIONS, options({7, 5, 0, 0})},
        {"option without its length", WEIR_DROP_BAD_IP_OPTIONS, options({1, 1, 1, 7})},
        {"routing header type 0", WEIR_DROP_SOURCE_ROUTED,
         with(six, [](PacketPlan& p) { p.v6_extensions = {extension(43, 24)}; })},
        {"TCP offset 4", WEIR_DROP_BAD_TCP_HEADER, changed(four, [](Bytes& f) { f[46] = 0x40; })},
        {"TCP offset past the end", WEIR_DROP_BAD_TCP_HEADER,
         changed(four, [](Bytes& f) { f[46] = 0xf0; })},
        {"UDP length 7", WEIR_DROP_BAD_UDP_LENGTH, changed(udp, [](Bytes& f) { set16(f, 38, 7); })},
        {"UDP length past the end", WEIR_DROP_BAD_UDP_LENGTH,
         changed(udp, [](Bytes& f) { set16(f, 38, 14); })},
        {"no flags", WEIR_DROP_BAD_TCP_FLAGS, flags(0)},
        {"PSH and URG alone", WEIR_DROP_BAD_TCP_FLAGS, flags(0x28)},
        {"SYN FIN", WEIR_DROP_BAD_TCP_FLAGS, flags(0x03)},
        {"SYN RST", WEIR_DROP_BAD_TCP_FLAGS, flags(0x06)},
        {"from 0.0.0.0", WEIR_DROP_MARTIAN_SOURCE, source(four, "0.0.0.0")},
        {"from loopback", WEIR_DROP_MARTIAN_SOURCE, source(four, "127.1.2.3")},
        {"from multicast", WEIR_DROP_MARTIAN_SOURCE, source(four, "224.0.0.1")},
        {"from broadcast", WEIR_DROP_MARTIAN_SOURCE, source(four, "255.255.255.255")},
        {"from ::", WEIR_DROP_MARTIAN_SOURCE, source(six, "::")},
        {"from ::1", WEIR_DROP_MARTIAN_SOURCE, source(six, "::1")},
        {"from v6 multicast", WEIR_DROP_MARTIAN_SOURCE, source(six, "ff02::1")},
        {"from v4-mapped", WEIR_DROP_MARTIAN_SOURCE, source(six, "::ffff:192.0.2.1")},
        {"TTL 0", WEIR_DROP_TTL_EXPIRED, with(four, [](PacketPlan& p) { p.ttl = 0; })},
        {"hop limit 0", WEIR_DROP_TTL_EXPIRED, with(six, [](PacketPlan& p) { p.ttl = 0; })},
        {"land", WEIR_DROP_LAND,
         with(four,
              [](PacketPlan& p) {
                  p.source = p.destination;
                  p.source_port = p.destination_port;
              })},
        {"land v6", WEIR_DROP_LAND,
         with(six,
              [](PacketPlan& p) {
                  p.source = p.destination;
                  p.source_port = p.destination_port;
              })},
    };
    for (const Broken& broken : cases) {
        const Parsed parsed = parse(broken.frame);
        EXPECT_EQ(parsed.verdict, WEIR_UNDECIDED) << broken.name;
        EXPECT_EQ(parsed.packet.defect, broken.verdict) << broken.name;
    }
}

TEST(Parse, TheFirstDefectStays) {
    PacketPlan plan;
    plan.v4_options = {131, 3, 4, 0};
    plan.source = "127.0.0.1";
    plan.ttl = 0;
    plan.tcp_flags = 0;
    EXPECT_EQ(parse(plan).packet.defect, WEIR_DROP_SOURCE_ROUTED);
}

TEST(Parse, FragmentsCarryPortsOnlyInTheFirst) {
    struct Case {
        const char* name;
        bool six;
        unsigned offset;
        bool more;
        unsigned flags;
    };
    constexpr unsigned kFirst = WEIR_PACKET_FRAGMENT | WEIR_PACKET_PORTS;
    constexpr unsigned kLater = WEIR_PACKET_FRAGMENT | WEIR_PACKET_LATER_FRAGMENT;
    for (const Case& c :
         {Case{"first", false, 0, true, kFirst}, Case{"middle", false, 185, true, kLater},
          Case{"last", false, 370, false, kLater}, Case{"offset 1", false, 1, false, kLater},
          Case{"highest offset", false, 0x1fff, false, kLater},
          Case{"first", true, 0, true, kFirst}, Case{"middle", true, 185, true, kLater},
          Case{"last", true, 0x1fff, false, kLater},
          Case{"atomic", true, 0, false, WEIR_PACKET_PORTS}}) {
        PacketPlan plan = c.six ? plan6() : PacketPlan{};
        if (c.six)
            plan.v6_extensions = {fragment(c.offset, c.more)};
        else
            plan.v4_fragment = static_cast<uint16_t>(c.offset | (c.more ? 0x2000 : 0));
        const Parsed parsed = parse(plan);
        EXPECT_EQ(parsed.verdict, WEIR_UNDECIDED) << c.name << c.six;
        const unsigned also = (c.more ? unsigned{WEIR_PACKET_MORE_FRAGMENTS} : 0u) |
                              (c.six ? unsigned{WEIR_PACKET_DONT_FRAGMENT} : 0u);
        EXPECT_EQ(parsed.packet.flags, c.flags | also) << c.name << c.six;
        EXPECT_EQ(parsed.packet.fragment_offset, c.offset * 8) << c.name << c.six;
    }
    for (unsigned bit = 0; bit < 13; bit++) {
        PacketPlan four;
        four.v4_fragment = static_cast<uint16_t>(1u << bit);
        EXPECT_EQ(parse(four).packet.flags, kLater) << bit;
        PacketPlan six = plan6();
        six.v6_extensions = {fragment(1u << bit, false)};
        EXPECT_EQ(parse(six).packet.flags, kLater | WEIR_PACKET_DONT_FRAGMENT) << bit;
    }
    PacketPlan dont_fragment;
    dont_fragment.v4_fragment = 0x4000;
    EXPECT_EQ(parse(dont_fragment).packet.flags, WEIR_PACKET_PORTS | WEIR_PACKET_DONT_FRAGMENT);
}

TEST(Parse, WhatIsNotIpIsNobodysDefect) {
    PacketPlan plan;
    Bytes arp = build(plan);
    set16(arp, 12, 0x0806);
    for (const Bytes& frame : {arp, Bytes(arp.begin(), arp.begin() + 14)}) {
        const Parsed parsed = parse(frame);
        EXPECT_EQ(parsed.verdict, WEIR_UNDECIDED);
        EXPECT_EQ(parsed.packet.family, 0);
        EXPECT_EQ(parsed.packet.ethertype, 0x0806);
        EXPECT_EQ(parsed.packet.flags, 0);
    }
}

// Found by the rewrite fuzzer: 0xffff is also how a packet without a tag is kept.
TEST(Parse, ATagOfAllOnesIsATag) {
    PacketPlan plan;
    plan.vlan_tci = 0xffff;
    const Parsed parsed = parse(build(plan));
    EXPECT_EQ(parsed.verdict, WEIR_UNDECIDED);
    EXPECT_EQ(parsed.packet.family, 4);
    EXPECT_EQ(parsed.packet.l3_offset, 18);
    EXPECT_EQ(parsed.packet.vlan_tci, 0xefff);
    plan.vlan_tci = 0xfffe;
    EXPECT_EQ(parse(build(plan)).packet.vlan_tci, 0xfffe);
}

TEST(Parse, OnlyOneTagIsRead) {
    PacketPlan plan;
    plan.vlan_tci = 5;
    Bytes twice = build(plan);
    const uint8_t outer[] = {0x88, 0xa8, 0, 9};
    twice.insert(twice.begin() + 12, std::begin(outer), std::end(outer));
    const Parsed parsed = parse(twice);
    EXPECT_EQ(parsed.verdict, WEIR_UNDECIDED);
    EXPECT_EQ(parsed.packet.family, 0);
    EXPECT_EQ(parsed.packet.ethertype, 0x8100);
    EXPECT_EQ(parsed.packet.vlan_tci, 9);
}

// A tc program sees only the beginning of a large skb: headers have to be there, payload not.
TEST(ParseBeginning, NeedsTheHeadersAlone) {
    for (const Sample& sample : sound_packets()) {
        const Bytes whole = build(sample.plan);
        const Parsed full = parse(whole);
        const size_t l4_header = sample.plan.protocol == 6    ? 20
                                 : sample.plan.protocol == 89 ? 0
                                                              : 8;
        for (size_t size = 0; size <= whole.size(); size++) {
            ExactCopy copy(std::span<const uint8_t>(whole).first(size));
            weir_packet packet{};
            const weir_verdict verdict = weir_parse_beginning(
                copy.data(), copy.end(), static_cast<uint32_t>(whole.size()), &packet);
            EXPECT_EQ(verdict == WEIR_UNDECIDED, size >= full.packet.l4_offset + l4_header)
                << sample.name << " " << size;
        }
    }
}

TEST(ParseBeginning, KnowsWhomAnUnreadableChainWasFor) {
    PacketPlan plan = plan6();
    plan.v6_extensions.assign(5, extension(60, 8));
    const Parsed parsed = parse(plan);
    ASSERT_EQ(parsed.verdict, WEIR_DROP_EXTENSION_CHAIN);
    const weir_address destination = weir_packet_destination(&parsed.packet);
    const weir_address vip = address_of(kVip6);
    EXPECT_TRUE(weir_address_equal(&destination, &vip));
}

TEST(Parse, SurvivesDamage) {
    std::mt19937_64 random(6);
    std::vector<Bytes> corpus;
    for (const auto& samples : {sound_packets(), unsound_packets()})
        for (const Sample& sample : samples)
            corpus.push_back(build(sample.plan));
    for (int i = 0; i < 200000; i++) {
        Bytes frame = corpus[random() % corpus.size()];
        damage(frame, random);
        const Parsed parsed = parse(frame);
        if (parsed.verdict != WEIR_UNDECIDED || parsed.packet.family == 0)
            continue;
        ASSERT_LE(parsed.packet.l3_offset + parsed.packet.l3_length, frame.size());
        if (parsed.packet.flags & WEIR_PACKET_PORTS) {
            ASSERT_LE(parsed.packet.l4_offset + 8u,
                      uint32_t{parsed.packet.l3_offset} + parsed.packet.l3_length);
        }
    }
}

} // namespace
