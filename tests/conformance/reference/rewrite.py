# SPDX-License-Identifier: BSD-3-Clause
"""The bytes a packet leaves with."""

from __future__ import annotations

from .hashes import changed, checksum
from .packet import TCP, Packet


def translate(packet: Packet, source: bytes, destination: bytes, source_port: int, destination_port: int) -> bytes:
    """The IP packet with another tuple, one hop further. Checksums change by what changed, so a wrong one stays wrong."""
    frame, at, l4 = packet.frame, packet.l3, packet.l4
    old = packet.source + packet.destination
    new = source + destination
    if packet.family == 4:
        head = bytearray(frame[at:l4])
        ttl_word = bytes(head[8:10])
        head[8] -= 1
        sum_ = changed(head[10] << 8 | head[11], old + ttl_word, new + bytes(head[8:10]))
        head[10:12] = sum_.to_bytes(2, "big")
        head[12:20] = new
    else:
        head = bytearray(frame[at:l4])
        head[7] -= 1
        head[8:40] = new
    if packet.later:
        return bytes(head) + frame[l4:packet.end]
    ports = source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
    old += frame[l4:l4 + 4]
    new += ports
    if packet.protocol == TCP:
        before = frame[l4 + 16] << 8 | frame[l4 + 17]
        body = ports + frame[l4 + 4:l4 + 16] + changed(before, old, new).to_bytes(2, "big") + frame[l4 + 18:packet.end]
    else:
        before = frame[l4 + 6] << 8 | frame[l4 + 7]
        sum_ = (changed(before, old, new) or 0xFFFF) if before else 0
        body = ports + frame[l4 + 4:l4 + 6] + sum_.to_bytes(2, "big") + frame[l4 + 8:packet.end]
    return bytes(head) + body


def plain(packet: Packet) -> bytes:
    return packet.frame[packet.l3:packet.end]




def translate_error(packet: Packet, speaker: bytes | None, source: bytes, destination: bytes, source_port: int,
                    port: int) -> bytes:
    """An ICMP error with the addresses it leaves with; its quote shows the packet as the error's receiver sent it
    (RFC 5508, 4.2): from `destination` to `source`. Checksums by what changed."""
    frame, at, quoted, l4 = packet.frame, packet.l3, packet.quoted, packet.quoted_l4
    v4 = packet.family == 4
    size, where = (4, 12) if v4 else (16, 8)
    came = frame[at + where:at + where + 2 * size]
    leaves = (came[:size] if speaker is None else speaker) + destination
    old_quote = bytearray(frame[quoted:packet.end])
    quote = bytearray(old_quote)
    shown = destination + source
    l4 -= quoted
    quote[where:where + 2 * size] = shown
    if v4:
        before = int.from_bytes(quote[10:12], "big")
        quote[10:12] = changed(before, bytes(old_quote[12:20]), shown).to_bytes(2, "big")
    quote[l4:l4 + 4] = port.to_bytes(2, "big") + source_port.to_bytes(2, "big")
    old = bytes(old_quote[where:where + 2 * size] + old_quote[l4:l4 + 4])
    new = shown + bytes(quote[l4:l4 + 4])
    sum_at = l4 + (16 if packet.protocol == TCP else 6)
    before = int.from_bytes(quote[sum_at:sum_at + 2], "big")
    if sum_at + 2 <= len(quote) and (before or packet.protocol == TCP):
        fixed = changed(before, old, new)
        quote[sum_at:sum_at + 2] = ((fixed or 0xFFFF) if packet.protocol != TCP else fixed).to_bytes(2, "big")
    head = bytearray(frame[at:packet.l4])
    ttl_at = 8 if v4 else 7
    ttl_word = bytes(head[8:10])
    head[ttl_at] -= 1
    head[where:where + 2 * size] = leaves
    if v4:
        before = head[10] << 8 | head[11]
        head[10:12] = changed(before, came + ttl_word, leaves + bytes(head[8:10])).to_bytes(2, "big")
    icmp = bytearray(frame[packet.l4:quoted])
    odd = b"\0" * (len(quote) % 2)
    old, new = bytes(old_quote) + odd, bytes(quote) + odd
    if not v4:
        old, new = came + old, leaves + new
    icmp[2:4] = changed(icmp[2] << 8 | icmp[3], old, new).to_bytes(2, "big")
    return bytes(head + icmp + quote)


def cut(l3: bytes, mtu: int) -> list[bytes]:
    """RFC 791: pieces that fit; all but the last a multiple of 8. Options that are not to be copied become no-operations
    in the later ones, so that headers stay of one length. Nothing, when not even 8 bytes fit."""
    size = (l3[0] & 15) * 4
    room = (mtu - size) // 8 * 8
    if room <= 0:
        return []
    payload, word = l3[size:], int.from_bytes(l3[6:8], "big")
    pieces = []
    for at in range(0, len(payload), room):
        part = payload[at:at + room]
        head = bytearray(l3[:size])
        if at:
            head[20:size] = _copied_options(l3[20:size])
        more = word & 0x2000 or (0x2000 if at + room < len(payload) else 0)
        head[2:4] = (size + len(part)).to_bytes(2, "big")
        head[6:8] = (word & 0xC000 | more | (word & 0x1FFF) + at // 8).to_bytes(2, "big")
        head[10:12] = b"\0\0"
        head[10:12] = checksum(bytes(head)).to_bytes(2, "big")
        pieces.append(bytes(head) + part)
    return pieces


def _copied_options(options: bytes) -> bytes:
    kept, at = bytearray(options), 0
    while at < len(options) and options[at]:
        length = 1 if options[at] == 1 else options[at + 1]
        if not options[at] & 0x80:
            kept[at:at + length] = b"\x01" * length
        at += length
    return bytes(kept)
