// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* Which datagram a fragment is of, and which worker follows that datagram.
 *
 * Only the first fragment carries ports, so all fragments of a datagram meet at one worker, found
 * from what they all carry. It lends the first one's ports to the later ones; from there each
 * travels like a packet of its connection (packet.h). The identity is a keyed 64-bit hash of
 * source, destination, protocol and id: nobody outside can make two datagrams collide. */
#pragma once

#include "dataplane/forwarding/packet.h"
#include "dataplane/forwarding/select.h"

/* A fragment of TCP or UDP whose datagram is followed. Others are the kernel's. */
WEIR_INLINE bool weir_fragment_is_followed(const struct weir_packet* packet) {
    return (packet->flags & WEIR_PACKET_FRAGMENT) &&
           (packet->protocol == WEIR_IP_TCP || packet->protocol == WEIR_IP_UDP);
}

/* Later fragments of IPv6 name the protocol in their fragment header's next-header field, like the
 * first (RFC 8200 section 4.5). */
WEIR_INLINE uint64_t weir_fragment_hash(const struct weir_hash_key* key,
                                        const struct weir_packet* packet) {
    struct weir_address source = weir_packet_source(packet);
    struct weir_address destination = weir_packet_destination(packet);
    uint64_t word[5];
    word[0] = source.word[0];
    word[1] = source.word[1];
    word[2] = destination.word[0];
    word[3] = destination.word[1];
    word[4] = (uint64_t)packet->fragment_id | ((uint64_t)packet->protocol << 32) |
              ((uint64_t)packet->family << 40) | ((uint64_t)38 << 56);
    return weir_siphash13(key, word, 5);
}

WEIR_INLINE uint32_t weir_owner_of_datagram(uint64_t fragment_hash, uint32_t workers) {
    return weir_owner_of_flow(fragment_hash, workers);
}

/* Bytes of the datagram's payload that this fragment holds. */
WEIR_INLINE uint32_t weir_fragment_payload(const struct weir_packet* packet) {
    return (uint32_t)packet->l3_offset + packet->l3_length - packet->l4_offset;
}
