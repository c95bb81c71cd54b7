# SPDX-License-Identifier: BSD-3-Clause
"""full-nat's own source addresses: clients among the backends, several addresses, shared backends, no port left."""

from __future__ import annotations

import ipaddress
import re

import pytest

from lab import CLIENT4, LAN4, LAN6, LB4, Lab
from netns import wait_for
from spec import FAMILIES, Spec, Vip, backend_address, endpoint
from traffic import HttpConnection, http_many, http_once, tally, udp_many
from weir import Node, Weir

PLAIN = Spec("veth", 2, modes=("nat", "full-nat"))
SNAT4, SNAT6 = LAN4.format("64/30"), LAN6.format("64/126")
SEVERAL = Spec("veth", 2, modes=("full-nat",), extra=f'[snat]\naddresses = ["{SNAT4}", "{SNAT6}"]\n')
SECOND, THIRD = LAN4.format(110), LAN4.format(111)


def one_backend(mode: str) -> str:
    """Three VIPs over pools that are the same one server."""
    tables = ""
    for number, (address, port) in enumerate(((SECOND, 80), (SECOND, 8000), (THIRD, 80)), 1):
        tables += (f'[pool.one{number}]\nbackends = [{{ address = "{endpoint(backend_address(1, 4), 8080)}", '
                   f'name = "backend1" }}]\n[vip.one{number}]\naddress = "{address}"\nport = {port}\n'
                   f'protocol = "tcp"\nforward = "{mode}"\npool = "one{number}"\n')
    return tables


def spec_of_one(mode: str, more: str = "") -> Spec:
    return Spec("veth", 1, modes=("full-nat",), families=(4,), protocols=("udp",), extra=one_backend(mode) + more)


# -- clients among the backends -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_a_backend_is_a_client_of_its_own_service(lab: Lab, node: Node, family: int) -> None:
    """Each of the servers asks the VIP, and is answered by all of them, itself too: replies go by the balancer."""
    node.ensure(PLAIN)
    vip = Vip("full-nat", "tcp", family)
    for backend in lab.backends:
        answers = http_many(backend.ns, vip.address, vip.port, 40)
        assert set(tally(answers)) == {"backend1", "backend2", "backend3"}
        assert {a.client for a in answers} == {vip.seen_client()}
    udp = Vip("full-nat", "udp", family)
    assert set(tally(udp_many(lab.backends[0].ns, udp.address, udp.port, 40))) == {"backend1", "backend2", "backend3"}


def test_nat_cannot_do_that(lab: Lab, node: Node) -> None:
    """Negative control: with the client's own address the server answers past the balancer, from an address that the
    client has not asked."""
    node.ensure(PLAIN)
    vip = Vip("nat", "tcp", 4)
    assert http_once(lab.client, vip.address, vip.port).client == vip.seen_client()
    for _ in range(3):
        with pytest.raises(OSError):
            http_once(lab.backends[0].ns, vip.address, vip.port, timeout_s=1)


# -- several source addresses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ("tcp", "udp"))
@pytest.mark.parametrize("family", FAMILIES)
def test_connections_come_from_all_addresses(lab: Lab, node: Node, family: int, protocol: str) -> None:
    weir = node.ensure(SEVERAL)
    vip = Vip("full-nat", protocol, family)
    ask = http_many if protocol == "tcp" else udp_many
    pool = ipaddress.ip_network(SNAT4 if family == 4 else SNAT6)
    seen = {a.client for a in ask(lab.client, vip.address, vip.port, 60)}
    assert seen == {str(address) for address in pool}, "every one of the four, and no other"
    # They are the node's: whoever is on the network can find them.
    assert all(re.search(rf"inet6? {re.escape(str(address))}/", weir.lab.lb.ip("addr show")) for address in pool)


@pytest.mark.slow
def test_without_them_it_is_the_interfaces_own(lab: Lab, node: Node) -> None:
    """Negative control."""
    node.ensure(PLAIN)
    vip = Vip("full-nat", "tcp", 4)
    assert {a.client for a in http_many(lab.client, vip.address, vip.port, 20)} == {LB4}


# -- a backend that several VIPs have ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_vips_share_a_backend(lab: Lab, node: Node) -> None:
    """Three connections from one client port to one server, by three VIPs: three, because each has its own source."""
    weir = node.ensure(spec_of_one("full-nat"))
    kept = [HttpConnection(lab.client, address, port, source_port=25000)
            for address, port in ((SECOND, 80), (SECOND, 8000), (THIRD, 80))]
    ports = {connection.get().client_port for connection in kept}
    assert len(ports) == 3
    for _ in range(20):
        assert {connection.get().backend for connection in kept} == {"backend1"}
    listed = weir.ctl("connections", "--backend", "one2/backend1", "--state", "established")[1]["connections"]
    assert [c["client"] for c in listed] == [endpoint(CLIENT4, 25000)]
    for connection in kept:
        connection.close(reset=True)


@pytest.mark.slow
def test_nat_refuses_what_could_not_be_told_apart(lab: Lab, node: Node) -> None:
    """Negative control: without a source of its own the second one's replies would be the first one's."""
    weir = node.ensure(spec_of_one("nat"))
    before = weir.verdict("drop_nat_conflict")
    first = HttpConnection(lab.client, SECOND, 80, source_port=25001)
    first.get()
    with pytest.raises(OSError):
        HttpConnection(lab.client, THIRD, 80, timeout_s=1.5, source_port=25001)
    assert weir.verdict("drop_nat_conflict") > before
    assert first.get().backend == "backend1"
    # From another port it is served.
    assert http_once(lab.client, THIRD, 80).backend == "backend1"
    first.close(reset=True)


# -- no port left -------------------------------------------------------------------------------------------------------------


def metric(weir: Weir, verdict: str) -> int:
    """weir_packets_total of a verdict, all workers, as Prometheus gets it."""
    text = weir.lab.lb.run("curl", "-sS", "--unix-socket", str(weir.runtime / "control.sock"), "http://weir/metrics")
    found = re.findall(rf'^weir_packets_total{{worker="\w+",verdict="{verdict}"}} (\d+)$', text, re.M)
    assert found, f"no weir_packets_total of {verdict}"
    return sum(map(int, found))


def test_no_source_port_left_is_said(lab: Lab, node: Node) -> None:
    """Four ports and one server: the fifth connection is dropped under its name, and the first that ends makes room."""
    weir = node.ensure(spec_of_one("full-nat", '[snat]\nports = "40000-40003"\n'))
    assert metric(weir, "drop_snat_exhausted") == weir.verdict("drop_snat_exhausted") == 0
    kept = [HttpConnection(lab.client, SECOND, 80) for _ in range(4)]
    assert {connection.get().client_port for connection in kept} == {40000, 40001, 40002, 40003}
    assert metric(weir, "drop_snat_exhausted") == 0, "four are no problem"
    with pytest.raises(OSError):
        HttpConnection(lab.client, SECOND, 80, timeout_s=1.5)
    dropped = weir.verdict("drop_snat_exhausted")
    assert dropped >= 1 and metric(weir, "drop_snat_exhausted") >= dropped
    assert "drop_snat_exhausted" in {d["name"] for d in weir.ctl("drops")[1]["drops"]}
    assert {connection.get().backend for connection in kept} == {"backend1"}, "those that are open go on"
    kept.pop().close(reset=True)
    wait_for("there is room again", lambda: served(lab), 15)
    for connection in kept:
        connection.close(reset=True)


def served(lab: Lab) -> bool:
    try:
        return http_once(lab.client, SECOND, 80, timeout_s=1.5).backend == "backend1"
    except OSError:
        return False
