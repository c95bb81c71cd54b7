// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/lb/spread.hpp"

#include "dataplane/forwarding/limits.h"

#include <bit>

namespace weir::lb {
namespace {

constexpr std::uint32_t kEntryBits = std::countr_zero(kMaxSpreadEntries);
constexpr std::uint64_t kKeyPurpose = 0x79656b73'73723031; // tells this use of the secret apart

static_assert(WEIR_MAX_WORKERS <= 256, "workers fit the bytes of the table");

// Whether the lowest `port_bits` bits of a port whose last bit is input bit `last` reach every
// value of the lowest `bits` bits of the hash: the rank of a matrix over GF(2), by elimination.
bool reaches_all(const weir_rss_key& key, std::uint32_t last, std::uint32_t port_bits,
                 std::uint32_t bits) {
    std::array<std::uint32_t, kEntryBits> pivot{}; // by its highest bit
    std::uint32_t rank = 0;
    for (std::uint32_t i = 0; i < port_bits; i++) {
        std::uint32_t row = weir_toeplitz_window(&key, last - i) & ((1u << bits) - 1);
        while (row != 0 && pivot[std::bit_width(row) - 1u] != 0)
            row ^= pivot[std::bit_width(row) - 1u];
        if (row == 0)
            continue;
        pivot[std::bit_width(row) - 1u] = row;
        rank++;
    }
    return rank == bits;
}

// Makes as many low port bits as a table has index bits reach all its entries, for every size.
// Going from b - 1 to b bits, the matrix gets a new corner, key bit `last + 31 - 2 * (b - 1)`,
// which is in none of the smaller ones; its determinant is linear in the corner with the smaller
// one's determinant, 1, as the factor. So exactly one of the two values of that bit will do.
void make_reach_all(weir_rss_key& key, std::uint32_t last) {
    for (std::uint32_t bits = 1; bits <= kEntryBits; bits++)
        if (!reaches_all(key, last, bits, bits)) {
            const std::uint32_t corner = last + 31 - 2 * (bits - 1);
            key.byte[corner / 8] ^= static_cast<std::uint8_t>(0x80u >> corner % 8);
        }
}

constexpr std::uint32_t last_bit(bool v6) { // of the destination port
    return (v6 ? WEIR_RSS_V6_BYTES : WEIR_RSS_V4_BYTES) * 8 - 1;
}

// Whether one client that goes through its ports reaches every worker soon: 256 consecutive source
// ports reach 64 entries evenly, 4096 reach 2048. Two keys in five do.
bool spreads_clients(const weir_rss_key& key) {
    for (bool v6 : {false, true}) {
        const std::uint32_t last = last_bit(v6) - 16;
        if (!reaches_all(key, last, 8, 6) || !reaches_all(key, last, 12, kEntryBits))
            return false;
    }
    return true;
}

} // namespace

weir_rss_key rss_key_of(const weir_hash_key& secret) {
    constexpr std::uint64_t kTries = 100; // for one in 10^22 secrets the last key is the less good
    weir_rss_key key{};
    for (std::uint64_t attempt = 0; attempt < kTries; attempt++) {
        for (std::uint32_t at = 0; at < WEIR_RSS_KEY_BYTES; at += 4) {
            const std::uint64_t words[] = {kKeyPurpose, attempt << 8 | at, std::uint64_t{16} << 56};
            const auto bits = static_cast<std::uint32_t>(weir_siphash13(&secret, words, 3));
            weir_store32(key.byte + at, bits);
        }
        make_reach_all(key, last_bit(false));
        make_reach_all(key, last_bit(true));
        if (spreads_clients(key))
            break;
    }
    return key;
}

std::optional<Spread> Spread::make(const weir_rss_key& key, std::uint32_t entries,
                                   std::uint32_t workers) {
    if (!std::has_single_bit(entries) || entries > kMaxSpreadEntries || workers == 0 ||
        workers > entries || workers > WEIR_MAX_WORKERS)
        return std::nullopt;
    Spread spread(key, entries, workers);
    if (!spread.fill_low_bits(false) || !spread.fill_low_bits(true))
        return std::nullopt;
    return spread;
}

Spread::Spread(const weir_rss_key& key, std::uint32_t entries, std::uint32_t workers)
    : mask_(entries - 1), workers_(workers), key_(key) {
    for (std::uint32_t at = 0; at < WEIR_RSS_V6_BYTES; at++)
        for (std::uint32_t value = 0; value < 256; value++)
            byte_[at][value] = static_cast<std::uint16_t>(
                weir_toeplitz_byte(&key, at, static_cast<std::uint8_t>(value)) &
                (kMaxSpreadEntries - 1));
    for (std::uint32_t entry = 0; entry < entries; entry++)
        worker_[entry] = static_cast<std::uint8_t>(spread_worker(entry, workers));
}

bool Spread::fill_low_bits(bool v6) {
    const auto bits = static_cast<std::uint32_t>(std::bit_width(mask_));
    if (!reaches_all(key_, last_bit(v6), bits, bits))
        return false;
    for (std::uint32_t low = 0; low <= mask_; low++)
        low_bits_[v6][destination_port_part(v6, low) & mask_] = static_cast<std::uint16_t>(low);
    return true;
}

std::uint32_t Spread::address_part(const weir_address& address, std::uint32_t at_v4,
                                   std::uint32_t at_v6) const {
    std::uint32_t hash = 0;
    if (weir_address_is_v4(&address)) {
        for (std::uint32_t i = 0; i < 4; i++)
            hash ^= byte_[at_v4 + i][address.word[1] >> (32 + 8 * i) & 0xff];
        return hash;
    }
    for (std::uint32_t i = 0; i < 16; i++)
        hash ^= byte_[at_v6 + i][address.word[i / 8] >> (i % 8 * 8) & 0xff];
    return hash;
}

std::uint32_t Spread::source_part(const weir_address& address, weir_be16 port) const {
    const std::uint32_t at =
        (weir_address_is_v4(&address) ? WEIR_RSS_V4_BYTES : WEIR_RSS_V6_BYTES) -
        WEIR_RSS_PORTS_BYTES;
    return address_part(address, 0, 0) ^ byte_[at][port & 0xff] ^ byte_[at + 1][port >> 8];
}

std::uint32_t Spread::destination_part(const weir_address& address) const {
    return address_part(address, 4, 16);
}

} // namespace weir::lb
