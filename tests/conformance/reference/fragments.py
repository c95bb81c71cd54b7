# SPDX-License-Identifier: BSD-3-Clause
"""Datagrams on their way in pieces. Only the first piece has ports: later ones get them from here, early ones wait."""

from __future__ import annotations

from dataclasses import dataclass, field

from .packet import TCP, UDP, Packet

WAIT_MS = 200  # for the first fragment
LIFETIME_MS = 2000  # then its id may be another datagram's
MOST_WAITING = 48  # of one datagram
MOST_WAITING_ALL = 256  # of one worker


@dataclass
class Datagram:
    began_ms: int
    ports: tuple[int, int] | None = None
    seen: set[int] = field(default_factory=set)  # 8-byte units
    total: int | None = None  # units, once the last fragment has come
    poisoned: bool = False
    waiting: list[tuple[Packet, int]] = field(default_factory=list)  # with the interface they came by


class Fragments:
    def __init__(self, keeps_early: bool = True) -> None:
        self.keeps_early = keeps_early
        self.datagrams: dict[tuple, Datagram] = {}
        self.released: list[tuple[Packet, int]] = []

    def see(self, packet: Packet, interface: int, now_ms: int) -> str | None:
        """follow (the packet has its ports now), wait, early (it cannot wait: goes on without ports), or the verdict of
        one that is dropped."""
        key = (packet.family, packet.source, packet.destination, packet.protocol, packet.id)
        datagram = self.datagrams.get(key)
        if datagram is None or now_ms - datagram.began_ms >= LIFETIME_MS:
            if packet.offset != 0 and not self.keeps_early:
                return "early"
            self._forget(key)
            datagram = self.datagrams[key] = Datagram(now_ms)
        first = packet.offset // 8
        units = set(range(first, first + (packet.room + 7) // 8))
        if datagram.poisoned:
            return "drop_fragment_overlap"
        if self._contradicts(datagram, packet, max(units)) or (datagram.seen & units and not units <= datagram.seen):
            datagram.poisoned = True
            self._release(datagram)
            return "drop_fragment_overlap"
        if datagram.seen & units:  # came twice
            return "drop_fragment_overlap"
        datagram.seen |= units
        if not packet.more:
            datagram.total = max(units) + 1
        if packet.offset == 0:
            datagram.ports = packet.source_port, packet.destination_port
            self._release(datagram)
        if datagram.ports is None:
            everywhere = sum(len(other.waiting) for other in self.datagrams.values()) + len(self.released)
            if len(datagram.waiting) == MOST_WAITING or everywhere == MOST_WAITING_ALL:
                return "drop_fragment_queue_full"
            datagram.waiting.append((packet, interface))
            return "wait"
        lend(packet, datagram.ports)
        if datagram.total is not None and len(datagram.seen) == datagram.total:
            self._forget(key)
        return "follow"

    @staticmethod
    def _contradicts(datagram: Datagram, packet: Packet, end: int) -> bool:
        """It says that the datagram ends elsewhere."""
        if datagram.total is not None and (end >= datagram.total or not packet.more and end + 1 != datagram.total):
            return True
        return not packet.more and bool(datagram.seen) and end < max(datagram.seen)

    def _release(self, datagram: Datagram) -> None:
        for packet, interface in datagram.waiting:
            if datagram.ports and not datagram.poisoned:
                lend(packet, datagram.ports)
            self.released.append((packet, interface))
        datagram.waiting = []

    def _forget(self, key: tuple) -> None:
        datagram = self.datagrams.pop(key, None)
        if datagram:
            datagram.ports = None
            self._release(datagram)

    def expire(self, now_ms: int) -> None:
        """First fragments that did not come in time."""
        for key, datagram in list(self.datagrams.items()):
            if datagram.waiting and now_ms - datagram.began_ms >= WAIT_MS:
                self._forget(key)

    def take_released(self) -> list[tuple[Packet, int]]:
        taken, self.released = self.released, []
        return taken


def followed(packet: Packet) -> bool:
    return packet.fragment and packet.protocol in (TCP, UDP) and packet.defect is None


def lend(packet: Packet, ports: tuple[int, int]) -> None:
    if packet.later:
        packet.source_port, packet.destination_port = ports
        packet.ports = True
        packet.flags = 0 if packet.protocol == TCP else None
