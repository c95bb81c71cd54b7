// SPDX-License-Identifier: BSD-3-Clause
#include "dataplane/forwarding/plain_burst.hpp"

#include <array>
#include <immintrin.h>

// Vectors are passed to functions that are inlined alone.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace weir::forwarding {
namespace {

constexpr std::uint32_t kLanes = 8; // packets looked at together

// A fact of eight packets each.
using Words [[gnu::vector_size(4 * kLanes)]] = std::uint32_t;
using Truths [[gnu::vector_size(4 * kLanes)]] = std::int32_t; // -1: true, 0: false
using Pairs [[gnu::vector_size(32)]] = std::uint64_t;         // of four packets
using PairTruths [[gnu::vector_size(32)]] = std::int64_t;

using Frames = std::uint8_t* const*; // eight

constexpr PacketSet kAllLanes = set_of_first(kLanes);

// In place of one that is too short: nothing that is plain. Never written.
std::uint8_t no_frame[128] = {};

PacketSet packets_where(Truths truths) {
    return static_cast<PacketSet>(_mm256_movemask_ps(_mm256_castsi256_ps((__m256i)truths)));
}

PacketSet pairs_where(PairTruths truths) {
    return static_cast<PacketSet>(_mm256_movemask_pd(_mm256_castsi256_pd((__m256i)truths)));
}

// The 16 bits of each frame that begin there.
Words load_16(Frames frame, std::uint32_t offset) {
    const auto at = [&](std::uint32_t lane) {
        return static_cast<short>(weir_load16(frame[lane] + offset));
    };
    return (Words)_mm256_cvtepu16_epi32(
        _mm_setr_epi16(at(0), at(1), at(2), at(3), at(4), at(5), at(6), at(7)));
}

Words load_32(Frames frame, std::uint32_t offset) {
    Words words;
    for (std::uint32_t lane = 0; lane < kLanes; lane++)
        words[lane] = weir_load32(frame[lane] + offset);
    return words;
}

// Eight words of each frame, a column each.
std::array<Words, 8> load_eight_words(Frames frame, std::uint32_t offset) {
    __m256i row[kLanes];
    for (std::uint32_t lane = 0; lane < kLanes; lane++)
        row[lane] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(frame[lane] + offset));
    // Words of two rows side by side, then of four, then of eight.
    __m256i twos[kLanes];
    for (std::uint32_t i = 0; i < kLanes; i += 2) {
        twos[i] = _mm256_unpacklo_epi32(row[i], row[i + 1]);
        twos[i + 1] = _mm256_unpackhi_epi32(row[i], row[i + 1]);
    }
    __m256i fours[kLanes];
    for (std::uint32_t half = 0; half < kLanes; half += 4)
        for (std::uint32_t i = 0; i < 2; i++) {
            fours[half + 2 * i] = _mm256_unpacklo_epi64(twos[half + i], twos[half + i + 2]);
            fours[half + 2 * i + 1] = _mm256_unpackhi_epi64(twos[half + i], twos[half + i + 2]);
        }
    std::array<Words, 8> columns;
    for (std::uint32_t i = 0; i < 4; i++) {
        columns[i] = (Words)_mm256_permute2x128_si256(fours[i], fours[i + 4], 0x20);
        columns[i + 4] = (Words)_mm256_permute2x128_si256(fours[i], fours[i + 4], 0x31);
    }
    return columns;
}

// The same of four frames and 64-bit words.
std::array<Pairs, 4> load_four_pairs(Frames frame, std::uint32_t offset) {
    __m256i row[4];
    for (std::uint32_t lane = 0; lane < 4; lane++)
        row[lane] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(frame[lane] + offset));
    const __m256i even[] = {_mm256_unpacklo_epi64(row[0], row[1]),
                            _mm256_unpacklo_epi64(row[2], row[3])};
    const __m256i odd[] = {_mm256_unpackhi_epi64(row[0], row[1]),
                           _mm256_unpackhi_epi64(row[2], row[3])};
    return {(Pairs)_mm256_permute2x128_si256(even[0], even[1], 0x20),
            (Pairs)_mm256_permute2x128_si256(odd[0], odd[1], 0x20),
            (Pairs)_mm256_permute2x128_si256(even[0], even[1], 0x31),
            (Pairs)_mm256_permute2x128_si256(odd[0], odd[1], 0x31)};
}

