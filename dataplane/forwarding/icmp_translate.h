// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* An ICMP error about a NAT connection, made to speak of the packet as the receiver of the error
 * sent it (RFC 5508 section 4.2): outer addresses, the quoted packet's
 * addresses and ports, and every checksum over them.
 *
 * All updates are incremental: an error that came in damaged, or quotes a damaged packet, leaves
 * so.
 */
#pragma once

#include "dataplane/forwarding/rewrite.h"

/* The address an error itself comes from; packet->flow has only the quoted packet's. */
WEIR_INLINE struct weir_address weir_icmp_error_source(const uint8_t* data, const uint8_t* end,
                                                       const struct weir_packet* packet) {
    struct weir_address source = {{0, 0}};
    const uint8_t* header = weir_at(data, end, packet->l3_offset, WEIR_V4_BYTES);
    if (!header)
        return source;
    if (packet->family == 4)
        return weir_address_from_v4(weir_load32(header + 12));
    header = weir_at(data, end, packet->l3_offset, WEIR_V6_BYTES);
    if (!header)
        return source;
    source.word[0] = weir_load64(header + 8);
    source.word[1] = weir_load64(header + 16);
    return source;
}

/* What the quote's changes add to the ICMP checksum, collected while they are written. */
struct weir_quote_changes {
    uint64_t pseudo; /* addresses and ports: what L4 checksums of the quoted packet cover */
    uint64_t icmp;
};

WEIR_INLINE void weir_quote_store16(uint8_t* at, uint16_t value,
                                    struct weir_quote_changes* changes) {
    changes->icmp += weir_checksum_delta16(weir_load16(at), value);
    weir_store16(at, value);
}

WEIR_INLINE bool weir_translate_quoted_v4(uint8_t* data, const uint8_t* end,
                                          const struct weir_packet* packet,
                                          const struct weir_translation* to,
                                          struct weir_quote_changes* changes) {
    uint8_t* header = weir_at_mutable(data, end, packet->quoted_offset, WEIR_V4_BYTES);
    if (!header)
        return false;
    weir_be32 source = weir_address_v4(&to->source);
    weir_be32 destination = weir_address_v4(&to->destination);
    changes->pseudo = weir_checksum_delta32(weir_load32(header + 12), source) +
                      weir_checksum_delta32(weir_load32(header + 16), destination);
    changes->icmp = changes->pseudo;
    weir_store32(header + 12, source);
    weir_store32(header + 16, destination);
    weir_quote_store16(header + 10, weir_checksum_apply(weir_load16(header + 10), changes->pseudo),
                       changes);
    return true;
}

WEIR_INLINE bool weir_translate_quoted_v6(uint8_t* data, const uint8_t* end,
                                          const struct weir_packet* packet,
                                          const struct weir_translation* to,
                                          struct weir_quote_changes* changes) {
    uint8_t* header = weir_at_mutable(data, end, packet->quoted_offset, WEIR_V6_BYTES);
    if (!header)
        return false;
    struct weir_address source = {{weir_load64(header + 8), weir_load64(header + 16)}};
    struct weir_address destination = {{weir_load64(header + 24), weir_load64(header + 32)}};
    changes->pseudo = weir_checksum_delta_address(&source, &to->source) +
                      weir_checksum_delta_address(&destination, &to->destination);
    changes->icmp = changes->pseudo;
    weir_store64(header + 8, to->source.word[0]);
    weir_store64(header + 16, to->source.word[1]);
    weir_store64(header + 24, to->destination.word[0]);
    weir_store64(header + 32, to->destination.word[1]);
    return true;
}

/* Ports, and the L4 checksum where the quote reaches that far: a UDP checksum always does, a TCP
 * checksum need not (RFC 792 asks for 8 bytes). Behind the IP packet there may be padding, which is
 * not the quote's. */
