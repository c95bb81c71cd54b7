// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/spread.hpp"

#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include <gtest/gtest.h>

namespace weir::lb {
namespace {

constexpr weir_hash_key kSecret{11, 22};

weir_address random_address(bool v6, std::mt19937_64& random) {
    if (!v6)
        return weir_address_from_v4(static_cast<weir_be32>(random()));
    return {{random(), random()}};
}

weir_flow random_flow(bool v6, std::mt19937_64& random) {
    const weir_address from = random_address(v6, random);
    const weir_address to = random_address(v6, random);
    weir_flow flow;
    weir_flow_set(&flow, &from, &to, static_cast<weir_be16>(random()),
                  static_cast<weir_be16>(random()), 17);
    return flow;
}

TEST(Spread, PicksTheEntryOfTheToeplitzHash) {
    std::mt19937_64 random(1);
    for (std::uint32_t entries : {1u, 2u, 64u, 128u, 512u, 2048u})
        for (std::uint32_t workers : {1u, 2u, 3u, 7u, 32u, 64u}) {
            const weir_rss_key key = rss_key_of({random(), random()});
            const auto spread = Spread::make(key, entries, workers);
            if (workers > entries) {
                EXPECT_FALSE(spread);
                continue;
            }
            ASSERT_TRUE(spread);
            for (int i = 0; i < 400; i++) {
                const weir_flow flow = random_flow(i % 2 == 0, random);
                const std::uint32_t entry = weir_toeplitz(&key, &flow) % entries;
                ASSERT_EQ(spread->entry_of(flow), entry);
                ASSERT_EQ(spread->worker_of(flow), entry % workers);
            }
        }
}

TEST(Spread, ItsPartsMakeTheHash) {
    std::mt19937_64 random(2);
    const auto spread = *Spread::make(rss_key_of(kSecret), 512, 4);
    for (int i = 0; i < 1000; i++) {
        const bool v6 = i % 2 == 0;
        const weir_address from = random_address(v6, random);
        const weir_address to = random_address(v6, random);
        const auto from_port = static_cast<weir_be16>(random());
        const auto port = static_cast<std::uint16_t>(random());
        weir_flow flow;
        weir_flow_set(&flow, &from, &to, from_port, weir_swap16(port), 6);
        ASSERT_EQ(spread.entry_of(flow),
                  (spread.source_part(from, from_port) ^ spread.destination_part(to) ^
                   spread.destination_port_part(v6, port)) &
                      511);
    }
}

// The foundation of the choice of ports: for every size of table and any secret.
TEST(Spread, EveryBlockOfPortsHasOnePortForEachEntry) {
    std::mt19937_64 random(3);
    for (std::uint32_t entries = 1; entries <= kMaxSpreadEntries; entries *= 2)
        for (int round = 0; round < 20; round++) {
            const auto spread = Spread::make(rss_key_of({random(), random()}), entries, 1);
            ASSERT_TRUE(spread) << entries;
            const auto block = static_cast<std::uint32_t>(random() % 65536) / entries * entries;
            for (bool v6 : {false, true}) {
                std::set<std::uint32_t> ports;
                for (std::uint32_t part = 0; part < entries; part++) {
                    const std::uint32_t port = spread->port_in_block(v6, block, part);
                    ASSERT_EQ(spread->destination_port_part(v6, port) & (entries - 1), part);
                    ASSERT_EQ(port / entries * entries, block);
                    ports.insert(port);
                }
                ASSERT_EQ(ports.size(), entries);
            }
        }
}

TEST(Spread, RefusesWhatDoesNotReachEveryEntry) {
    const weir_rss_key good = rss_key_of(kSecret);
    EXPECT_TRUE(Spread::make(good, 128, 4));
    EXPECT_FALSE(Spread::make(good, 96, 4)) << "no power of two";
    EXPECT_FALSE(Spread::make(good, 0, 1));
    EXPECT_FALSE(Spread::make(good, 128, 0));
    EXPECT_FALSE(Spread::make(good, 2, 4)) << "more workers than entries";
    EXPECT_FALSE(Spread::make(good, 2 * kMaxSpreadEntries, 4));
    EXPECT_FALSE(Spread::make(weir_rss_key{}, 128, 4)) << "all zero";
    // A period of 8 bits, as in keys that make the hash symmetric: rank 8 at the most.
    weir_rss_key repeated{};
    std::fill(std::begin(repeated.byte), std::end(repeated.byte), std::uint8_t{0x6b});
    EXPECT_TRUE(Spread::make(repeated, 2, 2));
    EXPECT_FALSE(Spread::make(repeated, 512, 2));
    // One family is not enough: the windows of the IPv6 port alone are spoilt.
    weir_rss_key half = good;
    for (std::uint32_t at = 34; at < 40; at++)
        half.byte[at] = 0;
    EXPECT_FALSE(Spread::make(half, 128, 4));
}

TEST(Spread, TheKeyFollowsTheSecretAndNothingElse) {
    const weir_rss_key key = rss_key_of(kSecret);
    const weir_rss_key same = rss_key_of(kSecret);
    EXPECT_TRUE(std::equal(std::begin(key.byte), std::end(key.byte), std::begin(same.byte)));
    std::set<std::vector<std::uint8_t>> keys;
    for (std::uint64_t i = 0; i < 1000; i++) {
        const weir_rss_key other = rss_key_of({i, 0});
        keys.insert({std::begin(other.byte), std::end(other.byte)});
    }
    EXPECT_EQ(keys.size(), 1000u);
    // Written down: it is what connection tables and NICs of a running node live by.
    const std::vector<std::uint8_t> first(key.byte, key.byte + 8);
    EXPECT_EQ(first, (std::vector<std::uint8_t>{0xb1, 0x4d, 0xdd, 0x3b, 0xc4, 0x7c, 0x1b, 0xd8}));
}

TEST(Spread, OneClientReachesEveryEntry) {
    std::mt19937_64 random(4);
    for (int round = 0; round < 100; round++) {
        const weir_rss_key key = rss_key_of({random(), random()});
        for (auto [entries, ports] : {std::pair{64u, 256u}, {2048u, 4096u}})
            for (bool v6 : {false, true}) {
                const auto spread = *Spread::make(key, entries, 1);
                const weir_address client = random_address(v6, random);
                std::set<std::uint32_t> reached;
                for (std::uint32_t port = 0; port < ports; port++)
                    reached.insert(
                        spread.source_part(client,
                                           weir_swap16(static_cast<std::uint16_t>(8192 + port))) &
                        (entries - 1));
                ASSERT_EQ(reached.size(), entries) << v6;
            }
    }
}

TEST(Spread, AlikeFlowsSpreadEvenly) {
    constexpr std::uint32_t kFlows = 200'000;
    for (std::uint32_t workers : {2u, 5u, 8u, 32u}) {
        const auto spread = *Spread::make(rss_key_of(kSecret), 512, workers);
        std::vector<std::uint32_t> count(workers);
        for (std::uint32_t i = 0; i < kFlows; i++) {
            weir_flow flow;
            weir_flow_set_v4(&flow, weir_swap32(0xc6336400 + i / 2000), weir_swap32(0xcb00710a),
                             weir_swap16(static_cast<std::uint16_t>(10000 + i % 2000)),
                             weir_swap16(80), 6);
            count[spread.worker_of(flow)]++;
        }
        // The hash is linear, so that it spreads consecutive ports better than chance; what is left
        // is that 512 entries do not divide by every number of workers.
        const double even = static_cast<double>(kFlows) / workers;
        for (std::uint32_t of_worker : count)
            EXPECT_NEAR(of_worker, even, 0.08 * even) << workers;
    }
}

} // namespace
} // namespace weir::lb
