// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* IP headers of our own making, written whole: around an encapsulated packet (encap.h), on an
 * answer (answer.h), on a fragment (fragment_writer.h). */
#pragma once

#include "dataplane/forwarding/checksum.h"
#include "dataplane/forwarding/packet.h"

#define WEIR_V4_FLAG_DONT_FRAGMENT 0x4000u
#define WEIR_V4_FLAG_MORE_FRAGMENTS 0x2000u

#define WEIR_OWN_TTL 64u /* of every packet that starts its way here (RFC 1700) */

/* Without options. Host order but for the addresses. */
struct weir_v4_header {
    weir_be32 source;
    weir_be32 destination;
    uint16_t total; /* bytes, this header included */
    uint16_t id;
    uint16_t fragment; /* WEIR_V4_FLAG_* and the offset in units of 8 bytes */
    uint8_t tos;
    uint8_t protocol;
};

/* `at`: 20 bytes. */
WEIR_INLINE void weir_write_v4_header(uint8_t* at, const struct weir_v4_header* header) {
    /* As words, and summed before they are stored: a load that spans several stores waits. */
    weir_be32 word[3] = {
        0x45u | (uint32_t)header->tos << 8 | (uint32_t)weir_swap16(header->total) << 16,
        weir_swap16(header->id) | (uint32_t)weir_swap16(header->fragment) << 16,
        WEIR_OWN_TTL | (uint32_t)header->protocol << 8,
    };
    uint64_t sum = (uint64_t)word[0] + word[1] + word[2] + header->source + header->destination;
    uint16_t checksum = (uint16_t)~weir_checksum_fold(sum);
    weir_store64(at, word[0] | (uint64_t)word[1] << 32);
    weir_store64(at + 8, word[2] | (uint32_t)checksum << 16 | (uint64_t)header->source << 32);
    weir_store32(at + 16, header->destination);
}

/* Without extension headers. */
struct weir_v6_header {
    struct weir_address source;
    struct weir_address destination;
    uint32_t flow_label; /* 20 bits */
    uint16_t payload;    /* bytes behind this header */
    uint8_t traffic_class;
    uint8_t next_header;
};

/* `at`: 40 bytes. */
WEIR_INLINE void weir_write_v6_header(uint8_t* at, const struct weir_v6_header* header) {
    weir_store32(at, weir_swap32(0x60000000u | (uint32_t)header->traffic_class << 20 |
                                 (header->flow_label & 0xfffffu)));
    weir_store16(at + 4, weir_swap16(header->payload));
    at[6] = header->next_header;
    at[7] = WEIR_OWN_TTL;
    weir_store64(at + 8, header->source.word[0]);
    weir_store64(at + 16, header->source.word[1]);
    weir_store64(at + 24, header->destination.word[0]);
    weir_store64(at + 32, header->destination.word[1]);
}
