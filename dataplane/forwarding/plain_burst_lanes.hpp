// SPDX-License-Identifier: BSD-3-Clause
// Facts of several packets side by side in one vector register, and how they get there from the
// frames: of sixteen with AVX-512, else of eight with AVX2. For plain_burst.cpp and
// plain_burst_read.cpp alone, which is built for both; nothing here is seen by another unit.
#pragma once

#include "dataplane/forwarding/plain_burst.hpp"

#include <immintrin.h>

// Vectors are passed to functions that are inlined alone.
#pragma GCC diagnostic ignored "-Wpsabi"
// GCC 12 finds its own _mm512_undefined_epi32() uninitialized (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"

namespace weir::forwarding {
namespace {

#ifdef __AVX512BW__
constexpr std::uint32_t kLanes = 16; // packets looked at together
#else
constexpr std::uint32_t kLanes = 8;
#endif

// A fact of each.
using Words [[gnu::vector_size(4 * kLanes)]] = std::uint32_t;
using Truths [[gnu::vector_size(4 * kLanes)]] = std::int32_t; // -1: true, 0: false

using Frames = std::uint8_t* const*; // kLanes of them

struct EightWords {
    Words word[8];
};

inline Words load_32(Frames frame, std::uint32_t offset) {
    Words words;
    for (std::uint32_t lane = 0; lane < kLanes; lane++)
        words[lane] = weir_load32(frame[lane] + offset);
    return words;
}

// The 16 bits of eight frames that begin there.
inline __m128i load_eight_16(Frames frame, std::uint32_t offset) {
    const auto at = [&](std::uint32_t lane) {
        return static_cast<short>(weir_load16(frame[lane] + offset));
    };
    return _mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7));
}

inline __m256i load_row(const std::uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
}

#ifdef __AVX512BW__

inline PacketSet packets_where(Truths truths) {
    return _mm512_movepi32_mask((__m512i)truths);
}

inline Words load_16(Frames frame, std::uint32_t offset) {
    return (Words)_mm512_cvtepu16_epi32(
        _mm256_set_m128i(load_eight_16(frame + 8, offset), load_eight_16(frame, offset)));
}

// Eight words of each frame, a column each.
inline EightWords load_eight_words(Frames frame, std::uint32_t offset) {
    // Of frames 0 .. 7, then 8 .. 15: words of four frames side by side, in each quarter.
    __m512i fours[2][4];
    for (std::size_t half = 0; half < 2; half++) {
        __m512i row[4]; // of frame i and i + 4
        for (std::size_t i = 0; i < 4; i++) {
            const Frames pair = frame + 8 * half + i;
            row[i] = _mm512_inserti64x4(_mm512_castsi256_si512(load_row(pair[0] + offset)),
                                        load_row(pair[4] + offset), 1);
        }
        const __m512i twos[] = {
            _mm512_unpacklo_epi32(row[0], row[1]), _mm512_unpackhi_epi32(row[0], row[1]),
            _mm512_unpacklo_epi32(row[2], row[3]), _mm512_unpackhi_epi32(row[2], row[3])};
        for (std::size_t i = 0; i < 2; i++) {
            fours[half][2 * i] = _mm512_unpacklo_epi64(twos[i], twos[i + 2]);
            fours[half][2 * i + 1] = _mm512_unpackhi_epi64(twos[i], twos[i + 2]);
        }
    }
    EightWords columns;
    for (std::uint32_t i = 0; i < 4; i++) {
        columns.word[i] = (Words)_mm512_shuffle_i32x4(fours[0][i], fours[1][i], 0x88);
        columns.word[i + 4] = (Words)_mm512_shuffle_i32x4(fours[0][i], fours[1][i], 0xdd);
    }
    return columns;
}

