# SPDX-License-Identifier: BSD-3-Clause
"""The drill's faults of a pair with one VIP (tests/e2e/pair.py)."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

from lab import UPLINK
from netns import wait_for
from pair import INTERVAL_S, PRIORITIES, skew_s
from stage import Row, Stage, ask, bad_cable, in_ms, times
from weir import Weir

HOGS = 4


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


def shares(weir: Weir) -> dict[str, list[float]]:
    """Of new connections, by pool: what the generation in force gives each backend."""
    pools = ask(weir, "/v1/pools")["pools"]
    return {pool["name"]: [backend["share"] for backend in pool["backends"]] for pool in pools}


def node_dies(stage: Stage) -> Row:
    """DSR, where the other node knows as much as this one: each trial begins when both have all backends."""
    port = stage.lab.port_of(stage.lab.lb, UPLINK)

    def come_back() -> None:
        stage.lab.switch.ip(f"link set {port} up")
        for weir in (stage.pair.a, stage.pair.b):
            weir.wait_backends_up()
        wait_for("both have the same backends in force", lambda: shares(stage.pair.a) == shares(stage.pair.b), 20)

    rows = [_other_takes_over(stage, "node dies, dsr-l2", "dsr-l2",
                              lambda: stage.lab.switch.ip(f"link set {port} down"), come_back, 0.150,
                              "the other owns the VIP within 150 ms, connections unbroken") for _ in range(stage.trials)]
    took = sorted(row.detected_ms for row in rows)
    return Row(rows[0].fault + times(stage), took[-1], max(row.restored_ms for row in rows),
               sum(row.packets_lost for row in rows), sum(row.connections_broken for row in rows), rows[0].target,
               all(row.met for row in rows), took)


@contextlib.contextmanager
def read_only(weir: Weir) -> Iterator[None]:
    """The node's programs, which have mounts of their own, cannot write into their runtime directory."""
    inside = ["nsenter", "-t", str(weir.control.pid), "-m"]
    subprocess.run([*inside, "mount", "--bind", str(weir.runtime), str(weir.runtime)], check=True)
    subprocess.run([*inside, "mount", "-o", "remount,bind,ro", str(weir.runtime)], check=True)
    try:
        tried = subprocess.run([*inside, "touch", str(weir.runtime / "tried")], capture_output=True, text=True)
        assert "Read-only" in tried.stderr, "it can be written: this would prove nothing"
        yield
    finally:
        subprocess.run([*inside, "umount", str(weir.runtime)], check=True)


def node_dies_read_only(stage: Stage) -> Row:
    """A takeover needs no disk, and neither does what comes before and after it."""
    stage = replace(stage, trials=1)
    with read_only(stage.pair.a), read_only(stage.pair.b):
        row = node_dies(stage)
    return replace(row, fault="node dies, runtime directories read-only")


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


@contextlib.contextmanager
def cut_apart(stage: Stage) -> Iterator[Callable[[], float]]:
    """The two nodes do not hear each other while both hear everybody else. Yields what heals that and returns when it
    did so: the program that heals is there from the beginning, as what it takes to start one is not the nodes' time."""
    ports = [stage.lab.port_of(ns, UPLINK) for ns in (stage.lab.lb, stage.pair.second)]
    bridge = stage.lab.switch.popen("bridge", "-batch", "-", stdin=subprocess.PIPE, text=True)

    def isolated(state: str) -> None:
        bridge.stdin.writelines(f"link set dev {port} isolated {state}\n" for port in ports)
        bridge.stdin.flush()

    def heal() -> float:
        at = time.time()
        isolated("off")
        bridge.stdin.close()
        assert bridge.wait(5) == 0, "the switch's ports are still isolated"
        return at

    try:
        isolated("on")
        yield heal
    finally:
        bridge.kill()
        bridge.wait()


def split_brain(stage: Stage) -> Row:
    """Each node owns the VIP by itself; then they hear each other again."""
    pair = stage.pair
    pair.wait_owner("a")
    with stage.watched("dsr-l2") as witness, cut_apart(stage) as heal:
        wait_for("both own it", lambda: pair.has("a") and pair.has("b"), 5, 0.01)
        healed = heal()
        pair.wait_owner("a")
        wait_for("a goes on", lambda: len(pair.times(healed)["a"]) >= 10, 5)  # b would be heard meanwhile if it did, too
    seen = pair.times(healed)
    last_of_b = max((at for at, _ in seen["b"]), default=healed)
    noticed = witness.noticed()
    limit_s = 2 * INTERVAL_S
    late_s = pair.lateness.worst_s(healed, last_of_b)
    in_time = last_of_b - healed - late_s <= limit_s
    if not in_time:
        print(f"a timer was late by {in_ms(late_s)} ms; after healing adverts in ms:",
              {node: [in_ms(at - healed) for at, _ in adverts[:6]] for node, adverts in seen.items()})
    return Row("split brain heals", None, in_ms(last_of_b - healed), noticed.lost, len(noticed.broken),
               f"one owner within 2 adverts ({limit_s * 1000:.0f} ms), connections unbroken", in_time and not noticed.broken)


def deaf_backup(stage: Stage) -> Row:
    """One way only: b hears nobody and is heard by all. Then its cable is mended."""
    pair = stage.pair
    port = stage.lab.port_of(pair.second, UPLINK)
    pair.wait_owner("a")
    with bad_cable(stage.lab, "--loss", "1", "--one-way", to=port) as relay:
        wait_for("b takes itself for the owner", lambda: pair.has("b"), 5, 0.01)
        wait_for("b is heard", lambda: pair.times(time.time() - 0.2)["b"], 2, 0.01)
        assert pair.has("a"), "a hears b, which is worse, and must not step down"
        healed = time.time()
        relay.send_signal(signal.SIGUSR1)
        pair.wait_owner("a")
        wait_for("a goes on", lambda: len(pair.times(healed)["a"]) >= 10, 5)
        last_of_b = max((at for at, _ in pair.times(healed)["b"]), default=healed)
    pair.wait_owner("a")
    limit_s = 2 * INTERVAL_S
    late_s = pair.lateness.worst_s(healed, last_of_b)
    return Row("backup hears nobody for a while", None, in_ms(last_of_b - healed), None, None,
               f"one owner within 2 adverts ({limit_s * 1000:.0f} ms) of healing", last_of_b - healed - late_s <= limit_s)


def busy_machine(stage: Stage) -> Row:
    """CPU hogs beside both nodes: nobody takes over, nobody steps down."""
    pair = stage.pair
    pair.wait_owner("a")

    def transitions() -> list[int]:
        return [group["transitions"] for weir in (pair.a, pair.b) for group in weir.status()["vrrp"]["groups"]]

    before, began = transitions(), time.time()
    hogs = [subprocess.Popen([sys.executable, "-c", "while True: pass"], stdin=subprocess.DEVNULL) for _ in range(HOGS)]
    try:
        time.sleep(stage.seconds)
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()
    failovers = sum(after - earlier for after, earlier in zip(transitions(), before))
    sent = pair.times(began)
    late_s = pair.lateness.worst_s(began)
    assert len(sent["a"]) > stage.seconds / INTERVAL_S / 2, "a was hardly heard: this would prove nothing"
    return Row(f"{HOGS} CPU hogs for {stage.seconds:.0f} s", None, None, None, None,
               f"0 failovers (were {failovers}; a timer was late by up to {late_s * 1000:.0f} ms)",
               failovers == 0 and not sent["b"])
