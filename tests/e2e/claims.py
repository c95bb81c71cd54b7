# SPDX-License-Identifier: BSD-3-Clause
"""Who says that it has an address: asks by ARP or neighbour discovery every few milliseconds and notes whose MAC each
claim names."""

from __future__ import annotations

import socket
import struct
import threading
import time

from capture import ICMP6, ones_sum
from netns import Namespace

ASK_EVERY_S = 0.003


class Arp:
    """RFC 826. Answers, gratuitous ARP and questions alike are claims of their sender."""

    ETHERTYPE = 0x0806
    _PACKET = struct.Struct("!HHBBH6s4s6s4s")

    @classmethod
    def question(cls, mac: bytes, own: bytes, wanted: bytes) -> bytes:
        return b"\xff" * 6 + mac + struct.pack("!H", cls.ETHERTYPE) + cls._PACKET.pack(
            1, 0x0800, 6, 4, 1, mac, own, bytes(6), wanted)

    @classmethod
    def claim(cls, frame: bytes) -> tuple[bytes, bytes]:
        """The address and the MAC that claims it."""
        _, _, _, _, _, mac, address, _, _ = cls._PACKET.unpack_from(frame, 14)
        return address, mac


class Ndp:
    """RFC 4861. Claims are advertisements, solicited or not, and solicitations that come from the address."""

    ETHERTYPE = 0x86DD
    _IP = struct.Struct("!IHBB16s16s")
    _MESSAGE = struct.Struct("!BBHI16s")  # then options
    _SOLICITATION, _ADVERTISEMENT = 135, 136
    _SOURCE_MAC, _TARGET_MAC = 1, 2

    @classmethod
    def question(cls, mac: bytes, own: bytes, wanted: bytes) -> bytes:
        group = bytes.fromhex("ff0200000000000000000001ff") + wanted[13:]
        body = cls._MESSAGE.pack(cls._SOLICITATION, 0, 0, 0, wanted) + bytes((cls._SOURCE_MAC, 1)) + mac
        checksum = 0xFFFF - ones_sum(own + group + struct.pack("!II", len(body), ICMP6) + body)
        body = body[:2] + struct.pack("!H", checksum) + body[4:]
        return (b"\x33\x33" + group[12:] + mac + struct.pack("!H", cls.ETHERTYPE)
                + cls._IP.pack(6 << 28, len(body), ICMP6, 255, own, group) + body)

    @classmethod
    def claim(cls, frame: bytes) -> tuple[bytes, bytes] | None:
        """The address and the MAC that claims it; None of what claims nothing."""
        try:
            _, _, protocol, _, source, _ = cls._IP.unpack_from(frame, 14)
            kind, _, _, _, target = cls._MESSAGE.unpack_from(frame, 54)
            option, mac = frame[78], frame[80:86]
        except (struct.error, IndexError):
            return None
        if protocol != ICMP6 or len(mac) != 6:
            return None
        claims = {(cls._ADVERTISEMENT, cls._TARGET_MAC): target, (cls._SOLICITATION, cls._SOURCE_MAC): source}
        return (claims[kind, option], mac) if (kind, option) in claims else None


class Claims:
    """Asks and listens on DEVICE of NS, as a context manager."""

    def __init__(self, ns: Namespace, device: str, own_address: str, address: str) -> None:
        self.heard: list[tuple[float, str]] = []  # time.time(), MAC
        self._protocol = Ndp if ":" in address else Arp
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._address = socket.inet_pton(family, address)
        self._stop = threading.Event()
        with ns.entered():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(self._protocol.ETHERTYPE))
        self._sock.bind((device, self._protocol.ETHERTYPE))
        self._sock.settimeout(ASK_EVERY_S)
        mac = self._sock.getsockname()[4]
        self._question = self._protocol.question(mac, socket.inet_pton(family, own_address), self._address)
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Claims:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sock.close()

    def of(self, mac: str, since: float = 0.0, until: float = float("inf")) -> list[float]:
        """When MAC claimed it."""
        return [at for at, who in list(self.heard) if who == mac and since <= at <= until]

    def _work(self) -> None:
        due = 0.0
        while not self._stop.is_set():
            if time.monotonic() >= due:
                due = time.monotonic() + ASK_EVERY_S
                self._sock.send(self._question)
            try:
                frame = self._sock.recv(2048)
            except TimeoutError:
                continue
            claim = self._protocol.claim(frame)
            if claim and claim[0] == self._address:
                self.heard.append((time.time(), claim[1].hex(":")))
