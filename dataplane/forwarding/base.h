// SPDX-License-Identifier: (BSD-3-Clause OR GPL-2.0-only)
/* The ground every shared header stands on: integer types, byte order, bounded packet access.
 *
 * These headers compile as C17, C++20 and `clang -target bpf`. They use no libc, no DPDK and no BPF
 * helper, and keep no state. Loads and one compiler barrier are the only things that differ between
 * the targets, and they differ here and nowhere else.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "weir's packet code is written for little-endian hosts (x86-64, little-endian BPF)"
#endif

#define WEIR_INLINE static inline __attribute__((always_inline, unused))

#ifdef __cplusplus
#define WEIR_STATIC_ASSERT(condition, sentence) static_assert(condition, sentence)
#else
#define WEIR_STATIC_ASSERT(condition, sentence) _Static_assert(condition, sentence)
#endif

/* Values as they stand in a packet, most significant byte first. */
typedef uint16_t weir_be16;
typedef uint32_t weir_be32;

WEIR_INLINE uint16_t weir_swap16(uint16_t value) {
    return __builtin_bswap16(value);
}

WEIR_INLINE uint32_t weir_swap32(uint32_t value) {
    return __builtin_bswap32(value);
}

/* Packets are read at any alignment. In BPF a memcpy becomes byte loads (three times the verified
 * instructions), so there the loads are typed; packet data starts 2-byte aligned and the kernel
 * runs on machines that allow unaligned access. */
#ifdef __bpf__
WEIR_INLINE uint16_t weir_load16(const void* at) {
    return *(const uint16_t*)at;
}
WEIR_INLINE uint32_t weir_load32(const void* at) {
    return *(const uint32_t*)at;
}
WEIR_INLINE uint64_t weir_load64(const void* at) {
    return *(const uint64_t*)at;
}
WEIR_INLINE void weir_store16(void* at, uint16_t value) {
    *(uint16_t*)at = value;
}
WEIR_INLINE void weir_store32(void* at, uint32_t value) {
    *(uint32_t*)at = value;
}
WEIR_INLINE void weir_store64(void* at, uint64_t value) {
    *(uint64_t*)at = value;
}
#else
WEIR_INLINE uint16_t weir_load16(const void* at) {
    uint16_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
}
WEIR_INLINE uint32_t weir_load32(const void* at) {
    uint32_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
}
WEIR_INLINE uint64_t weir_load64(const void* at) {
    uint64_t value;
    __builtin_memcpy(&value, at, sizeof(value));
    return value;
}
WEIR_INLINE void weir_store16(void* at, uint16_t value) {
    __builtin_memcpy(at, &value, sizeof(value));
}
WEIR_INLINE void weir_store32(void* at, uint32_t value) {
    __builtin_memcpy(at, &value, sizeof(value));
}
WEIR_INLINE void weir_store64(void* at, uint64_t value) {
    __builtin_memcpy(at, &value, sizeof(value));
}
#endif

/* A byte read again, however well the compiler remembers it. The BPF verifier narrows a value with
 * each comparison and follows every outcome to the end; a fresh copy for a loop's own bounds keeps
 * the value that the rest of the program uses whole (a tenth of the verified instructions). */
WEIR_INLINE uint8_t weir_load8_fresh(const void* at) {
    return *(const volatile uint8_t*)at;
}

/* Keeps the compiler from reasoning about `value`. Clang proves bounds and then drops the very
 * check the verifier wants to see; a value that went through here is checked in the object code. */
#ifdef __bpf__
#define WEIR_OPAQUE(value) __asm__ volatile("" : "+r"(value))
#else
#define WEIR_OPAQUE(value) ((void)(value))
#endif

/* The largest offset into a packet that is ever used. The mask gives the verifier its bound. */
#define WEIR_OFFSET_MASK 0x3fffu

/* The one way into a packet: `size` bytes at `offset`, or null when they are not all there.
 * `offset` above the mask wraps, so callers keep real offsets below it (the parser checks). */
WEIR_INLINE const uint8_t* weir_at(const uint8_t* data, const uint8_t* end, uint32_t offset,
                                   uint32_t size) {
    uint64_t bounded = offset;
    WEIR_OPAQUE(bounded);
    bounded &= WEIR_OFFSET_MASK;
    const uint8_t* at = data + bounded;
    if (at + size > end)
        return NULL;
    return at;
}

WEIR_INLINE uint8_t* weir_at_mutable(uint8_t* data, const uint8_t* end, uint32_t offset,
                                     uint32_t size) {
    uint64_t bounded = offset;
    WEIR_OPAQUE(bounded);
    bounded &= WEIR_OFFSET_MASK;
    uint8_t* at = data + bounded;
    if (at + size > end)
        return NULL;
    return at;
}

/* An IPv4 or IPv6 address in network byte order. IPv4 is kept v4-mapped (::ffff:a.b.c.d, RFC 4291
 * section 2.5.5.2), so one 16-byte key serves both families. */
struct weir_address {
    uint64_t word[2];
};
WEIR_STATIC_ASSERT(sizeof(struct weir_address) == 16, "an address is 16 bytes");

#define WEIR_V4_MAPPED_PREFIX 0xffff0000u /* bytes 8..11 of ::ffff:0:0, as loaded */

WEIR_INLINE struct weir_address weir_address_from_v4(weir_be32 address) {
    struct weir_address mapped;
    mapped.word[0] = 0;
    mapped.word[1] = ((uint64_t)address << 32) | WEIR_V4_MAPPED_PREFIX;
    return mapped;
}

WEIR_INLINE bool weir_address_is_v4(const struct weir_address* address) {
    return address->word[0] == 0 && (uint32_t)address->word[1] == WEIR_V4_MAPPED_PREFIX;
}

WEIR_INLINE weir_be32 weir_address_v4(const struct weir_address* address) {
    return (weir_be32)(address->word[1] >> 32);
}

WEIR_INLINE bool weir_address_equal(const struct weir_address* a, const struct weir_address* b) {
    return a->word[0] == b->word[0] && a->word[1] == b->word[1];
}
