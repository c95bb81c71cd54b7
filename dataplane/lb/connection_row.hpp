// SPDX-License-Identifier: BSD-3-Clause
// The published layout of one connection: a 32-byte hot row (all that a packet of a known
// connection needs), a 16-byte cold row (what insertion, deletion and adoption need). The index
// adds 16 bytes an entry (connection_index.hpp): 64 bytes a connection, IPv4 and IPv6 alike.
// docs/connection-table.md shows it to operators and tool writers; a change of anything here is a
// new kTableLayoutVersion.
//
// Ownership: the worker that owns the table writes; other processes may map the memory read-only
// and read it at any time (connection_reader.hpp). All stores are single 8-byte words, so a reader
// never sees half a field.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "dataplane/forwarding/base.h"
#include "dataplane/forwarding/limits.h"

namespace weir::lb {

static_assert(std::endian::native == std::endian::little, "the rows' layout is little-endian");

using EntryIndex = std::uint32_t;
inline constexpr EntryIndex kNoEntry = 0xffffffff;

inline constexpr std::uint32_t kBackendRowLimit = 1u << 20;
inline constexpr std::uint16_t kNoLastHop = 0xfff;

inline constexpr std::uint8_t kRowFree = 0; // HotRow::state of an entry that is not in use

// HotRow::flags
inline constexpr std::uint8_t kRowProbation = 1;       // half-open: may be recycled at any time
inline constexpr std::uint8_t kRowReplyIndexed = 2;    // NAT: found from the backend's side, too
inline constexpr std::uint8_t kRowCallerFlags = 4 | 8; // no meaning to the table
inline constexpr std::uint8_t kRowStrayReplies = 4;    // the backend's packets reach another worker

struct alignas(32) HotRow {
    weir_address client; // IPv4 as ::ffff:a.b.c.d
    weir_be16 client_port;
    weir_be16 service_port;      // the destination port the client used
    std::uint16_t vip;           // row of the VIP, stable across generations; implies the protocol
    weir_be16 snat_port;         // full-nat, otherwise 0
    std::uint32_t backend : 20;  // row of the backend, stable across generations
    std::uint32_t last_hop : 12; // row in the worker's table of {MAC, VLAN TCI, port}
    std::uint16_t snat_address : 8; // row of the SNAT address
    std::uint16_t state : 4;        // ConnectionState (connection_lifetime.hpp)
    std::uint16_t flags : 4;
    std::uint16_t last_seen_s; // monotonic clock modulo 65536
};

// Rows of a VIP's probation list are linked through the fields that such a row does not need yet.
struct alignas(16) ColdRow {
    std::uint32_t forward_hash; // index_hash() of the client's tuple
    std::uint32_t reply_hash;   // index_hash() of the backend's tuple, 0 without one
    union {
        std::uint32_t check;           // row_check(): an adopting process can trust the row
        std::uint32_t probation_older; // kNoEntry: this is the oldest
    };
    union {
        struct {
            std::uint16_t sync_generation;
            std::uint16_t created_s; // when it left probation; monotonic clock modulo 65536
        } life;
        std::uint32_t probation_newer; // kNoEntry: this is the newest
    };
};

static_assert(WEIR_MAX_VIPS <= 1u << 16 && WEIR_MAX_BACKENDS <= kBackendRowLimit &&
              WEIR_MAX_SNAT_ADDRESSES <= 1u << 8);
static_assert(sizeof(HotRow) == 32 && std::is_trivially_copyable_v<HotRow>);
static_assert(sizeof(ColdRow) == 16 && std::is_trivially_copyable_v<ColdRow>);

using HotWords = std::array<std::uint64_t, 4>;
using ColdWords = std::array<std::uint64_t, 2>;

// What a packet from a client is recognised by: the first three words of the row without snat_port.
struct ForwardKey {
    std::uint64_t client_high;
    std::uint64_t client_low;
    std::uint64_t ports_and_vip;
};
inline constexpr std::uint64_t kPortsAndVipMask = 0x0000'ffff'ffff'ffff;

inline ForwardKey forward_key(const weir_address& client, weir_be16 client_port,
                              weir_be16 service_port, std::uint16_t vip) {
    return {client.word[0], client.word[1],
            std::uint64_t{client_port} | std::uint64_t{service_port} << 16 |
                std::uint64_t{vip} << 32};
}

// One word of a row, read by itself. A copy of the whole row would pass through memory again.
inline std::uint64_t row_word(const HotRow& row, std::size_t number) {
    std::uint64_t word;
    std::memcpy(&word, reinterpret_cast<const std::byte*>(&row) + 8 * number, sizeof(word));
    return word;
}

inline bool matches_forward(const HotRow& row, const ForwardKey& key) {
    return ((row_word(row, 0) ^ key.client_high) | (row_word(row, 1) ^ key.client_low) |
            ((row_word(row, 2) & kPortsAndVipMask) ^ key.ports_and_vip)) == 0;
}

// The fourth word of a row taken apart: read once, whatever is written between two of its fields.
class RowTail {
public:
    // Put together in a register: reading a word back whose fields were stored one by one stalls.
    static constexpr std::uint64_t word_of(std::uint32_t backend, std::uint16_t last_hop,
                                           std::uint8_t snat_address, std::uint8_t state,
                                           std::uint8_t flags, std::uint16_t last_seen_s) {
        return (backend & (kBackendRowLimit - 1)) | (std::uint64_t{last_hop} & kNoLastHop) << 20 |
               std::uint64_t{snat_address} << 32 | (std::uint64_t{state} & 0xf) << 40 |
               (std::uint64_t{flags} & 0xf) << 44 | std::uint64_t{last_seen_s} << 48;
    }

