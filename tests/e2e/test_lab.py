# SPDX-License-Identifier: BSD-3-Clause
"""The lab itself, without Weir: routes, servers, captures and the checkers, each with the case it must refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import capture
from capture import Capture, decode, problems
from lab import CLIENT4, CLIENT6, Lab, MAC_ROUTER, NEIGHBOUR4, NEIGHBOUR6, UPLINK, VIP4, VIP6
from netns import Namespace, owner_tag, reap_stale, wait_for
from stats import unfair_shares
from traffic import HttpConnection, Load, download, http_once, parse_wrk, udp_once, wrk
from weir import Node

FAMILIES = (4, 6)


@pytest.fixture(scope="module", autouse=True)
def without_weir(lab: Lab, session_node: Node) -> None:
    """The balancer that earlier tests left running, and its addresses, go: here nobody balances."""
    session_node.stop()
    lab.reset_lb()


@pytest.mark.parametrize("family", FAMILIES)
def test_client_reaches_each_backend_directly(lab: Lab, family: int) -> None:
    for backend in lab.backends:
        for port in (80, 8080):
            answer = http_once(lab.client, backend.direct_address(family), port)
            assert (answer.backend, answer.client) == (backend.name, CLIENT4 if family == 4 else CLIENT6)
        answer = udp_once(lab.client, backend.direct_address(family), 7777)
        assert (answer.backend, answer.client) == (backend.name, CLIENT4 if family == 4 else CLIENT6)


@pytest.mark.parametrize("family", FAMILIES)
def test_neighbour_reaches_each_backend_directly(lab: Lab, family: int) -> None:
    for backend in lab.backends:
        answer = http_once(lab.neighbour, backend.address(family), 80)
        assert (answer.backend, answer.client) == (backend.name, NEIGHBOUR4 if family == 4 else NEIGHBOUR6)


def test_kept_connection_keeps_its_port(lab: Lab) -> None:
    connection = HttpConnection(lab.client, lab.backends[0].direct_address(4), 80)
    seen = {connection.get().client_port for _ in range(5)}
    connection.close()
    assert seen == {connection.local[1]}


@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_answers_for_a_vip_without_weir(lab: Lab, family: int) -> None:
    """Negative control: the backends hold the DSR VIP, but only a balancer may lead clients to it."""
    for vip in (VIP4 if family == 4 else VIP6).values():
        with pytest.raises(OSError):
            http_once(lab.client, vip, 80, timeout_s=1)


def test_balancers_veth_has_two_queues_and_no_offloads(lab: Lab) -> None:
    with lab.lb.entered():
        listed = lab.lb.run("ls", f"/sys/class/net/{UPLINK}/queues").split()
    assert sorted(listed) == ["rx-0", "rx-1", "tx-0", "tx-1"]
    features = lab.lb.run("ethtool", "-k", UPLINK)
    for feature in ("rx-checksumming", "tx-checksumming", "tcp-segmentation-offload", "generic-receive-offload"):
        assert f"{feature}: off" in features


@pytest.mark.parametrize("family", FAMILIES)
def test_captures_show_valid_packets_and_macs(lab: Lab, family: int) -> None:
    backend = lab.backends[1]
    with Capture(backend.ns, "eth0", "tcp or udp", lab.work) as cap:
        http_once(lab.client, backend.direct_address(family), 80)
        udp_once(lab.client, backend.direct_address(family), 7777)
    frames = cap.frames()
    assert {f.proto for f in frames} == {capture.TCP, capture.UDP}
    assert not problems(frames)
    assert {f.src_mac for f in frames if f.dst == backend.direct_address(family)} == {MAC_ROUTER}
    assert {f.dst_mac for f in frames if f.src == backend.direct_address(family)} == {MAC_ROUTER}


@pytest.mark.parametrize("family", FAMILIES)
def test_a_corrupted_packet_is_flagged(lab: Lab, family: int) -> None:
    """Negative control of the checksum checker: every byte under a checksum is under ours."""
    backend = lab.backends[0]
    with Capture(backend.ns, "eth0", "tcp", lab.work) as cap:
        http_once(lab.client, backend.direct_address(family), 80)
    raw = next(f for f in cap.frames() if f.payload).raw
    assert decode(raw).problem == ""
    missed = []
    # Under IPv6 the flow label, traffic class and hop limit have no checksum; the addresses, ports and payload do.
    first = 14 if family == 4 else 22
    for offset in range(first, len(raw)):
        broken = bytearray(raw)
        broken[offset] ^= 0x40
        frame = decode(bytes(broken))
        if frame is not None and not frame.problem:
            missed.append(offset)
    assert not missed, f"a flipped bit at offsets {missed} went unnoticed"


def test_shares_that_fit_pass_and_wrong_weights_fail() -> None:
    weights = {"a": 10, "b": 10, "c": 20}
    assert not unfair_shares({"a": 101, "b": 95, "c": 204}, weights)
    assert unfair_shares({"a": 101, "b": 95, "c": 204}, {"a": 10, "b": 10, "c": 10})
    assert unfair_shares({"a": 200, "b": 200}, weights)
    assert unfair_shares({"a": 100, "b": 100, "c": 200, "d": 1}, weights)


def test_blob_has_its_hash_and_a_damaged_one_has_not(lab: Lab) -> None:
    size, digest = download(lab.client, lab.backends[0].direct_address(4), 80)
    assert (size, digest) == (lab.blob.bytes, lab.blob.sha256)
    with open(lab.blob.path, "r+b") as file:
        file.seek(50_000_000)
        kept = file.read(1)
        file.seek(50_000_000)
        file.write(bytes([kept[0] ^ 1]))
    try:
        assert download(lab.client, lab.backends[0].direct_address(4), 80) != (lab.blob.bytes, lab.blob.sha256)
    finally:
        lab.blob.write()


def test_wrk_completes_without_errors(lab: Lab) -> None:
    result = wrk(lab.client, lab.backends[0].direct_address(4), 80, seconds=1)
    assert result.errors == 0 and result.requests > 100


def test_wrk_errors_are_counted() -> None:
    text = ("  10 requests in 1.00s, 1KB read\n  Socket errors: connect 1, read 2, write 3, timeout 4\n"
            "  Non-2xx or 3xx responses: 5\nRequests/sec:     10.00\n")
    assert parse_wrk(text).errors == 15


def test_load_notices_a_server_that_goes_away(lab: Lab) -> None:
    """Negative control of "no failed request": a killed server is noticed, a running one is not."""
    backend = lab.backends[2]
    with Load(lab.client, backend.direct_address(4), 80) as load:
        wait_for("the load runs", lambda: load.requests >= 20)
        assert not load.failures
        backend.nginx.kill()
        try:
            wait_for("the load fails", lambda: load.failures)
        finally:
            backend.nginx.restart()
    assert load.failures


def test_labs_of_dead_owners_are_reaped_and_living_ones_kept() -> None:
    program = ("import sys, os; sys.path.insert(0, sys.argv[1]); import netns, pathlib, tempfile\n"
               "n = netns.Namespace(netns.owner_tag() + '-orphan'); n.create(); n.popen('sleep', '1000', stdout=-3, stderr=-3)\n"
               "d = pathlib.Path(tempfile.gettempdir()) / (netns.owner_tag() + '-work'); d.mkdir()\n"
               "print(n.name, d, flush=True); os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", program, str(Path(__file__).parent)], capture_output=True, text=True,
                          timeout=60)
    orphan, directory = done.stdout.split()
    mine = Namespace(f"{owner_tag()}-mine").create()
    try:
        assert os.path.exists(f"/run/netns/{orphan}") and os.path.isdir(directory)
        reap_stale()
        assert not os.path.exists(f"/run/netns/{orphan}") and not os.path.isdir(directory)
        assert os.path.exists(f"/run/netns/{mine.name}")
    finally:
        mine.delete()


def test_a_backend_whose_cable_was_cut_comes_back(lab: Lab) -> None:
    backend = lab.backends[0]
    backend.ns.ip("link set eth0 down")
    with pytest.raises(OSError):
        http_once(lab.client, backend.direct_address(4), 80, timeout_s=1)
    backend.ns.ip("link set eth0 up")
    lab.route_backend(backend)
    for family in FAMILIES:
        assert http_once(lab.client, backend.direct_address(family), 80).backend == backend.name
