# SPDX-License-Identifier: BSD-3-Clause
"""The dataplane is gone and nothing starts another one: the kernel's balancer forwards in its place, with its
connections, and gives them back to the next one with those that began meanwhile."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from lab import Lab
from netns import wait_for
from spec import FAMILIES, MODES, Spec, Vip
from test_restart import Kept, Transfer, no_resets, wait_for_successor
from traffic import Answer, http_many, parse_answer, tally, udp_many, wrk
from weir import Node, Weir

SPEC = Spec("veth", 2, weights=(10, 10, 10))
ENDS = (signal.SIGKILL, signal.SIGTERM)


@pytest.fixture
def apart(request: pytest.FixtureRequest, lab: Lab, node: Node) -> Iterator[Weir]:
    """control and dataplane, started apart: one that ends is not followed by another."""
    node.stop()
    weir = Weir(lab, getattr(request, "param", SPEC), "apart", spawn=False)
    try:
        yield weir.start()
    finally:
        weir.stop()


def stands_in(weir: Weir) -> bool:
    return weir.status()["engine"].get("standing_in", False)


def wait_until_it_could(weir: Weir) -> None:
    """A balancer is loaded, in the background, when the dataplane has begun to forward."""
    wait_for("the kernel's balancer is at hand", lambda: "would stand in is ready" in weir.log(400), 20)


def wait_until_it_does(weir: Weir) -> None:
    wait_for("the kernel's balancer stands in", lambda: stands_in(weir))
    wait_for("it has the connections", lambda: "connections of weir-dataplane" in str(weir.ctl("events")[1]))


def answered(weir: Weir, lab: Lab) -> None:
    """New connections of every mode, protocol and family go to every backend."""
    for vip in weir.spec.vips():
        ask = http_many if vip.protocol == "tcp" else udp_many
        got = tally(ask(lab.client, vip.address, vip.port, 40))
        assert sum(got.values()) == 40 and len(got) == 3, (vip.name, got)


@pytest.mark.parametrize("how", ENDS, ids=lambda how: how.name)
def test_everything_goes_on_without_a_dataplane(lab: Lab, apart: Weir, how: signal.Signals) -> None:
    vips = [Vip(mode, "tcp", family) for mode in MODES for family in FAMILIES]
    wait_until_it_could(apart)
    with no_resets(lab):
        before = [Kept(lab, vip, 12) for vip in vips]
        transfer = Transfer(lab, Vip("full-nat", "tcp", 4))
        apart.end_dataplane(how)
        transfer.wait_progress()
        wait_until_it_does(apart)
        for kept in before:
            assert kept.ask() == kept.answers, "another backend, or another port towards it"
        answered(apart, lab)
        during = [Kept(lab, vip, 12) for vip in vips]
        apart.assert_closed_books()
        apart.start_dataplane()
        apart.wait_ready()
        assert not stands_in(apart)
        transfer.wait_progress()
        for kept in before + during:
            assert kept.ask() == kept.answers, "another backend, or another port towards it"
        transfer.assert_whole()
        answered(apart, lab)
        for kept in before + during:
            kept.close()
    apart.assert_closed_books()
    assert apart.verdict("forwarded") > 0, "the dataplane has forwarded none of it"


def is_back(weir: Weir) -> bool:
    """control answers, and shows the kernel's balancer as what forwards."""
    return weir.ctl("status", check=False)[1].get("engine", {}).get("standing_in", False)


def test_control_dies_while_it_stands_in(lab: Lab, apart: Weir) -> None:
    """The kernel forwards without anybody; the next control, and with it the next dataplane, go on with its connections."""
    vips = [Vip(mode, "tcp", family) for mode in MODES for family in FAMILIES]
    wait_until_it_could(apart)
    with no_resets(lab):
        opened = [Kept(lab, vip, 6) for vip in vips]
        apart.kill_dataplane()
        wait_until_it_does(apart)
        opened += [Kept(lab, vip, 6) for vip in vips]
        apart.kill_control()
        for kept in opened:
            assert kept.ask() == kept.answers, "another backend, or another port towards it"
        answered(apart, lab)
        opened += [Kept(lab, vip, 6) for vip in vips]
        apart.start_control()
        wait_for("the next control shows it", lambda: is_back(apart))
        for kept in opened:
            assert kept.ask() == kept.answers, "another backend, or another port towards it"
        apart.wait_backends_up()
        answered(apart, lab)
        apart.assert_closed_books()
        apart.start_dataplane()
        apart.wait_ready()
        for kept in opened:
            assert kept.ask() == kept.answers, "another backend, or another port towards it"
        answered(apart, lab)
        for kept in opened:
            kept.close()
    apart.assert_closed_books()


