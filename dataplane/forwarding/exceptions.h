// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* State only where the hash cannot remember: what an unrecorded flow of a Maglev or source-hash
 * pool gets while the pool's table changes.
 *
 * A slot that gets another backend opens a window, which lasts as long as an idle flow may live.
 * Inside it the slot has two backends: the current one and the oldest, the one before the first
 * change of the window. A flow that begins goes to the current one and is recorded. A flow that is
 * not recorded and does not begin is older than the window, so the oldest is its own: it goes there
 * and is recorded, too. When the window closes, all that is alive and differs from the table is in
 * the connection table: the exceptions. Outside a window no flow needs an entry to be opened.
 */
#pragma once

#include "dataplane/forwarding/admit.h"
#include "dataplane/forwarding/connection_state.h"

/* QUIC version 1 (RFC 9000 section 17.2.2) and 2 (RFC 9369 section 3.2). */
#define WEIR_QUIC_V1 0x00000001u
#define WEIR_QUIC_V2 0x6b3343cfu
/* A client pads what carries its Initial to this much (RFC 9000 section 14.1). UDP payload, bytes.
 */
#define WEIR_QUIC_INITIAL_BYTES 1200u

/* A long header of type Initial: a QUIC connection begins. */
WEIR_INLINE bool weir_is_quic_initial(const uint8_t* data, const uint8_t* end,
                                      const struct weir_packet* packet) {
    uint32_t past = (uint32_t)packet->l3_offset + packet->l3_length;
    const uint8_t* payload = weir_at(data, end, packet->l4_offset + 8u, 5);
    if (packet->protocol != WEIR_IP_UDP ||
        (packet->flags & (WEIR_PACKET_FRAGMENT | WEIR_PACKET_ICMP_ERROR)) || !payload ||
        packet->l4_offset + 8u + WEIR_QUIC_INITIAL_BYTES > past)
        return false;
    uint32_t version = weir_swap32(weir_load32(payload + 1));
    uint8_t form = payload[0] & 0xf0; /* long header, fixed bit, type */
    return (version == WEIR_QUIC_V1 && form == 0xc0) || (version == WEIR_QUIC_V2 && form == 0xd0);
}

/* Does a flow begin with this packet, as far as one can see? Other UDP does not say. */
WEIR_INLINE bool weir_flow_begins(const uint8_t* data, const uint8_t* end,
                                  const struct weir_packet* packet) {
    return weir_packet_opens(packet) || weir_is_quic_initial(data, end, packet);
}

/* Does the oldest backend of a slot still take the flows it has? As it would those of the table. */
WEIR_INLINE bool weir_oldest_serves(const struct weir_vip_row* vip,
                                    const struct weir_backend_row* oldest) {
    return weir_admit_known(vip, oldest) == WEIR_KNOWN_FORWARD;
}

/* No flow of this VIP has an entry but those of before: only exceptions are recorded, and no slot
 * of its pool has changed of late. */
WEIR_INLINE bool weir_is_settled(const struct weir_vip_row* vip, const struct weir_pool_row* pool) {
    return (vip->flags & WEIR_VIP_EXCEPTIONS) && pool->elder_count == 0;
}

/* The pool's slots are looked up by the flow hash, and there are any. */
WEIR_INLINE bool weir_has_slots_of_flows(const struct weir_pool_row* pool) {
    return pool->scheduler == WEIR_SCHEDULE_MAGLEV && pool->slot_count != 0;
}

/* Nothing to learn from a packet that passes without an entry: it neither begins nor ends a
 * connection, and tells no tunnel's VIP where its clients are. */
WEIR_INLINE bool weir_says_nothing(const struct weir_packet* packet,
                                   const struct weir_vip_row* vip) {
    return packet->protocol == WEIR_IP_TCP
               ? (packet->tcp_flags & (WEIR_TCP_SYN | WEIR_TCP_FIN | WEIR_TCP_RST)) == 0
               : !weir_forward_encapsulates(vip->forward);
}

/* Seconds without a packet until an entry of this VIP is forgotten. One that was met on its way is
 * known to be a connection since long ago. */
WEIR_INLINE uint16_t weir_entry_timeout_s(const struct weir_vip_row* vip, uint8_t state) {
    if ((vip->flags & WEIR_VIP_EXCEPTIONS) && state == WEIR_STATE_MIDSTREAM)
        return vip->timeouts.established;
    return weir_state_timeout_s(state, &vip->timeouts);
}

/* A TCP connection whose end has not been seen: it goes on when its entry has become superfluous.
 */
WEIR_INLINE bool weir_goes_on_unrecorded(uint8_t state) {
    return weir_state_is_of(state, WEIR_STATE_BIT(WEIR_STATE_SYN_SEEN) |
                                       WEIR_STATE_BIT(WEIR_STATE_MIDSTREAM) |
                                       WEIR_STATE_BIT(WEIR_STATE_ESTABLISHED));
}

/* --- which flows may have an entry --------------------------------------------------------------
 *
 * One bit for each of 2^18 parts of the hash space, by the bits that also choose the Maglev slot,
 * so that a changed slot sets bits side by side. A bit may be set for nothing, which costs a
 * look-up.
 */

#define WEIR_EXCEPTION_BITS 18u
#define WEIR_EXCEPTION_WORDS ((1u << WEIR_EXCEPTION_BITS) / 64)

WEIR_INLINE uint32_t weir_exception_word(uint64_t flow_hash) {
    return (weir_hash_table_bits(flow_hash) >> (32 - WEIR_EXCEPTION_BITS)) / 64;
}

WEIR_INLINE uint64_t weir_exception_bit(uint64_t flow_hash) {
    return (uint64_t)1 << ((weir_hash_table_bits(flow_hash) >> (32 - WEIR_EXCEPTION_BITS)) % 64);
}
