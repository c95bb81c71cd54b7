# SPDX-License-Identifier: BSD-3-Clause
"""weirctl: what it says is what happens."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab import CLIENT4, CLIENT6, LAN4, NEIGHBOUR4, Lab
from netns import run, wait_for
from spec import Spec, Vip, endpoint
from traffic import HttpConnection, http_many, tally
from weir import Node, Weir, program

SPEC = Spec("veth", 2)


@pytest.fixture
def weir(node: Node) -> Weir:
    return node.ensure(SPEC)


def test_status_says_what_runs(lab: Lab, weir: Weir) -> None:
    status = weir.status()
    assert status["ready"] and status["generation"] >= 1
    assert status["engine"]["mode"] == "dpdk" and status["engine"]["running"] and status["engine"]["workers"] == 2
    assert [status["engine"]["pid"]] == weir.dataplane_pids()
    assert {v["name"] for v in status["vips"]} == {v.name for v in SPEC.vips()}
    assert all(v["backends_up"] == v["backends_total"] == 3 for v in status["vips"])
    assert status["problems"] == []


@pytest.mark.parametrize("mode", ("dsr-l2", "nat", "full-nat"))
@pytest.mark.parametrize("family", (4, 6))
def test_explain_foretells_the_backend(lab: Lab, weir: Weir, mode: str, family: int) -> None:
    """The backend that explain names for a packet is the one that answers a connection from that very port."""
    vip = Vip(mode, "tcp", family)
    client = CLIENT4 if family == 4 else CLIENT6
    named = []
    for port in range(20001, 20013):
        text = f"tcp {endpoint(client, port)} {endpoint(vip.address, vip.port)}"
        foretold = weir.ctl("explain", text)[1]
        assert foretold["vip"] == vip.name and foretold["verdict"] == "forwarded" and foretold["connection"] is None
        connection = HttpConnection(lab.client, vip.address, vip.port, source_port=port)
        try:
            assert connection.get().backend == foretold["backend"]
            named.append(foretold["backend"])
            # Once it is recorded, the connection decides, and explain says so. Direct return records exceptions only.
            assert (weir.ctl("explain", text)[1]["connection"] is not None) == (mode != "dsr-l2")
        finally:
            connection.close(reset=True)
    assert len(set(named)) > 1, "twelve ports, one backend: nothing was foretold"


def test_explain_of_a_packet_for_nobody(lab: Lab, weir: Weir) -> None:
    answer = weir.ctl("explain", f"tcp {CLIENT4}:40000 {LAN4.format(200)}:80")[1]
    assert answer["vip"] in (None, "") and answer["verdict"].startswith("punted")


def test_connections_are_counted_while_they_live(lab: Lab, weir: Weir) -> None:
    vip = Vip("full-nat", "tcp", 4)
    kept = [HttpConnection(lab.client, vip.address, vip.port) for _ in range(10)]
    owners = tally([c.get() for c in kept])
    listed = weir.ctl("connections", "--vip", vip.name)[1]["connections"]
    mine = [c for c in listed if c["client"] in {endpoint(CLIENT4, k.local[1]) for k in kept}]
    assert len(mine) == len(kept)
    assert {name: sum(c["backend"] == name for c in mine) for name in owners} == dict(owners)
    assert weir.ctl("connections", "--vip", vip.name, "--count")[1]["count"] >= len(kept)
    for connection in kept:
        connection.close(reset=True)


def test_connections_are_filtered(lab: Lab, weir: Weir) -> None:
    """Two clients, two families: each filter shows its own, and what matches nothing shows nothing."""
    four, six = Vip("full-nat", "tcp", 4), Vip("full-nat", "tcp", 6)
    kept = [HttpConnection(ns, vip.address, vip.port)
            for ns in (lab.client, lab.neighbour) for vip in (four, six) for _ in range(6)]
    owners = [c.get().backend for c in kept]

    def count(*filters: str) -> int:
        return weir.ctl("connections", "--state", "established", *filters, "--count")[1]["count"]

    # Earlier tests' connections may linger in closing states: only established ones are ours.
    assert count("--vip", four.name) == 12
    assert count("--vip", four.name, "--client", CLIENT4) == 6
    assert count("--client", f"{NEIGHBOUR4}/32", "--vip", four.name) == 6
    assert count("--client", "10.77.0.0/16", "--vip", four.name) == 12
    assert count("--client", "10.77.0.0/16", "--vip", six.name) == 0
    assert count("--client", "::/0", "--vip", six.name) == 12
    assert count("--client", "::/0", "--vip", four.name) == 0
    of_one = sum(owner == "backend1" for owner in owners[:6] + owners[12:18])
    assert count("--backend", f"{four.pool}/backend1") == of_one
    shown = weir.ctl("connections", "--vip", four.name, "--client", NEIGHBOUR4, "--state", "established",
                     "--limit", "4")[1]
    assert (shown["count"], shown["truncated"], len(shown["connections"])) == (6, True, 4)
    assert all(c["client"].startswith(NEIGHBOUR4) for c in shown["connections"])
    text = weir.ctl_text("connections", "--client", NEIGHBOUR4, "--state", "established", "--limit", "4")[1]
    assert "6 connections, of which the first 4 are shown" in text, text
    for connection in kept:
        connection.close(reset=True)
    wait_for("none of them is established", lambda: count("--vip", four.name) == 0, 5)


@pytest.mark.parametrize("arguments, said", [
    (("--vip", "full-nat-tpc4"), "did you mean"), (("--backend", "pool-nat-tcp4/nobody"), "no backend"),
    (("--client", "10.77.0.0/33"), "an address or a network"), (("--state", "open"), "no state"),
    (("--limit", "0"), "limit"), (("--limit", "3", "--count"), "count"),
])
def test_a_bad_filter_is_refused_with_a_sentence(lab: Lab, weir: Weir, arguments: tuple[str, ...], said: str) -> None:
    code, text = weir.ctl_text("connections", *arguments)
    assert code in (1, 2) and said in text, text


def test_counters_and_drops_name_what_happened(lab: Lab, weir: Weir) -> None:
    """A datagram to the VIP from the VIP itself (LAND) is dropped and says so; forwarding counts forward."""
    before = {v["name"]: v["count"] for v in weir.counters()["verdicts"]}
    assert all(v["sentence"] for v in weir.counters()["verdicts"])
    vip = Vip("full-nat", "tcp", 4)
    http_many(lab.client, vip.address, vip.port, 10)
    send_land(lab, vip)
    wait_for("the drop is counted", lambda: weir.verdict("drop_land") == before["drop_land"] + 1, 5)
    assert weir.verdict("forwarded") >= before["forwarded"] + 50
    assert "drop_land" in {d["name"] for d in weir.ctl("drops")[1]["drops"]}


def send_land(lab: Lab, vip: Vip) -> None:
    """One frame with equal source and destination; scapy, because no socket would send it."""
    program_text = ("from scapy.all import Ether, IP, TCP, sendp; "
                    f"sendp(Ether(dst='02:77:00:00:00:02')/IP(src='{vip.address}', dst='{vip.address}')"
                    f"/TCP(sport={vip.port}, dport={vip.port}, flags='S'), iface='eth0', verbose=False)")
    lab.neighbour.run("/usr/bin/python3", "-c", program_text)


@pytest.mark.parametrize("command", [
    ("status",), ("vip", "list"), ("vip", "show", "nat-tcp4"), ("pool", "show", "pool-nat-tcp4"), ("counters",),
    ("drops",), ("connections", "--count"), ("explain", f"tcp {CLIENT4}:4000 {LAN4.format(101)}:80"),
])
def test_each_command_has_a_human_and_a_json_form(lab: Lab, weir: Weir, command: tuple[str, ...]) -> None:
    code, text = weir.ctl_text(*command)
    assert code == 0 and text.strip() and not text.lstrip().startswith("{"), text
    code, decoded = weir.ctl(*command)
    assert code == 0 and decoded
    # Options are accepted after the command as well.
    assert weir.ctl_text(*command, "--json")[1].lstrip().startswith("{")


@pytest.mark.parametrize("command", [
    ("vip", "show", "nobody"), ("pool", "show", "nobody"), ("backend", "drain", "pool-nat-tcp4/nobody"),
    ("backend", "drain", "nonsense"),
])
def test_what_does_not_exist_is_refused_with_a_sentence(lab: Lab, weir: Weir, command: tuple[str, ...]) -> None:
    before = weir.generation()
    code, said = weir.ctl_text(*command)
    assert code in (1, 2) and said.strip()
    assert weir.generation() == before


@pytest.mark.parametrize("command", [("nonsense",), (), ("vip",), ("status", "--nonsense")])
def test_wrong_usage_is_code_2(lab: Lab, weir: Weir, command: tuple[str, ...]) -> None:
    assert weir.ctl_text(*command)[0] == 2


def test_no_control_process_is_code_1_and_says_so(lab: Lab, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="exit code 1: .*weir-control"):
        run(program("weirctl"), "--runtime-dir", str(tmp_path), "status")


def test_check_needs_nothing_running(lab: Lab, tmp_path: Path) -> None:
    good = tmp_path / "good.toml"
    good.write_text(SPEC.toml())
    run(program("weirctl"), "check", str(good))
    bad = tmp_path / "bad.toml"
    bad.write_text(SPEC.toml().replace("scheduler =", "schedular =", 1).replace("mtu =", "mut ="))
    with pytest.raises(AssertionError, match=r"(?s)exit code 2: .*bad\.toml:\d+:\d+") as refused:
        run(program("weirctl"), "check", str(bad))
    assert "schedular" in str(refused.value) and "mut" in str(refused.value), "all errors at once"
