// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* SipHash-1-3, keyed with a 128-bit secret (Aumasson and Bernstein, 2012): nobody outside can aim
 * flows at one backend, one worker or one bucket. The only flow hash in the project.
 *
 * The input is given as 64-bit little-endian words whose last one holds the remaining 0..7 bytes
 * and, in its top byte, the length: exactly SipHash's own final block, so the parser can emit the
 * words directly and a plain loop over packets vectorises.
 */
#pragma once

#include "dataplane/forwarding/base.h"

struct weir_hash_key {
    uint64_t k0, k1;
};

WEIR_INLINE uint64_t weir_rotate_left(uint64_t value, unsigned bits) {
    return (value << bits) | (value >> (64 - bits));
}

struct weir_sip_state {
    uint64_t v0, v1, v2, v3;
};

WEIR_INLINE void weir_sip_round(struct weir_sip_state* s) {
    s->v0 += s->v1;
    s->v1 = weir_rotate_left(s->v1, 13) ^ s->v0;
    s->v0 = weir_rotate_left(s->v0, 32);
    s->v2 += s->v3;
    s->v3 = weir_rotate_left(s->v3, 16) ^ s->v2;
    s->v0 += s->v3;
    s->v3 = weir_rotate_left(s->v3, 21) ^ s->v0;
    s->v2 += s->v1;
    s->v1 = weir_rotate_left(s->v1, 17) ^ s->v2;
    s->v2 = weir_rotate_left(s->v2, 32);
}

/* SipHash-1-3 of `count` words, the last of which carries the length. `count` is a constant where
 * it matters (2 for IPv4 tuples, 5 for IPv6). */
WEIR_INLINE uint64_t weir_siphash13(const struct weir_hash_key* key, const uint64_t* words,
                                    unsigned count) {
    struct weir_sip_state s = {
        key->k0 ^ 0x736f6d6570736575u,
        key->k1 ^ 0x646f72616e646f6du,
        key->k0 ^ 0x6c7967656e657261u,
        key->k1 ^ 0x7465646279746573u,
    };
    for (unsigned i = 0; i < count; i++) {
        s.v3 ^= words[i];
        weir_sip_round(&s);
        s.v0 ^= words[i];
    }
    s.v2 ^= 0xff;
    weir_sip_round(&s);
    weir_sip_round(&s);
    weir_sip_round(&s);
    return s.v0 ^ s.v1 ^ s.v2 ^ s.v3;
}
