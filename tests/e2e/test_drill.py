# SPDX-License-Identifier: BSD-3-Clause
"""The fault drill (scripts/drill): its witness notices what it should, and a part of its faults breaks nothing."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "drill"))

import faults  # noqa: E402  (the path above comes first)
import stage  # noqa: E402
from lab import UPLINK, Lab  # noqa: E402
from netns import wait_for  # noqa: E402
from spec import Vip  # noqa: E402
from weir import Node  # noqa: E402
from witness import Witness  # noqa: E402

pytestmark = pytest.mark.slow

KEYS = {"fault", "detected_ms", "restored_ms", "packets_lost", "connections_broken", "target", "met", "each_ms"}
LOSES_NOTHING = {faults.control_killed, faults.reloads}


@pytest.fixture(scope="module")
def rows(lab: Lab, session_node: Node) -> dict[faults.Fault, faults.Row]:
    session_node.stop()
    return dict(zip(faults.SUBSET, faults.run(lab, lambda fault: fault in faults.SUBSET)))


@pytest.mark.slow
@pytest.mark.parametrize("fault", faults.SUBSET, ids=lambda fault: fault.__name__)
def test_a_fault_breaks_no_connection(rows: dict[faults.Fault, faults.Row], fault: faults.Fault) -> None:
    """How long each took is the drill's own business: it is printed."""
    row = rows[fault]
    print(row)
    assert set(row.json()) == KEYS
    assert not row.connections_broken, row
    assert fault not in LOSES_NOTHING or row.packets_lost == 0, row


def witness_of(lab: Lab) -> Witness:
    udp, tcp = Vip("full-nat", "udp", 4), Vip("full-nat", "tcp", 4)
    return Witness(lab.client, (udp.address, udp.port), (tcp.address, tcp.port))


def test_the_witness_notices_an_outage_and_how_long_it_was(lab: Lab, node: Node) -> None:
    node.ensure(faults.SOLO).wait_backends_up()
    port = lab.port_of(lab.lb, UPLINK)
    with witness_of(lab) as witness:
        wait_for("datagrams are answered", lambda: witness.answered() > 100)
        lab.switch.ip(f"link set {port} down")
        began, before = time.monotonic(), witness.sent()
        wait_for("datagrams got lost", lambda: witness.sent() > before + 200)
        lab.switch.ip(f"link set {port} up")
        lasted, after = time.monotonic() - began, witness.answered()
        wait_for("datagrams are answered again", lambda: witness.answered() > after + 200)
    noticed = witness.noticed()
    # Connections may break or not: probes of 100 ms take backends out in this time.
    assert 0.8 * lasted < noticed.outage_s < lasted + 1 and 100 < noticed.lost < noticed.sent, noticed


def test_the_witness_notices_a_connection_that_breaks(lab: Lab, node: Node) -> None:
    node.ensure(faults.SOLO).wait_backends_up()
    victim = lab.backends[0]
    with witness_of(lab) as witness:
        assert victim.name in witness.backend_of
        victim.nginx.kill()
        witness.wait_round()
    victim.nginx.restart()
    node.current.wait_backends_up()
    broken = {witness.backend_of[index] for index in witness.noticed().broken}
    assert broken == {victim.name}


def test_the_relay_loses_and_doubles(lab: Lab, node: Node) -> None:
    victim = lab.backends[0]

    def pings(*options: str) -> str:
        with stage.bad_cable(lab, *options):
            lab.neighbour.ip("neigh flush all")
            return lab.neighbour.run("ping", "-c", "20", "-i", "0.05", "-W", "1", victim.address(4), check=False)

    assert " 0% packet loss" in pings() and "DUP" not in pings()
    assert "100% packet loss" in pings("--loss", "1")
    assert "DUP" in pings("--duplicate", "1")
