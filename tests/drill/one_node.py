# SPDX-License-Identifier: BSD-3-Clause
"""The drill's faults of one node with three backends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from lab import FAR4, UPLINK
from netns import wait_for
from spec import Spec, Vip
from stage import Detection, Row, Stage, ask, bad_cable, in_ms, times
from traffic import udp_once
from weir import Weir

QUICK_PROBES = {"interval": "100ms", "timeout": "100ms", "rise": 2, "fall": 2}
OUT_WITHIN_S = 0.3  # of these: fall x interval + timeout
SOLO = Spec("veth", 1, modes=("dsr-l2", "full-nat"), families=(4,), weights=(10, 10, 10), **QUICK_PROBES)
SETTLED_S = 11  # a dataplane that has run so long is started again at once (control/engine_link/engine_process.hpp)


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


def _wait_until_settled(stage: Stage) -> None:
    """A supervisor waits longer after crashes in a row, and the kernel's balancer is loaded behind the dataplane."""
    wait_for("it has settled", lambda: ask(stage.weir, "/v1/status")["engine"]["uptime_s"] > SETTLED_S, SETTLED_S + 10)


def _dataplane_ends(stage: Stage, how: signal.Signals, mode: str) -> Row:
    def is_gone(answer: dict[str, Any]) -> bool:
        return not answer["engine"]["running"] or answer["engine"]["standing_in"]

    detected, outages, lost, broken = [], [], 0, 0
    for _ in range(stage.trials):
        _wait_until_settled(stage)
        with stage.watched(mode) as witness:
            with Detection(stage.weir, "/v1/status", is_gone) as detection:
                for pid in stage.weir.dataplane_pids():
                    os.kill(pid, how)
                detection.wait(2)
            stage.weir.wait_ready()
        noticed = witness.noticed()
        detected.append(detection.after_s)
        outages.append(noticed.outage_s)
        lost += noticed.lost
        broken += len(noticed.broken)
    seen = [after for after in detected if after is not None]
    return Row(f"dataplane gets {how.name}, {mode}{times(stage)}", in_ms(max(seen, default=None)), in_ms(max(outages)), lost,
               broken, "forwards again within 400 ms, connections unbroken", max(outages) <= 0.4 and not broken,
               sorted(map(in_ms, outages)))


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


def bad_cable_to_a_backend(stage: Stage) -> Row:
    """The witness's own datagrams get lost on it, too: only connections count."""
    with bad_cable(stage.lab, "--seed", "7", "--loss", "0.02", "--duplicate", "0.05", "--delay", "1", "--jitter", "6"):
        with stage.watched("full-nat") as witness:
            wait_for("thousands of datagrams have passed", lambda: witness.answered() > 3000, 60)
    stage.weir.wait_backends_up()
    noticed = witness.noticed()
    return Row("a backend's cable loses 2 %, doubles 5 %, reorders", None, None, noticed.lost, len(noticed.broken),
               "connections unbroken", not noticed.broken)


def downs(weir: Weir) -> list[str]:
    """Backends that probes took out, by event."""
    return [event["subject"] for event in ask(weir, "/v1/events")["events"]
            if event["kind"] == "health" and event["text"].startswith("down")]


def lossy_probes(stage: Stage) -> Row:
    """One frame in ten is lost each way, with the default `timeout` and `fall`; four pools, a probe a second each, so that
    450 s have as many as an hour has at the default interval. A shorter timeout would leave TCP, which waits 200 ms and
    more, no time to send again. Negative control: with 70 % the same probes take the backend out."""
    usual = replace(SOLO, fall=3, interval="1s", timeout="1s")
    assert stage.weir.apply(usual.toml())[0] == 0
    before = len(downs(stage.weir))
    with bad_cable(stage.lab, "--seed", "11", "--loss", "0.1"):
        time.sleep(stage.seconds)
        removed = len(downs(stage.weir)) - before
    stage.weir.wait_backends_up()
    before = len(downs(stage.weir))
    with bad_cable(stage.lab, "--seed", "11", "--loss", "0.7"):
        wait_for("so much loss removes it", lambda: len(downs(stage.weir)) > before, 40)
    stage.weir.wait_backends_up()
    assert stage.weir.apply(SOLO.toml())[0] == 0
    stage.weir.wait_backends_up()
    return Row(f"10 % of probe packets lost for {stage.seconds:.0f} s", None, None, None, None,
               f"no backend is removed (removed: {removed})", removed == 0)


def dataplane_stands_still(stage: Stage) -> Row:
    """Not dead, so nobody is told: the heartbeat of its workers is what tells. TCP doubles its pauses meanwhile."""
    with stage.watched("full-nat", patience_s=10) as witness:
        pids = stage.weir.dataplane_pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        wait_for("another one runs", lambda: stage.weir.dataplane_pids() not in ([], pids), 20)
        stage.weir.wait_ready()
    noticed = witness.noticed()
    said = "stood still" in stage.weir.log(200)
    return Row("dataplane stands still, full-nat", None, in_ms(noticed.outage_s), noticed.lost, len(noticed.broken),
               "started anew within 3 s and said so, connections unbroken",
               noticed.outage_s <= 3 and said and not noticed.broken)