// 64-bit words made of two 32-bit ones each.
inline void store_pairs(std::uint64_t* to, Words low, Words high) {
    const Words front = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
    const auto pairs = [&](Words lanes) {
        return _mm512_permutex2var_epi32((__m512i)low, (__m512i)lanes, (__m512i)high);
    };
    _mm512_store_si512(to, pairs(front));
    _mm512_store_si512(to + 8, pairs(front + 8));
}

#else

inline PacketSet packets_where(Truths truths) {
    return static_cast<PacketSet>(_mm256_movemask_ps(_mm256_castsi256_ps((__m256i)truths)));
}

inline Words load_16(Frames frame, std::uint32_t offset) {
    return (Words)_mm256_cvtepu16_epi32(load_eight_16(frame, offset));
}

// Eight words of each frame, a column each.
inline EightWords load_eight_words(Frames frame, std::uint32_t offset) {
    __m256i row[8];
    for (std::uint32_t lane = 0; lane < 8; lane++)
        row[lane] = load_row(frame[lane] + offset);
    // Words of two rows side by side, then of four, then of eight.
    __m256i twos[8];
    for (std::uint32_t i = 0; i < 8; i += 2) {
        twos[i] = _mm256_unpacklo_epi32(row[i], row[i + 1]);
        twos[i + 1] = _mm256_unpackhi_epi32(row[i], row[i + 1]);
    }
    __m256i fours[8];
    for (std::uint32_t half = 0; half < 8; half += 4)
        for (std::uint32_t i = 0; i < 2; i++) {
            fours[half + 2 * i] = _mm256_unpacklo_epi64(twos[half + i], twos[half + i + 2]);
            fours[half + 2 * i + 1] = _mm256_unpackhi_epi64(twos[half + i], twos[half + i + 2]);
        }
    EightWords columns;
    for (std::uint32_t i = 0; i < 4; i++) {
        columns.word[i] = (Words)_mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
        columns.word[i + 4] = (Words)_mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
    }
    return columns;
}

// 64-bit words made of two 32-bit ones each.
inline void store_pairs(std::uint64_t* to, Words low, Words high) {
    const __m256i even = _mm256_unpacklo_epi32((__m256i)low, (__m256i)high); // lanes 0 1 4 5
    const __m256i odd = _mm256_unpackhi_epi32((__m256i)low, (__m256i)high);  // lanes 2 3 6 7
    auto* at = reinterpret_cast<__m256i*>(to);
    _mm256_store_si256(at, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_store_si256(at + 1, _mm256_permute2x128_si256(even, odd, 0x31));
}

#endif

// 64-bit words of four packets.
using Pairs [[gnu::vector_size(32)]] = std::uint64_t;
using PairTruths [[gnu::vector_size(32)]] = std::int64_t;

struct FourPairs {
    Pairs word[4];
};

inline PacketSet pairs_where(PairTruths truths) {
    return static_cast<PacketSet>(_mm256_movemask_pd(_mm256_castsi256_pd((__m256i)truths)));
}

// Four 64-bit words of each of four frames, a column each.
inline FourPairs load_four_pairs(Frames frame, std::uint32_t offset) {
    __m256i row[4];
    for (std::uint32_t lane = 0; lane < 4; lane++)
        row[lane] = load_row(frame[lane] + offset);
    const __m256i even[] = {_mm256_unpacklo_epi64(row[0], row[1]),
                            _mm256_unpacklo_epi64(row[2], row[3])};
    const __m256i odd[] = {_mm256_unpackhi_epi64(row[0], row[1]),
                           _mm256_unpackhi_epi64(row[2], row[3])};
    return {{(Pairs)_mm256_permute2x128_si256(even[0], even[1], 0x20),
             (Pairs)_mm256_permute2x128_si256(odd[0], odd[1], 0x20),
             (Pairs)_mm256_permute2x128_si256(even[0], even[1], 0x31),
             (Pairs)_mm256_permute2x128_si256(odd[0], odd[1], 0x31)}};
}

} // namespace
} // namespace weir::forwarding
