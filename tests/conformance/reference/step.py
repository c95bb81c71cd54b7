# SPDX-License-Identifier: BSD-3-Clause
"""One packet that is the balancer's, on its way through the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from . import answers, lifetime, rewrite, tunnel
from .connections import Connection
from .lifetime import ACK, SYN
from .outcome import SENT, Ambiguous, Expected, Seen
from .packet import TCP, UDP, Packet
from .rules import Backend, Vip, ethernet

if TYPE_CHECKING:
    from .model import Model


class Step:
    """Decides by what came before it; remembers what it changes."""

    def __init__(self, model: Model, packet: Packet, interface: int, seen: Seen | None) -> None:
        self.model, self.rules, self.table = model, model.rules, model.table
        self.packet, self.interface, self.seen = packet, interface, seen

    def from_client(self, vip: Vip) -> Expected:
        packet = self.packet
        bystander = packet.later or packet.icmp_error or packet.tunnel_error  # says nothing of the connection's state, nor of the client's way
        key = (vip.name, packet.source, packet.source_port, packet.destination_port)
        connection = self.table.forward.get(key)
        if connection:
            backend = self.rules.backends[connection.backend]
            step = self.known(vip, connection, backend)
            if step != "forget" or bystander:  # else it begins anew, gone or not
                self.refuse_doubt(connection)
            if step == "refuse" or step == "forget" and bystander:
                if not bystander:
                    self.give_up(connection)
                return self.backend_down(vip, backend, connection, bystander)
            if step == "forward":
                self.model.touched = connection
                if packet.tunnel_error:
                    return self.out_of_tunnel(vip, connection.last_hop)
                if connection.port_unknown:
                    self.learn_port(backend, connection)
                if not bystander:
                    connection.last_hop = (packet.frame[6:12], packet.vlan, self.interface)
                    down = backend.state == "down"
                    self.table.advance(connection, packet, "c", not vip.is_dsr, down, self.model.now_s)
                return self.to_backend(vip, backend, connection)
            self.table.erase(connection)
        return self.unknown(vip, bystander)

    @staticmethod
    def refuse_doubt(connection: Connection) -> None:
        if connection.maybe_gone:
            raise Ambiguous("whether an ended connection's SNAT port was given away did not show")

    def give_up(self, connection: Connection) -> None:
        """Its backend is down, and so it ends as if that had reset it."""
        if connection.protocol == TCP and connection.state != "rst_backend":
            connection.state, connection.seen_s = "rst_backend", self.model.now_s

    def known(self, vip: Vip, connection: Connection, backend: Backend) -> str:
        """forward, refuse or forget: what a connection's packet gets."""
        if packet_restarts(connection, self.packet):
            half_open = connection.state in ("syn_seen", "syn_ack_seen")
            if not (half_open and backend.state == "up"):  # a SYN sent again keeps its backend
                return "forget"
        if backend.state in ("up", "draining") or backend.state == "down" and vip.down == "keep":
            return "forward"
        return "forget" if vip.down == "reselect" else "refuse"

    def unknown(self, vip: Vip, bystander: bool) -> Expected:
        packet = self.packet
        if packet.tunnel_error:
            return self.tunnel_error_unrecorded(vip) if vip.exceptions else Expected(["drop_icmp_no_connection"])
        opens = not bystander and (packet.protocol == UDP or packet.flags & (SYN | ACK) == SYN)
        if not opens and not vip.recovers:
            return self.no_connection()
        if packet.icmp_error and not self.model.icmp_errors.take(self.model.now_ms, self.rules.icmp_pps):
            return Expected(["drop_icmp_rate"])  # nothing recorded vouches for it
        oldest = vip.pool.oldest(self.model.flow_hash(packet)) if vip.pool.scheduler == "maglev" else None
        stays = oldest is not None and self.still_serves(vip, oldest)
        begins = begins_flow(packet) and not bystander if vip.exceptions else opens
        if stays and not begins:
            backend, at_limit = oldest, False
        else:
            new = opens or packet.protocol == UDP
            backend, at_limit = self.model.select(vip.pool, packet, new, self.seen_backend(vip), bystander)
        if at_limit:
            return self.refused("drop_backend_limit", vip.on_limit == "reject")
        if backend is None:
            return self.refused("drop_no_backend", vip.all_down == "reject")
        state = None
        if not bystander and not (vip.exceptions and oldest is None):
            state = lifetime.initial(lifetime.event("c", packet.flags if packet.protocol == TCP else None))
        connection = None
        if state:
            connection = Connection(vip, packet, backend, state, self.model.now_s)
            problem = self.record(vip, backend, connection)
            if problem and not vip.exceptions:
                return Expected([problem])
            if problem:
                connection, backend = None, oldest if stays else backend
        if connection is None and vip.exceptions and not bystander and (opens or packet.protocol == UDP):
            hop = (packet.frame[6:12], packet.vlan, self.interface)
            self.model.recent_hops[vip.name, self.model.owner_of(packet)] = hop
        return self.to_backend(vip, backend, connection)

    @staticmethod
    def still_serves(vip: Vip, backend: Backend) -> bool:
        return backend.state in ("up", "draining") or backend.state == "down" and vip.down == "keep"

    def tunnel_error_unrecorded(self, vip: Vip) -> Expected:
        """For a client that is not known: by the way that the VIP's clients came of late."""
        hop = self.model.recent_hops.get((vip.name, self.model.owner_of(self.packet)))
        if hop is None or vip.mode not in tunnel.MODES:
            return Expected(["drop_icmp_no_connection"])
        if not self.model.icmp_errors.take(self.model.now_ms, self.rules.icmp_pps):
            return Expected(["drop_icmp_rate"])
        return self.out_of_tunnel(vip, hop)

    def learn_port(self, backend: Backend, connection: Connection) -> None:
        sent = self.seen.sent(backend.hop.interface.index) if self.seen and backend.hop else None
        if sent is not None and not self.sends_nothing(backend) and self.adopt_port(sent, connection):
            connection.port_unknown = False
            self.table.reply[connection.reply_key()] = connection

    def record(self, vip: Vip, backend: Backend, connection: Connection) -> str | None:
        packet = self.packet
        if vip.mode == "full-nat" and not self.take_port(backend, connection):
            return "drop_snat_exhausted"
        connection.last_hop = (packet.frame[6:12], packet.vlan, self.interface)
        problem = self.table.insert(connection, vip.max, not vip.is_dsr)
        self.model.touched = None if problem else connection
        return problem

    # --- what the engine chose -------------------------------------------------------------------------------------

    def seen_backend(self, vip: Vip) -> Backend | None:
        """Whom the engine sent it to: by the MAC in DSR, by the address in NAT and tunnels."""
        if self.seen is None or vip.pool.scheduler == "maglev":
            return None
        for backend in vip.pool.members:
            sent = self.seen.sent(backend.hop.interface.index) if backend.hop else None
            if sent is None:
                continue
            if vip.mode == "dsr-l2":
                if sent.frame[:6] == backend.hop.ethernet[:6]:
                    return backend
            elif sent.destination == backend.address and (
                    vip.is_dsr or sent.destination_port == (backend.port or self.packet.destination_port)):
                return backend
        return None

    def take_port(self, backend: Backend, connection: Connection) -> bool:
        """Source address and port: any of the node's that no other connection to this backend uses. When the packet
        goes no further, the next one of the connection shows them."""
        free = self.free_port(backend, connection)
        if self.seen is None:
            return free is not None and self.give_port(connection, *free)
        if self.sends_nothing(backend):
            connection.port_unknown = free is not None
            self.table.doubt(connection)
            return connection.port_unknown
        sent = self.seen.sent(backend.hop.interface.index)
        return sent is not None and self.adopt_port(sent, connection)

    def adopt_port(self, sent: Packet, connection: Connection) -> bool:
        for snat in self.rules.snat:
            if snat.address == sent.source and snat.first <= sent.source_port <= snat.last:
                return self.give_port(connection, snat, sent.source_port)
        return False

    def seen_source(self, interface: int) -> bytes:
        """Of a later fragment, which shows its connection's SNAT address but no port: one of the node's."""
        sent = self.seen.sent(interface) if self.seen else None
        addresses = [snat.address for snat in self.rules.snat if len(snat.address) == len(self.packet.source)]
        return sent.source if sent and sent.source in addresses else addresses[0]

    def sends_nothing(self, backend: Backend) -> bool:
        packet, hop = self.packet, backend.hop
        if hop is None or not hop.resolved or packet.ttl <= 1:
            return True
        return packet.length > hop.mtu and (packet.dont_fragment or "one-frame" in self.model.permitted)

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
        tunnelled = vip.mode in tunnel.MODES
        if hop is None or not hop.resolved or tunnelled and not self.rules.tunnel[backend.family][1]:
            return Expected(["drop_no_next_hop"])
        mtu = max(hop.mtu - tunnel.overhead(vip, backend), 0)
        if packet.length > mtu and packet.dont_fragment:
            return self.too_big(vip, mtu)
        if not vip.is_dsr and packet.ttl <= 1:
            return self.expired(vip)
        l3 = rewrite.plain(packet)
        if not vip.is_dsr:
            source, port = packet.source, packet.source_port
            if connection and connection.snat:
                source, port = connection.snat.address, connection.snat_port
            elif connection and connection.port_unknown:
                source = self.seen_source(hop.interface.index)
            speaker = None if vip.mode == "nat" else source
            l3 = self.translated(speaker, source, backend.address, port, backend.port or packet.destination_port)
        elif tunnelled and vip.clamp:
            l3 = tunnel.clamp(packet, mtu)

        def wrapped(piece: bytes) -> tuple[bytes, int]:
            if not tunnelled:
                return piece, packet.ethertype
            flow = self.model.flow_hash(packet)
            return tunnel.wrap(vip, self.rules, backend, piece, packet, flow), 0x0800 if backend.family == 4 else 0x86DD

        verdict = "icmp_relayed" if packet.icmp_error else "forwarded"
        return self.send(verdict, l3, mtu, hop.interface.index, hop.ethernet, wrapped)

    def send(self, verdict: str, l3: bytes, mtu: int, interface: int, link: bytes,
             wrapped: Callable[[bytes], tuple[bytes, int]]) -> Expected:
        """One frame, or several when it has to be cut; padding behind the packet stays where the packet does."""
        packet = self.packet
        pieces, rest = [l3], packet.frame[packet.end:]
        if len(l3) > mtu and "one-frame" in self.model.permitted:
            return Expected(["drop_too_big"])
        if len(l3) > mtu:
            pieces, rest = rewrite.cut(l3, mtu), b""
            if not pieces:
                return Expected(["drop_too_big"])
        expected = Expected()
        for piece in pieces:
            body, ethertype = wrapped(piece)
            expected.verdicts.append(verdict)
            expected.frames.append((SENT, interface, link + ethertype.to_bytes(2, "big") + body + rest))
        return expected

    def translated(self, speaker: bytes | None, source: bytes, destination: bytes, source_port: int, port: int) -> bytes:
        """`speaker`: whom an ICMP error comes from; None: who sent it."""
        if self.packet.icmp_error:
            return rewrite.translate_error(self.packet, speaker, source, destination, source_port, port)
        return rewrite.translate(self.packet, source, destination, source_port, port)

    def from_backend(self) -> Expected:
        packet = self.packet
        connection = self.table.reply.get((packet.protocol, packet.source, packet.source_port, packet.destination,
                                           packet.destination_port))
        if connection is None:
            return self.no_connection()
        self.refuse_doubt(connection)
        self.model.touched = connection
        if not packet.later and not packet.icmp_error:
            self.table.advance(connection, packet, "b", True, False, self.model.now_s)
        mac, vlan, number = connection.last_hop
        if number >= len(self.rules.interfaces):
            return Expected(["drop_no_next_hop"])
        interface, vip = self.rules.interfaces[number], self.rules.vips[connection.vip]
        if packet.length > interface.mtu and packet.dont_fragment:
            return self.too_big(vip, interface.mtu)
        if packet.ttl <= 1:
            return self.expired(vip)
        l3 = self.translated(vip.address, vip.address, connection.client, connection.port, connection.client_port)
        verdict = "icmp_relayed" if packet.icmp_error else "replied"
        return self.send(verdict, l3, interface.mtu, number, ethernet(mac, interface.mac, vlan),
                         lambda piece: (piece, packet.ethertype))

    def out_of_tunnel(self, vip: Vip, hop: tuple[bytes, int | None, int]) -> Expected:
        """The client is told, by the VIP, what its own packet was too big for; of other errors nothing."""
        packet = self.packet
        mac, vlan, number = hop
        if number >= len(self.rules.interfaces):
            return Expected(["drop_no_next_hop"])
        interface = self.rules.interfaces[number]
        l3 = answers.tunnel_too_big(packet)
        if l3 is None:
            return Expected(["drop_tunnel_error"])
        ethertype = b"\x08\x00" if packet.family == 4 else b"\x86\xdd"
        return Expected(["icmp_relayed"], [(SENT, number, ethernet(mac, interface.mac, vlan) + ethertype + l3)])

    # --- answers ---------------------------------------------------------------------------------------------------

    def answer(self, drop: str, verdict: str, make: Callable[[], bytes | None]) -> Expected:
        """An answer, when the rate allows one and there is one to be made."""
        if self.model.answers.take(self.model.now_ms, self.rules.answers_pps):
            frame = make()
            if frame is not None:
                return Expected([verdict], [(SENT, self.interface, frame)])
        return Expected([drop])

    def no_connection(self) -> Expected:
        packet = self.packet
        if packet.icmp_error:
            return Expected(["drop_icmp_no_connection"])
        if packet.protocol != TCP or packet.later or packet.tunnel_error or self.model.in_grace():
            return Expected(["drop_no_connection"])
        return self.answer("drop_no_connection", "answered_reset", lambda: answers.reset(packet))

    def refused(self, drop: str, tell: bool) -> Expected:
        """No backend takes it: a reset or port unreachable, where the VIP is to say so."""
        packet = self.packet
        if not tell:
            return Expected([drop])
        if packet.protocol == TCP and not packet.later and not packet.icmp_error:
            return self.answer(drop, "answered_reset", lambda: answers.reset(packet))
        return self.answer(drop, "answered_unreachable", lambda: answers.port_unreachable(packet))

    def too_big(self, vip: Vip, mtu: int) -> Expected:
        if not vip.too_big or not mtu:
            return Expected(["drop_too_big"])
        return self.answer("drop_too_big", "answered_too_big", lambda: answers.too_big(self.packet, vip.address, mtu))

    def expired(self, vip: Vip) -> Expected:
        return self.answer("drop_ttl_expired", "answered_time_exceeded",
                           lambda: answers.time_exceeded(self.packet, vip.address))

    def backend_down(self, vip: Vip, backend: Backend, connection: Connection, bystander: bool) -> Expected:
        """Both ends hear of it, each with a number that it takes for valid."""
        packet, hop = self.packet, backend.hop
        if vip.down != "reset" or vip.is_dsr or packet.protocol != TCP or bystander:
            return Expected(["drop_backend_down"])
        expected = self.answer("drop_backend_down", "answered_reset", lambda: answers.reset(packet))
        if expected.frames and hop and hop.resolved and "one-frame" not in self.model.permitted:
            if connection.port_unknown and self.seen:
                sent = self.seen.sent_to(hop.interface.index, backend.address)
                if sent is not None and self.adopt_port(sent, connection):
                    connection.port_unknown = False
                    self.table.reply[connection.reply_key()] = connection
            source, port = packet.source, packet.source_port
            if connection.snat:
                source, port = connection.snat.address, connection.snat_port
            l3 = answers.reset_onward(packet, source, backend.address, port, backend.port or packet.destination_port)
            expected.verdicts.append("answered_reset")
            frame = hop.ethernet + packet.ethertype.to_bytes(2, "big") + l3
            expected.frames.append((SENT, hop.interface.index, frame))
        return expected


def packet_restarts(connection: Connection, packet: Packet) -> bool:
    return packet.protocol == TCP and packet.flags is not None and lifetime.restarts(connection.state, packet.flags)


def begins_flow(packet: Packet) -> bool:
    """Says of itself that it is a flow's first: a SYN, or a QUIC Initial (versions 1 and 2), which fills 1200 bytes."""
    if packet.protocol == TCP:
        return packet.flags is not None and packet.flags & (SYN | ACK) == SYN
    payload = packet.frame[packet.l4 + 8:packet.end]
    if packet.fragment or len(payload) < 1200:
        return False
    version, form = payload[1:5], payload[0] & 0xF0
    return version == b"\0\0\0\1" and form == 0xC0 or version == b"\x6b\x33\x43\xcf" and form == 0xD0
