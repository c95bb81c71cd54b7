# SPDX-License-Identifier: BSD-3-Clause
"""What the balancer itself says: TCP resets and ICMP errors, back to where a packet came from."""

from __future__ import annotations

from struct import pack, unpack_from

from .hashes import checksum, fold, total
from .lifetime import ACK, FIN, RST, SYN
from .packet import ICMP, ICMPV6, TCP, V4_MAPPED, Packet

TTL = 64
MOST_V4, MOST_V6 = 576, 1280  # bytes of an error with its quote (RFC 1812, RFC 4443)


def ip(source: bytes, destination: bytes, protocol: int, body: bytes, tos: int = 0, ident: int = 0, flags: int = 0x4000,
       label: int = 0) -> bytes:
    """A packet that begins its way here."""
    if len(source) == 16:
        return pack(">IHBB16s16s", 6 << 28 | tos << 20 | label, len(body), protocol, TTL, source, destination) + body
    header = pack(">BBHHHBBH4s4s", 0x45, tos, 20 + len(body), ident, flags, TTL, protocol, 0, source, destination)
    return header[:10] + checksum(header).to_bytes(2, "big") + header[12:] + body


def pseudo(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    return source + destination + pack(">II", length, protocol)


def back(packet: Packet, l3: bytes) -> bytes:
    """By the way it came: MACs changed over, the tag kept."""
    return packet.frame[6:12] + packet.frame[:6] + packet.frame[12:packet.l3] + l3


def answerable(packet: Packet) -> bool:
    """RFC 1122 3.2.2, RFC 4443 2.4: not to errors or later fragments, nor where a frame or an address is not one host's."""
    if packet.later or packet.icmp_error or packet.frame[0] & 1:
        return False
    return one_host(packet.source) and one_host(packet.destination)


def one_host(address: bytes) -> bool:
    if len(address) == 4:
        return address[0] not in (0, 127) and address[0] < 224
    nobody = address[:15] == b"\0" * 15 and address[15] < 2 or address[:12] == V4_MAPPED
    return not nobody and address[0] != 0xFF


def segment_length(packet: Packet) -> int:
    header = (packet.frame[packet.l4 + 12] >> 4) * 4
    return packet.room - header + bool(packet.flags & SYN) + bool(packet.flags & FIN)


def reset(packet: Packet) -> bytes | None:
    """RFC 9293 3.10.7.1: with the acknowledged number, or acknowledging what came. Never to a reset."""
    if packet.protocol != TCP or packet.flags & RST or packet.fragment or not answerable(packet):
        return None
    sequence, acknowledged = unpack_from(">II", packet.frame, packet.l4 + 4)
    if packet.flags & ACK:
        numbers, flags = (acknowledged, 0), RST
    else:
        numbers, flags = (0, (sequence + segment_length(packet)) & 0xFFFFFFFF), RST | ACK
    return back(packet, _reset(packet.destination, packet.source, packet.destination_port, packet.source_port, numbers, flags))


def reset_onward(packet: Packet, source: bytes, destination: bytes, source_port: int, port: int) -> bytes:
    """In the packet's own direction, for the other end: with the sequence number that end expects."""
    sequence = unpack_from(">I", packet.frame, packet.l4 + 4)[0]
    return _reset(source, destination, source_port, port, (sequence, 0), RST)


def _reset(source: bytes, destination: bytes, source_port: int, port: int, numbers: tuple[int, int], flags: int) -> bytes:
    segment = pack(">HHIIBBHHH", source_port, port, *numbers, 0x50, flags, 0, 0, 0)
    right = 0xFFFF - fold(total(pseudo(source, destination, TCP, 20) + segment))
    return ip(source, destination, TCP, segment[:16] + right.to_bytes(2, "big") + segment[18:])


def error(packet: Packet, speaker: bytes, kind: tuple[int, int], kind_v6: tuple[int, int], word: int = 0) -> bytes | None:
    """An ICMP error about it, from the VIP: that is what the ends of a connection know of us."""
    if not answerable(packet):
        return None
    v4 = packet.family == 4
    quote = packet.frame[packet.l3:packet.end]
    return back(packet, _message(packet.family, speaker, packet.source, kind if v4 else kind_v6, word, quote))


def _message(family: int, source: bytes, destination: bytes, kind: tuple[int, int], word: int, quote: bytes) -> bytes:
    """An ICMP error with as much of the quote as it may have."""
    v4 = family == 4
    message = pack(">BBHI", *kind, 0, word) + quote[:MOST_V4 - 28 if v4 else MOST_V6 - 48]
    before = b"" if v4 else pseudo(source, destination, ICMPV6, len(message))
    message = message[:2] + checksum(before + message).to_bytes(2, "big") + message[4:]
    return ip(source, destination, ICMP if v4 else ICMPV6, message)


def time_exceeded(packet: Packet, speaker: bytes) -> bytes | None:
    return error(packet, speaker, (11, 0), (3, 0))


def port_unreachable(packet: Packet) -> bytes | None:
    return error(packet, packet.destination, (3, 3), (1, 4))


def too_big(packet: Packet, speaker: bytes, mtu: int) -> bytes | None:
    return error(packet, speaker, (3, 4), (2, 0), mtu)


def tunnel_too_big(packet: Packet) -> bytes | None:
    """Of an error about our outer packet: the client's packet with the reported size less our headers."""
    frame, at = packet.frame, packet.l4
    if packet.ethertype == 0x0800:
        told, reported = frame[at:at + 2] == b"\x03\x04", unpack_from(">H", frame, at + 6)[0]
    else:
        told, reported = frame[at] == 2, unpack_from(">I", frame, at + 4)[0]
    if not told:
        return None
    mtu = max(reported - (packet.quoted - at - 8), 68 if packet.family == 4 else MOST_V6)
    return _message(packet.family, packet.destination, packet.source, (3, 4) if packet.family == 4 else (2, 0), mtu,
                    frame[packet.quoted:packet.end])
