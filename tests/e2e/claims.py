# SPDX-License-Identifier: BSD-3-Clause
"""Who says that it has an address: asks by ARP every few milliseconds and notes whose MAC each claim names."""

from __future__ import annotations

import socket
import struct
import threading
import time

from netns import Namespace

ASK_EVERY_S = 0.003
ETH_P_ARP = 0x0806
BROADCAST = b"\xff" * 6
ARP = struct.Struct("!HHBBH6s4s6s4s")


class Claims:
    """Asks and listens on DEVICE of NS, as a context manager; answers, gratuitous ARP and questions alike are claims."""

    def __init__(self, ns: Namespace, device: str, own_address: str, address: str) -> None:
        self.heard: list[tuple[float, str]] = []  # time.time(), MAC
        self._address = socket.inet_aton(address)
        self._stop = threading.Event()
        with ns.entered():
            self._sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ARP))
        self._sock.bind((device, ETH_P_ARP))
        self._sock.settimeout(ASK_EVERY_S)
        mac = self._sock.getsockname()[4]
        self._question = BROADCAST + mac + struct.pack("!H", ETH_P_ARP) + ARP.pack(
            1, 0x0800, 6, 4, 1, mac, socket.inet_aton(own_address), bytes(6), self._address)
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
            _, _, _, _, _, sender, claimed, _, _ = ARP.unpack_from(frame, 14)
            if claimed == self._address:
                self.heard.append((time.time(), sender.hex(":")))
