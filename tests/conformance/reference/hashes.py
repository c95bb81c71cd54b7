# SPDX-License-Identifier: BSD-3-Clause
"""SipHash-1-3, Maglev tables and the Internet checksum, each the slow way."""

from __future__ import annotations

from functools import lru_cache

MASK = 0xFFFFFFFFFFFFFFFF


def _round(v0: int, v1: int, v2: int, v3: int) -> tuple[int, int, int, int]:
    v0 = (v0 + v1) & MASK
    v1 = ((v1 << 13) & MASK | v1 >> 51) ^ v0
    v0 = (v0 << 32) & MASK | v0 >> 32
    v2 = (v2 + v3) & MASK
    v3 = ((v3 << 16) & MASK | v3 >> 48) ^ v2
    v0 = (v0 + v3) & MASK
    v3 = ((v3 << 21) & MASK | v3 >> 43) ^ v0
    v2 = (v2 + v1) & MASK
    v1 = ((v1 << 17) & MASK | v1 >> 47) ^ v2
    v2 = (v2 << 32) & MASK | v2 >> 32
    return v0, v1, v2, v3


def siphash13(key: tuple[int, int], data: bytes) -> int:
    """Aumasson and Bernstein's SipHash with one compression and three finalisation rounds."""
    v0 = key[0] ^ 0x736F6D6570736575
    v1 = key[1] ^ 0x646F72616E646F6D
    v2 = key[0] ^ 0x6C7967656E657261
    v3 = key[1] ^ 0x7465646279746573
    whole = len(data) // 8 * 8
    last = data[whole:].ljust(7, b"\0") + bytes([len(data) & 0xFF])
    for at in range(0, whole + 8, 8):
        word = int.from_bytes(data[at:at + 8] if at < whole else last, "little")
        v0, v1, v2, v3 = _round(v0, v1, v2, v3 ^ word)
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        v0, v1, v2, v3 = _round(v0, v1, v2, v3)
    return v0 ^ v1 ^ v2 ^ v3


# Where a backend's walk through the table starts and how far it strides: the words "weirbackmaglev.." in ASCII.
START_KEY = (int.from_bytes(b"weirmagl", "little"), int.from_bytes(b"ev1a", "little"))
STRIDE_KEY = (int.from_bytes(b"weirmagl", "little"), int.from_bytes(b"ev1b", "little"))


def identity(address: bytes, port: int) -> tuple[int, int]:
    """A backend's place in every Maglev table: of its address (IPv4 as ::ffff:a.b.c.d) and port alone."""
    whole = address if len(address) == 16 else b"\0" * 10 + b"\xff\xff" + address
    text = whole + port.to_bytes(2, "big")
    return siphash13(START_KEY, text), siphash13(STRIDE_KEY, text)


@lru_cache(maxsize=256)
def maglev(backends: tuple[tuple[int, int, int], ...], size: int) -> tuple[int | None, ...]:
    """Eisenbud et al., NSDI 2016, with turns by weight: who has gathered a whole turn takes one slot.

    `backends` are (start, stride, weight); gives the index into them per slot, None without any weight.
    """
    order = sorted((i for i in range(len(backends)) if backends[i][2]), key=lambda i: backends[i])
    slots: list[int | None] = [None] * size
    if not order:
        return tuple(slots)
    turn = max(backends[i][2] for i in order)
    gathered = {i: turn // 2 for i in order}  # half a turn ahead: shares round to the nearest slot
    position = {i: backends[i][0] % size for i in order}
    left = size
    while True:
        for i in order:
            gathered[i] += backends[i][2]
            if gathered[i] < turn:
                continue
            gathered[i] -= turn
            stride = backends[i][1] % (size - 1) + 1
            while slots[position[i]] is not None:
                position[i] = (position[i] + stride) % size
            slots[position[i]] = i
            left -= 1
            if not left:
                return tuple(slots)


def slot_of(flow_hash: int, size: int) -> int:
    """The low 32 bits of a flow hash, spread over `size` slots."""
    return ((flow_hash & 0xFFFFFFFF) * size) >> 32


def total(data: bytes) -> int:
    """The ones' complement sum of 16-bit words, as a number to add to: 65536 is 1 modulo 65535."""
    if len(data) & 1:
        data += b"\0"
    return int.from_bytes(data, "big")


def fold(number: int) -> int:
    """A sum folded into 16 bits; only a sum of nothing but zeros is 0."""
    return (number % 65535 or 65535) if number else 0


def checksum(data: bytes) -> int:
    """RFC 1071."""
    return 0xFFFF - fold(total(data))


def changed(before: int, old: bytes, new: bytes) -> int:
    """RFC 1624: the checksum field after `old` became `new` (the same even number of bytes)."""
    inverted = int.from_bytes(old, "big") ^ ((1 << 8 * len(old)) - 1)
    return 0xFFFF - fold((before ^ 0xFFFF) + inverted + int.from_bytes(new, "big"))
