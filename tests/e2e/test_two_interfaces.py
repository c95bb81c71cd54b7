# SPDX-License-Identifier: BSD-3-Clause
"""The usual place of a balancer with two legs: clients on one network, servers on another, and no other way between them."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from lab import MAC, Lab
from netns import wait_for
from spec import BACKENDS, FAMILIES, Spec, Vip, backend_address
from test_restart import Kept, no_resets, wait_for_successor
from traffic import download, http_many, http_once, tally, udp_many
from weir import BUILD, Node, Weir

MODES = ("nat", "full-nat")
INNER = "inner0"
INNER4, INNER6 = "10.78.0.{}", "2001:db8:78::{}"
BRIDGE = "br1"


def inner_address(index: int, family: int) -> str:
    return (INNER4 if family == 4 else INNER6).format(20 + index)


class TwoLegs(Weir):
    """Its backends are on the inner LAN, and what they say from there goes by the balancer."""

    def start_control(self) -> None:
        if INNER not in self.lab.lb.ip("-br link show"):  # a fresh start has only the uplink
            self._wire()
        super().start_control()

    def _wire(self) -> None:
        lab = self.lab
        lab.switch.ip(f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
        lab.switch.ip(f"link set {BRIDGE} up")
        lab.plug(lab.lb, INNER, MAC.format(0x42), None, None, bridge=BRIDGE)
        lab.switch.ip(f"link set {self.port()} xdp obj {BUILD / 'tests' / 'xdp_pass.bpf.o'} sec xdp")
        for backend in lab.backends:
            lab.plug(backend.ns, INNER, MAC.format(0x50 + backend.index), inner_address(backend.index, 4),
                     inner_address(backend.index, 6), bridge=BRIDGE)
            for family, option, balancer in ((4, "-4", INNER4.format(2)), (6, "-6", INNER6.format(2))):
                backend.ns.ip(f"{option} rule add from {inner_address(backend.index, family)} table 101")
                backend.ns.ip(f"{option} route add default via {balancer} dev {INNER} table 101")

    def port(self) -> str:
        """The switch's end of the balancer's inner cable."""
        return self.lab.port_of(self.lab.lb, INNER)

    def unwire(self) -> None:
        for backend in self.lab.backends:
            for family, option in ((4, "-4"), (6, "-6")):
                backend.ns.ip(f"{option} rule del from {inner_address(backend.index, family)} table 101", check=False)
            backend.ns.ip(f"link del {INNER}", check=False)
        self.lab.lb.ip(f"link del {INNER}", check=False)
        self.lab.switch.ip(f"link del {BRIDGE}", check=False)


def configuration(spec: Spec) -> str:
    """SPEC's, with the backends and a second interface on the inner LAN."""
    text = spec.toml()
    for index in BACKENDS:
        text = text.replace(backend_address(index, 4) + ":", inner_address(index, 4) + ":")
        text = text.replace(backend_address(index, 6) + "]", inner_address(index, 6) + "]")
    return text + (f'\n[interface.inner]\ndevice = "{INNER}"\naddresses = ["{INNER4.format(2)}/24", "{INNER6.format(2)}/64"]\n'
                   "mtu = 1500\n")


@pytest.fixture(scope="module", params=("veth", "xdp"))
def legs(lab: Lab, session_node: Node, request: pytest.FixtureRequest) -> Iterator[TwoLegs]:
    session_node.stop()
    spec = Spec(request.param, modes=MODES, weights=(10, 10, 10))
    weir = TwoLegs(lab, spec, "legs")
    try:
        weir.start(configuration(spec))
        yield weir
    finally:
        weir.stop()
        weir.unwire()
        lab.reset_lb()


def sent(weir: Weir) -> list[int]:
    """Packets, by interface."""
    return [port["tx"] for port in weir.counters()["ports"]]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_packets_go_from_one_to_the_other_and_back(lab: Lab, legs: TwoLegs, family: int, mode: str) -> None:
    before = sent(legs)
    for protocol, ask in (("tcp", http_many), ("udp", udp_many)):
        vip = Vip(mode, protocol, family)
        answers = ask(lab.client, vip.address, vip.port, 30)
        assert len(tally(answers)) == 3, (vip.name, tally(answers))
        assert {answer.client for answer in answers} == {vip.seen_client()}
    assert all(now - then >= 60 for now, then in zip(sent(legs), before)), "questions to one network, answers to the other"
    vip = Vip(mode, "tcp", family)
    assert download(lab.client, vip.address, vip.port) == (lab.blob.bytes, lab.blob.sha256)
    legs.assert_closed_books()


@pytest.mark.slow
def test_the_engine_is_replaced(lab: Lab, legs: TwoLegs) -> None:
    """Control, and where there is one the dataplane: connections go on through both interfaces."""
    with no_resets(lab):
        opened = [Kept(lab, Vip(mode, "tcp", family), 6) for mode in MODES for family in FAMILIES]
        legs.kill_control()
        for kept in opened:
            assert kept.ask() == kept.answers
        legs.start_control()
        legs.wait_ready()
        before = legs.dataplane_pids()
        if legs.spec.device != "xdp":
            os.kill(before[0], signal.SIGKILL)
            wait_for_successor(legs, before)
        for kept in opened:
            assert kept.ask() == kept.answers
            kept.close()
    legs.wait_backends_up()
    legs.assert_closed_books()


@pytest.mark.slow
def test_there_is_no_other_way(lab: Lab, legs: TwoLegs) -> None:
    """Negative control: without the inner cable the backends are down and nobody is served."""
    vip = Vip("full-nat", "tcp", 4)
    lab.switch.ip(f"link set {legs.port()} down")
    try:
        wait_for("all backends are down", lambda: set(legs.backend_states(vip.pool).values()) == {"down"}, 20)
        with pytest.raises(OSError):
            http_once(lab.client, vip.address, vip.port, timeout_s=2)
    finally:
        lab.switch.ip(f"link set {legs.port()} up")
    legs.wait_backends_up()
    wait_for("it serves again", lambda: len(tally(http_many(lab.client, vip.address, vip.port, 30))) == 3, 20)
