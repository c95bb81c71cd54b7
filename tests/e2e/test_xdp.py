# SPDX-License-Identifier: BSD-3-Clause
"""The XDP engine beside what both engines have in common: the choice, what outlives control, and an end to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab import UPLINK, Lab
from netns import LabError, wait_for
from spec import Spec, Vip
from traffic import HttpConnection, Load, http_once
from weir import BUILD, Node, Weir

SPEC = Spec("xdp", modes=("dsr-l2", "full-nat"), families=(4,), protocols=("tcp",), weights=(10, 10, 10))
VIP = Vip("full-nat", "tcp", 4)


@pytest.fixture
def weir(node: Node) -> Weir:
    found = node.ensure(SPEC)
    found.wait_backends_up()
    return found


@pytest.fixture
def own(lab: Lab, node: Node) -> Iterator[Weir]:
    """A Weir that is not shared; the test starts and ends it."""
    node.stop()
    weir = Weir(lab, SPEC, "own")
    yield weir
    weir.stop()
    lab.reset_lb()


def program_on_uplink(lab: Lab) -> str:
    """`ip link` about the XDP program: its id and tag, and whether the driver runs it; empty when there is none."""
    lines = lab.lb.ip(f"-d link show {UPLINK}").splitlines()
    return next((line.strip() for line in lines if "prog/xdp" in line), "")


def guard_on_uplink(lab: Lab) -> str:
    return lab.lb.run("tc", "filter", "show", "dev", UPLINK, "ingress", check=False)


def keep_connections(lab: Lab, count: int = 24) -> list[tuple[HttpConnection, str, int]]:
    kept = [HttpConnection(lab.client, VIP.address, VIP.port, timeout_s=5) for _ in range(count)]
    answers = [connection.get() for connection in kept]
    return [(c, a.backend, a.client_port) for c, a in zip(kept, answers)]


def assert_kept(kept: list[tuple[HttpConnection, str, int]]) -> None:
    for connection, backend, port in kept:
        answer = connection.get()
        assert (answer.backend, answer.client_port) == (backend, port)


# -- the choice -----------------------------------------------------------------------------------------------------


def test_the_engine_in_force_is_shown_with_its_reason(lab: Lab, weir: Weir) -> None:
    status = weir.status()
    assert (status["engine"]["mode"], status["engine"]["why"]) == ("xdp", 'mode = "xdp" in the configuration')
    assert [i["driver"] for i in status["interfaces"]] == ["xdp, native"]
    assert "in the kernel for" in weir.ctl_text("status")[1]
    assert not weir.dataplane_pids()


def test_auto_takes_xdp_where_there_is_no_dataplane(lab: Lab, own: Weir, tmp_path: Path) -> None:
    """Only weir-control and weirctl are installed: the others' files are not there."""
    for name in ("weir-control", "weirctl"):
        shutil.copy(BUILD / name, tmp_path)
    own.installed = tmp_path
    own.start(SPEC.toml().replace('mode = "xdp"', 'mode = "auto"'))
    engine = own.status()["engine"]
    assert engine["mode"] == "xdp"
    assert engine["why"] == f'mode = "auto": weir-dataplane cannot run here: {tmp_path}/weir-dataplane is not installed'
    assert f'engine xdp: {engine["why"]}' in own.log()
    http_once(lab.client, VIP.address, VIP.port)


@pytest.mark.slow
def test_auto_takes_dpdk_where_it_can_run(lab: Lab, own: Weir) -> None:
    """Negative control of the one above, on the same device."""
    own.start(replace(SPEC, device="veth").toml().replace('mode = "dpdk"', 'mode = "auto"'))
    engine = own.status()["engine"]
    assert engine["mode"] == "dpdk"
    assert engine["why"].startswith('mode = "auto": DPDK drives ' + UPLINK)
    assert len(own.dataplane_pids()) == 1
    http_once(lab.client, VIP.address, VIP.port)


@pytest.mark.slow
def test_a_change_of_mode_takes_the_other_engine_off(lab: Lab, own: Weir) -> None:
    own.start()
    own.kill_control()
    own.write_config(replace(SPEC, device="veth").toml())
    own.start_control()
    own.wait_ready()
    assert own.status()["engine"]["mode"] == "dpdk" and len(own.dataplane_pids()) == 1
    http_once(lab.client, VIP.address, VIP.port)
    own.kill_control()
    own.write_config(SPEC.toml())
    own.start_control()
    own.wait_ready()
    assert own.status()["engine"]["mode"] == "xdp" and not own.dataplane_pids()
    http_once(lab.client, VIP.address, VIP.port)


# -- what outlives control --------------------------------------------------------------------------------------------


def test_a_killed_control_fails_no_request_and_moves_no_connection(lab: Lab, weir: Weir) -> None:
    kept = keep_connections(lab)
    assert {backend for _, backend, _ in kept} == {b.name for b in lab.backends}
    before = weir.generation()
    with Load(lab.client, VIP.address, VIP.port) as full_nat, Load(lab.client, Vip("dsr-l2", "tcp", 4).address, 80) as dsr:
        wait_for("the load runs", lambda: full_nat.requests > 50 and dsr.requests > 50)
        for _ in range(3):
            weir.kill_control()
            seen = full_nat.requests, dsr.requests
            wait_for("headless forwarding", lambda: full_nat.requests > seen[0] + 100 and dsr.requests > seen[1] + 100, 30)
            assert_kept(kept)
            weir.start_control()
            weir.wait_ready()
            assert_kept(kept)
    assert full_nat.failures == [] and dsr.failures == []
    assert weir.generation() >= before
    for connection, _, _ in kept:
        connection.close()


