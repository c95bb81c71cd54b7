# SPDX-License-Identifier: BSD-3-Clause
"""What a frame says. `parse` gives a Packet; `drop` is set when it cannot be read as what it claims to be, `defect` when it
can but is unfit for a VIP (it may still be the kernel's business)."""

from __future__ import annotations

from struct import unpack_from

from .hashes import fold

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
HOP_BY_HOP, ROUTING, FRAGMENT, DESTINATION = 0, 43, 44, 60
MOST_EXTENSIONS = 4
V4_MAPPED = b"\0" * 10 + b"\xff\xff"


class Packet:
    """Offsets are from the frame's start."""

    __slots__ = ("frame", "drop", "defect", "vlan", "ethertype", "family", "l3", "l4", "end", "length", "protocol", "ttl",
                 "source", "destination", "source_port", "destination_port", "ports", "flags", "icmp_type", "fragment",
                 "later", "more", "offset", "id", "dont_fragment", "quoted", "quoted_l4", "icmp_error", "room", "tunnel_error")

    def __init__(self, frame: bytes) -> None:
        self.frame = frame
        self.drop: str | None = None
        self.defect: str | None = None
        self.vlan: int | None = None
        self.ethertype = self.family = self.l3 = self.l4 = self.end = self.length = self.protocol = self.ttl = 0
        self.source = self.destination = b""
        self.source_port = self.destination_port = 0
        self.ports = False
        self.flags: int | None = None  # TCP
        self.icmp_type = -1
        self.fragment = self.later = self.more = self.dont_fragment = self.icmp_error = self.tunnel_error = False
        self.offset = self.id = self.quoted = self.quoted_l4 = self.room = 0

    def note(self, defect: str) -> None:
        if self.defect is None:
            self.defect = defect


def parse(frame: bytes) -> Packet:
    packet = Packet(frame)
    packet.drop = _ethernet(packet)
    return packet


def _ethernet(packet: Packet) -> str | None:
    frame = packet.frame
    if len(frame) < 14:
        return "drop_truncated"
    packet.ethertype = frame[12] << 8 | frame[13]
    packet.l3 = 14
    if packet.ethertype in (0x8100, 0x88A8):
        if len(frame) < 18:
            return "drop_truncated"
        packet.vlan, packet.ethertype = unpack_from(">HH", frame, 14)
        if packet.vlan == 0xFFFF:  # reserved; the tag stays one, less its drop eligible bit
            packet.vlan = 0xEFFF
        packet.l3 = 18
    if packet.ethertype == 0x0800:
        problem = _v4(packet)
    elif packet.ethertype == 0x86DD:
        problem = _v6(packet)
    else:
        return None
    return problem or _l4(packet)


def _v4(packet: Packet) -> str | None:
    frame, at = packet.frame, packet.l3
    if len(frame) < at + 20:
        return "drop_truncated"
    first, total, ident, fragment, packet.ttl, packet.protocol = unpack_from(">BxHHHBB", frame, at)
    header = (first & 15) * 4
    if first >> 4 != 4 or header < 20 or total < header:
        return "drop_bad_ip_header"
    if len(frame) < at + total:
        return "drop_truncated"
    if fold(int.from_bytes(frame[at:at + header], "big")) != 0xFFFF:
        return "drop_bad_ip_checksum"
    packet.family, packet.length, packet.l4, packet.end = 4, total, at + header, at + total
    packet.source, packet.destination = frame[at + 12:at + 16], frame[at + 16:at + 20]
    packet.dont_fragment, packet.more = bool(fragment & 0x4000), bool(fragment & 0x2000)
    packet.offset, packet.id = (fragment & 0x1FFF) * 8, ident
    packet.later = packet.offset > 0
    packet.fragment = packet.later or packet.more
    if header > 20:
        problem = _v4_options(frame[at + 20:at + header])
        if problem:
            packet.note(problem)
    if packet.source[0] in (0, 127) or packet.source[0] >= 224:
        packet.note("drop_martian_source")
    if packet.ttl == 0:
        packet.note("drop_ttl_expired")
    return None


