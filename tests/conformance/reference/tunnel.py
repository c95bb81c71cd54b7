# SPDX-License-Identifier: BSD-3-Clause
"""dsr-ipip and dsr-gue: the outer header, and the MSS of what goes through."""

from __future__ import annotations

from struct import pack, unpack_from

from .answers import ip
from .hashes import changed
from .lifetime import SYN
from .packet import TCP, UDP, Packet
from .rules import Backend, Rules, Vip

MODES = ("dsr-ipip", "dsr-gue")
LEAST_PORT = 49152  # of the UDP source ports (RFC 6335)


def overhead(vip: Vip, backend: Backend) -> int:
    if vip.mode not in MODES:
        return 0
    return (20 if backend.family == 4 else 40) + (12 if vip.mode == "dsr-gue" else 0)


def wrap(vip: Vip, rules: Rules, backend: Backend, inner: bytes, packet: Packet, flow_hash: int) -> bytes:
    """The packet, or a piece of it, in its outer header. The upper half of the flow hash spreads flows over receivers: by
    outer source, UDP port and flow label."""
    spread = flow_hash >> 32
    first, count = rules.tunnel[backend.family]
    source = (int.from_bytes(first, "big") + (spread >> 14) % count).to_bytes(len(first), "big")
    protocol = 4 if packet.family == 4 else 41
    tos = inner[1] if packet.family == 4 else unpack_from(">H", inner)[0] >> 4 & 0xFF
    body = inner
    if vip.mode == "dsr-gue":
        # Checksum 0 in both families (RFC 6935, 6936): the inner packet has its own.
        head = pack(">HHHH", LEAST_PORT | spread & 0x3FFF, rules.gue_port, 12 + len(inner), 0)
        body = head + bytes([0, protocol, 0, 0]) + inner
        protocol = UDP
    if backend.family == 6:
        return ip(source, backend.address, protocol, body, tos, label=spread & 0xFFFFF)
    if packet.dont_fragment:
        return ip(source, backend.address, protocol, body, tos)
    # May be fragmented further on: an id that is as much the packet's own as its own is.
    ident, word = unpack_from(">HH", inner, 4)
    return ip(source, backend.address, protocol, body, tos, (ident + (spread >> 16) + (word & 0x1FFF)) & 0xFFFF, 0)


def clamp(packet: Packet, mtu: int) -> bytes:
    """The packet with its MSS option lowered to what fits `mtu`; only SYNs have one that counts."""
    inner = packet.frame[packet.l3:packet.end]
    if packet.protocol != TCP or packet.later or not (packet.flags or 0) & SYN:
        return inner
    limit = mtu - (40 if packet.family == 4 else 60)
    at = _mss_option(packet)
    if at is None or limit <= 0:
        return inner
    where = packet.l4 - packet.l3 + at + 2
    if int.from_bytes(inner[where:where + 2], "big") <= limit:
        return inner
    start = where & ~1  # whole 16-bit words of the segment, for the checksum
    start += (packet.l4 - packet.l3) % 2
    end = start + (2 if where == start else 4)
    new = inner[:where] + limit.to_bytes(2, "big") + inner[where + 2:]
    sum_at = packet.l4 - packet.l3 + 16
    fixed = changed(int.from_bytes(inner[sum_at:sum_at + 2], "big"), inner[start:end], new[start:end])
    return new[:sum_at] + fixed.to_bytes(2, "big") + new[sum_at + 2:]


def _mss_option(packet: Packet) -> int | None:
    """Where it stands, from the TCP header; of several the last counts."""
    frame, at, end = packet.frame, 20, (packet.frame[packet.l4 + 12] >> 4) * 4
    found = None
    while at < end:
        kind = frame[packet.l4 + at]
        if kind == 0:
            break
        if kind == 1:
            at += 1
            continue
        length = frame[packet.l4 + at + 1] if at + 1 < end else 0
        if length < 2 or at + length > end or kind == 2 and length != 4:
            return None
        if kind == 2:
            found = at
        at += length
    return found
