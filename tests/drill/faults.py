# SPDX-License-Identifier: BSD-3-Clause
"""The faults of the drill: what each does to a running Weir, what must hold, and what was measured.

A fault is a function of its stage; it makes the fault while a witness watches, takes it back, and returns a Row. Stages:
Solo is one node with three backends, Two is a pair with one VIP (tests/e2e/pair.py).
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lab import UPLINK, Lab
from lateness import Lateness
from netns import wait_for
from pair import INTERVAL_S, PRIORITIES, Pair, skew_s
from spec import Spec, Vip
from weir import Node, Weir
from witness import Noticed, Witness

RELAY = Path(__file__).with_name("relay.py")
QUICK_PROBES = {"interval": "100ms", "timeout": "100ms", "rise": 2, "fall": 2}
OUT_WITHIN_S = 0.3  # of these: fall x interval + timeout
SOLO = Spec("veth", 1, modes=("dsr-l2", "full-nat"), families=(4,), weights=(10, 10, 10), **QUICK_PROBES)
WARM_UP = 200  # datagrams answered before the fault


@dataclass
class Row:
    """One line of the table; None: there is no such time. connections_broken: those that the fault need not break."""

    fault: str
    detected_ms: float | None
    restored_ms: float | None
    packets_lost: int
    connections_broken: int
    target: str
    met: bool

    def json(self) -> dict[str, Any]:
        return asdict(self)


# -- what a fault has at hand ------------------------------------------------------------------------------------------


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


@dataclass
class Stage:
    """What is running, and who looks at it."""

    lab: Lab
    weir: Weir  # of a pair: the better node
    pair: Pair | None = None

    @contextlib.contextmanager
    def watched(self, mode: str) -> Iterator[Witness]:
        """A witness of this mode's VIPs, warmed up, who goes on looking for a while after the block."""
        udp, tcp = Vip(mode, "udp", 4), Vip(mode, "tcp", 4)
        with Witness(self.lab.client, (udp.address, udp.port), (tcp.address, tcp.port)) as witness:
            wait_for("the witness is answered", lambda: witness.answered() > WARM_UP)
            yield witness
            before = witness.answered()
            wait_for("the witness is answered again", lambda: witness.answered() > before + WARM_UP, 20)

    def others(self, witness: Witness, noticed: Noticed, backend: str) -> int:
        """Broken connections to other backends than this one."""
        return sum(witness.backend_of[index] != backend for index in noticed.broken)


Fault = Callable[[Stage], Row]


# -- one node ----------------------------------------------------------------------------------------------------------


def _backend_ends(stage: Stage, name: str, end: Callable[[], None], mend: Callable[[], None]) -> Row:
    victim = stage.lab.backends[0].name
    pool = f"/v1/pools/{Vip('full-nat', 'udp', 4).pool}"

    def is_down(answer: dict[str, Any]) -> bool:
        return any(b["name"] == victim and b["state"] == "down" for b in answer["backends"])

    with stage.watched("full-nat") as witness:
        with Detection(stage.weir, pool, is_down) as detection:
            end()
            detection.wait(5)
        witness.wait_round()  # the others go on
        seen = witness.backend_of
    mend()
    stage.weir.wait_backends_up()
    noticed = witness.noticed()
    others = stage.others(witness, noticed, victim)
    assert victim in seen, "no connection had the victim: this would prove nothing"
    return Row(name, in_ms(detection.after_s), in_ms(noticed.outage_s), noticed.lost, others,
               f"out within {OUT_WITHIN_S * 1000:.0f} ms, connections of the others unbroken",
               detection.after_s is not None and detection.after_s <= OUT_WITHIN_S and others == 0)


def backend_killed(stage: Stage) -> Row:
    backend = stage.lab.backends[0]

    def end() -> None:
        backend.echo.stop()
        backend.nginx.kill()

    def mend() -> None:
        backend.nginx.restart()
        backend.echo.start()

    return _backend_ends(stage, "backend killed, its ports refuse", end, mend)


def backend_silent(stage: Stage) -> Row:
    backend = stage.lab.backends[0]

    def mend() -> None:
        backend.ns.ip("link set eth0 up")
        stage.lab.route_backend(backend)

    return _backend_ends(stage, "backend dies silently", lambda: backend.ns.ip("link set eth0 down"), mend)


def control_killed(stage: Stage) -> Row:
    with stage.watched("full-nat") as witness:
        begun = time.monotonic()
        stage.weir.kill_control()
        stage.weir.start_control()
        stage.weir.wait_ready()
        back_s = time.monotonic() - begun
    noticed = witness.noticed()
    return Row("control killed, started again at once", None, in_ms(back_s), noticed.lost, len(noticed.broken),
               "back within 2 s, nothing lost", back_s <= 2 and not noticed.lost and not noticed.broken)