def _v4_options(options: bytes) -> str | None:
    at = 0
    while at < len(options):
        kind = options[at]
        if kind == 0:
            return None
        if kind in (131, 137):  # loose and strict source route
            return "drop_source_routed"
        if kind == 1:
            at += 1
            continue
        if at + 1 >= len(options) or options[at + 1] < 2 or at + options[at + 1] > len(options):
            return "drop_bad_ip_options"
        at += options[at + 1]
    return None


def _v6(packet: Packet) -> str | None:
    frame, at = packet.frame, packet.l3
    if len(frame) < at + 40:
        return "drop_truncated"
    payload, packet.protocol, packet.ttl = unpack_from(">HBB", frame, at + 4)
    if frame[at] >> 4 != 6 or payload + 40 > 0xFFFF:
        return "drop_bad_ip_header"
    if len(frame) < at + 40 + payload:
        return "drop_truncated"
    packet.family, packet.length, packet.end = 6, payload + 40, at + 40 + payload
    packet.source, packet.destination = frame[at + 8:at + 24], frame[at + 24:at + 40]
    packet.dont_fragment = True
    problem = _extensions(packet)
    if problem:
        return problem
    source = packet.source
    if source[0] == 0xFF or source[:15] == b"\0" * 15 and source[15] < 2 or source[:12] == V4_MAPPED:
        packet.note("drop_martian_source")
    if packet.ttl == 0:
        packet.note("drop_ttl_expired")
    return None


def _extensions(packet: Packet) -> str | None:
    frame, at = packet.frame, packet.l3 + 40
    kinds = (DESTINATION, ROUTING, FRAGMENT)
    for number in range(MOST_EXTENSIONS):
        kind = packet.protocol
        if kind not in kinds and not (kind == HOP_BY_HOP and number == 0):
            break
        if at + 8 > len(frame):
            return "drop_extension_chain"
        packet.protocol, length = frame[at], (frame[at + 1] + 1) * 8
        if kind == ROUTING and frame[at + 2] == 0:
            packet.note("drop_source_routed")
        if kind == FRAGMENT:
            length = 8
            word, packet.id = unpack_from(">HI", frame, at + 2)
            packet.offset, packet.more = word & 0xFFF8, packet.more or bool(word & 1)
            packet.later = packet.later or packet.offset > 0
            packet.fragment = packet.later or packet.more
        at += length
        if packet.later:
            break
    packet.l4 = at
    if not packet.later and packet.protocol in (*kinds, HOP_BY_HOP):
        return "drop_extension_chain"
    return None


def _l4(packet: Packet) -> str | None:
    if packet.l4 > packet.end:
        return "drop_truncated"
    room = packet.room = packet.end - packet.l4
    if packet.fragment:
        if room == 0 or packet.more and room % 8 or packet.offset + room > 0xFFFF:
            packet.note("drop_fragment_bad")
        if packet.protocol == TCP and 0 < packet.offset < 20:
            packet.note("drop_fragment_tiny")
    if packet.later:
        return None
    if packet.protocol in (TCP, UDP):
        least = 20 if packet.protocol == TCP else 8
        if room < least:
            if not packet.fragment:
                return "drop_truncated"
            packet.note("drop_fragment_tiny")
            return None
        packet.source_port, packet.destination_port = unpack_from(">HH", packet.frame, packet.l4)
        packet.ports = True
        _tcp(packet) if packet.protocol == TCP else _udp(packet)
    elif packet.protocol == (ICMP if packet.family == 4 else ICMPV6):
        if room < 8:
            return "drop_truncated"
        _icmp(packet)
    if packet.ports and packet.source_port == packet.destination_port and packet.source == packet.destination:
        packet.note("drop_land")
    return None


def _tcp(packet: Packet) -> None:
    length, flags = packet.frame[packet.l4 + 12] >> 4, packet.frame[packet.l4 + 13] & 0x3F
    packet.flags = flags
    if length < 5 or length * 4 > packet.room:
        packet.note("drop_bad_tcp_header")
    if flags & 2 and flags & 5 or not flags & 0x17:
        packet.note("drop_bad_tcp_flags")


