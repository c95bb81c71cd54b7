// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The Internet checksum (RFC 1071) and its incremental update (RFC 1624).
 *
 * Sums are taken over 16-bit words as loaded, without swapping: the ones'-complement sum does not
 * depend on byte order. Updates are incremental, so a packet that came in with a wrong checksum
 * leaves with a wrong one: corruption is never repaired.
 */
#pragma once

#include "dataplane/forwarding/base.h"

/* A word and itself with its halves exchanged add up, in the upper half, to the sum of the halves
 * and the carry of that sum. */
WEIR_INLINE uint16_t weir_checksum_fold(uint64_t sum) {
    sum += sum >> 32 | sum << 32;
    uint32_t half = (uint32_t)(sum >> 32);
    half += half >> 16 | half << 16;
    return (uint16_t)(half >> 16);
}

/* RFC 1624 equation 3: HC' = ~(~HC + ~m + m'). `delta` is the sum of all (~m + m') terms. */
WEIR_INLINE uint16_t weir_checksum_apply(uint16_t checksum, uint64_t delta) {
    return (uint16_t)~weir_checksum_fold((uint64_t)(uint16_t)~checksum + delta);
}

WEIR_INLINE uint64_t weir_checksum_delta16(uint16_t from, uint16_t to) {
    return (uint64_t)(uint16_t)~from + to;
}

WEIR_INLINE uint64_t weir_checksum_delta32(uint32_t from, uint32_t to) {
    return (uint64_t)(uint32_t)~from + to;
}

WEIR_INLINE uint64_t weir_checksum_delta64(uint64_t from, uint64_t to) {
    return weir_checksum_delta32((uint32_t)from, (uint32_t)to) +
           weir_checksum_delta32((uint32_t)(from >> 32), (uint32_t)(to >> 32));
}

/* The change that replacing one address by another makes, for either family. */
WEIR_INLINE uint64_t weir_checksum_delta_address(const struct weir_address* from,
                                                 const struct weir_address* to) {
    return weir_checksum_delta64(from->word[0], to->word[0]) +
           weir_checksum_delta64(from->word[1], to->word[1]);
}
