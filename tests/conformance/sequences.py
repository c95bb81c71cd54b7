# SPDX-License-Identifier: BSD-3-Clause
"""Random sequences: a state, then packets that make sense, nearly make sense, or none, from a seed. Packets follow what the
model knows, so that connections live long enough to be interesting. Nothing here knows what should come out."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import frames
from reference.connections import Connection
from reference.model import Model
from reference.rules import Text, Vip, address

CLIENTS = {4: [address(f"198.51.100.{n}") for n in range(1, 9)],
           6: [address(f"2001:db8:c::{n}") for n in range(1, 9)]}
FLAGS = (0x10, 0x10, 0x10, 0x18, 0x18, 0x11, 0x11, 0x02, 0x02, 0x12, 0x04, 0x14, 0x01)
DATA_FLAGS = (0x10, 0x10, 0x18)
REPLY_FLAGS = (0x12, 0x12, 0x10, 0x10, 0x18, 0x11, 0x11, 0x04, 0x14, 0x02)
OPTIONS = (b"", b"", b"", b"\x02\x04\x05\xb4", b"\x01\x01\x01\x00", b"\x02\x04\x05\xb4\x04\x02\x08\x0a\0\0\0\1\0\0\0\0")
IP_OPTIONS = (b"\x01\x01\x01\x00", b"\x07\x07\x04\0\0\0\0\0", b"\x83\x03\x04\x00", b"\x44\x09\x01\x00", b"\x94\x04\0\0")


@dataclass
class Event:
    """One step of a sequence."""

    kind: str  # in, change, pass
    frame: bytes = b""
    worker: int = 0
    interface: int = 0
    more: bool = False  # another packet of the same burst follows
    change: str = ""
    milliseconds: int = 0


def random_state(rng: Random, modes: tuple[str, ...], calm: bool) -> Text:
    """Two interfaces, four next hops, VIPs in both families and protocols. Calm: with schedulers whose choice can only be
    seen in what is sent, so nothing may keep a first packet from being sent."""
    text = Text(key=(rng.getrandbits(64), rng.getrandbits(64)))
    text.apply("interface lan mac=02:00:00:00:00:aa")
    text.apply(f"interface wan mac=02:00:00:00:00:ab mtu={rng.choice((1500, 1300))} kernel={rng.choice(('yes', 'no'))}")
    text.apply(f"node tunnel_v4=192.0.2.80 tunnel_v4_count={rng.choice((1, 4))} tunnel_v6=2001:db8:e::80 tunnel_v6_count=16 "
               f"answers_pps={rng.choice((0, 1000000))} icmp_pps={rng.choice((0, 1000000))} grace={rng.choice((0, 0, 30))}")
    text.apply("local 192.0.2.2")
    text.apply("local 2001:db8:77::2")
    for n in range(1, 5):
        text.apply(f"hop h{n} mac=02:00:00:00:01:{n:02x} interface={rng.choice(('lan', 'lan', 'wan'))} "
                   f"mtu={rng.choice((1500, 1500, 1400))} vlan={rng.choice(('none', 'none', '5', '4095'))} "
                   f"resolved={'yes' if calm else rng.choice(('yes',) * 9 + ('no',))}")
    number = 0
    for family in (4, 6):
        for protocol in ("tcp", "udp"):
            for _ in range(rng.choice((1, 1, 2))):
                number += 1
                _random_service(rng, text, number, family, protocol, rng.choice(modes), calm)
    for n in range(rng.choice((1, 2))):
        text.apply(f"snat s4{n} address=192.0.2.{64 + n} ports=40000-{rng.choice((40511, 41999))}")
        text.apply(f"snat s6{n} address=2001:db8:a::{64 + n} ports=40000-{rng.choice((40511, 41999))}")
    return text


def _random_service(rng: Random, text: Text, number: int, family: int, protocol: str, mode: str,
                    calm: bool) -> None:
    pool = f"p{number}"
    ports = rng.choice(("80", "80", "80-89", "all"))
    dsr = mode not in ("nat", "full-nat")
    # Backend numbers overlap between the services of a family, so that some share a backend.
    first = 20 * number if calm else rng.randrange(1, 4)
    own_port = 0 if dsr or ports != "80" else rng.choice((0, 8080))
    scheduler = rng.choice(("source-hash", "rr", "wrr", "lc", "wlc")) if calm else "maglev"
    backend_family = rng.choice((4, 6)) if mode in ("dsr-ipip", "dsr-gue") else family
    text.apply(f"pool {pool} scheduler={scheduler} size={rng.choice((13, 251))}")
    for n in range(first, first + rng.randrange(1, 5)):
        at = f"10.0.0.{10 + n}" if backend_family == 4 else f"2001:db8:b::{10 + n}"
        text.apply(f"backend {pool}.{n} address={at} port={own_port} hop=h{n % 4 + 1} weight={rng.choice((1, 1, 2, 3))}")
    vip = f"203.0.113.{10 + number}" if family == 4 else f"2001:db8:f::{10 + number}"
    # `reset` is for the NAT modes; the configuration refuses it to the others.
    policies = ("auto", "reselect", "keep") if dsr else ("auto", "reset", "reselect", "keep")
    text.apply(f"vip v{number} address={vip} protocol={protocol} ports={ports} mode={mode} pool={pool} "
               f"down={rng.choice(policies)} all_down={rng.choice(('open', 'reject', 'drop'))} "
               f"tracking={'exceptions' if dsr and not calm and rng.random() < 0.6 else 'full'} "
               f"clamp={rng.choice(('yes', 'no'))} too_big={rng.choice(('yes', 'no'))}")


class Generator:
    """Makes the events of one sequence."""

    def __init__(self, rng: Random, text: Text, model: Model, workers: int, kinds: set[str], calm: bool) -> None:
        self.calm = calm
        self.steady = False  # nearly all of a batch is data, in long bursts: what an engine may have a faster path for
        self.shortest = 14 if "whole-ethernet-header" in model.permitted else 0
        self.rng, self.text, self.model, self.workers, self.kinds = rng, text, model, workers, kinds
        self.recent: list[bytes] = []
        self.pieces: list[bytes] = []
        self.makers = [(self.opening, 14), (self.client, 34), (self.reply, 30), (self.stray, 4), (self.not_ours, 4),
                       (self.mutated, 10), (self.again, 4)]
        if calm:
            self.makers = [(self.opening, 20), (self.client, 34), (self.reply, 30), (self.not_ours, 2)]
        if "fragments" in kinds and not calm:
            self.makers.append((self.fragment, 6))
        if "icmp-errors" in kinds and not calm:
            self.makers.append((self.icmp_error, 6))
        self.choices = [maker for maker, weight in self.makers for _ in range(weight)]

    def batch(self, count: int) -> list[Event]:
        """Packets that can be made now, then a change of state or of time."""
        rng, rules = self.rng, self.model.rules
        self.vips = [vip for vip in rules.vips.values() if vip.served]
        self.known = list(self.model.table.forward.values())
        self.steady = not self.calm and rng.random() < 0.4
        self.usual = (self.client, self.client, self.reply, self.reply, self.data) if self.known else (self.data,)
        events: list[Event] = []
        while len(events) < count:
            frame = rng.choice(self.usual if self.steady and rng.random() < 0.95 else self.choices)()
            if frame is None or len(frame) < self.shortest:
                continue
            event = Event("in", frame, rng.randrange(self.workers), rng.choice((0, 0, 0, 1)))
            if self.workers == 1 and not self.calm:  # longer than a burst of the engine, sometimes
                event.more = rng.random() < (0.95 if self.steady else 0.5)
            events.append(event)
            if len(self.recent) < 64:
                self.recent.append(frame)
            else:
                self.recent[rng.randrange(64)] = frame
        _same_queue(events)
        if rng.random() < 0.25:
            events.append(Event("pass", milliseconds=rng.choice((1, 100, 21_000, 31_000, 61_000, 70_000, 3_700_000))))
        if rng.random() < 0.15:
            change = self.change()
            events.append(Event("change", change=change))
            # Entries that say no more than the new table does go within 20 s, nobody says when.
            events += [Event("pass", milliseconds=21_000)] * any(vip.exceptions for vip in rules.vips.values())
        return events

    def change(self) -> str:
        rng = self.rng
        name = rng.choice(list(self.text.rows["backend"]))
        if self.calm:
            return f"backend {name} weight={rng.choice((0, 1, 2, 5))}"
        return rng.choice((
            f"backend {name} state={rng.choice(('up', 'up', 'draining', 'down'))}",
            f"backend {name} weight={rng.choice((0, 1, 2, 5))}",
            f"hop h{rng.randrange(1, 5)} resolved={rng.choice(('yes', 'yes', 'yes', 'no'))}",
            f"vip {rng.choice(list(self.text.rows['vip']))} down={rng.choice(('reselect', 'keep'))}",
            self.window(),
        ))

    def window(self) -> str:
        """Slots of a pool have changed of late; or that is over."""
        rng = self.rng
        pool = rng.choice(list(self.text.rows["pool"]))
        own = self.text.own(pool)
        was = rng.sample(own, rng.randrange(1, len(own) + 1)) if rng.random() < 0.7 else ["none"]
        return f"pool {pool} was={','.join(was)}"

    # --- makers: a frame, or None when there is nothing to make it of --------------------------------------------------

    def link(self, ethertype: int) -> bytes:
        rng = self.rng
        if self.steady and rng.random() < 0.98:
            return frames.ethernet(frames.ROUTER_MACS[0], ethertype)
        vlan = rng.choice((None,) * 6 + (5, 0x6005))
        return frames.ethernet(rng.choice(frames.ROUTER_MACS), ethertype, vlan)

    def wrap(self, source: bytes, destination: bytes, protocol: int, l4: bytes) -> bytes:
        rng = self.rng
        v6 = len(source) == 16
        ttl = 64 if self.calm or rng.random() < 0.97 else rng.choice((0, 1, 2, 255))
        tos = rng.choice((0, 0, 0, 0x2E << 2, 1, 2, 3))
        if v6 and not self.calm and rng.random() < 0.06:
            protocol, l4 = self.extended(protocol, l4)
        options = b"" if v6 or self.calm or rng.random() < 0.95 else rng.choice(IP_OPTIONS)
        packet = frames.ip(source, destination, protocol, l4, ttl, tos, rng.randrange(65536), rng.choice((0, 0x4000)), options)
        pad = b"\0" * rng.randrange(1, 8) if rng.random() < 0.05 else b""
        return self.link(0x86DD if v6 else 0x0800) + packet + pad

    def extended(self, protocol: int, l4: bytes) -> tuple[int, bytes]:
        """One to six extension headers before it, not all of them allowed."""
        rng = self.rng
        kinds = [rng.choice((0, 60, 60, 43)) for _ in range(rng.choice((1, 1, 2, 3, 4, 5, 6)))]
        for kind in reversed(kinds):
            more = rng.choice((0, 0, 1))
            body = bytes([rng.choice((0, 2, 4))]) + b"\x04\0\0\0\0"[:5] if kind == 43 else b"\x01\x04\0\0\0\0"
            l4 = bytes([protocol, more]) + body + b"\0" * 8 * more + l4
            protocol = kind
        return protocol, l4

    def payload(self) -> bytes:
        rng = self.rng
        size = rng.choice((0, 0, 0, 1, 5, 12, 64, 200))
        if not self.calm and rng.random() < 0.03:
            size = rng.randrange(1200, 1470)
        return bytes(size) if size < 8 else rng.randbytes(4) * (size // 4)

    def l4(self, source: bytes, destination: bytes, source_port: int, port: int, protocol: int, flags: int) -> bytes:
        rng = self.rng
        if protocol == 17:
            return frames.udp(source, destination, source_port, port, self.payload(), rng.random() < 0.9)
        options = rng.choice(OPTIONS) if flags & 2 else b""
        return frames.tcp(source, destination, source_port, port, flags, self.payload(), options, rng.getrandbits(32),
                          rng.getrandbits(32))

    def port_of(self, vip: Vip) -> int:
        if vip.ports is None:
            return self.rng.choice((80, 443, 8080))
        return self.rng.randint(*vip.ports)

    def opening(self) -> bytes:
        return self.of_any_client(self.rng.choice(self.vips), 2)

    def data(self) -> bytes | None:
        """To a VIP that records exceptions only, so mostly of a connection that nobody knows."""
        vips = [vip for vip in self.vips if vip.exceptions]
        return self.of_any_client(self.rng.choice(vips), self.rng.choice(DATA_FLAGS)) if vips else None

    def of_any_client(self, vip: Vip, flags: int) -> bytes:
        rng = self.rng
        client = rng.choice(CLIENTS[4 if len(vip.address) == 4 else 6])
        l4 = self.l4(client, vip.address, 30000 + rng.randrange(64), self.port_of(vip), vip.protocol, flags)
        return self.wrap(client, vip.address, vip.protocol, l4)

    def connection(self) -> Connection | None:
        return self.rng.choice(self.known) if self.known else None

    def client(self) -> bytes | None:
        connection = self.connection()
        if connection is None:
            return None
        vip = self.model.rules.vips[connection.vip]
        l4 = self.l4(connection.client, vip.address, connection.client_port, connection.port, vip.protocol,
                     self.rng.choice(DATA_FLAGS if self.steady else FLAGS))
        return self.wrap(connection.client, vip.address, vip.protocol, l4)

    def reply(self) -> bytes | None:
        connection = self.connection()
        if connection is None or connection.port_unknown or self.model.rules.vips[connection.vip].is_dsr:
            return None
        protocol, source, source_port, destination, port = connection.reply_key()
        l4 = self.l4(source, destination, source_port, port, protocol, self.rng.choice(DATA_FLAGS if self.steady else REPLY_FLAGS))
        return self.wrap(source, destination, protocol, l4)

    def stray(self) -> bytes:
        """To a VIP without a connection, to a SNAT range, from a backend, from an address nobody has."""
        rng, vip = self.rng, self.rng.choice(self.vips)
        family = 4 if len(vip.address) == 4 else 6
        source, destination = rng.choice(CLIENTS[family]), vip.address
        source_port, port = rng.randrange(1, 65536), self.port_of(vip)
        kind = rng.randrange(5)
        if kind == 0 and self.model.rules.snat:
            snats = [snat for snat in self.model.rules.snat if len(snat.address) == len(destination)]
            if snats:
                destination, port = snats[0].address, rng.randint(snats[0].first, snats[0].last + 5)
        elif kind == 1:
            backend = rng.choice(list(self.model.rules.backends.values()))
            source, source_port = backend.address, backend.port or port
            destination = rng.choice(CLIENTS[backend.family])
        elif kind == 2:
            source = address(rng.choice(("127.0.0.1", "0.1.2.3", "224.0.0.5", "255.255.255.255")
                                        if family == 4 else ("::1", "::", "ff02::1", "::ffff:1.2.3.4")))
        elif kind == 3:
            source, source_port = destination, port
        protocol = rng.choice((6, 17))
        return self.wrap(source, destination, protocol,
                         self.l4(source, destination, source_port, port, protocol, rng.choice(FLAGS + (0, 3, 6, 0x20))))

    def not_ours(self) -> bytes:
        rng = self.rng
        kind = rng.randrange(6)
        if kind == 0:
            return self.link(rng.choice((0x0806, 0x88CC, 0x8100, 0x0800, 0x86DD))) + rng.randbytes(rng.randrange(0, 60))
        family = rng.choice((4, 6))
        source = rng.choice(CLIENTS[family])
        own = address("192.0.2.2" if family == 4 else "2001:db8:77::2")
        destination = rng.choice([own] + [vip.address for vip in self.vips if len(vip.address) == len(own)])
        if kind == 1:
            message = frames.icmp(source, destination, *(rng.choice(((8, 0), (0, 0), (13, 0), (5, 1))) if family == 4 else
                                                         rng.choice(((128, 0), (129, 0), (135, 0), (143, 0)))), 7, b"ping")
            return self.wrap(source, destination, 1 if family == 4 else 58, message)
        if kind == 2:
            return self.wrap(source, destination, rng.choice((2, 4, 41, 47, 50, 89, 112, 132)), rng.randbytes(24))
        port = rng.choice((22, 179, 3784, 3785, 4784, 79, 90, 39999))
        ports = rng.choice(((40000, port), (port, 40000)))
        protocol = rng.choice((6, 17))
        return self.wrap(source, destination, protocol, self.l4(source, destination, *ports, protocol, rng.choice(FLAGS)))

    def again(self) -> bytes | None:
        return self.rng.choice(self.recent) if self.recent else None

    def mutated(self) -> bytes | None:
        """A recent packet with some bits wrong, cut short or with something behind it."""
        rng = self.rng
        if not self.recent:
            return None
        frame = bytearray(rng.choice(self.recent))
        how = rng.randrange(8)
        if how == 0:
            return bytes(frame[:rng.randrange(len(frame) + 1)])
        if how == 1:
            return bytes(frame) + bytes(rng.randrange(1, 20))
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            at = rng.randrange(min(len(frame), 80)) if frame else 0
            if frame:
                frame[at] = frame[at] ^ 1 << rng.randrange(8) if how < 5 else rng.randrange(256)
        if how in (3, 4, 6):
            _mend_v4_header(frame)
        return bytes(frame)

    def fragment(self) -> bytes | None:
        """A piece of a datagram: sometimes a new one, sometimes the next or any other of the last few."""
        rng = self.rng
        if not self.pieces or rng.random() < 0.3:
            self.pieces = (self.cut_up() or []) + self.pieces[:6]
        if not self.pieces:
            return None
        piece = self.pieces[0] if rng.random() < 0.6 else rng.choice(self.pieces)
        if rng.random() < 0.95:
            self.pieces.remove(piece)
        return piece

    def cut_up(self) -> list[bytes] | None:
        rng = self.rng
        connection = self.connection()
        if connection is None:
            return None
        vip = self.model.rules.vips[connection.vip]
        if rng.random() < 0.5 or vip.is_dsr or connection.port_unknown:
            source, destination = connection.client, vip.address
            ports = connection.client_port, connection.port
        else:
            _, source, source_port, destination, port = connection.reply_key()
            ports = source_port, port
        flags = rng.choice((0x10, 0x10, 0x18, 0x02))
        body = rng.randbytes(rng.randrange(24, 200))
        l4 = (frames.udp(source, destination, *ports, body) if vip.protocol == 17
              else frames.tcp(source, destination, *ports, flags, body))
        ident, link = rng.randrange(1, 1 << 16), self.link(0x0800 if len(source) == 4 else 0x86DD)
        pieces, at = [], 0
        while at < len(l4):
            size = rng.choice((24, 24, 48, 64, 16, 8))
            start = max(0, at - 8) if rng.random() < 0.02 else at  # overlaps, now and then
            part, more = l4[start:at + size], at + size < len(l4)
            if len(source) == 4:
                word = start // 8 | 0x2000 * more
                pieces.append(link + frames.ip(source, destination, vip.protocol, part, 64, 0, ident, word))
            else:
                part = frames.fragment_header(vip.protocol, start, more, ident) + part
                pieces.append(link + frames.ip(source, destination, 44, part))
            at += size
        if rng.random() < 0.3:
            rng.shuffle(pieces)
        return pieces

    def icmp_error(self) -> bytes | None:
        """About something that we sent to the client or to the backend of a connection."""
        rng, connection = self.rng, self.connection()
        if connection is None or connection.port_unknown:
            return None
        vip = self.model.rules.vips[connection.vip]
        v4 = len(vip.address) == 4
        source, source_port, destination, port = vip.address, connection.port, connection.client, connection.client_port
        if not vip.is_dsr and rng.random() < 0.5:
            _, destination, port, source, source_port = connection.reply_key()
        if rng.random() < 0.05:
            source_port = rng.randrange(1, 65536)
        quote = frames.ip(source, destination, vip.protocol,
                          self.l4(source, destination, source_port, port, vip.protocol, rng.choice(FLAGS)), rng.choice((1, 60)))
        sizes = (len(quote), len(quote), 28, 48, 60, 20, 47)
        quote = quote[:rng.choice(sizes)]
        kind, code, word = rng.choice(((3, 4, 1400), (3, 4, 500), (3, 1, 0), (11, 0, 0), (12, 0, 0), (5, 1, 0)) if v4 else
                                      ((2, 0, 1400), (2, 0, 1000), (1, 4, 0), (3, 0, 0), (4, 0, 0), (137, 0, 0)))
        router = rng.choice(CLIENTS[4 if v4 else 6])
        to = source if rng.random() < 0.97 else rng.choice(CLIENTS[4 if v4 else 6])
        message = frames.icmp(router, to, kind, code, word, quote)
        return self.wrap(router, to, 1 if v4 else 58, message)


def _mend_v4_header(frame: bytearray) -> None:
    """Makes the IPv4 header checksum right again, so that the change is seen behind it."""
    at = 18 if frame[12:14] == b"\x81\0" else 14
    size = (frame[at] & 15) * 4 if len(frame) > at else 0
    if len(frame) >= at + 20 and frame[at] >> 4 == 4 and len(frame) >= at + size >= at + 20:
        frame[at + 10:at + 12] = b"\0\0"
        right = 0xFFFF - frames.fold(int.from_bytes(frame[at:at + size], "big"))
        frame[at + 10:at + 12] = right.to_bytes(2, "big")


def _same_queue(events: list[Event]) -> None:
    """A burst is of one interface and fits the engines'; the last one has no more behind it."""
    length = 1
    for this, following in zip(events, events[1:]):
        this.more = this.more and length < 16
        length = length + 1 if this.more else 1
        if this.more:
            following.interface = this.interface
    events[-1].more = False