def full_disk(stage: Stage) -> Row:
    """Nothing can be written into the runtime directory; the dataplane is killed meanwhile."""
    _wait_until_settled(stage)
    ballast = stage.weir.runtime / "ballast"
    with open(ballast, "wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        with contextlib.suppress(OSError):
            (stage.weir.runtime / "one more").write_text("x" * 8192)
            raise AssertionError("the disk is not full: this would prove nothing")
        with stage.watched("full-nat") as witness:
            before = stage.weir.dataplane_pids()
            os.kill(before[0], signal.SIGKILL)
            wait_for("another one runs", lambda: stage.weir.dataplane_pids() not in ([], before), 20)
            stage.weir.wait_ready()
        noticed = witness.noticed()
    finally:
        ballast.unlink()
        (stage.weir.runtime / "one more").unlink(missing_ok=True)
    assert stage.weir.apply(SOLO.toml())[0] == 0
    return Row("runtime directory full, dataplane killed", None, in_ms(noticed.outage_s), noticed.lost, len(noticed.broken),
               "forwards again within 400 ms, connections unbroken", noticed.outage_s <= 0.4 and not noticed.broken)


FRAGMENTS = 20_000
HELD_BY_A_WORKER = 256  # dataplane/lb/fragment_table.hpp


def fragments_without_a_first(stage: Stage) -> Row:
    """What a packet buffer can be kept for is a fragment that waits for its datagram's first one. They wait until no more
    may, and are given up; a datagram in pieces is served again then."""
    vip, said = Vip("full-nat", "udp", 4), ("drop_fragment_queue_full", "drop_fragment_no_first")
    before = list(map(stage.weir.verdict, said))
    header = struct.Struct("!BBHHHBBH4s4s")
    # Another client's: a datagram of ours could have the identification of one that was given up.
    source, destination = socket.inet_aton(FAR4.format(11)), socket.inet_aton(vip.address)
    payload = bytes(64)
    most_held = 0
    with stage.lab.client.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    with stage.watched("full-nat") as witness, raw as sock:
        for number in range(FRAGMENTS):
            offset = 1480 // 8
            sock.sendto(header.pack(0x45, 0, header.size + len(payload), number + 1, offset, 64, socket.IPPROTO_UDP, 0,
                                    source, destination) + payload, (vip.address, 0))
            if number % 1000 == 999:
                most_held = max(most_held, ask(stage.weir, "/v1/counters")["books"]["held"])
        began = time.monotonic()
        wait_for("all are given up", lambda: ask(stage.weir, "/v1/counters")["books"]["held"] == 0)
        udp_once(stage.lab.client, vip.address, vip.port, "in pieces " + "x" * 4000)
        took_s = time.monotonic() - began
    noticed = witness.noticed()
    counted = [now - then for now, then in zip(map(stage.weir.verdict, said), before)]
    assert most_held > 0, "none ever waited: this would prove nothing"
    return Row(f"{FRAGMENTS} fragments without a first one", None, in_ms(took_s), noticed.lost, len(noticed.broken),
               f"dropped by name, at most {HELD_BY_A_WORKER} wait, connections unbroken",
               all(counted) and most_held <= HELD_BY_A_WORKER and not noticed.broken)


TABLE = 1024
SMALL_TABLE = SOLO.toml().replace("connections = 65_536", f"connections = {TABLE}") + \
    '[vip.full-nat-udp4.timeouts]\nudp = "2s"\n'
FULL_VERDICTS = ("drop_table_full", "drop_vip_quota")


def full_table(stage: Stage) -> Row:
    """Four times as many UDP clients as the table has room for; it is done when they have been forgotten."""
    vip = Vip("full-nat", "udp", 4)
    refused = sum(map(stage.weir.verdict, FULL_VERDICTS))

    def new_client(answer_s: float = 0) -> bool:
        with stage.lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.settimeout(answer_s or None)
            sock.connect((vip.address, vip.port))
            sock.send(b"0")
            with contextlib.suppress(OSError):
                return bool(answer_s and sock.recv(2048))
            return False

    with stage.watched("full-nat", patience_s=10) as witness:
        for _ in range(4 * TABLE):
            new_client()
        wait_for("it is full, and says so", lambda: sum(map(stage.weir.verdict, FULL_VERDICTS)) > refused, 10)
        began = time.monotonic()
        wait_for("a new client is served again", lambda: new_client(0.2), 20)
        took_s = time.monotonic() - began
    noticed = witness.noticed()
    return Row(f"{4 * TABLE} clients, table for {TABLE}", None, in_ms(took_s), noticed.lost, len(noticed.broken),
               "dropped by name, there is room again by itself, connections unbroken", not noticed.broken)
