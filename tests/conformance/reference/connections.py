# SPDX-License-Identifier: BSD-3-Clause
"""What the model remembers of connections, found from either side."""

from __future__ import annotations

from . import lifetime
from .packet import TCP, Packet
from .rules import Backend, Rules, Snat, Vip


class Connection:
    __slots__ = ("vip", "protocol", "client", "client_port", "port", "backend", "backend_address", "backend_port", "snat",
                 "snat_port", "state", "seen_s", "last_hop", "confirmed", "worker", "outer", "port_unknown",
                 "maybe_gone")

    def __init__(self, vip: Vip, packet: Packet, backend: Backend, state: str, now_s: int) -> None:
        self.vip, self.protocol = vip.name, vip.protocol
        self.client, self.client_port, self.port = packet.source, packet.source_port, packet.destination_port
        self.backend, self.backend_address = backend.name, backend.address
        self.backend_port = backend.port or packet.destination_port
        self.snat: Snat | None = None
        self.snat_port = 0
        self.port_unknown = False  # recorded, but nothing was sent that would show its SNAT port
        self.maybe_gone = False  # ended, and its SNAT port perhaps given to one whose port is not known
        self.state, self.seen_s = state, now_s
        self.confirmed = state in lifetime.CONFIRMED
        self.last_hop: tuple[bytes, int | None, int] | None = None
        self.worker: int | None = None  # the one that has always seen it
        self.outer: object = None  # what its packets are wrapped in

    def forward_key(self) -> tuple:
        return self.vip, self.client, self.client_port, self.port

    def reply_key(self) -> tuple:
        """Of what its backend sends: where from, where to."""
        if self.snat:
            return self.protocol, self.backend_address, self.backend_port, self.snat.address, self.snat_port
        return self.protocol, self.backend_address, self.backend_port, self.client, self.client_port


class Table:
    """Room for `room` connections a worker; half-open ones give way, oldest first. With one worker the limits are exact;
    with more, sequences stay below them."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.forward: dict[tuple, Connection] = {}
        self.reply: dict[tuple, Connection] = {}
        self.half_open: dict[str, dict[Connection, None]] = {}  # by VIP, oldest first
        self.of_vip: dict[str, int] = {}

    def insert(self, connection: Connection, quota: int, replies: bool) -> str | None:
        """The verdict of a refusal, or None."""
        replies = replies and not connection.port_unknown
        if replies and connection.reply_key() in self.reply:
            return "drop_nat_conflict"
        vip = connection.vip
        if quota and self.of_vip.get(vip, 0) >= quota:
            if not self.half_open.get(vip):
                return "drop_vip_quota"
            self.erase(next(iter(self.half_open[vip])))
        if len(self.forward) >= self.room:
            fullest = max(self.half_open, key=lambda name: len(self.half_open[name]), default=None)
            if fullest is None or not self.half_open[fullest]:
                return "drop_table_full"
            self.erase(next(iter(self.half_open[fullest])))
        self.forward[connection.forward_key()] = connection
        if replies:
            self.reply[connection.reply_key()] = connection
        if not connection.confirmed:
            self.half_open.setdefault(vip, {})[connection] = None
        self.of_vip[vip] = self.of_vip.get(vip, 0) + 1
        return None

    def doubt(self, newcomer: Connection) -> None:
        """NEWCOMER has a SNAT port that was not seen. It may be one that an ended connection to its backend had."""
        where = newcomer.protocol, newcomer.backend_address, newcomer.backend_port
        for (*there, _, _), holder in self.reply.items():
            if tuple(there) == where and holder.state in lifetime.ENDED:
                holder.maybe_gone = True

    def erase(self, connection: Connection) -> None:
        del self.forward[connection.forward_key()]
        if self.reply.get(connection.reply_key()) is connection:
            del self.reply[connection.reply_key()]
        self.half_open.get(connection.vip, {}).pop(connection, None)
        self.of_vip[connection.vip] -= 1

    def advance(self, connection: Connection, packet: Packet, side: str, replies_seen: bool, down: bool, now_s: int) -> None:
        """A packet's effect on state and age."""
        happened = lifetime.event(side, packet.flags if packet.protocol == TCP else None)
        before = connection.state
        connection.state = lifetime.after(before, happened, replies_seen)
        if lifetime.keeps_alive(before, connection.state, side, down):
            connection.seen_s = now_s
        if not connection.confirmed and connection.state in lifetime.CONFIRMED:
            connection.confirmed = True
            self.half_open[connection.vip].pop(connection)

    def idle(self, rules: Rules, now_s: int) -> list[Connection]:
        """Those whose time is up."""
        def timeout(connection: Connection) -> int:
            vip, state = rules.vips[connection.vip], connection.state
            # An exception that was met on its way is a connection of long standing.
            return vip.timeouts[lifetime.TIMEOUT["established" if vip.exceptions and state == "midstream" else state]]

        return [c for c in self.forward.values() if now_s - c.seen_s >= timeout(c)]