WEIR_INLINE bool weir_translate_quoted_l4(uint8_t* data, const uint8_t* end,
                                          const struct weir_packet* packet,
                                          const struct weir_translation* to,
                                          struct weir_quote_changes* changes) {
    uint8_t* header = weir_at_mutable(data, end, packet->quoted_l4_offset, 8);
    if (!header)
        return false;
    uint64_t ports = weir_checksum_delta16(weir_load16(header), to->source_port) +
                     weir_checksum_delta16(weir_load16(header + 2), to->destination_port);
    changes->pseudo += ports;
    changes->icmp += ports;
    weir_store16(header, to->source_port);
    weir_store16(header + 2, to->destination_port);
    if (packet->protocol == WEIR_IP_UDP) {
        uint16_t checksum = weir_load16(header + 6);
        if (checksum == 0)
            return true;
        checksum = weir_checksum_apply(checksum, changes->pseudo);
        weir_quote_store16(header + 6, checksum ? checksum : 0xffff, changes);
        return true;
    }
    uint32_t past = (uint32_t)packet->l3_offset + packet->l3_length;
    uint8_t* checksum = weir_at_mutable(data, end, packet->quoted_l4_offset + 16u, 2);
    if (checksum && packet->quoted_l4_offset + 18u <= past)
        weir_quote_store16(checksum, weir_checksum_apply(weir_load16(checksum), changes->pseudo),
                           changes);
    return true;
}

/* The outer header; adds what the ICMPv6 pseudo header changes by. */
WEIR_INLINE enum weir_verdict weir_translate_error_header(uint8_t* data, const uint8_t* end,
                                                          const struct weir_packet* packet,
                                                          const struct weir_translation* outer,
                                                          struct weir_quote_changes* changes) {
    if (packet->family == 4) /* ICMP has no pseudo header */
        return weir_write_v4_addresses(data, end, packet, outer);
    const uint8_t* header = weir_at(data, end, packet->l3_offset, WEIR_V6_BYTES);
    if (!header)
        return WEIR_DROP_TRUNCATED;
    struct weir_address source = {{weir_load64(header + 8), weir_load64(header + 16)}};
    struct weir_address destination = {{weir_load64(header + 24), weir_load64(header + 32)}};
    changes->icmp += weir_checksum_delta_address(&source, &outer->source) +
                     weir_checksum_delta_address(&destination, &outer->destination);
    return weir_write_v6_addresses(data, end, packet, outer);
}

/* `packet` is a WEIR_PACKET_ICMP_ERROR. The error leaves with the outer addresses given, one hop
 * older; `quoted` is the tuple its quote shows then, in the quoted packet's own direction (not
 * turned round as packet->flow is). What could not live past this hop is dropped unchanged. */
WEIR_INLINE enum weir_verdict
weir_translate_icmp_error(uint8_t* data, const uint8_t* end, const struct weir_packet* packet,
                          const struct weir_address* outer_source,
                          const struct weir_address* outer_destination,
                          const struct weir_translation* quoted) {
    if (packet->ttl <= 1)
        return WEIR_DROP_TTL_EXPIRED;
    uint8_t* icmp = weir_at_mutable(data, end, packet->l4_offset, 8);
    if (!icmp || !weir_at(data, end, packet->quoted_l4_offset, 8))
        return WEIR_DROP_TRUNCATED;
    struct weir_quote_changes changes;
    changes.pseudo = 0;
    changes.icmp = 0;
    bool addresses = packet->family == 4
                         ? weir_translate_quoted_v4(data, end, packet, quoted, &changes)
                         : weir_translate_quoted_v6(data, end, packet, quoted, &changes);
    if (!addresses || !weir_translate_quoted_l4(data, end, packet, quoted, &changes))
        return WEIR_DROP_TRUNCATED;
    struct weir_translation outer;
    outer.source = *outer_source;
    outer.destination = *outer_destination;
    outer.source_port = 0;
    outer.destination_port = 0;
    enum weir_verdict verdict = weir_translate_error_header(data, end, packet, &outer, &changes);
    if (verdict != WEIR_UNDECIDED)
        return verdict;
    weir_store16(icmp + 2, weir_checksum_apply(weir_load16(icmp + 2), changes.icmp));
    return WEIR_UNDECIDED;
}
