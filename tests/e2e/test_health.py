# SPDX-License-Identifier: BSD-3-Clause
"""A backend that dies is taken out in time and nobody else notices; one that is drained finishes what it has."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from lab import Backend, Lab
from netns import SLOWNESS, wait_for
from spec import Spec, Vip
from traffic import HttpConnection, Load, http_many, tally
from weir import Node, Weir

INTERVAL_S, TIMEOUT_S, FALL = 0.5, 0.4, 2
DPDK = Spec("veth", 2, modes=("dsr-l2", "full-nat"), families=(4,), protocols=("tcp",), weights=(10, 10, 10),
            interval="500ms", timeout="400ms", rise=2, fall=FALL)
SPECS = [pytest.param(DPDK, id="dpdk"), pytest.param(replace(DPDK, device="xdp"), id="xdp")]
OUT_WITHIN_S = FALL * INTERVAL_S + TIMEOUT_S
# Our own measuring on two busy cores: polling weirctl, Python threads.
SLACK_S = 0.6 * SLOWNESS


@pytest.fixture(scope="module", params=SPECS)
def spec(request: pytest.FixtureRequest) -> Spec:
    return request.param


def keep_connections(lab: Lab, vip: Vip, count: int) -> list[tuple[HttpConnection, str, int]]:
    """Open connections, with the backend and client port each one has."""
    kept = []
    for _ in range(count):
        connection = HttpConnection(lab.client, vip.address, vip.port, timeout_s=3)
        answer = connection.get()
        kept.append((connection, answer.backend, answer.client_port))
    return kept


def kill(backend: Backend, how: str) -> None:
    if how == "process":
        backend.nginx.kill()
    else:
        backend.ns.ip("link set eth0 down")


def revive(lab: Lab, backend: Backend, how: str) -> None:
    if how == "process":
        backend.nginx.restart()
    else:
        backend.ns.ip("link set eth0 up")
        lab.route_backend(backend)


@pytest.mark.parametrize("how", ("process", "cable"))
@pytest.mark.parametrize("mode", ("dsr-l2", "full-nat"))
def test_a_dead_backend_is_out_in_time_and_others_are_untouched(lab: Lab, node: Node, spec: Spec, mode: str, how: str) -> None:
    """process: the port answers with resets. cable: silence. The load's failures end when the backend is out."""
    weir = node.ensure(spec)
    weir.wait_backends_up()
    vip = Vip(mode, "tcp", 4)
    victim = lab.backends[0]
    kept = keep_connections(lab, vip, 24)
    assert {name for _, name, _ in kept} == {b.name for b in lab.backends}
    with Load(lab.client, vip.address, vip.port, threads=6, timeout_s=1) as load:
        wait_for("the load runs", lambda: load.requests > 100)
        assert not load.failures
        killed_at = time.monotonic()
        kill(victim, how)
        try:
            wait_for(f"{victim.name} is down", lambda: weir.backend_states(vip.pool)[victim.name] == "down",
                     OUT_WITHIN_S + SLACK_S, 0.02)
            out_at = time.monotonic()
            after = load.requests
            wait_for("the load goes on", lambda: load.requests > after + 300)
            # A request begun just before the end may still run into its own timeout.
            late = [f for f in load.failures if f[0] > out_at + load.timeout_s + SLACK_S]
            assert not late
            assert not [a for a in load.answers if a[1] == victim.name and a[0] > out_at + SLACK_S]
            for connection, name, port in kept:
                if name != victim.name:
                    answer = connection.get()
                    assert (answer.backend, answer.client_port) == (name, port)
                connection.close()
        finally:
            revive(lab, victim, how)
    assert load.failures, "nobody noticed that the backend died: this test would prove nothing"
    assert out_at - killed_at <= OUT_WITHIN_S + SLACK_S
    weir.wait_backends_up()
    wait_for(f"{victim.name} answers again", lambda: victim.name in tally(http_many(lab.client, vip.address, 80, 20)))


def test_a_failing_health_page_takes_a_backend_out_and_breaks_nothing(lab: Lab, node: Node, spec: Spec) -> None:
    weir = node.ensure(spec)
    weir.wait_backends_up()
    vip, victim = Vip("full-nat", "tcp", 4), lab.backends[1]
    with Load(lab.client, vip.address, vip.port) as load:
        victim.nginx.set_healthy(False)
        try:
            wait_for("it is out", lambda: weir.is_out(vip.pool, victim.name), 5)
            assert victim.name not in tally(http_many(lab.client, vip.address, vip.port, 60))
        finally:
            victim.nginx.set_healthy(True)
        weir.wait_backends_up()
    # Kept connections of a backend that is down are ended or moved by the VIP's policy; fresh ones must all succeed.
    assert load.requests > 50
    assert victim.name in tally(http_many(lab.client, vip.address, vip.port, 60))


@pytest.mark.parametrize("mode", ("dsr-l2", "full-nat"))
def test_drain_finishes_old_connections_and_takes_no_new_ones(lab: Lab, node: Node, spec: Spec, mode: str) -> None:
    weir: Weir = node.ensure(spec)
    weir.wait_backends_up()
    vip = Vip(mode, "tcp", 4)
    kept = keep_connections(lab, vip, 12)
    drained = kept[0][1]
    before = weir.generation()
    weir.ctl("backend", "drain", f"{vip.pool}/{drained}")
    try:
        wait_for("the drain runs", lambda: weir.generation() > before)
        fresh = tally(http_many(lab.client, vip.address, vip.port, 100))
        assert drained not in fresh and len(fresh) == 2
        for connection, name, port in kept:
            for _ in range(3):
                answer = connection.get()
                assert (answer.backend, answer.client_port) == (name, port)
            connection.close()
        assert weir.backend_states(vip.pool)[drained] != "up"
    finally:
        weir.ctl("backend", "ready", f"{vip.pool}/{drained}")
    wait_for("it takes connections again",
             lambda: drained in tally(http_many(lab.client, vip.address, vip.port, 20)))


def test_a_disabled_backend_takes_nothing_even_after_a_control_restart(lab: Lab, node: Node, spec: Spec) -> None:
    weir: Weir = node.ensure(spec)
    weir.wait_backends_up()
    vip = Vip("full-nat", "tcp", 4)
    weir.ctl("backend", "disable", f"{vip.pool}/backend2")
    try:
        wait_for("it takes nothing", lambda: "backend2" not in tally(http_many(lab.client, vip.address, vip.port, 40)))
        weir.kill_control()
        weir.start_control()
        weir.wait_ready()
        assert weir.backend_states(vip.pool)["backend2"] == "disabled"
        assert "backend2" not in tally(http_many(lab.client, vip.address, vip.port, 60))
    finally:
        weir.ctl("backend", "ready", f"{vip.pool}/backend2")
    wait_for("it takes connections again", lambda: "backend2" in tally(http_many(lab.client, vip.address, 80, 20)))