def test_another_control_puts_its_program_in_the_old_ones_place(lab: Lab, weir: Weir) -> None:
    """The program is another one afterwards, and at no moment was there none."""
    before = program_on_uplink(lab)
    with Load(lab.client, VIP.address, VIP.port) as load:
        wait_for("the load runs", lambda: load.requests > 50)
        weir.kill_control()
        assert program_on_uplink(lab) == before
        weir.start_control()
        weir.wait_ready()
        seen = load.requests
        wait_for("the load goes on", lambda: load.requests > seen + 50)
    after = program_on_uplink(lab)
    assert before and after and before != after
    assert load.failures == []


@pytest.mark.slow
def test_connections_do_not_outlive_a_table_of_another_size(lab: Lab, own: Weir) -> None:
    """Negative control of those above: maps that cannot be taken up are replaced, and control says so."""
    own.start()
    kept = keep_connections(lab, 6)
    own.kill_control()
    own.write_config(SPEC.toml().replace("connections = 65_536", "connections = 131_072"))
    own.start_control()
    own.wait_ready()
    assert "its connections are forgotten: engine.connections was 65536" in own.log()
    http_once(lab.client, VIP.address, VIP.port)
    assert own.ctl("connections", "--count")[1]["count"] <= 2
    kept[0][0].sock.settimeout(1)
    with pytest.raises(OSError):
        kept[0][0].get()


# -- an end -----------------------------------------------------------------------------------------------------------


def test_release_leaves_nothing_attached(lab: Lab, own: Weir) -> None:
    own.start()
    assert "weir" in guard_on_uplink(lab) and program_on_uplink(lab)
    with pytest.raises(LabError, match="another weir-control"):
        own.release_xdp()
    own.kill_control()
    assert program_on_uplink(lab) and list(own.pins.rglob("*"))
    assert f"the XDP balancer is off {UPLINK}" in own.release_xdp()
    assert not program_on_uplink(lab)
    assert "weir" not in guard_on_uplink(lab)
    assert not list(own.pins.rglob("*"))
    assert own.release_xdp() == ""


def test_a_capture_is_refused_with_a_reason(weir: Weir) -> None:
    code, said = weir.ctl_text("capture", "-w", str(weir.directory / "x.pcapng"))
    assert code == 1 and "the XDP engine does not copy packets" in said


def test_connections_are_listed_and_explained(lab: Lab, weir: Weir) -> None:
    connection = HttpConnection(lab.client, VIP.address, VIP.port)
    backend = connection.get().backend
    address, port = connection.local[:2]
    listed = weir.ctl("connections", "--vip", VIP.name)[1]["connections"]
    mine = [c for c in listed if c["client"] == f"{address}:{port}"]
    assert [(c["backend"], c["state"]) for c in mine] == [(backend, "established")]
    said = weir.ctl("explain", f"tcp {address}:{port} {VIP.address}:{VIP.port}")[1]
    assert said["backend"] == backend and said["connection"]["backend"] == backend
    # Negative control: of a client that nobody knows.
    said = weir.ctl("explain", f"tcp {address}:1 {VIP.address}:{VIP.port}")[1]
    assert said["connection"] is None
    connection.close()


def test_direct_return_records_what_the_hash_cannot_remember(lab: Lab, weir: Weir) -> None:
    """Nothing while the backends stay as they are; the connections of one that drains once they send again."""
    vip = Vip("dsr-l2", "tcp", 4)
    recorded = lambda: weir.ctl("connections", "--vip", vip.name, "--count")[1]["count"]  # noqa: E731
    wait_for("no entry of an earlier window is left", lambda: recorded() == 0, 30)
    shown = lambda: weir.ctl("vip", "show", vip.name)[1]  # noqa: E731
    before = shown()["connections"]
    kept = [HttpConnection(lab.client, vip.address, vip.port, timeout_s=5) for _ in range(24)]
    backends = [connection.get().backend for connection in kept]
    assert set(backends) == {backend.name for backend in lab.backends}
    assert shown()["tracking"] == "exceptions" and shown()["connections_estimated"]
    wait_for("the estimate has the 24", lambda: shown()["connections"] - before == 24, 5)  # views are a little behind
    assert recorded() == 0
    drained, generation = backends[0], weir.generation()
    weir.ctl("backend", "drain", f"{vip.pool}/{drained}")
    try:
        wait_for("the drain runs", lambda: weir.generation() > generation)
        fresh = {http_once(lab.client, vip.address, vip.port).backend for _ in range(40)}
        assert fresh == {backend.name for backend in lab.backends} - {drained}
        assert [connection.get().backend for connection in kept] == backends
        assert recorded() >= backends.count(drained)
    finally:
        weir.ctl("backend", "ready", f"{vip.pool}/{drained}")
    wait_for("it takes connections again", lambda: http_once(lab.client, vip.address, vip.port).backend == drained)
    assert [connection.get().backend for connection in kept] == backends
    for connection in kept:
        connection.close()
