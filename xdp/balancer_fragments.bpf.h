// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Fragments: a datagram's first one decides, the later ones borrow its ports. An XDP program cannot
 * keep a packet, so one that overtakes its first goes on without ports and is dropped as
 * drop_fragment_no_first if it is for a VIP. Overlaps and second ends are found as the DPDK engine
 * finds them (dataplane/lb/fragment_table.hpp has the rules), in a bounded LRU map. */
#pragma once

#include "dataplane/forwarding/fragment.h"
#include "xdp/balancer_work.bpf.h"

#define WEIR_DATAGRAM_LIFETIME_MS 2000u
#define WEIR_DATAGRAM_UNITS 8192u /* of 8 bytes */
#define WEIR_FRAGMENT_WORDS 26u   /* 64 units each: fragments up to 12 kB */

struct weir_datagram {
    uint64_t began_ms;
    weir_be16 source_port, destination_port;
    uint16_t units_seen;
    uint16_t units_reached; /* the furthest end of a fragment so far */
    uint16_t units_total;   /* 0: the last fragment has not come */
    uint8_t poisoned;
    uint8_t reserved[5];
    uint64_t marks[WEIR_DATAGRAM_UNITS / 64];
};

struct {
    __uint(type, BPF_MAP_TYPE_LRU_HASH);
    __uint(max_entries, 4096);
    __type(key, uint64_t);
    __type(value, struct weir_datagram);
} datagrams SEC(".maps");

/* Always zero: a new datagram is too large for the stack. */
WEIR_ARRAY(new_datagram, BPF_MAP_TYPE_ARRAY, struct weir_datagram, 1);

/* The bits [first, first + count) that fall into word `word`. */
WEIR_INLINE uint64_t weir_mark_mask(uint32_t word, uint32_t first, uint32_t count) {
    uint32_t begin = word * 64, past = begin + 64;
    uint32_t low = first > begin ? first - begin : 0;
    uint32_t high = first + count < past ? first + count - begin : 64;
    if (first >= past || first + count <= begin)
        return 0;
    uint64_t below_high = high >= 64 ? ~(uint64_t)0 : ((uint64_t)1 << high) - 1;
    return below_high & ~(((uint64_t)1 << low) - 1);
}

/* Marks the units. False: some were marked before; the datagram is poisoned unless all were. */
WEIR_INLINE bool weir_mark(struct weir_datagram* datagram, uint32_t first, uint32_t count) {
    uint64_t some = 0, missing = 0;
    for (uint32_t i = 0; i < WEIR_FRAGMENT_WORDS; i++) {
        uint64_t word = first / 64 + i;
        WEIR_OPAQUE(word);
        word &= WEIR_DATAGRAM_UNITS / 64 - 1;
        uint64_t mask = weir_mark_mask((uint32_t)word, first, count);
        uint64_t seen = datagram->marks[word] & mask;
        some |= seen;
        missing |= seen ^ mask;
    }
    if (some) {
        datagram->poisoned = missing != 0;
        return false;
    }
    for (uint32_t i = 0; i < WEIR_FRAGMENT_WORDS; i++) {
        uint64_t word = first / 64 + i;
        WEIR_OPAQUE(word);
        word &= WEIR_DATAGRAM_UNITS / 64 - 1;
        datagram->marks[word] |= weir_mark_mask((uint32_t)word, first, count);
    }
    datagram->units_seen = (uint16_t)(datagram->units_seen + count);
    return true;
}

/* The datagram of a fragment; a first one begins it. NULL: it is not known. */
WEIR_INLINE struct weir_datagram* weir_datagram_of(const uint64_t* hash, uint64_t now_ms,
                                                   bool first) {
    struct weir_datagram* datagram = bpf_map_lookup_elem(&datagrams, hash);
    if (datagram && weir_age(now_ms, datagram->began_ms) < WEIR_DATAGRAM_LIFETIME_MS)
        return datagram;
    uint32_t zero = 0;
    const struct weir_datagram* empty = bpf_map_lookup_elem(&new_datagram, &zero);
    if (!first || !empty || bpf_map_update_elem(&datagrams, hash, empty, BPF_ANY) != 0)
        return NULL;
    datagram = bpf_map_lookup_elem(&datagrams, hash);
    if (datagram)
        datagram->began_ms = now_ms;
    return datagram;
}

/* Gives the packet its datagram's ports, or says why it goes no further. */
WEIR_STAGE weir_stage_fragment(struct weir_work* work) {
    const struct weir_balancer_head* head = work ? weir_head(work->half) : NULL;
    if (!work || !head)
        return WEIR_DROP_NO_CONFIGURATION;
    const bool is_first = work->packet.fragment_offset == 0;
    const bool last = !(work->packet.flags & WEIR_PACKET_MORE_FRAGMENTS);
    const uint32_t first = work->packet.fragment_offset / 8u;
    const uint32_t units = (weir_fragment_payload(&work->packet) + 7) / 8;
    const uint32_t end = first + units;
    const uint64_t hash = weir_fragment_hash(&head->hash_key, &work->packet);
    struct weir_datagram* datagram = weir_datagram_of(&hash, work->now_ns / 1000000, is_first);
    if (!datagram)
        return is_first ? WEIR_DROP_FRAGMENT_QUEUE_FULL : WEIR_UNDECIDED;
    if (datagram->poisoned || units > (WEIR_FRAGMENT_WORDS - 1) * 64)
        return WEIR_DROP_FRAGMENT_OVERLAP;
    /* The end of the datagram, where it is known, is the end. */
    uint32_t total = datagram->units_total;
    bool ends_differ = total != 0 && (end > total || (last && end != total));
    if (ends_differ || (last && end < datagram->units_reached)) {
        datagram->poisoned = 1;
        return WEIR_DROP_FRAGMENT_OVERLAP;
    }
    if (!weir_mark(datagram, first, units))
        return WEIR_DROP_FRAGMENT_OVERLAP;
    if (end > datagram->units_reached)
        datagram->units_reached = (uint16_t)end;
    if (last)
        datagram->units_total = (uint16_t)end;
    if (is_first) {
        datagram->source_port = work->packet.source_port;
        datagram->destination_port = work->packet.destination_port;
    } else {
        weir_packet_take_ports(&work->packet, datagram->source_port, datagram->destination_port);
    }
    if (datagram->units_total != 0 && datagram->units_seen == datagram->units_total)
        bpf_map_delete_elem(&datagrams, &hash);
    return WEIR_UNDECIDED;
}