@pytest.mark.slow
def test_one_that_stands_still_is_ended(lab: Lab, apart: Weir) -> None:
    """Also where control has not started it: packets would go to its sockets, and no further."""
    wait_until_it_could(apart)
    vips = [Vip(mode, "tcp", 4) for mode in MODES]
    with no_resets(lab):
        opened = [Kept(lab, vip, 6) for vip in vips]
        apart.dataplane.send_signal(signal.SIGSTOP)
        wait_until_it_does(apart)
        assert apart.dataplane.wait(10) == -signal.SIGABRT
        for kept in opened:
            assert kept.ask() == kept.answers, "another backend, or another port towards it"
        apart.start_dataplane()
        apart.wait_ready()
        for kept in opened:
            assert kept.ask() == kept.answers, "another backend, or another port towards it"
            kept.close()
    apart.assert_closed_books()


@pytest.mark.slow
def test_without_its_pins_it_ends_with_control(lab: Lab, apart: Weir) -> None:
    """Negative control: what lets it go on is what control pins."""
    wait_until_it_could(apart)
    apart.kill_dataplane()
    wait_until_it_does(apart)
    with Kept(lab, Vip("full-nat", "tcp", 4), 2, timeout_s=1) as kept:
        shutil.rmtree(apart.pins / "stand_in")
        assert kept.ask() == kept.answers
        apart.kill_control()
        assert kept.ask_broken() == 2


@pytest.mark.slow
def test_both_die_at_once(lab: Lab, node: Node) -> None:
    """Direct return goes on without either, as far as hashes decide, and with their successors. What only their tables
    knew is lost with them, and not answered by anybody."""
    weir = node.ensure(replace(SPEC, protocols=("tcp",)), fresh=True)
    wait_until_it_could(weir)
    with no_resets(lab), Kept(lab, Vip("full-nat", "tcp", 4), 2, timeout_s=1) as lost, contextlib.ExitStack() as stack:
        kept = [stack.enter_context(Kept(lab, Vip("dsr-l2", "tcp", family), 6)) for family in FAMILIES]
        pids = weir.dataplane_pids()
        weir.kill_control()
        os.kill(pids[0], signal.SIGKILL)
        wait_for("it is gone", lambda: not weir.dataplane_pids())
        for connections in kept:
            assert connections.ask() == connections.answers
        assert len(tally(http_many(lab.client, Vip("dsr-l2", "tcp", 4).address, 80, 30))) == 3
        weir.start_control()
        wait_for_successor(weir, pids)
        for connections in kept:
            assert connections.ask() == connections.answers
        assert lost.ask_broken() == 2
    weir.wait_backends_up()
    assert len(tally(http_many(lab.client, Vip("full-nat", "tcp", 4).address, 80, 30))) == 3
    weir.assert_closed_books()
    node.forget()


def nothing_more(weir: Weir) -> None:
    """The next control is still loading what it has found."""


def wait_until_it_could_again(weir: Weir) -> None:
    wait_for("it is at hand again", lambda: weir.log(400).count("would stand in is ready") == 2, 20)


def wait_for_another(weir: Weir) -> None:
    wait_until_it_could_again(weir)
    assert "has left is not used: " in weir.log(400)


@pytest.mark.slow
@pytest.mark.parametrize(("damage", "wait"), ((False, nothing_more), (False, wait_until_it_could_again), (True, wait_for_another)))
def test_control_is_replaced_and_the_dataplane_dies(lab: Lab, apart: Weir, damage: bool, wait: Callable[[Weir], None]) -> None:
    """What an earlier control had ready is ready again, or else another one; it is given what the dataplane knew."""
    wait_until_it_could(apart)
    vips = [Vip(mode, "tcp", 4) for mode in MODES]
    with no_resets(lab):
        opened = [Kept(lab, vip, 6) for vip in vips]
        apart.kill_control()
        if damage:
            next(apart.pins.glob("stand_in/maps_*/heads")).unlink()
        apart.start_control()
        apart.wait_ready()
        wait(apart)
        apart.kill_dataplane()
        wait_for("the kernel's balancer stands in", lambda: is_back(apart))
        for kept in opened:
            assert kept.ask() == kept.answers, "another backend, or another port towards it"
            kept.close()
    apart.start_dataplane()
    apart.wait_ready()
    apart.assert_closed_books()


def backends_of(lab: Lab, vips: list[Vip], count: int = 3) -> dict[str, set[str]]:
    """Who answers so many new connections from the client's one address, by VIP."""
    return {vip.name: set(tally((http_many if vip.protocol == "tcp" else udp_many)(lab.client, vip.address, vip.port, count)))
            for vip in vips}


