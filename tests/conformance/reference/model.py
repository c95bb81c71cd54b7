# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of each packet.

The law leaves an engine three choices: the SNAT port of a new connection, the backend that round robin and least
connections pick, and the outer source of a tunnel. There the model looks at what the engine sent (`seen`), checks that it
had the right to choose it, and goes on with that; without an engine it takes the first that is possible. A wrong choice is
not adopted, so what the model expects differs from what was seen.
"""

from __future__ import annotations

from collections.abc import Set

from .bucket import Bucket
from .connections import Connection, Table
from .fragments import Fragments, followed
from .hashes import siphash13
from .outcome import KERNEL, KERNEL_CONTROL, Ambiguous, Expected, Seen
from .packet import ICMP, ICMPV6, TCP, UDP, Packet, look_into_tunnel, parse
from .rules import Backend, Pool, Rules
from .step import Step

OURS = ("vip", "snat", "backend")
START_S = 1000  # the clock at a sequence's begin


class Model:
    def __init__(self, connections: int = 1024, workers: int = 1, permitted: Set[str] = frozenset()) -> None:
        self.permitted = permitted  # rules of an engine that differs on purpose (permitted_xdp.txt)
        self.rules: Rules | None = None
        self.workers = workers
        self.table = Table(connections * workers)
        self.fragments = Fragments(keeps_early="early-fragments" not in permitted)
        self.now_ms = self.grace_began_ms = START_S * 1000
        self.hashes: dict[bytes, int] = {}
        self.sources: dict[tuple, str] = {}  # source-hash: what a client's address was given
        self.networks: dict[tuple[str, bytes], tuple[str, int]] = {}  # pool, client's network: backend, when
        self.recent_hops: dict[tuple[str, int], tuple] = {}  # VIP, worker: whence clients' packets came
        self.touched: Connection | None = None  # by the last packet
        self.answers = Bucket()
        self.icmp_errors = Bucket()

    @property
    def now_s(self) -> int:
        return self.now_ms // 1000

    def publish(self, rules: Rules | None) -> None:
        if self.rules is None:
            self.grace_began_ms = self.now_ms
        self.rules = rules

    def in_grace(self) -> bool:
        """Just begun: there may be connections that are not known yet."""
        return self.now_ms - self.grace_began_ms < self.rules.grace_s * 1000

    def pass_time(self, milliseconds: int) -> Expected:
        self.now_ms += milliseconds
        self.touched = None
        if self.rules:
            idle = list(dict.fromkeys(self.table.idle(self.rules, self.now_s) + self.superfluous()))
            if idle and milliseconds < 20_000:
                raise Ambiguous(f"{len(idle)} connections expire within the 20 s that a sweep takes")
            for connection in idle:
                self.table.erase(connection)
        self.fragments.expire(self.now_ms)
        return self.released()

    # --- one packet ------------------------------------------------------------------------------------------------

    def packet(self, frame: bytes, interface: int = 0, seen: Seen | None = None) -> Expected:
        """`seen`: the frames the engine made of it."""
        self.touched = None
        if self.rules is None:
            to_kernel = [(KERNEL, interface, frame)] if "kernel-side" in self.permitted else []
            return Expected(["drop_no_configuration"], to_kernel)
        packet = parse(frame)
        if packet.drop:
            return Expected([packet.drop])
        if followed(packet):
            step = self.fragments.see(packet, interface, self.now_ms)
            if step not in ("follow", "early"):
                return Expected([] if step == "wait" else [step])
        return self.parsed(packet, interface, seen)

    def released(self, seen: Seen | None = None) -> Expected:
        """Fragments whose waiting is over: after the burst that brought their first one, or in time."""
        whole = Expected()
        for packet, interface in self.fragments.take_released():
            expected = self.parsed(packet, interface, seen)
            whole.verdicts += expected.verdicts
            whole.frames += expected.frames
        return whole

    def parsed(self, packet: Packet, interface: int, seen: Seen | None) -> Expected:
        kind, what = self.match(packet)
        if kind not in OURS and look_into_tunnel(packet, self.rules.gue_port):
            kind, what = self.match(packet)
        if kind not in OURS and not self._fragment_for_vip(kind, packet):
            return self.punt(packet, interface)
        if packet.defect:
            return Expected([packet.defect])
        if packet.fragment and not packet.ports:
            return Expected(["drop_fragment_no_first"])
        step = Step(self, packet, interface, seen)
        return step.from_client(what) if kind == "vip" else step.from_backend()

    def match(self, packet: Packet) -> tuple[str | None, object]:
        if not packet.family:
            return None, None
        rules = self.rules
        if packet.ports:
            found = rules.endpoint(packet.destination, packet.protocol, packet.destination_port)
            if found and found[0] in ("vip", "snat"):
                return found
        kind = rules.addresses.get(packet.destination)
        if kind or not rules.has_nat or not packet.ports:
            return kind, None
        found = rules.endpoint(packet.source, packet.protocol, packet.source_port)
        return found if found and found[0] == "backend" else (None, None)

    @staticmethod
    def _fragment_for_vip(kind: str | None, packet: Packet) -> bool:
        return kind == "vip-address" and packet.fragment and not packet.ports and packet.protocol in (TCP, UDP)

    def punt(self, packet: Packet, interface: int) -> Expected:
        name = punt_class(packet)
        bypassed = interface < len(self.rules.interfaces) and self.rules.interfaces[interface].kernel
        if not bypassed and "kernel-side" not in self.permitted:
            return Expected(["drop_not_ours"])
        way = KERNEL_CONTROL if name == "punted_control" else KERNEL
        return Expected([name], [(way, interface, packet.frame)])

    # --- choices ---------------------------------------------------------------------------------------------------

    def flow_hash(self, packet: Packet) -> int:
        return self.hash_of(packet.source, packet.destination, packet.source_port, packet.destination_port, packet.protocol)

    def owner_of(self, packet: Packet) -> int:
        """The worker of a flow whose replies do not pass here."""
        return (self.flow_hash(packet) >> 32) * self.workers >> 32

    def superfluous(self) -> list[Connection]:
        """Those of VIPs that record exceptions only which say no more than the table does."""
        found = []
        for connection in self.table.forward.values():
            vip = self.rules.vips[connection.vip]
            if not vip.exceptions:
                continue
            flow = self.hash_of(connection.client, vip.address, connection.client_port, connection.port, vip.protocol)
            at = vip.pool.slot(flow, set()) if vip.pool.members else None
            if vip.pool.oldest(flow) is None and at and at.name == connection.backend:
                found.append(connection)
        return found

    def hash_of(self, source: bytes, destination: bytes, source_port: int, destination_port: int, protocol: int) -> int:
        tuple_ = (source + destination + source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big") +
                  bytes([protocol]))
        found = self.hashes.get(tuple_)
        if found is None:
            found = self.hashes[tuple_] = siphash13(self.rules.key, tuple_)
        return found

    def select(self, pool: Pool, packet: Packet, opens: bool, seen: Backend | None,
               bystander: bool) -> tuple[Backend | None, bool]:
        """The backend of a new connection; or none, and whether that is for their max_connections."""
        if not pool.persistence:
            return self.schedule(pool, packet, opens, seen)
        network = (pool.name, pool.network_of(packet.source))
        chosen, at_limit = self.remembered(pool, network), False
        if chosen is None:
            chosen, at_limit = self.schedule(pool, packet, opens, seen)
        if chosen and not bystander:
            self.networks[network] = (chosen.name, self.now_s)
        return chosen, at_limit

    def remembered(self, pool: Pool, network: tuple[str, bytes]) -> Backend | None:
        """Where the network went, while that takes new connections."""
        name, seen_s = self.networks.get(network, ("", 0))
        backend = self.rules.backends.get(name)
        if backend is None or name not in pool.own or self.now_s - seen_s >= pool.persistence:
            return None
        has_room = not backend.max or self.connections_of(backend) < backend.max
        return backend if backend.state == "up" and backend.weight and has_room else None

    def schedule(self, pool: Pool, packet: Packet, opens: bool, seen: Backend | None) -> tuple[Backend | None, bool]:
        if not pool.members:
            return None, False
        full = {b.name for b in pool.members if opens and b.max and self.connections_of(b) >= b.max}
        if len(full) == len(pool.members):
            return None, True
        if pool.scheduler == "maglev":
            return pool.slot(self.flow_hash(packet), full), False
        chosen = next((b for b in (seen, *pool.members) if b in pool.members and b.name not in full))
        if pool.scheduler == "source-hash":
            key = (pool.name, tuple((b.name, b.weight) for b in pool.members), packet.source, frozenset(full))
            chosen = self.rules.backends[self.sources.setdefault(key, chosen.name)]
        return chosen, False

    def connections_of(self, backend: Backend) -> int:
        return sum(connection.backend == backend.name for connection in self.table.forward.values())


def punt_class(packet: Packet) -> str:
    """Control protocols, echo, the rest: what the kernel gets, and in which order of importance."""
    kind, protocol = packet.icmp_type, packet.protocol
    if packet.family == 0:
        return "punted_control" if packet.ethertype == 0x0806 else "punted_other"
    ports = (packet.source_port, packet.destination_port)
    if protocol in (112, 2) or protocol == TCP and 179 in ports:
        return "punted_control"
    if protocol == UDP and any(port in (3784, 3785, 4784) for port in ports):
        return "punted_control"
    if protocol == ICMP:
        return "punted_echo" if kind in (0, 8) else "punted_other"
    if protocol == ICMPV6:
        if 130 <= kind <= 143:
            return "punted_control"
        return "punted_echo" if kind in (128, 129) else "punted_other"
    return "punted_other"
