// SPDX-License-Identifier: BSD-3-Clause
// Frames read side by side against the same read one by one.
#include "dataplane/forwarding/connection_state.h"
#include "dataplane/forwarding/match.h"
#include "dataplane/forwarding/plain_burst_read.hpp"
#include "dataplane/forwarding/test_corpus.hpp"

#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <string>
#include <string_view>

namespace weir::forwarding {
namespace {

using namespace weir::forwarding_test;

// Frames in memory of their own, so that a byte read too far is found.
class Frames {
public:
    void add(const Bytes& frame) {
        copies_.push_back(std::make_unique<ExactCopy>(frame));
        frames_.data[frames_.count] = copies_.back()->data();
        frames_.bytes[frames_.count++] = static_cast<std::uint32_t>(frame.size());
    }
    const PlainFrames& get() const { return frames_; }

private:
    std::vector<std::unique_ptr<ExactCopy>> copies_;
    PlainFrames frames_{};
};

// What a burst says of a packet.
void expect_as_parsed(const PlainBurst& burst, const PlainFrames& frames, std::uint32_t i) {
    weir_packet packet{};
    const std::uint8_t* end = frames.data[i] + frames.bytes[i];
    const bool plain = weir_parse_plain(frames.data[i], end, &packet);
    const PacketSet here = set_of(i);
    const bool too_short = plain && packet.family == 6 && frames.bytes[i] < kPlainLeastBytes_v6;
    ASSERT_EQ((burst.v4 & here) != 0, plain && packet.family == 4);
    ASSERT_EQ((burst.v6 & here) != 0, plain && packet.family == 6 && !too_short);
    if ((burst.all() & here) == 0) {
        EXPECT_EQ((burst.tcp | burst.quiet | burst.reset | burst.routable) & here, 0u);
        return;
    }
    EXPECT_EQ((burst.tcp & here) != 0, packet.protocol == WEIR_IP_TCP);
    EXPECT_EQ((burst.quiet & here) != 0, weir_is_quiet(&packet));
    EXPECT_EQ((burst.reset & here) != 0, (packet.tcp_flags & WEIR_TCP_RST) != 0);
    EXPECT_EQ((burst.routable & here) != 0, packet.ttl > 1);
    for (std::uint32_t word = 0; word < packet.flow.words; word++)
        EXPECT_EQ(packet.family == 4 ? burst.flow_v4[word][i] : burst.flow_v6[word][i],
                  packet.flow.word[word]);
}

// For the same endpoint, or address, as the first packet of its family; and from where.
void expect_ends(const PlainBurst& burst, const PlainFrames& frames, PacketSet family) {
    const std::uint32_t first = first_of(family);
    const auto parsed = [&](std::uint32_t i) {
        weir_packet packet{};
        EXPECT_TRUE(weir_parse_plain(frames.data[i], frames.data[i] + frames.bytes[i], &packet));
        return packet;
    };
    const weir_packet one = parsed(first);
    const weir_address to = weir_packet_destination(&one);
    const weir_address from = weir_packet_source(&one);
    PacketSet same_endpoint = 0;
    PacketSet same_address = 0;
    PacketSet same_source = 0;
    for_each(family, [&](std::uint32_t i) {
        const weir_packet other = parsed(i);
        const weir_address other_to = weir_packet_destination(&other);
        const weir_address other_from = weir_packet_source(&other);
        if (weir_same_endpoint(&one.flow, &other.flow))
            same_endpoint |= set_of(i);
        if (one.protocol == other.protocol && weir_address_equal(&to, &other_to))
            same_address |= set_of(i);
        if (one.protocol == other.protocol && one.source_port == other.source_port &&
            weir_address_equal(&from, &other_from))
            same_source |= set_of(i);
    });
    if (family == burst.v6) {
        EXPECT_EQ(burst.same_to_v6(family, first), same_endpoint);
        EXPECT_EQ(burst.same_to_v6(0, first), 0u);
        for_each(family, [&](std::uint32_t i) {
            const auto is_in = [&](PacketSet set) { return (set & set_of(i)) != 0; };
            EXPECT_EQ(burst.to_v6(i) == burst.to_v6(first), is_in(same_endpoint));
            EXPECT_EQ(burst.to_address_v6(i) == burst.to_address_v6(first), is_in(same_address));
            EXPECT_EQ(burst.from_v6(i) == burst.from_v6(first), is_in(same_source));
        });
        return;
    }
    EXPECT_EQ(burst.same_to_v4(family, first, kToEndpoint), same_endpoint);
    EXPECT_EQ(burst.same_to_v4(family, first, kToAddress), same_address);
    EXPECT_EQ(burst.same_to_v4(0, first, kToAddress), 0u);
    for_each(family, [&](std::uint32_t i) {
        EXPECT_EQ(burst.from_v4(i) == burst.from_v4(first), (same_source & set_of(i)) != 0);
    });
}

class PlainBurstBy : public ::testing::TestWithParam<const char*> {};

TEST_P(PlainBurstBy, SaysOfEachPacketWhatTheParserSays) {
    const bool wide = std::string_view(GetParam()) == "avx512";
    if (wide && !has_avx512())
        GTEST_SKIP() << "this CPU has no AVX-512";
    const PlainReader read = wide ? read_plain_avx512 : read_plain_avx2;
    std::mt19937 random(5);
    const std::vector<Sample> samples = sound_packets();
    std::uint32_t taken_v4 = 0;
    std::uint32_t taken_v6 = 0;
    std::uint32_t left = 0;
    PlainBurst burst; // each finds what the one before has left
    for (int round = 0; round < 5000; round++) {
        Frames frames;
        const std::uint32_t count = 1 + random() % kPlainBurst;
        for (std::uint32_t i = 0; i < count; i++) {
            PacketPlan plan = samples[random() % samples.size()].plan;
            if (random() % 2)
                plan.payload.assign(random() % 40, 1);
            if (random() % 8 == 0)
                plan.source = plan.destination;
            if (random() % 8 == 0)
                plan.source_port = plan.destination_port;
            if (random() % 8 == 0)
                plan.ttl = static_cast<std::uint8_t>(random() % 3);
            plan.tcp_flags = static_cast<std::uint8_t>(random() % 64);
            Bytes frame = build(plan);
            for (std::uint32_t bits = random() % 3; bits > 0; bits--)
                frame[random() % std::min<std::size_t>(frame.size(), 70)] ^=
                    static_cast<std::uint8_t>(1u << random() % 8);
            if (random() % 2)
                repair_v4_checksum(frame);
            if (random() % 8 == 0)
                frame.resize(random() % (frame.size() + 1));
            frames.add(frame);
        }
        read(burst, frames.get());
        for (std::uint32_t i = 0; i < count; i++) {
            SCOPED_TRACE(::testing::Message() << "round " << round << ", packet " << i);
            ASSERT_NO_FATAL_FAILURE(expect_as_parsed(burst, frames.get(), i));
        }
        EXPECT_EQ(burst.all() & ~set_of_first(count), 0u);
        for (const PacketSet family : {burst.v4, burst.v6})
            if (family != 0)
                expect_ends(burst, frames.get(), family);
        taken_v4 += static_cast<std::uint32_t>(std::popcount(burst.v4));
        taken_v6 += static_cast<std::uint32_t>(std::popcount(burst.v6));
        left += count - static_cast<std::uint32_t>(std::popcount(burst.all()));
    }
    EXPECT_GT(taken_v4, 5000u);
    EXPECT_GT(taken_v6, 5000u);
    EXPECT_GT(left, 5000u);
}

INSTANTIATE_TEST_SUITE_P(InstructionSets, PlainBurstBy, ::testing::Values("avx2", "avx512"),
                         [](const auto& test) { return std::string(test.param); });

// The workers' own choice is one of them.
TEST(PlainBurst, ReadsWithWhatTheCpuHas) {
    Frames frames;
    frames.add(build(sound_packets().front().plan));
    PlainBurst chosen;
    chosen.read(frames.get());
    PlainBurst known;
    read_plain_avx2(known, frames.get());
    EXPECT_EQ(chosen.all(), known.all());
    EXPECT_EQ(chosen.to_v4[0], known.to_v4[0]);
}

TEST(PacketSet, NamesItsPacketsInOrder) {
    std::vector<std::uint32_t> seen;
    for_each(set_of(31) | set_of(0) | set_of(4), [&](std::uint32_t i) { seen.push_back(i); });
    EXPECT_EQ(seen, (std::vector<std::uint32_t>{0, 4, 31}));
    EXPECT_EQ(set_of_first(0), 0u);
    EXPECT_EQ(set_of_first(1), 1u);
    EXPECT_EQ(set_of_first(32), ~0u);
    EXPECT_EQ(first_of(set_of(5) | set_of(9)), 5u);
}

} // namespace
} // namespace weir::forwarding