def _dataplane_ends(stage: Stage, how: signal.Signals, mode: str) -> Row:
    def is_gone(answer: dict[str, Any]) -> bool:
        return not answer["engine"]["running"]

    with stage.watched(mode) as witness:
        with Detection(stage.weir, "/v1/status", is_gone) as detection:
            for pid in stage.weir.dataplane_pids():
                os.kill(pid, how)
            detection.wait(2)
        stage.weir.wait_ready()
    noticed = witness.noticed()
    return Row(f"dataplane gets {how.name}, {mode}", in_ms(detection.after_s), in_ms(noticed.outage_s), noticed.lost,
               len(noticed.broken), "forwards again within 400 ms, connections unbroken",
               noticed.outage_s <= 0.4 and not noticed.broken)


def dataplane_killed_dsr(stage: Stage) -> Row:
    return _dataplane_ends(stage, signal.SIGKILL, "dsr-l2")


def dataplane_killed_nat(stage: Stage) -> Row:
    return _dataplane_ends(stage, signal.SIGKILL, "full-nat")


def dataplane_crashes(stage: Stage) -> Row:
    return _dataplane_ends(stage, signal.SIGSEGV, "full-nat")


def reloads(stage: Stage) -> Row:
    count = 50
    with stage.watched("full-nat") as witness:
        for number in range(count):
            code, said = stage.weir.apply(replace(SOLO, weights=(10, 10, 11 + number % 3)).toml())
            assert code == 0, said
    assert stage.weir.apply(SOLO.toml())[0] == 0
    noticed = witness.noticed()
    return Row(f"{count} reloads that move weights", None, None, noticed.lost, len(noticed.broken), "nothing lost",
               not noticed.lost and not noticed.broken)


