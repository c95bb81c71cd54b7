# SPDX-License-Identifier: BSD-3-Clause
"""What becomes of each packet.

The law leaves an engine three choices: the SNAT port of a new connection, the backend that round robin and least
connections pick, and the outer source of a tunnel. There the model looks at what the engine sent (`seen`), checks that it
had the right to choose it, and goes on with that; without an engine it takes the first that is possible. A wrong choice is
not adopted, so what the model expects differs from what was seen.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from . import lifetime, rewrite
from .connections import Connection, Table
from .hashes import siphash13
from .packet import ICMP, ICMPV6, TCP, UDP, Packet, parse
from .rules import Backend, Pool, Rules, Vip, ethernet

SENT, KERNEL_CONTROL, KERNEL = 0, 1, 2
START_S = 1000  # the clock at a sequence's begin


@dataclass
class Expected:
    """One verdict a packet, and the frames in the order they leave an interface."""

    verdicts: list[str] = field(default_factory=list)
    frames: list[tuple[int, int, bytes]] = field(default_factory=list)


class Ambiguous(Exception):
    """The sequence asks for something that the law leaves open, such as a connection just about to expire."""


class Model:
    def __init__(self, connections: int = 1024, workers: int = 1) -> None:
        self.rules: Rules | None = None
        self.table = Table(connections * workers)
        self.now_ms = START_S * 1000
        self.hashes: dict[bytes, int] = {}
        self.sources: dict[tuple, str] = {}  # source-hash: what a client's address was given

    @property
    def now_s(self) -> int:
        return self.now_ms // 1000

    def publish(self, rules: Rules | None) -> None:
        self.rules = rules

    def pass_time(self, milliseconds: int) -> Expected:
        self.now_ms += milliseconds
        if self.rules:
            idle = self.table.idle(self.rules, self.now_s)
            if idle and milliseconds < 20_000:
                raise Ambiguous(f"{len(idle)} connections expire within the 20 s that a sweep takes")
            for connection in idle:
                self.table.erase(connection)
        return Expected()

    # --- one packet ------------------------------------------------------------------------------------------------

    def packet(self, frame: bytes, interface: int = 0, seen: list[tuple[int, int, bytes]] | None = None) -> Expected:
        """`seen`: the frames the engine made of it."""
        if self.rules is None:
            return Expected(["drop_no_configuration"])
        packet = parse(frame)
        if packet.drop:
            return Expected([packet.drop])
        kind, what = self.match(packet)
        if kind not in ("vip", "snat", "backend") and not self._fragment_for_vip(kind, packet):
            return self.punt(packet, interface)
        if packet.defect:
            return Expected([packet.defect])
        if packet.fragment and not packet.ports:
            return Expected(["drop_fragment_no_first"])
        if packet.icmp_error:
            return Expected(["drop_icmp_no_connection"])
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
        return kind == "vip" and packet.fragment and not packet.ports and packet.protocol in (TCP, UDP)

    def punt(self, packet: Packet, interface: int) -> Expected:
        name = punt_class(packet)
        if interface >= len(self.rules.interfaces) or not self.rules.interfaces[interface].kernel:
            return Expected(["drop_not_ours"])
        way = KERNEL_CONTROL if name == "punted_control" else KERNEL
        return Expected([name], [(way, interface, packet.frame)])

    # --- choices ---------------------------------------------------------------------------------------------------

    def flow_hash(self, packet: Packet) -> int:
        tuple_ = (packet.source + packet.destination + packet.source_port.to_bytes(2, "big") +
                  packet.destination_port.to_bytes(2, "big") + bytes([packet.protocol]))
        found = self.hashes.get(tuple_)
        if found is None:
            found = self.hashes[tuple_] = siphash13(self.rules.key, tuple_)
        return found

    def select(self, pool: Pool, packet: Packet, seen: Backend | None) -> Backend | None:
        """The backend of a new connection."""
        if not pool.members:
            return None
        if pool.scheduler == "maglev":
            return pool.slot(self.flow_hash(packet))
        chosen = seen if seen in pool.members else pool.members[0]
        if pool.scheduler == "source-hash":
            key = (pool.name, tuple((b.name, b.weight) for b in pool.members), packet.source)
            chosen = self.rules.backends[self.sources.setdefault(key, chosen.name)]
        return chosen


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


class Step:
    """One packet that is the balancer's, on its way."""

    def __init__(self, model: Model, packet: Packet, interface: int, seen: list[tuple[int, int, bytes]] | None) -> None:
        self.model, self.rules, self.table = model, model.rules, model.table
        self.packet, self.interface, self.seen = packet, interface, seen

    def from_client(self, vip: Vip) -> Expected:
        packet = self.packet
        key = (vip.name, packet.source, packet.source_port, packet.destination_port)
        connection = self.table.forward.get(key)
        if connection:
            backend = self.rules.backends[connection.backend]
            step = self.known(vip, connection, backend)
            if step == "forward":
                if not vip.is_dsr:
                    connection.last_hop = (packet.frame[6:12], packet.vlan, self.interface)
                self.table.advance(connection, packet, "c", not vip.is_dsr, backend.state == "down", self.model.now_s)
                return self.to_backend(vip, backend, connection)
            if step == "refuse":
                return Expected(["drop_backend_down"])
            self.table.erase(connection)
        return self.unknown(vip)

    def known(self, vip: Vip, connection: Connection, backend: Backend) -> str:
        """forward, refuse or forget: what a connection's packet gets."""
        if packet_restarts(connection, self.packet):
            half_open = connection.state in ("syn_seen", "syn_ack_seen")
            if not (half_open and backend.state == "up"):  # a SYN sent again keeps its backend
                return "forget"
        if backend.state in ("up", "draining") or backend.state == "down" and vip.down == "keep":
            return "forward"
        return "forget" if vip.down == "reselect" else "refuse"

    def unknown(self, vip: Vip) -> Expected:
        packet = self.packet
        opens = packet.protocol == UDP or packet.flags & (lifetime.SYN | lifetime.ACK) == lifetime.SYN
        if not opens and not vip.recovers:
            return Expected(["drop_no_connection"])
        backend = self.model.select(vip.pool, packet, self.seen_backend(vip))
        if backend is None:
            return Expected(["drop_no_backend"])
        happened = lifetime.event("c", packet.flags if packet.protocol == TCP else None)
        state = lifetime.initial(happened)
        connection = None
        if state:
            connection = Connection(vip, packet, backend, state, self.model.now_s)
            problem = self.record(vip, backend, connection)
            if problem:
                return Expected([problem])
        return self.to_backend(vip, backend, connection)

    def record(self, vip: Vip, backend: Backend, connection: Connection) -> str | None:
        packet = self.packet
        if vip.mode == "full-nat" and not self.take_port(backend, connection):
            return "drop_snat_exhausted"
        if not vip.is_dsr:
            connection.last_hop = (packet.frame[6:12], packet.vlan, self.interface)
        return self.table.insert(connection, vip.max, not vip.is_dsr)

    # --- what the engine chose -------------------------------------------------------------------------------------

    def seen_frame(self) -> Packet | None:
        sent = [frame for way, _, frame in self.seen or () if way == SENT]
        return parse(sent[0]) if len(sent) == 1 else None

    def seen_backend(self, vip: Vip) -> Backend | None:
        """Whom the engine sent it to: by the MAC in DSR, by the address in NAT."""
        sent = self.seen_frame() if vip.pool.scheduler != "maglev" else None
        if sent is None:
            return None
        for backend in vip.pool.members:
            if vip.mode == "dsr-l2":
                if backend.hop and sent.frame[:6] == backend.hop.ethernet[:6]:
                    return backend
            elif sent.destination == backend.address and (
                    vip.is_dsr or sent.destination_port == (backend.port or self.packet.destination_port)):
                return backend
        return None

    def take_port(self, backend: Backend, connection: Connection) -> bool:
        """Source address and port: any of the node's that no other connection to this backend uses."""
        sent = self.seen_frame()
        if sent is not None:
            for snat in self.rules.snat:
                if snat.address == sent.source and snat.first <= sent.source_port <= snat.last:
                    return self.give_port(connection, snat, sent.source_port)
            return False
        free = self.free_port(backend, connection)
        return free is not None and self.seen is None and self.give_port(connection, *free)

    def give_port(self, connection: Connection, snat: object, port: int) -> bool:
        connection.snat, connection.snat_port = snat, port
        holder = self.table.reply.get(connection.reply_key())
        if holder is None:
            return True
        if holder.state not in lifetime.ENDED:
            return False
        self.table.erase(holder)
        return True

    def free_port(self, backend: Backend, connection: Connection) -> tuple | None:
        for snat in self.rules.snat:
            if len(snat.address) != len(backend.address):
                continue
            for port in range(snat.first, snat.last + 1):
                key = (connection.protocol, backend.address, connection.backend_port, snat.address, port)
                holder = self.table.reply.get(key)
                if holder is None or holder.state in lifetime.ENDED:
                    return snat, port
        return None

    # --- the way out -----------------------------------------------------------------------------------------------

    def to_backend(self, vip: Vip, backend: Backend, connection: Connection | None) -> Expected:
        packet, hop = self.packet, backend.hop
        if hop is None or not hop.resolved:
            return Expected(["drop_no_next_hop"])
        if packet.length > hop.mtu:
            return Expected(["drop_too_big"])
        if vip.is_dsr:
            l3 = rewrite.plain(packet)
        else:
            if packet.ttl <= 1:
                return Expected(["drop_ttl_expired"])
            source, port = packet.source, packet.source_port
            if connection and connection.snat:
                source, port = connection.snat.address, connection.snat_port
            l3 = rewrite.translate(packet, source, backend.address, port, backend.port or packet.destination_port)
        return Expected(["forwarded"], [(SENT, hop.interface.index, rewrite.from_l3(packet, l3, hop.ethernet))])

    def from_backend(self) -> Expected:
        packet = self.packet
        connection = self.table.reply.get((packet.protocol, packet.source, packet.source_port, packet.destination,
                                           packet.destination_port))
        if connection is None:
            return Expected(["drop_no_connection"])
        self.table.advance(connection, packet, "b", True, False, self.model.now_s)
        mac, vlan, number = connection.last_hop
        if number >= len(self.rules.interfaces):
            return Expected(["drop_no_next_hop"])
        interface = self.rules.interfaces[number]
        if packet.length > interface.mtu:
            return Expected(["drop_too_big"])
        if packet.ttl <= 1:
            return Expected(["drop_ttl_expired"])
        vip = self.rules.vips[connection.vip]
        l3 = rewrite.translate(packet, vip.address, connection.client, connection.port, connection.client_port)
        return Expected(["replied"], [(SENT, number, rewrite.from_l3(packet, l3, ethernet(mac, interface.mac, vlan)))])


def packet_restarts(connection: Connection, packet: Packet) -> bool:
    return packet.protocol == TCP and lifetime.restarts(connection.state, packet.flags)
