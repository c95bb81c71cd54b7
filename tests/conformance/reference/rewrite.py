# SPDX-License-Identifier: BSD-3-Clause
"""The bytes a packet leaves with."""

from __future__ import annotations

from .hashes import changed
from .packet import TCP, Packet


def from_l3(packet: Packet, l3: bytes, link: bytes) -> bytes:
    """A frame around an IP packet; what was behind the packet in its frame (padding) stays behind it."""
    return link + packet.ethertype.to_bytes(2, "big") + l3 + packet.frame[packet.end:]


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


