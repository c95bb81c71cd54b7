// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/permutation.hpp"

#include "dataplane/lb/vector_clones.hpp"

#include <cassert>

// How a whole vector would be passed to a function changes with the instruction set; all that get
// one here are inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace weir::lb {
namespace {

// GCC makes of it what the clone's instruction set has.
constexpr std::uint32_t kVector = 16;
using Vector [[gnu::vector_size(4 * kVector)]] = std::uint32_t;
static_assert(Permutation::kLanes % kVector == 0);

// MurmurHash3's finaliser, fmix32 (Austin Appleby).
[[gnu::always_inline]] inline Vector mix(const Vector& word) {
    Vector x = (word ^ word >> 16) * 0x85ebca6b;
    x = (x ^ x >> 13) * 0xc2b2ae35;
    return x ^ x >> 16;
}

// The grid has at most 2^12 columns and as many rows, so a product of its rows and 20 bits of a
// hash fits.
constexpr int kHashBits = 20;
constexpr int kRowBits = 32 - kHashBits;
static_assert(Permutation::kLargest == 1u << 2 * kRowBits);

struct Grid {
    std::uint32_t column_bits;
    std::uint32_t rows;

    [[gnu::always_inline]] Vector network(const Vector& index, const Vector& first_key,
                                          const Vector& step) const {
        Vector key = first_key;
        const std::uint32_t last_column = (1u << column_bits) - 1;
        Vector column = index & last_column;
        Vector row = index >> column_bits;
        for (int round = 0; round < 3; ++round) {
            column = (column + mix(row ^ key)) & last_column;
            key += step;
            row += ((mix(column ^ key) >> kRowBits) * rows) >> kHashBits;
            row -= reinterpret_cast<Vector>(row >= rows) & rows;
            key += step;
        }
        return row << column_bits | column;
    }
};

[[gnu::always_inline]] inline Vector lanes_below(std::uint32_t count) {
    const Vector number = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return reinterpret_cast<Vector>(number < count);
}

[[gnu::always_inline]] inline bool any(const Vector& lanes) {
    using Pairs [[gnu::vector_size(sizeof(Vector))]] = std::uint64_t;
    const auto pairs = reinterpret_cast<Pairs>(lanes);
    std::uint64_t sum = 0;
    for (std::uint32_t pair = 0; pair < kVector / 2; ++pair)
        sum |= pairs[pair];
    return sum != 0;
}

} // namespace

Permutation::Permutation(std::uint32_t size) : size_(size), column_bits_(0) {
    assert(size >= 1 && size <= kLargest);
    while (1u << 2 * column_bits_ < size)
        ++column_bits_;
    rows_ = (size + (1u << column_bits_) - 1) >> column_bits_;
}

WEIR_VECTOR_CLONES void Permutation::apply(Lanes& lanes, std::uint32_t count) const {
    const Grid grid{column_bits_, rows_};
    for (std::uint32_t at = 0; at < count; at += kVector) {
        Vector& index = *reinterpret_cast<Vector*>(&lanes.index[at]);
        const Vector key = *reinterpret_cast<const Vector*>(&lanes.key[0][at]);
        const Vector step = *reinterpret_cast<const Vector*>(&lanes.key[1][at]) | 1;
        const Vector wanted = lanes_below(count - at);
        Vector outside = wanted;
        do {
            index = (outside & grid.network(index, key, step)) | (~outside & index);
            outside = wanted & reinterpret_cast<Vector>(index >= size_);
        } while (any(outside));
    }
}

} // namespace weir::lb