// 64-bit words made of two 32-bit ones each.
void store_pairs(std::uint64_t* to, Words low, Words high) {
    const __m256i even = _mm256_unpacklo_epi32((__m256i)low, (__m256i)high); // lanes 0 1 4 5
    const __m256i odd = _mm256_unpackhi_epi32((__m256i)low, (__m256i)high);  // lanes 2 3 6 7
    auto* at = reinterpret_cast<__m256i*>(to);
    _mm256_store_si256(at, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_store_si256(at + 1, _mm256_permute2x128_si256(even, odd, 0x31));
}

Words swap_16(Words low_halves) {
    return (low_halves & 0xff) << 8 | (low_halves >> 8 & 0xff);
}

// Of what lies behind the IP header.
struct L4 {
    Words protocol;
    Words ports;       // source port, destination port
    Words udp_length;  // in the low half, as in the packet; the high half is something else
    Words offset_bits; // TCP: data offset in bits 4 .. 7, flags in 8 .. 15
    Words room;        // bytes that the IP length leaves for it; may be negative

    Words flags(std::uint32_t which) const { return offset_bits & which << 8; }
    Truths is_tcp() const { return protocol == std::uint32_t{WEIR_IP_TCP}; }
    Truths is_quiet() const {
        return ~is_tcp() | (flags(WEIR_TCP_SYN | WEIR_TCP_FIN | WEIR_TCP_RST) == 0);
    }
    Truths is_reset() const { return is_tcp() & (flags(WEIR_TCP_RST) != 0); }

    // weir_plain_l4()
    Truths is_sound() const {
        const Truths there = (Truths)room;
        const Truths header = (Truths)((offset_bits >> 4 & 0xf) * 4);
        const Truths contradictory =
            (flags(WEIR_TCP_SYN) != 0) & (flags(WEIR_TCP_FIN | WEIR_TCP_RST) != 0);
        const Truths none = flags(WEIR_TCP_SYN | WEIR_TCP_ACK | WEIR_TCP_RST | WEIR_TCP_FIN) == 0;
        const Truths tcp = (header >= 20) & (header <= there) & ~contradictory & ~none;
        const Truths length = (Truths)swap_16(udp_length);
        const Truths udp = (length >= 8) & (length <= there);
        return (is_tcp() & tcp) | ((protocol == std::uint32_t{WEIR_IP_UDP}) & udp);
    }
};

struct Found {
    PacketSet sound, tcp, quiet, reset, routable;
};

Found found_of(Truths sound, const L4& l4, Words ttl) {
    return {packets_where(sound), packets_where(sound & l4.is_tcp()),
            packets_where(sound & l4.is_quiet()), packets_where(sound & l4.is_reset()),
            packets_where(sound & (ttl > 1))};
}

Found read_v4(PlainBurst& burst, std::uint32_t first, Frames frame, Words bytes) {
    // Version to total length; identification, fragment; TTL, protocol, checksum; source;
    // destination; ports; UDP's length.
    const auto [begin, fragment, life, source, destination, ports, udp_length, unused] =
        load_eight_words(frame, WEIR_ETHERNET_BYTES);
    const Words total = swap_16(begin >> 16);
    const Words ttl = life & 0xff;
    const L4 l4{life >> 8 & 0xff, ports, udp_length,
                load_16(frame, WEIR_ETHERNET_BYTES + WEIR_V4_BYTES + 12), total - WEIR_V4_BYTES};

    Words sum = {};
    for (const Words word : {begin, fragment, life, source, destination})
        sum += (word & 0xffff) + (word >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    const Words network = source & 0xff;
    const Truths plain = (load_16(frame, 12) == weir_swap16(WEIR_ETHERTYPE_V4)) &
                         ((begin & 0xff) == 0x45) & ((fragment & 0xff3f'0000) == 0);
    const Truths fits = (Truths)(total + WEIR_ETHERNET_BYTES) <= (Truths)bytes;
    const Truths from_somewhere = (network != 0) & (network != 127) & (network < 224);
    const Truths to_another = (source != destination) | ((ports & 0xffff) != ports >> 16);
    const Truths sound =
        plain & fits & (ttl != 0) & (sum == 0xffff) & from_somewhere & to_another & l4.is_sound();

    store_pairs(&burst.flow_v4[0][first], source, destination);
    store_pairs(&burst.flow_v4[1][first], ports, l4.protocol | 13u << 24);
    store_pairs(&burst.to_v4[first], destination, ports >> 16 | l4.protocol << 16);
    return found_of(sound, l4, ttl);
}

// What of its addresses speaks for four IPv6 packets, which are copied into the flows.
struct Addresses {
    PacketSet from_somewhere; // not a martian
    PacketSet to_another;     // than they come from
};

Addresses read_addresses_v6(PlainBurst& burst, std::uint32_t first, Frames frame) {
    const auto words = load_four_pairs(frame, WEIR_ETHERNET_BYTES + 8);
    for (std::uint32_t i = 0; i < words.size(); i++)
        *reinterpret_cast<Pairs*>(&burst.flow_v6[i][first]) = words[i];
    const auto& [high, low, high_to, low_to] = words;
    const auto multicast = (high & 0xff) == 0xff;
    const auto here = (high == 0) & (((low & ~(std::uint64_t{1} << 56)) == 0) |
                                     ((low & 0xffff'ffff) == WEIR_V4_MAPPED_PREFIX));
    return {pairs_where((PairTruths) ~(multicast | here)),
            pairs_where((PairTruths)((high != high_to) | (low != low_to)))};
}

Found read_v6(PlainBurst& burst, std::uint32_t first, Frames frame, Words bytes) {
    const Words begin = load_32(frame, WEIR_ETHERNET_BYTES);
    const Words life = load_32(frame, WEIR_ETHERNET_BYTES + 4); // payload, next header, hop limit
    const std::uint32_t l4_offset = WEIR_ETHERNET_BYTES + WEIR_V6_BYTES;
    const Words payload = swap_16(life);
    const Words ttl = life >> 24;
    const L4 l4{life >> 16 & 0xff, load_32(frame, l4_offset), load_32(frame, l4_offset + 4),
                load_16(frame, l4_offset + 12), payload};

    const Truths plain = (load_16(frame, 12) == weir_swap16(WEIR_ETHERTYPE_V6)) &
                         ((begin & 0xf0) == 0x60) & (payload + WEIR_V6_BYTES <= 0xffff);
    const Truths fits = (Truths)(payload + l4_offset) <= (Truths)bytes;
    const Truths sound = plain & fits & (ttl != 0) & l4.is_sound();
    const Truths other_port = (l4.ports & 0xffff) != l4.ports >> 16;
    const Addresses front = read_addresses_v6(burst, first, frame);
    const Addresses back = read_addresses_v6(burst, first + 4, frame + 4);
    store_pairs(&burst.flow_v6[4][first], l4.ports, l4.protocol | 37u << 24);
    Found found = found_of(sound, l4, ttl);
    found.sound &= (front.from_somewhere | back.from_somewhere << 4) &
                   (front.to_another | back.to_another << 4 | packets_where(other_port));
    return found;
}

// Eight frames at a time; the set of those that `read` takes.
template <class Read>
PacketSet read_all(PlainBurst& burst, const PlainFrames& frames, std::uint32_t least_bytes,
                   Read read) {
    PacketSet taken = 0;
    for (std::uint32_t first = 0; first < frames.count; first += kLanes) {
        const Words bytes = *reinterpret_cast<const Words*>(&frames.bytes[first]);
        std::uint8_t* const* eight = &frames.data[first];
        std::uint8_t* with_none[kLanes];
        const PacketSet there = packets_where(bytes >= least_bytes);
        if (there != kAllLanes) [[unlikely]] {
            for (std::uint32_t lane = 0; lane < kLanes; lane++)
                with_none[lane] = (there & set_of(lane)) != 0 ? eight[lane] : no_frame;
            eight = with_none;
        }
        const Found found = read(burst, first, eight, bytes);
        taken |= found.sound << first;
        burst.tcp |= (found.tcp & found.sound) << first;
        burst.quiet |= (found.quiet & found.sound) << first;
        burst.reset |= (found.reset & found.sound) << first;
        burst.routable |= (found.routable & found.sound) << first;
    }
    return taken;
}

// Whether some frame of the set says it is of this sort.
bool has_any(const PlainFrames& frames, PacketSet set, std::uint16_t ethertype) {
    const std::uint16_t wanted = weir_swap16(ethertype);
    bool found = false;
    for_each(set, [&](std::uint32_t i) {
        found |=
            frames.bytes[i] >= WEIR_ETHERNET_BYTES && weir_load16(frames.data[i] + 12) == wanted;
    });
    return found;
}

} // namespace

void PlainBurst::read(const PlainFrames& frames) {
    const PacketSet all = set_of_first(frames.count);
    const auto read_as_v4 = [&] { v4 = read_all(*this, frames, kPlainLeastBytes_v4, read_v4); };
    const auto read_as_v6 = [&] { v6 = read_all(*this, frames, kPlainLeastBytes_v6, read_v6); };
    // Most bursts are of one family.
    if (has_any(frames, set_of(0), WEIR_ETHERTYPE_V6)) {
        read_as_v6();
        if (has_any(frames, all & ~v6, WEIR_ETHERTYPE_V4))
            read_as_v4();
    } else {
        read_as_v4();
        if (has_any(frames, all & ~v4, WEIR_ETHERTYPE_V6))
            read_as_v6();
    }
}

PacketSet PlainBurst::same_to_v4(PacketSet among, std::uint32_t i, std::uint64_t mask) const {
    const Pairs wanted = Pairs{} + (to_v4[i] & mask);
    PacketSet same = 0;
    for (std::uint32_t at = 0; at < kPlainBurst; at += 4) {
        const Pairs four = *reinterpret_cast<const Pairs*>(&to_v4[at]);
        same |= pairs_where((PairTruths)((four & mask) == wanted)) << at;
    }
    return same & among;
}

PacketSet PlainBurst::same_to_v6(PacketSet among, std::uint32_t i) const {
    const EndV6 wanted = to_v6(i);
    PacketSet same = 0;
    for (std::uint32_t at = 0; at < kPlainBurst; at += 4) {
        const auto four = [&](std::uint32_t word) {
            return *reinterpret_cast<const Pairs*>(&flow_v6[word][at]);
        };
        const auto same_four =
            (four(2) == wanted[0]) & (four(3) == wanted[1]) & (four(4) >> 16 == wanted[2]);
        same |= pairs_where((PairTruths)same_four) << at;
    }
    return same & among;
}

} // namespace weir::forwarding
