// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/flow_hash_batch.hpp"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace weir::lb {
namespace {

template <std::uint32_t Words> void expect_like_one_by_one() {
    std::mt19937_64 random(Words);
    for (std::uint32_t count = 0; count <= 32; count++) {
        const weir_hash_key key{random(), random()};
        std::vector<weir_flow> flows(count);
        FlowHashBatch<Words> batch;
        alignas(64) std::uint64_t hash[64] = {};
        for (std::uint32_t i = 0; i < count; i++) {
            flows[i].words = Words;
            for (std::uint64_t& word : flows[i].word)
                word = random();
            batch.add(2 * i, flows[i]); // with gaps, as decided packets leave them
        }
        batch.compute(key, hash, 64);
        for (std::size_t i = 0; i < count; i++) {
            EXPECT_EQ(hash[2 * i], weir_flow_hash(&key, &flows[i])) << i << " of " << count;
            EXPECT_EQ(hash[2 * i + 1], 0u) << "nobody's";
        }
        // Emptied, and now without gaps.
        for (std::uint32_t i = 0; i < count; i++)
            batch.add(i, flows[i]);
        batch.compute(key, hash, count);
        for (std::size_t i = 0; i < count; i++)
            EXPECT_EQ(hash[i], weir_flow_hash(&key, &flows[i])) << i << " of " << count;
    }
}

TEST(FlowHashBatch, HashesIPv4LikeOneByOne) {
    expect_like_one_by_one<WEIR_FLOW_WORDS_V4>();
}

TEST(FlowHashBatch, HashesIPv6LikeOneByOne) {
    expect_like_one_by_one<WEIR_FLOW_WORDS_V6>();
}

} // namespace
} // namespace weir::lb