@pytest.mark.slow
@pytest.mark.parametrize("apart", [replace(SPEC, scheduler="rr", pool='persistence = { timeout = "1m" }\n')], indirect=True)
def test_what_is_remembered_of_clients_goes_there_and_back(lab: Lab, apart: Weir) -> None:
    """Round robin alone gives three connections to three backends. TCP's VIPs are asked before and during, UDP's during."""
    tcp, udp = ([vip for vip in apart.spec.vips() if vip.protocol == protocol] for protocol in ("tcp", "udp"))
    wait_until_it_could(apart)
    before = backends_of(lab, tcp)
    assert {len(who) for who in before.values()} == {1}, before
    apart.kill_dataplane()
    wait_until_it_does(apart)
    assert backends_of(lab, tcp) == before
    during = backends_of(lab, udp)
    assert {len(who) for who in during.values()} == {1}, during
    apart.start_dataplane()
    apart.wait_ready()
    assert not stands_in(apart)
    assert backends_of(lab, tcp + udp) == before | during
    apart.assert_closed_books()


UDP_TIMEOUT_S = 3


@pytest.mark.slow
@pytest.mark.parametrize("apart", [replace(SPEC, vip=f'timeouts = {{ udp = "{UDP_TIMEOUT_S}s" }}\n')], indirect=True)
def test_what_went_on_longer_than_its_timeout_is_as_young_as_it_was_there(lab: Lab, apart: Weir) -> None:
    """The dataplane's tables know nothing of the packets that the kernel's balancer has seen: for them it is over."""
    vip = Vip("full-nat", "udp", 4)
    wait_until_it_could(apart)
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(lab.client.socket(socket.AF_INET, socket.SOCK_DGRAM)) for _ in range(6)]
        for sock in sockets:
            sock.settimeout(5)
            sock.connect((vip.address, vip.port))

        def ask() -> list[Answer]:
            for sock in sockets:
                sock.send(b"again")
            return [parse_answer(sock.recv(65535).decode()) for sock in sockets]

        before = ask()
        apart.kill_dataplane()
        wait_until_it_does(apart)
        until = time.monotonic() + UDP_TIMEOUT_S + 1
        while time.monotonic() < until:
            assert ask() == before
            time.sleep(0.1)
        apart.start_dataplane()
        apart.wait_ready()
        assert ask() == before, "another backend, or another port towards it"


@pytest.mark.slow
def test_without_one_nothing_goes_on(lab: Lab, node: Node) -> None:
    """Negative control: with --no-stand-in the same client gets no answer."""
    node.stop()
    weir = Weir(lab, replace(SPEC, protocols=("tcp",), families=(4,)), "alone", spawn=False)
    weir.options = ("--no-stand-in",)
    try:
        weir.start()
        vip = Vip("full-nat", "tcp", 4)
        with Kept(lab, vip, 2, timeout_s=1) as kept:
            weir.end_dataplane(signal.SIGKILL)
            assert kept.ask_broken() == 2
        assert not stands_in(weir)
    finally:
        weir.stop()


@pytest.mark.slow
def test_it_is_published_to(lab: Lab, apart: Weir) -> None:
    """Backends that fail, and that come back, while there is no dataplane."""
    wait_until_it_could(apart)
    apart.end_dataplane(signal.SIGKILL)
    wait_until_it_does(apart)
    vip = Vip("full-nat", "tcp", 4)
    lab.backends[0].nginx.kill()
    try:
        wait_for("the generation in force gives it nothing", lambda: apart.is_out(vip.pool, "backend1"), 20)
        assert len(tally(http_many(lab.client, vip.address, vip.port, 30))) == 2
    finally:
        lab.backends[0].nginx.restart()
    wait_for("it is back", lambda: len(tally(http_many(lab.client, vip.address, vip.port, 30))) == 3, 20)
    apart.start_dataplane()
    apart.wait_ready()
    assert len(tally(http_many(lab.client, vip.address, vip.port, 30))) == 3


def retransmissions(lab: Lab) -> int:
    text = lab.client.run("nstat", "-asz", "TcpRetransSegs")
    return int(text.split("TcpRetransSegs")[1].split()[0])


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_wrk_sees_no_failure_across_kill_9(lab: Lab, node: Node, mode: str) -> None:
    """Killed, and followed by another one that control starts: two changes of engine under load."""
    weir = node.ensure(replace(SPEC, protocols=("tcp",), families=(4,)), fresh=True)
    weir.wait_backends_up()
    wait_until_it_could(weir)
    before = retransmissions(lab)
    pids = weir.dataplane_pids()
    quiet = weir.verdict("forwarded")
    with ThreadPoolExecutor() as background:
        load = background.submit(wrk, lab.client, Vip(mode, "tcp", 4).address, 80, seconds=6)
        wait_for("it is under load", lambda: weir.verdict("forwarded") > quiet + 10_000)
        os.kill(pids[0], signal.SIGKILL)
        result = load.result()
    print(f"{result.requests} requests, {retransmissions(lab) - before} segments sent again")
    print([e["text"] for e in weir.ctl("events")[1]["events"] if e["kind"] == "engine"])
    assert weir.dataplane_pids() not in ([], pids)
    assert result.errors == 0 and result.requests > 500, result.text
    weir.wait_ready()
    weir.assert_closed_books()
    node.forget()
