# SPDX-License-Identifier: BSD-3-Clause
"""Paths that are narrower than they look: tunnels to the backends, a hop of 1400 bytes, fragments."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import pytest

from lab import CLIENT4, CLIENT6, MTU, Backend, Lab
from spec import FAMILIES, Spec, Vip
from stats import unfair_shares
from traffic import download, http_many, tally, udp_many, udp_once
from weir import Node, Weir

TUNNELS = ("dsr-ipip", "dsr-gue")
NARROW = 1400
SPECS = [
    pytest.param(Spec("veth", 2, modes=(*TUNNELS, "nat", "full-nat")), id="veth-2"),
    pytest.param(Spec("xdp", modes=(*TUNNELS, "nat", "full-nat")), id="xdp"),
    pytest.param(Spec("tap", 1, modes=(*TUNNELS, "nat", "full-nat")), id="tap-1", marks=pytest.mark.slow),
]


@pytest.fixture(scope="module", params=SPECS)
def spec(request: pytest.FixtureRequest) -> Spec:
    return request.param


@pytest.fixture
def weir(node: Node, spec: Spec) -> Weir:
    return node.ensure(spec)


@contextlib.contextmanager
def narrow_hop(lab: Lab) -> Iterator[None]:
    """The router's way to the client takes 1400 bytes; client and backends believe in 1500."""
    lab.router.ip(f"link set far0 mtu {NARROW}")
    try:
        yield
    finally:
        lab.router.ip(f"link set far0 mtu {MTU}")
        for ns in (lab.client, *(b.ns for b in lab.backends)):
            for option in ("-4", "-6"):
                ns.ip(f"{option} route flush cache")


@pytest.mark.parametrize("mode", TUNNELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_tunnels_serve_by_weight(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    """The backends take the outer header off and answer the client directly; they see its own address."""
    tcp, udp = Vip(mode, "tcp", family), Vip(mode, "udp", family)
    answers = http_many(lab.client, tcp.address, tcp.port, 200)
    assert {a.client for a in answers} == {tcp.seen_client()}
    assert not unfair_shares(tally(answers), weir.spec.weight_of())
    assert {a.client for a in udp_many(lab.client, udp.address, udp.port, 50)} == {udp.seen_client()}


def path_of(backend: Backend, mode: str, vip: Vip) -> str:
    """What the backend's kernel knows of its way to whom it answers."""
    if mode == "full-nat":
        peer, source = vip.seen_client(), backend.address(vip.family)
    else:
        peer, source = (CLIENT4 if vip.family == 4 else CLIENT6), vip.address
    return backend.ns.ip(f"{'-4' if vip.family == 4 else '-6'} route get {peer} from {source}", check=False)


@pytest.mark.parametrize("mode", ("dsr-ipip", "full-nat"))
@pytest.mark.parametrize("family", FAMILIES)
def test_a_narrow_hop_is_no_black_hole(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    """The router's "too big" about a reply goes to the VIP; only the backend that sent it can act on it."""
    vip = Vip(mode, "tcp", family)
    before = weir.verdict("icmp_relayed")
    with narrow_hop(lab):
        size, digest = download(lab.client, vip.address, vip.port)
        routes = [path_of(b, mode, vip) for b in lab.backends]
    assert (size, digest) == (lab.blob.bytes, lab.blob.sha256)
    # A backend that an earlier test has told may remember it (IPv6 keeps what it learned for ten minutes).
    assert weir.verdict("icmp_relayed") > before or any(f"mtu {NARROW}" in route for route in routes)
    # Negative control: on a path as wide as it looks nobody says anything.
    before = weir.verdict("icmp_relayed")
    assert download(lab.client, vip.address, vip.port)[0] == lab.blob.bytes
    assert weir.verdict("icmp_relayed") == before


@pytest.mark.parametrize("mode", TUNNELS)
@pytest.mark.parametrize("family", FAMILIES)
def test_an_upload_learns_what_fits_the_tunnel(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    """Full-sized segments with DF do not fit behind an outer header: the client is told, and goes on."""
    vip = Vip(mode, "tcp", family)
    before = weir.verdict("answered_too_big")
    body = lab.work / "upload"
    body.write_bytes(bytes(range(256)) * 3000)
    url = f"http://[{vip.address}]/" if family == 6 else f"http://{vip.address}/"
    said = lab.client.run("curl", "-sS", "-g", "-m", "60", "-X", "POST", "-H", "Expect:", "--data-binary",
                          f"@{body}", "-o", "/dev/null", "-w", "%{http_code} %{size_upload}", url)
    code, uploaded = said.split()
    assert code == "200" and int(uploaded) == 768_000
    assert weir.verdict("answered_too_big") > before
    for option in ("-4", "-6"):
        lab.client.ip(f"{option} route flush cache")


@pytest.mark.parametrize("mode", (*TUNNELS, "nat", "full-nat"))
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("size", (2000, 8000))
def test_datagrams_in_fragments(lab: Lab, weir: Weir, mode: str, family: int, size: int) -> None:
    """Both ways: the echo is as large as what was sent. IPv6 senders cut again when told what fits a tunnel."""
    if weir.spec.device == "xdp" and family == 4 and mode in TUNNELS:
        pytest.skip("one-frame in docs/xdp.md: an XDP program cannot cut up what does not fit the tunnel")
    vip = Vip(mode, "udp", family)
    told = 0
    for number in range(20):
        try:
            udp_once(lab.client, vip.address, vip.port, f"{number} " + "x" * size)
        except OSError as error:
            if error.errno != errno.EMSGSIZE or family == 4 or mode not in TUNNELS:
                raise
            told += 1
    assert told <= 1
    assert weir.verdict("drop_fragment_overlap") == 0


def test_fragments_of_one_datagram_meet(lab: Lab, weir: Weir) -> None:
    """With two workers some datagram's pieces arrive where neither it nor its connection lives."""
    if weir.spec.workers == 1:
        pytest.skip("one worker: nowhere else to arrive")
    vip = Vip("full-nat", "udp", 4)
    for number in range(40):
        udp_once(lab.client, vip.address, vip.port, f"{number} " + "x" * 4000)
    assert weir.verdict("handed_over") > 0
