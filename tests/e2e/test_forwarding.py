# SPDX-License-Identifier: BSD-3-Clause
"""The main job: each mode, family and protocol, with one and two workers, on both kinds of device, and by XDP alone."""

from __future__ import annotations

import pytest

import capture
from capture import Capture, Frame, problems
from lab import (MAC_LB, MAC_ROUTER, MAC_ROUTER_SECOND, NEIGHBOUR4, NEIGHBOUR6, ROUTER_SECOND4, ROUTER_SECOND6, Lab)
from spec import FAMILIES, MODES, Spec, Vip
from stats import unfair_shares
from traffic import Answer, HttpConnection, http_many, http_once, tally, udp_many, udp_once
from weir import Node, Weir

SPECS = [
    pytest.param(Spec("veth", 2), id="veth-2"),
    pytest.param(Spec("tap", 1), id="tap-1"),
    pytest.param(Spec("xdp"), id="xdp"),
    pytest.param(Spec("veth", 1), id="veth-1", marks=pytest.mark.slow),
    pytest.param(Spec("tap", 2), id="tap-2", marks=pytest.mark.slow),
]
SNAT_PORTS = range(40000, 60000)
CONNECTIONS = 400


@pytest.fixture(scope="module", params=SPECS)
def spec(request: pytest.FixtureRequest) -> Spec:
    """Module scope, so that all tests of one configuration follow each other and share one Weir."""
    return request.param


@pytest.fixture
def weir(node: Node, spec: Spec) -> Weir:
    return node.ensure(spec)


