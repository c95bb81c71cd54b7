# SPDX-License-Identifier: BSD-3-Clause
"""What is expected of a packet, and what an engine was seen to make of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from .packet import Packet, parse

SENT, KERNEL_CONTROL, KERNEL = 0, 1, 2  # ways out


class Seen:
    """The frames an engine made of a packet or a burst, those of an interface in their order."""

    def __init__(self, frames: list[tuple[int, int, bytes]]) -> None:
        self.queues: dict[tuple[int, int], list[bytes]] = {}
        for way, interface, frame in frames:
            self.queues.setdefault((way, interface), []).append(frame)

    def sent(self, interface: int) -> Packet | None:
        """The next one out of this interface."""
        queue = self.queues.get((SENT, interface))
        return parse(queue[0]) if queue else None

    def sent_to(self, interface: int, destination: bytes) -> Packet | None:
        """The first one out of this interface to this address."""
        packets = (parse(frame) for frame in self.queues.get((SENT, interface), ()))
        return next((packet for packet in packets if packet.destination == destination), None)

    def take(self, expected: Expected, in_order: bool = True) -> str | None:
        """Removes what was expected; what differs, or None. Two workers' frames have no order between them."""
        for way, interface, frame in expected.frames:
            queue = self.queues.get((way, interface))
            if not queue:
                return f"missing: {frame.hex()} by way {way} of interface {interface}"
            if queue[0] != frame and (in_order or frame not in queue):
                return f"sent {queue[0].hex()}\nwant {frame.hex()}"
            queue.remove(frame)
        return None

    def rest(self) -> list[tuple[int, int, bytes]]:
        return [(*way, frame) for way, queue in self.queues.items() for frame in queue]


class Ambiguous(Exception):
    """The sequence asks for something that the law leaves open, such as a connection just about to expire."""


@dataclass
class Expected:
    """One verdict a packet, and the frames in the order they leave an interface."""

    verdicts: list[str] = field(default_factory=list)
    frames: list[tuple[int, int, bytes]] = field(default_factory=list)
