# SPDX-License-Identifier: BSD-3-Clause
"""What a fault of the drill is made with: a running Weir and who looks at it, a bad cable, and the row it returns."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from lab import Lab
from netns import wait_for
from pair import Pair
from spec import Vip
from weir import Weir
from witness import ANSWER_LIMIT_S, Noticed, Witness

RELAY = Path(__file__).with_name("relay.py")
WARM_UP = 200  # datagrams answered before the fault


@dataclass
class Row:
    """One line of the table; None: it is not looked at. connections_broken: those that the fault need not break. each_ms:
    of several trials the times, sorted; restored_ms is the longest then."""

    fault: str
    detected_ms: float | None
    restored_ms: float | None
    packets_lost: int | None
    connections_broken: int | None
    target: str
    met: bool
    each_ms: list[float] = field(default_factory=list)

    def json(self) -> dict[str, Any]:
        return asdict(self)


class Unix(http.client.HTTPConnection):
    """weir-control's own socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("weir", timeout=5)
        self._path = str(path)

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(weir: Weir, path: str) -> dict[str, Any]:
    connection = Unix(weir.runtime / "control.sock")
    try:
        connection.request("GET", path)
        return json.loads(connection.getresponse().read())
    finally:
        connection.close()


class Detection:
    """When weir-control first says that SEEN: asked every few milliseconds from the fault on."""

    def __init__(self, weir: Weir, path: str, seen: Callable[[dict[str, Any]], bool]) -> None:
        self.after_s: float | None = None
        self._arguments = weir, path, seen
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Detection:
        self._begun = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def wait(self, limit_s: float) -> None:
        self._thread.join(limit_s)

    def _look(self) -> None:
        weir, path, seen = self._arguments
        while not self._stop.wait(0.004):
            with contextlib.suppress(OSError, ValueError, http.client.HTTPException):
                if seen(ask(weir, path)):
                    self.after_s = time.monotonic() - self._begun
                    return


def in_ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 1)


def times(stage: Stage) -> str:
    return f", {stage.trials} times" if stage.trials > 1 else ""


@dataclass
class Stage:
    """What is running, and who looks at it."""

    lab: Lab
    weir: Weir  # of a pair: the better node
    pair: Pair | None = None
    trials: int = 1
    seconds: float = 20

    @contextlib.contextmanager
    def watched(self, mode: str, patience_s: float = ANSWER_LIMIT_S) -> Iterator[Witness]:
        """A witness of this mode's VIPs, warmed up, who goes on looking for a while after the block. PATIENCE: how long
        an answer on a connection may take."""
        udp, tcp = Vip(mode, "udp", 4), Vip(mode, "tcp", 4)
        with Witness(self.lab.client, (udp.address, udp.port), (tcp.address, tcp.port), patience_s) as witness:
            wait_for("the witness is answered", lambda: witness.answered() > WARM_UP)
            yield witness
            before = witness.answered()
            wait_for("the witness is answered again", lambda: witness.answered() > before + WARM_UP, 20)

    def others(self, witness: Witness, noticed: Noticed, backend: str) -> int:
        """Broken connections to other backends than this one."""
        return sum(witness.backend_of[index] != backend for index in noticed.broken)


@contextlib.contextmanager
def bad_cable(lab: Lab, *faults: str, to: str | None = None) -> Iterator[subprocess.Popen]:
    """The cable at the switch's port TO (the first backend's) goes through the relay; yields the relay's process."""
    switch, port = lab.switch, to or lab.port_of(lab.backends[0].ns, "eth0")
    switch.ip("link add relay0 type veth peer name relay1")
    for name in ("relay0", "relay1"):
        switch.run("ethtool", "-K", name, "rx", "off", "tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off")
        switch.ip(f"link set {name} up")
    process = switch.popen(sys.executable, str(RELAY), *faults, "relay0", port, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        switch.ip(f"link set {port} nomaster")
        switch.ip("link set relay1 master br0")
        yield process
    finally:
        process.terminate()
        process.wait()
        switch.ip("link del relay0")
        switch.ip(f"link set {port} master br0")