def _udp(packet: Packet) -> None:
    length = unpack_from(">H", packet.frame, packet.l4 + 4)[0]
    if length < 8 or not packet.fragment and length > packet.room:
        packet.note("drop_bad_udp_length")


def _icmp(packet: Packet) -> None:
    """An error about a TCP or UDP packet has that packet's tuple, turned round: it belongs to its connection."""
    frame, at, v4 = packet.frame, packet.l4, packet.family == 4
    packet.icmp_type = kind = frame[at]
    if packet.fragment or kind not in ((3, 11, 12) if v4 else (1, 2, 3, 4)):
        return
    mtu = unpack_from(">H", frame, at + 6)[0] if v4 else unpack_from(">I", frame, at + 4)[0]
    if (kind == 3 and frame[at + 1] == 4 and mtu < 576) if v4 else (kind == 2 and mtu < 1280):
        packet.note("drop_icmp_implausible")
    quoted, end = at + 8, packet.end
    packet.quoted = quoted
    if end < quoted + (20 if v4 else 40) or frame[quoted] >> 4 != packet.family:
        return
    if v4:
        if frame[quoted] & 15 < 5 or unpack_from(">H", frame, quoted + 6)[0] & 0x1FFF:
            return
        l4, protocol = quoted + (frame[quoted] & 15) * 4, frame[quoted + 9]
        sender, receiver = frame[quoted + 12:quoted + 16], frame[quoted + 16:quoted + 20]
    else:
        l4, protocol = quoted + 40, frame[quoted + 6]
        sender, receiver = frame[quoted + 8:quoted + 24], frame[quoted + 24:quoted + 40]
    packet.quoted_l4 = l4
    if protocol not in (TCP, UDP) or end < l4 + 8:
        return
    if packet.destination != sender:
        packet.note("drop_icmp_implausible")
    packet.icmp_error, packet.protocol, packet.ports = True, protocol, True
    packet.destination_port, packet.source_port = unpack_from(">HH", frame, l4)
    packet.source, packet.destination = receiver, sender


def look_into_tunnel(packet: Packet, gue_port: int) -> bool:
    """An error about a packet in a tunnel becomes one about the packet inside, with its tuple as the client sent it."""
    frame, at = packet.frame, packet.quoted
    if not at or len(frame) < at + (20 if packet.family == 4 else 40) or frame[at] >> 4 != packet.family:
        return False
    if packet.family == 4:
        if frame[at] & 15 < 5 or unpack_from(">H", frame, at + 6)[0] & 0x1FFF:
            return False
        protocol, inner = frame[at + 9], at + (frame[at] & 15) * 4
        sender, receiver = frame[at + 12:at + 16], frame[packet.l3 + 16:packet.l3 + 20]
    else:
        protocol, inner = frame[at + 6], at + 40
        sender, receiver = frame[at + 8:at + 24], frame[packet.l3 + 24:packet.l3 + 40]
    if protocol == UDP:
        if len(frame) < inner + 12 or unpack_from(">H", frame, inner + 2)[0] != gue_port or frame[inner + 8] or \
                frame[inner + 10:inner + 12] != b"\0\0":
            return False
        protocol, inner = frame[inner + 9], inner + 12
    v4 = protocol == 4
    if protocol not in (4, 41) or len(frame) < inner + 20 or frame[inner] >> 4 != (4 if v4 else 6):
        return False
    header = (frame[inner] & 15) * 4 if v4 else 40
    if header < 20 or v4 and unpack_from(">H", frame, inner + 6)[0] & 0x1FFF or inner + header + 8 > packet.end:
        return False
    protocol = frame[inner + (9 if v4 else 6)]
    if protocol not in (TCP, UDP):
        return False
    packet.tunnel_error, packet.icmp_error, packet.ports, packet.protocol = True, False, True, protocol
    packet.family, packet.quoted, packet.quoted_l4 = 4 if v4 else 6, inner, inner + header
    first, size = (inner + 12, 4) if v4 else (inner + 8, 16)
    packet.source, packet.destination = frame[first:first + size], frame[first + size:first + 2 * size]
    packet.source_port, packet.destination_port = unpack_from(">HH", frame, inner + header)
    if sender != receiver:
        packet.note("drop_icmp_implausible")
    return True
