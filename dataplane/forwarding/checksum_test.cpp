// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forwarding/checksum.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>

#include "dataplane/forwarding/test_packet.hpp"

namespace {

using namespace weir::forwarding_test;

uint16_t word(const Bytes& bytes, size_t at) {
    uint16_t value;
    memcpy(&value, bytes.data() + at, sizeof(value));
    return value;
}

// As in a packet: big-endian, while the header's sums take words as loaded.
uint16_t stored(uint16_t host) {
    return static_cast<uint16_t>(host << 8 | host >> 8);
}

TEST(Checksum, FoldIsTheOnesComplementSum) {
    std::mt19937_64 random(1);
    for (int i = 0; i < 10000; i++) {
        Bytes bytes(2 * (1 + random() % 40));
        for (uint8_t& byte : bytes)
            byte = static_cast<uint8_t>(random() % 4 ? random() : (random() % 2 ? 0xff : 0));
        uint64_t sum = 0;
        for (size_t at = 0; at < bytes.size(); at += 2)
            sum += word(bytes, at);
        EXPECT_EQ(static_cast<uint16_t>(~weir_checksum_fold(sum)), stored(full_checksum(bytes)));
    }
    EXPECT_EQ(weir_checksum_fold(0), 0);
    EXPECT_EQ(weir_checksum_fold(0xffff), 0xffff);
    EXPECT_EQ(weir_checksum_fold(~uint64_t{0}), 0xffff);
    EXPECT_EQ(weir_checksum_fold(0xffffffffu), 0xffff);
}

// Two checksums mean the same when they differ only in which zero they are (RFC 1624, section 3).
bool same(uint16_t a, uint16_t b) {
    return a == b || (a == 0 && b == 0xffff) || (a == 0xffff && b == 0);
}

TEST(Checksum, IncrementalEqualsFullRecomputation) {
    std::mt19937_64 random(2);
    for (int i = 0; i < 200000; i++) {
        Bytes bytes(40);
        for (uint8_t& byte : bytes)
            byte = static_cast<uint8_t>(random() % 8 ? random() : (random() % 2 ? 0xff : 0));
        const uint16_t before = stored(full_checksum(bytes));
        Bytes after = bytes;
        weir_address from, to = {{random(), random()}};
        memcpy(&from, bytes.data() + 8, 16);
        memcpy(after.data() + 8, &to, 16);
        const uint16_t port = static_cast<uint16_t>(random());
        memcpy(after.data() + 30, &port, 2);
        const uint32_t sequence = static_cast<uint32_t>(random());
        uint32_t old_sequence;
        memcpy(&old_sequence, bytes.data() + 32, 4);
        memcpy(after.data() + 32, &sequence, 4);
        const uint64_t delta = weir_checksum_delta_address(&from, &to) +
                               weir_checksum_delta16(word(bytes, 30), port) +
                               weir_checksum_delta32(old_sequence, sequence);
        const uint16_t updated = weir_checksum_apply(before, delta);
        ASSERT_TRUE(same(updated, stored(full_checksum(after))))
            << updated << " for " << stored(full_checksum(after));
    }
}

TEST(Checksum, NoChangeKeepsTheValue) {
    for (uint32_t checksum = 0; checksum < 0x10000; checksum++) {
        const uint16_t value = static_cast<uint16_t>(checksum);
        const uint16_t updated = weir_checksum_apply(value, weir_checksum_delta16(0x1234, 0x1234));
        EXPECT_TRUE(same(updated, value)) << checksum;
    }
}

// RFC 1624 section 4's own example: 0xdd2f is the checksum, a word changes from 0x5555 to 0x3285,
// and the right result is 0x0000 (RFC 1141's equation gave 0xffff).
TEST(Checksum, GivesTheExampleOfRfc1624) {
    EXPECT_EQ(weir_checksum_apply(0xdd2f, weir_checksum_delta16(0x5555, 0x3285)), 0x0000);
}

TEST(Checksum, CorruptionStaysVisible) {
    // The distance between the checksum a packet carries and the right one survives every update.
    std::mt19937_64 random(3);
    for (int i = 0; i < 50000; i++) {
        const uint16_t right = static_cast<uint16_t>(random());
        const uint16_t wrong = static_cast<uint16_t>(random());
        if (same(right, wrong))
            continue;
        const uint64_t delta =
            weir_checksum_delta32(static_cast<uint32_t>(random()), static_cast<uint32_t>(random()));
        EXPECT_FALSE(same(weir_checksum_apply(right, delta), weir_checksum_apply(wrong, delta)));
    }
}

} // namespace
