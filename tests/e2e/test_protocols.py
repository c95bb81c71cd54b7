# SPDX-License-Identifier: BSD-3-Clause
"""Real programs through VIPs of their own: iperf3 in both directions, a DNS server whose answers come in fragments."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from lab import HOST_OF_VIP, LAN4, LAN6, Lab
from netns import wait_for
from spec import FAMILIES, Spec, backend_address, endpoint
from weir import Node, Weir

IPERF_PORT, DNS_PORT = 5201, 53
MODES = ("nat", "full-nat")


def table(name: str, mode: str, family: int, protocol: str, port: int) -> str:
    """A VIP on the mode's address whose only backend is the first one, on the same port."""
    address = (LAN4 if family == 4 else LAN6).format(HOST_OF_VIP[mode])
    return (f'[pool.{name}]\nbackends = [{{ address = "{endpoint(backend_address(1, family), port)}" }}]\n'
            f'[pool.{name}.health]\ntype = "tcp"\nport = 80\ninterval = "1s"\ntimeout = "500ms"\n'
            f'[vip.{name}]\naddress = "{address}"\nport = {port}\nprotocol = "{protocol}"\nforward = "{mode}"\n'
            f'pool = "{name}"\n')


EXTRA = "".join(
    table(f"iperf-{mode}{family}", mode, family, "tcp", IPERF_PORT) + table(f"dns-{mode}{family}", mode, family, "udp",
                                                                              DNS_PORT)
    for mode in MODES for family in FAMILIES)
SPEC = Spec("veth", 2, modes=MODES, protocols=("tcp",), extra=EXTRA)


@pytest.fixture
def weir(node: Node) -> Weir:
    return node.ensure(SPEC)


def vip_address(mode: str, family: int) -> str:
    return (LAN4 if family == 4 else LAN6).format(HOST_OF_VIP[mode])


@pytest.fixture(scope="module")
def iperf_server(lab: Lab) -> Iterator[None]:
    process = lab.backends[0].ns.popen("iperf3", "-s", "-p", str(IPERF_PORT))
    wait_for("iperf3 listens",
             lambda: f":{IPERF_PORT} " in lab.backends[0].ns.run("ss", "-Hltn", f"sport = :{IPERF_PORT}"))
    yield
    process.terminate()
    process.wait()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("direction", ("up", "down"))
def test_iperf3(lab: Lab, weir: Weir, iperf_server: None, mode: str, family: int, direction: str) -> None:
    options = ["-R"] if direction == "down" else []
    said = json.loads(lab.client.run("iperf3", "-J", "-c", vip_address(mode, family), "-p", str(IPERF_PORT), "-n", "20M",
                                     *options, timeout_s=60))
    assert "error" not in said
    assert said["end"]["sum_sent"]["bytes"] >= 20 * 1024 * 1024
    assert said["end"]["sum_received"]["bytes"] >= 15 * 1024 * 1024  # the server stops counting when the client ends


@pytest.fixture(scope="module")
def dns_server(lab: Lab) -> Iterator[None]:
    """dnsmasq with a name whose TXT records take more than 3,000 bytes."""
    backend = lab.backends[0]
    records = [f"--txt-record=big.test,{number:02d}{'x' * 200}" for number in range(16)]
    log = lab.work / "dnsmasq.log"
    process = backend.ns.popen("dnsmasq", "--keep-in-foreground", "--no-resolv", "--no-hosts", "--conf-file=/dev/null",
                               "--pid-file", "--user=root", "--edns-packet-max=4096", "--log-facility=-", *records,
                               log=log)
    wait_for("dnsmasq listens", lambda: ":53 " in backend.ns.run("ss", "-Hlun", "sport = :53"))
    yield
    process.terminate()
    process.wait()


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("family", FAMILIES)
def test_large_dns_answers(lab: Lab, weir: Weir, dns_server: None, mode: str, family: int) -> None:
    """EDNS with 4096 bytes: the answer leaves the server in fragments, and UDP alone has to do."""
    for _ in range(10):
        said = lab.client.run("dig", f"@{vip_address(mode, family)}", "big.test", "TXT", "+bufsize=4096", "+notcp",
                              "+ignore", "+tries=1", "+time=3")
        assert "status: NOERROR" in said and said.count("x" * 200) == 16
        size = int(said.split("MSG SIZE  rcvd:")[1].split()[0])
        assert size > 3000
    # Negative control: without EDNS the same answer is cut short, so it was the fragments that brought it.
    short = lab.client.run("dig", f"@{vip_address(mode, family)}", "big.test", "TXT", "+noedns", "+notcp", "+ignore",
                           "+tries=1", "+time=3")
    assert " tc" in short.split("flags:")[1].split(";")[0] and short.count("x" * 200) < 16