    explicit RowTail(const HotRow& row) : word_(row_word(row, 3)) {}
    std::uint32_t backend() const { return word_ & (kBackendRowLimit - 1); }
    std::uint16_t last_hop() const { return word_ >> 20 & kNoLastHop; }
    std::uint8_t snat_address() const { return static_cast<std::uint8_t>(word_ >> 32); }
    std::uint8_t state() const { return word_ >> 40 & 0xf; }

private:
    std::uint64_t word_;
};

// The fields of the fourth word that packets change, in whole-word arithmetic: writing a bit field
// and reading the word back would stall the store buffer on every packet.
inline constexpr std::uint64_t kChangingMask =
    std::uint64_t{0xfff} << 20 | std::uint64_t{0xf} << 40 | std::uint64_t{0xffff} << 48;
inline std::uint64_t changing_bits(std::uint8_t state, std::uint16_t last_hop,
                                   std::uint16_t last_seen_s) {
    return (std::uint64_t{last_hop} & kNoLastHop) << 20 | (std::uint64_t{state} & 0xf) << 40 |
           std::uint64_t{last_seen_s} << 48;
}

// Over everything that identifies the connection and never changes while it lives. Not keyed: it
// finds torn and damaged rows, not forged ones.
inline std::uint32_t row_check(const HotRow& row, std::uint32_t forward_hash,
                               std::uint32_t reply_hash) {
    const auto words = std::bit_cast<HotWords>(row);
    const auto mix = [](std::uint64_t sum, std::uint64_t word) {
        sum = (sum ^ word) * 0x9e3779b97f4a7c15;
        return sum ^ (sum >> 32);
    };
    std::uint64_t sum = mix(0x57656972'436f6e6e, words[0]);
    sum = mix(sum, words[1]);
    sum = mix(sum, words[2]);
    sum = mix(sum, std::uint64_t{row.backend} | std::uint64_t{row.snat_address} << 20);
    sum = mix(sum, std::uint64_t{forward_hash} | std::uint64_t{reply_hash} << 32);
    return static_cast<std::uint32_t>(sum);
}

// The table keeps 32 bits of a 64-bit keyed flow hash. The multiplication takes the bits that chose
// the worker (whichever they are) out of the bits that choose the bucket.
inline std::uint32_t index_hash(std::uint64_t flow_hash) {
    return static_cast<std::uint32_t>((flow_hash * 0x9e3779b97f4a7c15) >> 32);
}

} // namespace weir::lb