def assert_seen_clients(vip: Vip, answers: list[Answer]) -> None:
    assert {a.client for a in answers} == {vip.seen_client()}
    if vip.mode == "full-nat":
        assert all(a.client_port in SNAT_PORTS for a in answers)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_http_by_weight(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    vip = Vip(mode, "tcp", family)
    answers = http_many(lab.client, vip.address, vip.port, CONNECTIONS)
    assert_seen_clients(vip, answers)
    counts = tally(answers)
    assert not unfair_shares(counts, weir.spec.weight_of())
    # Negative control: the same answers do not fit weights that were not configured.
    assert unfair_shares(counts, {"backend1": 20, "backend2": 10, "backend3": 10})


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_udp_by_weight(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    vip = Vip(mode, "udp", family)
    answers = udp_many(lab.client, vip.address, vip.port, CONNECTIONS)
    assert_seen_clients(vip, answers)
    assert not unfair_shares(tally(answers), weir.spec.weight_of())


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_connection_stays_with_its_backend(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    vip = Vip(mode, "tcp", family)
    for _ in range(10):
        connection = HttpConnection(lab.client, vip.address, vip.port)
        answers = {connection.get() for _ in range(10)}
        connection.close()
        assert len(answers) == 1
        if mode != "full-nat":
            assert answers.pop().client_port == connection.local[1]


@pytest.mark.parametrize("mode", ("dsr-l2", "full-nat"))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_client_on_the_same_lan(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    """No router between: the last hop is the client itself. (`nat` needs replies to pass the balancer.)"""
    own = NEIGHBOUR4 if family == 4 else NEIGHBOUR6
    for protocol, ask in (("tcp", http_once), ("udp", udp_once)):
        vip = Vip(mode, protocol, family)
        answer = ask(lab.neighbour, vip.address, vip.port)
        assert answer.client == (vip.seen_client() if mode == "full-nat" else own)


def exchange(lab: Lab, mode: str, family: int) -> None:
    for _ in range(5):
        http_once(lab.client, Vip(mode, "tcp", family).address, 80)
        udp_once(lab.client, Vip(mode, "udp", family).address, 7777)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_packets_at_the_backends(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    """What backends receive: valid checksums, from the balancer's MAC to their own, addressed as the mode says."""
    captures = [Capture(b.ns, "eth0", "tcp or udp", lab.work) for b in lab.backends]
    vip = Vip(mode, "tcp", family)
    for cap in captures:
        cap.__enter__()
    try:
        exchange(lab, mode, family)
    finally:
        for cap in captures:
            cap.__exit__()
    seen: list[Frame] = []
    for backend, cap in zip(lab.backends, captures):
        target = vip.address if mode == "dsr-l2" else backend.address(family)
        frames = cap.frames()
        assert not problems(frames)
        to_us = [f for f in frames if f.dst == target and f.src == vip.seen_client() and not is_probe(f, vip)]
        assert {(f.src_mac, f.dst_mac) for f in to_us} <= {(MAC_LB, backend.mac)}
        # The client sends 64 and its router takes one; NAT modes route, DSR bridges.
        expected_ttl = 63 if mode == "dsr-l2" else 62
        assert {f.ttl for f in to_us} <= {expected_ttl}
        seen += to_us
    assert {f.proto for f in seen} == {capture.TCP, capture.UDP}


def is_probe(frame: Frame, vip: Vip) -> bool:
    """Probes come from the balancer's kernel, with ports outside the SNAT range."""
    return vip.mode == "full-nat" and frame.sport not in SNAT_PORTS


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_packets_back_to_the_client(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    """What the router receives: valid, from the VIP, by the backend's MAC in DSR and the balancer's in NAT modes."""
    vip = Vip(mode, "tcp", family)
    with Capture(lab.router, "eth0", f"host {vip.address} and (tcp or udp)", lab.work) as cap:
        exchange(lab, mode, family)
    frames = cap.frames()
    assert not problems(frames)
    back = [f for f in frames if f.src == vip.address]
    assert {f.proto for f in back} == {capture.TCP, capture.UDP}
    assert {f.dst_mac for f in back} == {MAC_ROUTER}
    senders = {f.src_mac for f in back}
    assert senders <= {b.mac for b in lab.backends} if mode == "dsr-l2" else senders == {MAC_LB}
    assert {f.dst_mac for f in frames if f.dst == vip.address} == {MAC_LB}


@pytest.mark.parametrize("mode", ("nat", "full-nat"))
@pytest.mark.parametrize("family", FAMILIES)
def test_replies_go_back_where_the_packets_came_from(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    """Auto last hop: the client's packets come from the router's second MAC, which no route of the balancer names."""
    vip = Vip(mode, "tcp", family)
    option, length = ("-4", 32) if family == 4 else ("-6", 128)
    source = ROUTER_SECOND4 if family == 4 else ROUTER_SECOND6
    lab.router.ip(f"{option} route add {vip.address}/{length} dev eth1 src {source}")
    try:
        with Capture(lab.router, "eth1", f"host {vip.address} and (tcp or udp)", lab.work) as cap:
            exchange(lab, mode, family)
    finally:
        lab.router.ip(f"{option} route del {vip.address}/{length} dev eth1")
    frames = cap.frames()
    assert not problems(frames)
    assert {f.src_mac for f in frames if f.dst == vip.address} == {MAC_ROUTER_SECOND}
    back = {f.dst_mac for f in frames if f.src == vip.address}
    assert back == {MAC_ROUTER_SECOND}


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_not_for_a_vip_reaches_the_kernel(lab: Lab, weir: Weir, family: int) -> None:
    """Echo to the node and to a VIP is answered by the kernel; so is a port that no VIP serves: by a reset."""
    for address in (Vip("full-nat", "tcp", family).address, Vip("nat", "tcp", family).address):
        lab.client.run("ping", "-n", "-c", "2", "-i", "0.2", "-W", "2", address)
        with pytest.raises(ConnectionRefusedError):
            HttpConnection(lab.client, address, 81, timeout_s=2)


def test_two_workers_hand_over_and_one_never_does(lab: Lab, weir: Weir) -> None:
    """veth spreads a connection's two directions as it likes: each packet must end at the worker that owns it."""
    http_many(lab.client, Vip("nat", "tcp", 4).address, 80, 50)
    http_many(lab.client, Vip("full-nat", "tcp", 4).address, 80, 50)
    # The thread that serves the kernel side of a bypassed device hands over to workers too: not what is meant here.
    handed_over = sum(w["books"]["handed_out"] for w in weir.counters()["workers"] if w["worker"] != "kernel")
    assert handed_over > 0 if weir.spec.workers > 1 else handed_over == 0
