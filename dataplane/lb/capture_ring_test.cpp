// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/capture_ring.hpp"

#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

namespace weir::lb {
namespace {

constexpr std::uint64_t kStart_ns = 1'000'000'000;
constexpr std::uint64_t kUntil_ns = 5'000'000'000;

struct Ring {
    Ring() {
        const std::size_t size = (capture_ring_bytes() + 63) / 64 * 64;
        memory = {static_cast<std::byte*>(std::aligned_alloc(64, size)), size};
        std::memset(memory.data(), 0, size);
        CaptureProducer::format(memory, 3);
        producer = CaptureProducer(memory, order);
        reader = CaptureReader::open(memory);
    }
    ~Ring() { std::free(memory.data()); }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    void start(std::uint32_t session = 7, CaptureFilter filter = {~VerdictSet{0}}) {
        order.start(session, filter, kUntil_ns);
        producer.follow(kStart_ns);
        ASSERT_TRUE(producer.on());
        ASSERT_TRUE(reader->begin(session));
    }
    // A packet whose length and bytes follow from its number.
    static std::vector<std::uint8_t> frame(std::uint32_t number) {
        std::vector<std::uint8_t> bytes(60 + number % 1000);
        for (std::size_t i = 0; i < bytes.size(); i++)
            bytes[i] = static_cast<std::uint8_t>(number + i * 7);
        return bytes;
    }
    void put(std::uint32_t number) {
        producer.count_matches(1);
        const auto bytes = frame(number);
        producer.put({.time_ns = number,
                      .original_length = static_cast<std::uint32_t>(bytes.size()),
                      .vip = number + 1,
                      .backend = number + 2,
                      .verdict = 5,
                      .interface = 2,
                      .outbound = number % 2 == 0},
                     bytes);
    }
    std::vector<CapturedPacket> read(std::uint32_t most = 1'000'000) {
        std::vector<CapturedPacket> packets;
        reader->read(packets, most);
        return packets;
    }

