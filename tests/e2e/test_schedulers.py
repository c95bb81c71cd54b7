# SPDX-License-Identifier: BSD-3-Clause
"""Schedulers beside Maglev, stickiness, limits, and what becomes of connections: with real clients and servers."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from lab import Lab
from netns import wait_for
from spec import Spec, Vip
from traffic import HttpConnection, http_many, http_once, tally
from weir import Node

VIP = Vip("full-nat", "tcp", 4)


@pytest.fixture(scope="module", params=("veth", "xdp"))
def device(request: pytest.FixtureRequest) -> str:
    return request.param


def spec_of(device: str, scheduler: str, weights: tuple[int, ...] = (1, 1, 2), pool: str = "", vip: str = "") -> Spec:
    return Spec(device, 2, modes=("full-nat",), families=(4,), protocols=("tcp",), weights=weights,
                scheduler=scheduler, pool=pool, vip=vip, interval="500ms", timeout="400ms", fall=2)


@pytest.mark.parametrize("scheduler, shares", (("rr", (1, 1, 1)), ("wrr", (1, 1, 2))))
def test_round_robin_is_exact(lab: Lab, node: Node, device: str, scheduler: str, shares: tuple[int, ...]) -> None:
    """Each worker takes turns by itself, so two workers may each be one round off."""
    node.ensure(spec_of(device, scheduler))
    count = 240
    counts = tally(http_many(lab.client, VIP.address, VIP.port, count))
    for number, share in enumerate(shares, 1):
        assert abs(counts[f"backend{number}"] - count * share / sum(shares)) <= 2 * share, counts


@pytest.mark.parametrize("scheduler", ("lc", "wlc"))
def test_least_connections_avoids_who_is_busy(lab: Lab, node: Node, device: str, scheduler: str) -> None:
    """Of 60 connections that stay, no backend has far more than its share."""
    node.ensure(spec_of(device, scheduler, (1, 1, 1)))
    kept: list[tuple[HttpConnection, str]] = []
    for _ in range(60):
        connection = HttpConnection(lab.client, VIP.address, VIP.port)
        kept.append((connection, connection.get().backend))
    counts = Counter(name for _, name in kept)
    assert max(counts.values()) - min(counts.values()) <= 12, counts  # by chance alone it would be more in half the runs
    for connection, _ in kept:
        connection.close()


def test_a_client_stays_where_it_was(lab: Lab, node: Node, device: str) -> None:
    node.ensure(spec_of(device, "rr", (1, 1, 1), pool='persistence = { timeout = "1m" }\n'))
    assert len(tally(http_many(lab.client, VIP.address, VIP.port, 30))) == 1
    # Negative control: without it the same clients are dealt out.
    node.ensure(spec_of(device, "rr", (1, 1, 1)))
    assert len(tally(http_many(lab.client, VIP.address, VIP.port, 30))) == 3


def test_over_the_limit_is_refused(lab: Lab, node: Node, device: str) -> None:
    """max_connections = 2 for each of three backends: the seventh client is told at once."""
    node.ensure(spec_of(device, "maglev", (1, 1, 1), pool="max_connections = 2\n"))
    kept = [HttpConnection(lab.client, VIP.address, VIP.port) for _ in range(6)]
    assert set(Counter(c.get().backend for c in kept).values()) == {2}
    with pytest.raises(ConnectionRefusedError):
        HttpConnection(lab.client, VIP.address, VIP.port)
    kept[0].close()
    for connection in kept[1:]:
        connection.close()


def test_a_client_port_is_used_again_at_once(lab: Lab, node: Node, device: str) -> None:
    """A SYN on a closed connection's tuple opens the next one without the second that others make it wait."""
    node.ensure(spec_of(device, "maglev"))
    for _ in range(10):
        began = time.monotonic()
        connection = HttpConnection(lab.client, VIP.address, VIP.port, source_port=23456)
        connection.get()
        connection.close(reset=True)
        assert time.monotonic() - began < 0.9


def test_a_dead_backends_connection_is_reset(lab: Lab, node: Node, device: str) -> None:
    """on_backend_down = reset, the default of full-nat TCP: the client hears it instead of waiting."""
    weir = node.ensure(spec_of(device, "maglev", (1, 1, 1)))
    kept = [HttpConnection(lab.client, VIP.address, VIP.port, timeout_s=5) for _ in range(40)]
    owner = {connection: connection.get().backend for connection in kept}
    assert "backend1" in owner.values(), "no connection has the victim: this would prove nothing"
    victim = lab.backends[0]
    victim.ns.ip("link set eth0 down")
    try:
        wait_for("the backend is out", lambda: weir.is_out(VIP.pool, "backend1"), 10)
        before = weir.verdict("answered_reset")
        for connection in kept:
            if owner[connection] == "backend1":
                with pytest.raises(ConnectionResetError):
                    connection.get()
            else:
                assert connection.get().backend == owner[connection]
        wait_for("the reset is counted", lambda: weir.verdict("answered_reset") > before, 2)
        assert http_once(lab.client, VIP.address, VIP.port).backend != "backend1"
    finally:
        victim.ns.ip("link set eth0 up")
        lab.route_backend(victim)
        for connection in kept:
            connection.close()
