// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/flow_hash_batch.hpp"

#include "dataplane/lb/vector_clones.hpp"

// How a whole vector would be passed to a function changes with the instruction set; all that get
// one here are inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace weir::lb {
namespace {

// GCC makes of it what the clone's instruction set has.
using Lanes [[gnu::vector_size(8 * kFlowHashLanes)]] = std::uint64_t;

[[gnu::always_inline]] inline Lanes rotate_left(Lanes value, int bits) {
    return value << bits | value >> (64 - bits);
}

struct State {
    Lanes v0, v1, v2, v3;

    [[gnu::always_inline]] void round() {
        v0 += v1;
        v1 = rotate_left(v1, 13) ^ v0;
        v0 = rotate_left(v0, 32);
        v2 += v3;
        v3 = rotate_left(v3, 16) ^ v2;
        v0 += v3;
        v3 = rotate_left(v3, 21) ^ v0;
        v2 += v1;
        v1 = rotate_left(v1, 17) ^ v2;
        v2 = rotate_left(v2, 32);
    }
};

template <std::uint32_t Words>
[[gnu::always_inline]] inline void hashes(const weir_hash_key& key, const std::uint64_t (*word)[32],
                                          std::uint64_t* hash, std::uint32_t count) {
    for (std::uint32_t at = 0; at < count; at += kFlowHashLanes) {
        State s{Lanes{} + (key.k0 ^ 0x736f6d6570736575u), Lanes{} + (key.k1 ^ 0x646f72616e646f6du),
                Lanes{} + (key.k0 ^ 0x6c7967656e657261u), Lanes{} + (key.k1 ^ 0x7465646279746573u)};
        for (std::uint32_t i = 0; i < Words; i++) {
            const Lanes input = *reinterpret_cast<const Lanes*>(&word[i][at]);
            s.v3 ^= input;
            s.round();
            s.v0 ^= input;
        }
        s.v2 ^= Lanes{} + 0xff;
        s.round();
        s.round();
        s.round();
        *reinterpret_cast<Lanes*>(&hash[at]) = s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
    }
}

} // namespace

WEIR_VECTOR_CLONES void flow_hashes_v4(const weir_hash_key& key, const std::uint64_t (*word)[32],
                                       std::uint64_t* hash, std::uint32_t count) {
    hashes<WEIR_FLOW_WORDS_V4>(key, word, hash, count);
}

WEIR_VECTOR_CLONES void flow_hashes_v6(const weir_hash_key& key, const std::uint64_t (*word)[32],
                                       std::uint64_t* hash, std::uint32_t count) {
    hashes<WEIR_FLOW_WORDS_V6>(key, word, hash, count);
}

} // namespace weir::lb