    CaptureOrder order;
    std::span<std::byte> memory;
    CaptureProducer producer;
    std::optional<CaptureReader> reader;
};

TEST(CaptureRing, IsOffUntilOrderedAndOffAgainWhenTheOrderEnds) {
    Ring ring;
    ring.producer.follow(kStart_ns);
    EXPECT_FALSE(ring.producer.on());
    ring.start();
    ring.producer.follow(kUntil_ns - 1);
    EXPECT_TRUE(ring.producer.on());
    ring.producer.follow(kUntil_ns);
    EXPECT_FALSE(ring.producer.on()) << "nobody had to end it";
    ring.order.start(7, {}, kUntil_ns + 10);
    ring.producer.follow(kUntil_ns);
    EXPECT_TRUE(ring.producer.on()) << "it can be renewed";
    ring.order.stop();
    ring.producer.follow(kUntil_ns);
    EXPECT_FALSE(ring.producer.on());
}

TEST(CaptureRing, WithoutMemoryItIsNeverOn) {
    CaptureProducer producer;
    producer.follow(0);
    EXPECT_FALSE(producer.on());
}

TEST(CaptureRing, GivesBackWhatWasPut) {
    Ring ring;
    ring.start();
    ring.put(1);
    ring.put(2);
    const auto packets = ring.read();
    ASSERT_EQ(packets.size(), 2u);
    for (std::uint32_t number : {1u, 2u}) {
        const CapturedPacket& packet = packets[number - 1];
        EXPECT_EQ(packet.worker, 3u);
        EXPECT_EQ(packet.bytes, Ring::frame(number));
        EXPECT_EQ(packet.facts.time_ns, number);
        EXPECT_EQ(packet.facts.original_length, packet.bytes.size());
        EXPECT_EQ(packet.facts.vip, number + 1);
        EXPECT_EQ(packet.facts.backend, number + 2);
        EXPECT_EQ(packet.facts.verdict, 5);
        EXPECT_EQ(packet.facts.interface, 2);
        EXPECT_EQ(packet.facts.outbound, number == 2);
    }
    EXPECT_TRUE(ring.read().empty());
    EXPECT_EQ(ring.reader->matched(), 2u);
    EXPECT_EQ(ring.reader->sampled_out(), 0u);
    EXPECT_EQ(ring.reader->overwritten(), 0u);
}

TEST(CaptureRing, ShortensToTheSnaplenAndKeepsTheLength) {
    Ring ring;
    ring.start(7, {~VerdictSet{0}, kCaptureAnyVip, 13});
    ring.put(100);
    const auto packets = ring.read();
    ASSERT_EQ(packets.size(), 1u);
    auto expected = Ring::frame(100);
    EXPECT_EQ(packets[0].facts.original_length, expected.size());
    expected.resize(13);
    EXPECT_EQ(packets[0].bytes, expected);
}

TEST(CaptureRing, NoFrameIsLargerThanASlot) {
    Ring ring;
    ring.start(7, {~VerdictSet{0}, kCaptureAnyVip, 0xffffffff});
    const std::vector<std::uint8_t> jumbo(9000, 0xab);
    ring.producer.count_matches(1);
    ring.producer.put({.original_length = 9000}, jumbo);
    ring.put(5);
    const auto packets = ring.read();
    ASSERT_EQ(packets.size(), 2u);
    EXPECT_EQ(packets[0].bytes.size(), kCaptureSlotBytes);
    EXPECT_EQ(packets[1].bytes, Ring::frame(5));
}

TEST(CaptureRing, OverwritesWhatNobodyReadsAndTheReaderKnows) {
    Ring ring;
    ring.start();
    for (std::uint32_t i = 0; i < kCaptureSlots + 10; i++)
        ring.put(i);
    const auto packets = ring.read();
    ASSERT_EQ(packets.size(), kCaptureSlots);
    EXPECT_EQ(packets.front().facts.time_ns, 10u);
    EXPECT_EQ(packets.back().bytes, Ring::frame(kCaptureSlots + 9));
    EXPECT_EQ(ring.reader->overwritten(), 10u);
    EXPECT_EQ(ring.reader->matched(), kCaptureSlots + 10u);
    EXPECT_EQ(ring.reader->sampled_out(), 0u);
}

TEST(CaptureRing, ReadsInPortions) {
    Ring ring;
    ring.start();
    for (std::uint32_t i = 0; i < 5; i++)
        ring.put(i);
    EXPECT_EQ(ring.read(3).size(), 3u);
    const auto rest = ring.read(3);
    ASSERT_EQ(rest.size(), 2u);
    EXPECT_EQ(rest[0].facts.time_ns, 3u);
}

TEST(CaptureRing, ASecondCaptureSeesNothingOfTheFirst) {
    Ring ring;
    ring.start(7);
    ring.put(1);
    EXPECT_FALSE(ring.reader->begin(8)) << "not taken up yet";
    ring.start(8);
    EXPECT_TRUE(ring.read().empty());
    EXPECT_EQ(ring.reader->matched(), 0u);
    ring.put(2);
    EXPECT_EQ(ring.read().size(), 1u);
}

TEST(CaptureRing, AnOrderUnderWayKeepsItsFilter) {
    Ring ring;
    ring.start(7, {verdict_bit(WEIR_FORWARDED), 4, 100});
    ring.order.start(7, {verdict_bit(WEIR_REPLIED), 5, 200}, kUntil_ns);
    ring.producer.follow(kStart_ns);
    EXPECT_EQ(ring.producer.filter().vip, 4u);
    ring.order.start(8, {verdict_bit(WEIR_REPLIED), 5, 200}, kUntil_ns);
    ring.producer.follow(kStart_ns);
    EXPECT_EQ(ring.producer.filter().vip, 5u);
    EXPECT_EQ(ring.producer.filter().verdicts, verdict_bit(WEIR_REPLIED));
}

TEST(CaptureRing, APacketThatIsGoneIsNeverAskedFor) {
    Ring ring;
    ring.start(7, {~VerdictSet{0}});
    EXPECT_EQ(ring.producer.filter().verdicts & verdict_bit(WEIR_HANDED_OVER), 0u);
    EXPECT_EQ(ring.producer.filter().verdicts & verdict_bit(WEIR_UNDECIDED), 0u);
    EXPECT_NE(ring.producer.filter().verdicts & verdict_bit(WEIR_DROP_LAND), 0u);
}

// The promise: of any time that passes, copying gets a thirty-second and what was saved up.
TEST(CaptureRing, CopyingIsHeldToItsShareOfTheTime) {
    Ring ring;
    ring.start();
    constexpr std::uint64_t kPoll_ns = 500;
    constexpr std::uint64_t kCopy_ns = 3000;
    std::uint64_t spent = 0;
    std::uint64_t now = kStart_ns;
    for (int i = 0; i < 100'000; i++) {
        now += kPoll_ns;
        ring.producer.follow(now);
        if (ring.producer.has_budget()) {
            ring.producer.charge(kCopy_ns);
            spent += kCopy_ns;
        }
    }
    const std::uint64_t allowed =
        (now - kStart_ns) / CaptureProducer::kShare + CaptureProducer::kMostSaved_ns + kCopy_ns;
    EXPECT_LE(spent, allowed);
    EXPECT_GE(spent, allowed * 9 / 10) << "and the share is used";
}

TEST(CaptureRing, WhatTheBudgetDoesNotCoverIsCounted) {
    Ring ring;
    ring.start();
    while (ring.producer.has_budget())
        ring.producer.charge(kUntil_ns); // a pause of the thread counts as one long copy at most
    ring.producer.count_matches(4);
    EXPECT_EQ(ring.reader->sampled_out(), 4u);
    for (std::uint64_t now = 20'000; now <= 20'000'000; now += 20'000)
        ring.producer.follow(kStart_ns + now);
    EXPECT_TRUE(ring.producer.has_budget());
}

TEST(CaptureRing, AThreadThatWasNotRunningHasEarnedNothing) {
    Ring ring;
    ring.start();
    while (ring.producer.has_budget())
        ring.producer.charge(CaptureProducer::kMostSaved_ns / 2 + 10);
    ring.producer.charge(CaptureProducer::kLongestPoll_ns);
    ring.producer.follow(kStart_ns + 2'000'000'000);
    EXPECT_FALSE(ring.producer.has_budget());
}

TEST(CaptureRing, ForeignMemoryIsRefused) {
    Ring ring;
    EXPECT_FALSE(CaptureReader::open(ring.memory.first(capture_ring_bytes() - 1)));
    auto* header = reinterpret_cast<CaptureRingHeader*>(ring.memory.data());
    header->slots = 4096;
    EXPECT_FALSE(CaptureReader::open(ring.memory));
    header->slots = kCaptureSlots;
    header->magic++;
    EXPECT_FALSE(CaptureReader::open(ring.memory));
}

TEST(CaptureRing, ALengthThatLiesIsHeldToTheSlot) {
    Ring ring;
    ring.start();
    ring.put(1);
    auto* slots = reinterpret_cast<CaptureSlot*>(ring.memory.data() + sizeof(CaptureRingHeader));
    slots[0].facts[1] = ~std::uint64_t{0};
    const auto packets = ring.read();
    ASSERT_EQ(packets.size(), 1u);
    EXPECT_EQ(packets[0].bytes.size(), kCaptureSlotBytes);
}

// A worker in full run against a reader: what is read is whole, in order, and nothing is
// unaccounted.
TEST(CaptureRing, WhatIsReadWhileItIsWrittenIsWhole) {
    Ring ring;
    ring.start();
    constexpr std::uint32_t kPackets = 200'000;
    std::thread worker([&] {
        for (std::uint32_t i = 0; i < kPackets; i++)
            ring.put(i);
    });
    std::vector<CapturedPacket> packets;
    std::uint64_t seen = 0;
    std::uint64_t last = 0;
    while (seen + ring.reader->overwritten() < kPackets) {
        packets.clear();
        ring.reader->read(packets, 64);
        for (const CapturedPacket& packet : packets) {
            const auto number = static_cast<std::uint32_t>(packet.facts.time_ns);
            ASSERT_TRUE(seen == 0 || number > last);
            ASSERT_EQ(packet.facts.vip, number + 1);
            ASSERT_EQ(packet.bytes, Ring::frame(number));
            last = number;
            seen++;
        }
    }
    worker.join();
    EXPECT_EQ(seen + ring.reader->overwritten(), kPackets);
    EXPECT_GT(seen, 0u);
}

} // namespace
} // namespace weir::lb