def refused_configurations(stage: Stage) -> Row:
    good = SOLO.toml()
    before = stage.weir.generation()
    accepted = 0
    with stage.watched("full-nat") as witness:
        for cut in range(0, len(good), max(1, len(good) // 40)):
            accepted += stage.weir.apply(good[:cut] + "\x01" + good[cut:])[0] == 0  # TOML has it nowhere
    unchanged = accepted == 0 and stage.weir.generation() == before
    noticed = witness.noticed()
    return Row("40 damaged configurations", None, None, noticed.lost, len(noticed.broken), "refused, nothing lost",
               unchanged and not noticed.lost and not noticed.broken)


def link_flaps(stage: Stage) -> Row:
    down_s = 0.3
    port = stage.lab.port_of(stage.lab.lb, UPLINK)
    with stage.watched("full-nat") as witness:
        stage.lab.switch.ip(f"link set {port} down")
        time.sleep(down_s)
        stage.lab.switch.ip(f"link set {port} up")
    stage.weir.wait_backends_up()
    noticed = witness.noticed()
    return Row("link down for 300 ms", None, in_ms(noticed.outage_s), noticed.lost, len(noticed.broken),
               "forwards again within 1 s, connections unbroken", noticed.outage_s <= down_s + 1 and not noticed.broken)


@contextlib.contextmanager
def bad_cable(lab: Lab, *faults: str) -> Iterator[None]:
    """The first backend's cable goes through the relay."""
    switch, port = lab.switch, lab.port_of(lab.backends[0].ns, "eth0")
    switch.ip("link add relay0 type veth peer name relay1")
    for name in ("relay0", "relay1"):
        switch.run("ethtool", "-K", name, "rx", "off", "tx", "off", "sg", "off", "tso", "off", "gso", "off", "gro", "off")
        switch.ip(f"link set {name} up")
    process = switch.popen(sys.executable, str(RELAY), *faults, port, "relay0", stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "ready\n"
        switch.ip(f"link set {port} nomaster")
        switch.ip("link set relay1 master br0")
        yield
    finally:
        process.terminate()
        process.wait()
        switch.ip("link del relay0")
        switch.ip(f"link set {port} master br0")


def bad_cable_to_a_backend(stage: Stage) -> Row:
    """The witness's own datagrams get lost on it, too: only connections count."""
    with bad_cable(stage.lab, "--seed", "7", "--loss", "0.02", "--duplicate", "0.05", "--delay", "1", "--jitter", "6"):
        with stage.watched("full-nat") as witness:
            wait_for("thousands of datagrams have passed", lambda: witness.answered() > 3000, 60)
    stage.weir.wait_backends_up()
    noticed = witness.noticed()
    return Row("a backend's cable loses 2 %, doubles 5 %, reorders", None, None, noticed.lost, len(noticed.broken),
               "connections unbroken", not noticed.broken)


# -- two nodes ---------------------------------------------------------------------------------------------------------


def _other_takes_over(stage: Stage, name: str, mode: str, begin: Callable[[], None], end: Callable[[], None],
                      limit_s: float, target: str) -> Row:
    pair = stage.pair
    pair.wait_owner("a")
    with stage.watched(mode) as witness:
        wait_for("a has sent", lambda: pair.times(time.time() - 0.2)["a"], 2)
        before = time.time()
        begin()
        wait_for("b owns it", lambda: pair.has("b"), 5, 0.005)
        wait_for("b was heard", lambda: pair.times(before)["b"], 2, 0.005)
        took_s, late_s = pair.takeover_s(before)
        witness.wait_round()
    end()
    pair.wait_owner("a")
    noticed = witness.noticed()
    return Row(name, in_ms(took_s), in_ms(noticed.outage_s), noticed.lost, len(noticed.broken), target,
               took_s - late_s <= limit_s and not noticed.broken)


def node_dies(stage: Stage) -> Row:
    """DSR, where the other node knows as much as this one."""
    port = stage.lab.port_of(stage.lab.lb, UPLINK)
    return _other_takes_over(stage, "node dies, dsr-l2", "dsr-l2", lambda: stage.lab.switch.ip(f"link set {port} down"),
                             lambda: stage.lab.switch.ip(f"link set {port} up"), 0.150,
                             "the other owns the VIP within 150 ms, connections unbroken")


def control_stands_still(stage: Stage) -> Row:
    control = stage.weir.control.pid

    def end() -> None:
        wait_for("a's kernel has given the address up", lambda: not stage.pair.has("a"), 15)
        os.kill(control, signal.SIGCONT)
        stage.weir.wait_ready()

    return _other_takes_over(stage, "control stands still, dsr-l2", "dsr-l2",
                             lambda: os.kill(control, signal.SIGSTOP), end, 0.150,
                             "the other owns the VIP within 150 ms, connections unbroken")


def planned_handover(stage: Stage) -> Row:
    pair, limit_s = stage.pair, skew_s(PRIORITIES["b"]) + 0.010
    pair.wait_owner("a")
    with stage.watched("dsr-l2") as witness:
        before = time.time()
        code, said = stage.weir.ctl_text("node", "drain")
        assert code == 0, said
        pair.wait_owner("b")
    seen = pair.times(before)
    released = min(at for at, priority in seen["a"] if priority == 0)
    took_s = min(at for at, _ in seen["b"] if at >= released) - released
    late_s = pair.lateness.worst_s(released, released + took_s)
    assert stage.weir.ctl("node", "resume")[0] == 0
    pair.wait_owner("a")
    noticed = witness.noticed()
    return Row("planned handover (node drain), dsr-l2", None, in_ms(took_s), noticed.lost, len(noticed.broken),
               f"handed over within {limit_s * 1000:.0f} ms, nothing lost",
               took_s - late_s <= limit_s and not noticed.lost and not noticed.broken)


def split_brain(stage: Stage) -> Row:
    """The two do not hear each other while both hear everybody else; then they do again."""
    pair, switch = stage.pair, stage.lab.switch
    ports = [stage.lab.port_of(ns, UPLINK) for ns in (stage.lab.lb, pair.second)]
    pair.wait_owner("a")
    with stage.watched("dsr-l2") as witness:
        for port in ports:
            switch.run("bridge", "link", "set", "dev", port, "isolated", "on")
        wait_for("both own it", lambda: pair.has("a") and pair.has("b"), 5, 0.01)
        healed = time.time()
        for port in ports:
            switch.run("bridge", "link", "set", "dev", port, "isolated", "off")
        pair.wait_owner("a")
        time.sleep(5 * INTERVAL_S)  # b would be heard in this time if it went on
    last_of_b = max((at for at, _ in pair.times(healed)["b"]), default=healed)
    noticed = witness.noticed()
    limit_s = 2 * INTERVAL_S
    late_s = pair.lateness.worst_s(healed, last_of_b)
    return Row("split brain heals", None, in_ms(last_of_b - healed), noticed.lost, len(noticed.broken),
               f"one owner within 2 adverts ({limit_s * 1000:.0f} ms), connections unbroken",
               last_of_b - healed - late_s <= limit_s and not noticed.broken)


SOLO_FAULTS: tuple[Fault, ...] = (
    backend_killed, backend_silent, control_killed, dataplane_killed_dsr, dataplane_killed_nat, dataplane_crashes, reloads,
    refused_configurations, link_flaps, bad_cable_to_a_backend)
PAIR_FAULTS: tuple[Fault, ...] = (node_dies, control_stands_still, planned_handover, split_brain)
# What scripts/test goes through; the others take longer or are there already as tests of their own.
SUBSET: tuple[Fault, ...] = (backend_silent, control_killed, dataplane_killed_dsr, reloads, planned_handover)


@contextlib.contextmanager
def solo(lab: Lab) -> Iterator[Stage]:
    node = Node(lab)
    try:
        weir = node.ensure(SOLO, fresh=True)
        yield Stage(lab, weir)
        weir.assert_closed_books()
    finally:
        node.stop()


@contextlib.contextmanager
def two(lab: Lab) -> Iterator[Stage]:
    with Lateness(lab.work / "lateness") as lateness:
        pair = Pair(lab, lateness, modes=("dsr-l2", "full-nat"), protocols=("tcp", "udp"))
        try:
            pair.start()
            yield Stage(lab, pair.a, pair)
            for weir in (pair.a, pair.b):
                weir.assert_closed_books()
        finally:
            pair.stop()


STAGES = ((solo, SOLO_FAULTS), (two, PAIR_FAULTS))


def run(lab: Lab, wanted: Callable[[Fault], bool]) -> Iterator[Row]:
    """Stage by stage; each row as soon as it is there."""
    for stage_of, faults in STAGES:
        chosen = [fault for fault in faults if wanted(fault)]
        if chosen:
            with stage_of(lab) as stage:
                for fault in chosen:
                    yield fault(stage)
