// SPDX-License-Identifier: BSD-3-Clause
// What weir_parse_plain() checks, of all frames of a burst. Built for AVX2 and for AVX-512, of
// which PlainBurst::read() chooses.
#include "dataplane/forwarding/plain_burst_read.hpp"
#include "dataplane/forwarding/plain_burst_lanes.hpp"

namespace weir::forwarding {
namespace {

// In place of a frame that is too short: nothing that is plain. Never written.
std::uint8_t no_frame[128] = {};

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
        load_eight_words(frame, WEIR_ETHERNET_BYTES).word;
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
    const auto [words] = load_four_pairs(frame, WEIR_ETHERNET_BYTES + 8);
    for (std::uint32_t i = 0; i < 4; i++)
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
    Addresses addresses{};
    for (std::uint32_t lane = 0; lane < kLanes; lane += 4) {
        const Addresses four = read_addresses_v6(burst, first + lane, frame + lane);
        addresses.from_somewhere |= four.from_somewhere << lane;
        addresses.to_another |= four.to_another << lane;
    }
    store_pairs(&burst.flow_v6[4][first], l4.ports, l4.protocol | 37u << 24);
    Found found = found_of(sound, l4, ttl);
    found.sound &= addresses.from_somewhere & (addresses.to_another | packets_where(other_port));
    return found;
}

// kLanes frames at a time; the set of those that `read` takes.
template <class Read>
PacketSet read_all(PlainBurst& burst, const PlainFrames& frames, std::uint32_t least_bytes,
                   Read read) {
    PacketSet taken = 0;
    for (std::uint32_t first = 0; first < frames.count; first += kLanes) {
        const Words bytes = *reinterpret_cast<const Words*>(&frames.bytes[first]);
        Frames some = &frames.data[first];
        std::uint8_t* with_none[kLanes];
        const PacketSet there = packets_where(bytes >= least_bytes);
        if (there != set_of_first(kLanes)) [[unlikely]] {
            for (std::uint32_t lane = 0; lane < kLanes; lane++)
                with_none[lane] = (there & set_of(lane)) != 0 ? some[lane] : no_frame;
            some = with_none;
        }
        const Found found = read(burst, first, some, bytes);
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

void WEIR_PLAIN_READER(PlainBurst& burst, const PlainFrames& frames) {
    const PacketSet all = set_of_first(frames.count);
    burst.v4 = burst.v6 = burst.tcp = burst.quiet = burst.reset = burst.routable = 0;
    const auto read_as_v4 = [&] {
        burst.v4 = read_all(burst, frames, kPlainLeastBytes_v4, read_v4);
    };
    const auto read_as_v6 = [&] {
        burst.v6 = read_all(burst, frames, kPlainLeastBytes_v6, read_v6);
    };
    // Most bursts are of one family.
    if (has_any(frames, set_of(0), WEIR_ETHERTYPE_V6)) {
        read_as_v6();
        if (has_any(frames, all & ~burst.v6, WEIR_ETHERTYPE_V4))
            read_as_v4();
    } else {
        read_as_v4();
        if (has_any(frames, all & ~burst.v4, WEIR_ETHERTYPE_V6))
            read_as_v6();
    }
}

} // namespace weir::forwarding
