# SPDX-License-Identifier: BSD-3-Clause
"""A VIP is a lease: when control of its owner stands still or is gone, the owner's kernel falls silent before the other
node speaks, and who asks never hears two MACs for longer than one advert interval."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from claims import Claims
from lab import MAC, MAC_LB, NEIGHBOUR4, NEIGHBOUR6, UPLINK
from netns import wait_for
from pair import INTERVAL_S, VIP, VIP_V6, Pair
from traffic import http_once
from weir import Weir

pytestmark = [pytest.mark.timing, pytest.mark.slow]

MAC_OF = {"a": MAC_LB, "b": MAC.format(4)}


@pytest.fixture(params=((NEIGHBOUR4, VIP), (NEIGHBOUR6, VIP_V6)), ids=("v4", "v6"))
def claims(two: Pair, request: pytest.FixtureRequest) -> Iterator[Claims]:
    two.wait_owner("a")
    with Claims(two.lab.neighbour, "eth0", *request.param) as asking:
        began = time.time()
        wait_for("a is heard", lambda: asking.of(MAC_OF["a"], began))
        yield asking
    two.wait_owner("a")


def overlap_s(claims: Claims, old: str, new: str, since: float, until: float) -> float:
    """How long OLD went on claiming it after NEW had begun to."""
    first = min(claims.of(MAC_OF[new], since, until))
    return max([at - first for at in claims.of(MAC_OF[old], since, until)] + [0.0])


def guard_counts(weir: Weir) -> dict[str, int]:
    return {entry["name"]: entry["count"] for entry in weir.counters()["guard"]}


def wait_until_b_is_heard(two: Pair, claims: Claims, since: float) -> None:
    wait_for("b owns it", lambda: two.has("b"), 5, 0.01)
    wait_for("b is heard", lambda: claims.of(MAC_OF["b"], since))
    assert two.has("a"), "a's kernel has the address still: otherwise this would prove nothing"


def opened(weir: Weir) -> int:
    """Connections so far."""
    return sum(worker["connections_opened"] for worker in weir.counters()["workers"])


def test_control_that_stands_still_is_silent_in_time_and_steps_down(two: Pair, claims: Claims) -> None:
    before = guard_counts(two.a)
    stopped = time.time()
    os.kill(two.a.control.pid, signal.SIGSTOP)
    try:
        wait_until_b_is_heard(two, claims, stopped)
        wait_for("a's kernel has given the address up", lambda: not two.has("a"), 15)
        quiet_until = time.time()
    finally:
        os.kill(two.a.control.pid, signal.SIGCONT)
    two.a.wait_ready()
    two.wait_owner("a")
    late = two.lateness.worst_s(stopped, quiet_until)
    assert overlap_s(claims, "a", "b", stopped, quiet_until) <= INTERVAL_S + late
    # It steps down before it says anything, and claims nothing before it has won again.
    won = min(at for at, priority in two.times(quiet_until)["a"] if priority)
    assert claims.of(MAC_OF["a"], quiet_until, won - 0.001) == []
    wait_for("a is heard again", lambda: claims.of(MAC_OF["a"], won))
    assert overlap_s(claims, "b", "a", won - 0.001, time.time()) <= INTERVAL_S + two.lateness.worst_s(won)
    after = guard_counts(two.a)
    assert after["lease_question"] > before["lease_question"]
    assert "asks who has an address whose lease has lapsed" in two.a.ctl_text("counters")[1]
    assert any("stopped for longer than its peers wait" in event["text"] for event in two.a.ctl("events")[1]["events"])


def test_a_short_stop_does_not_move_the_vip(two: Pair, claims: Claims) -> None:
    """Shorter than the lease: nobody notices."""
    began = time.time()
    for _ in range(5):
        os.kill(two.a.control.pid, signal.SIGSTOP)
        time.sleep(INTERVAL_S / 2)
        os.kill(two.a.control.pid, signal.SIGCONT)
        wait_for("a has sent again", lambda since=time.time(): two.times(since)["a"], 2, 0.002)
    assert two.times(began)["b"] == [] or two.lateness.worst_s(began) > INTERVAL_S / 2


def test_killed_control_is_silent_in_time(two: Pair, claims: Claims) -> None:
    killed = time.time()
    two.a.kill_control()
    wait_until_b_is_heard(two, claims, killed)
    wait_for("a's kernel has given the address up", lambda: not two.has("a"), 15)
    until = time.time()
    assert overlap_s(claims, "a", "b", killed, until) <= INTERVAL_S + two.lateness.worst_s(killed, until)
    two.a.start_control()
    two.a.wait_ready()
    two.wait_owner("a")


def test_a_lapsed_lease_does_not_stop_forwarding(two: Pair) -> None:
    """What still arrives at a, because a neighbour's cache is behind, goes to a backend."""
    two.wait_owner("a")
    router = two.lab.router
    os.kill(two.a.control.pid, signal.SIGSTOP)
    try:
        wait_for("b owns it", lambda: two.has("b"), 5, 0.01)
        router.ip(f"neigh replace {VIP} lladdr {MAC_LB} dev eth0 nud permanent")
        seen = opened(two.b)
        assert http_once(two.lab.client, VIP, 80).backend
        assert opened(two.b) == seen, "it went through b"
    finally:
        os.kill(two.a.control.pid, signal.SIGCONT)
        router.ip(f"neigh del {VIP} dev eth0", check=False)
    two.a.wait_ready()
    two.wait_owner("a")


def test_without_the_guard_two_macs_are_heard(two: Pair, claims: Claims) -> None:
    """Negative control: the kernel's own limit on the address is seconds away."""
    stopped = time.time()
    os.kill(two.a.control.pid, signal.SIGSTOP)
    two.lab.lb.run("tc", "qdisc", "del", "dev", UPLINK, "clsact")
    try:
        wait_until_b_is_heard(two, claims, stopped)
        wait_for("both are heard for long", lambda: overlap_s(claims, "a", "b", stopped, time.time()) > 0.5, 5)
    finally:
        os.kill(two.a.control.pid, signal.SIGCONT)
    two.a.wait_ready()
    wait_for("the guard is back", lambda: "weir_guard" in two.lab.lb.run("tc", "filter", "show", "dev", UPLINK, "egress"))
