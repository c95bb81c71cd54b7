# SPDX-License-Identifier: BSD-3-Clause
"""Frames built fast, for random sequences."""

from __future__ import annotations

from struct import pack

from reference.hashes import fold

ROUTER_MACS = (b"\x02\0\0\0\0\x01", b"\x02\0\0\0\0\x02")
OUR_MAC = b"\x02\0\0\0\0\xaa"


def ethernet(source: bytes, ethertype: int, vlan: int | None = None) -> bytes:
    tag = b"" if vlan is None else pack(">HH", 0x8100, vlan)
    return OUR_MAC + source + tag + pack(">H", ethertype)


def ip(source: bytes, destination: bytes, protocol: int, body: bytes, ttl: int = 64, tos: int = 0, ident: int = 1,
       fragment: int = 0x4000, options: bytes = b"") -> bytes:
    """Either family, by the addresses; `fragment` is IPv4's word of flags and offset."""
    if len(source) == 16:
        return pack(">IHBB16s16s", 6 << 28 | tos << 20, len(body), protocol, ttl, source, destination) + body
    header = pack(">BBHHHBBH4s4s", 0x45 + len(options) // 4, tos, 20 + len(options) + len(body), ident, fragment, ttl,
                  protocol, 0, source, destination) + options
    right = 0xFFFF - fold(int.from_bytes(header, "big"))
    return header[:10] + right.to_bytes(2, "big") + header[12:] + body


def _sum(source: bytes, destination: bytes, protocol: int, l4: bytes) -> int:
    odd = b"\0" if len(l4) & 1 else b""
    number = int.from_bytes(l4 + odd, "big") + int.from_bytes(source + destination, "big") + protocol + len(l4)
    return 0xFFFF - fold(number)


def tcp(source: bytes, destination: bytes, source_port: int, destination_port: int, flags: int, body: bytes = b"",
        options: bytes = b"", sequence: int = 1, acknowledged: int = 2) -> bytes:
    head = pack(">HHIIBBH", source_port, destination_port, sequence, acknowledged, (5 + len(options) // 4) << 4, flags, 4096)
    rest = b"\0\0" + options + body
    right = _sum(source, destination, 6, head + b"\0\0" + rest)
    return head + right.to_bytes(2, "big") + rest


def udp(source: bytes, destination: bytes, source_port: int, destination_port: int, body: bytes = b"",
        checksum: bool = True) -> bytes:
    head = pack(">HHH", source_port, destination_port, 8 + len(body))
    right = (_sum(source, destination, 17, head + b"\0\0" + body) or 0xFFFF) if checksum else 0
    return head + right.to_bytes(2, "big") + body


def icmp(source: bytes, destination: bytes, kind: int, code: int, word: int, quote: bytes) -> bytes:
    """ICMP or ICMPv6, by the addresses."""
    message = pack(">BBHI", kind, code, 0, word) + quote
    if len(source) == 16:
        right = _sum(source, destination, 58, message)
    else:
        right = 0xFFFF - fold(int.from_bytes(message + (b"\0" if len(message) & 1 else b""), "big"))
    return message[:2] + right.to_bytes(2, "big") + message[4:]


def fragment_header(following: int, offset: int, more: bool, ident: int) -> bytes:
    return pack(">BBHI", following, 0, offset | more, ident)
