// SPDX-License-Identifier: BSD-3-Clause
// Keyed permutations of 0 .. size-1: who does not know the key cannot tell what follows what. Many
// at once, side by side in vector registers.
//
// A Feistel network over a grid slightly larger than the domain, walked until the result is inside
// (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002): a bijection, so the walk ends
// after at most as many steps as the grid has columns, and nearly always after one. Not a cipher:
// its rounds are those of a good hash, which is enough for what is only to be hard to foretell.
#pragma once

#include <cstdint>

namespace weir::lb {

class Permutation {
public:
    static constexpr std::uint32_t kLargest = 1u << 24;
    static constexpr std::uint32_t kLanes = 32;

    // Up to kLanes indices, each with a key of its own.
    struct Lanes {
        alignas(64) std::uint32_t index[kLanes] = {}; // below size; replaced by what it maps to
        alignas(64) std::uint32_t key[2][kLanes] = {};

        void set(std::uint32_t lane, std::uint32_t at, std::uint64_t lane_key) {
            index[lane] = at;
            key[0][lane] = static_cast<std::uint32_t>(lane_key);
            key[1][lane] = static_cast<std::uint32_t>(lane_key >> 32);
        }
    };

    // REQUIRES: 1 <= size <= kLargest.
    explicit Permutation(std::uint32_t size = 1);

    std::uint32_t size() const { return size_; }

    // Of the first `count` lanes; what the others hold afterwards is of no use.
    void apply(Lanes& lanes, std::uint32_t count) const;

private:
    std::uint32_t size_;
    std::uint32_t column_bits_; // the grid has 2^column_bits_ columns
    std::uint32_t rows_;
};

} // namespace weir::lb
