# SPDX-License-Identifier: BSD-3-Clause
"""weirctl capture: what it writes opens in tshark and is what the workers did."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import CLIENT4, Lab
from netns import wait_for
from spec import INTERFACE, Spec, Vip, backend_address
from test_ctl import send_land
from traffic import http_many, http_once
from weir import Node, Weir, program

SPEC = Spec("veth", 2)
VIP = Vip("full-nat", "tcp", 4)
FIELDS = ("frame.comment", "frame.interface_name", "frame.packet_flags_direction", "ip.src", "ip.dst", "tcp.srcport",
          "tcp.dstport", "ip.checksum.status", "tcp.checksum.status", "frame.len", "frame.cap_len", "frame.time_epoch",
          "http.request.method", "http.response.code")
GOOD = "1"  # a checksum, to tshark
INBOUND, OUTBOUND = 1, 2


@pytest.fixture
def weir(node: Node) -> Weir:
    return node.ensure(SPEC)


@dataclass(frozen=True)
class Seen:
    """A packet as tshark dissects it."""

    fields: dict[str, str]

    @property
    def said(self) -> dict[str, str]:
        """The comment's KEY=VALUE pairs."""
        return dict(word.split("=", 1) for word in self.fields["frame.comment"].split())

    @property
    def direction(self) -> int:
        return int(self.fields["frame.packet_flags_direction"], 0)


def dissect(path: Path) -> list[Seen]:
    """What tshark makes of the file; it must have no complaint about it."""
    wanted = [part for field in FIELDS for part in ("-e", field)]
    done = subprocess.run(["tshark", "-n", "-r", str(path), "-o", "ip.check_checksum:TRUE", "-o",
                           "tcp.check_checksum:TRUE", "-T", "json", *wanted], capture_output=True, text=True,
                          timeout=60)
    complaints = [line for line in done.stderr.splitlines() if "as user" not in line]
    assert done.returncode == 0 and not complaints, done.stderr
    return [Seen({name: values[0] for name, values in packet["_source"].get("layers", {}).items()})
            for packet in json.loads(done.stdout)]


@contextmanager
def capturing(weir: Weir, path: Path, *options: str) -> Iterator[subprocess.Popen]:
    """weirctl capture, begun; ended by Ctrl-C if it has not ended by itself."""
    log = path.with_suffix(".log")
    process = weir.lab.lb.popen(program("weirctl"), "--runtime-dir", str(weir.runtime), "capture", "-w", str(path),
                                *options, log=log)
    wait_for("the capture has begun", lambda: "capturing" in log.read_text() or process.poll() is not None, 10)
    assert process.poll() is None, log.read_text()
    yield process
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    assert process.wait(10) == 0, log.read_text()


def test_a_request_is_seen_in_all_its_packets(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    """Both directions of full-nat as they leave, with names, directions, valid checksums and the client's own bytes."""
    path = tmp_path / "all.pcapng"
    forwarded = weir.verdict("forwarded")
    with capturing(weir, path, "--vip", VIP.name):
        answer = http_once(lab.client, VIP.address, VIP.port)
        wait_for("the end of the connection has passed", lambda: weir.verdict("forwarded") >= forwarded + 4)
    packets = dissect(path)
    assert f"{len(packets)} packets written to {path}\n" in path.with_suffix(".log").read_text()
    for packet in packets:
        assert packet.said["vip"] == VIP.name and packet.said["worker"] in ("0", "1")
        assert packet.said["backend"] == f"{VIP.pool}/{answer.backend}"
        assert packet.fields["frame.interface_name"] == INTERFACE
        assert packet.direction == OUTBOUND
        assert packet.fields["ip.checksum.status"] == packet.fields["tcp.checksum.status"] == GOOD
        assert packet.fields["frame.len"] == packet.fields["frame.cap_len"]
    there = [p for p in packets if p.said["verdict"] == "forwarded"]
    back = [p for p in packets if p.said["verdict"] == "replied"]
    assert len(there) + len(back) == len(packets) and len(there) >= 4 and len(back) >= 3, "a whole connection"
    to_backend = backend_address(int(answer.backend.removeprefix("backend")), 4)
    assert {(p.fields["ip.src"], p.fields["ip.dst"], p.fields["tcp.dstport"]) for p in there} == \
        {(answer.client, to_backend, str(VIP.backend_port))}
    assert {(p.fields["ip.src"], p.fields["ip.dst"], p.fields["tcp.srcport"]) for p in back} == \
        {(VIP.address, CLIENT4, str(VIP.port))}
    assert [p.fields["http.request.method"] for p in there if "http.request.method" in p.fields] == ["GET"]
    assert [p.fields["http.response.code"] for p in back if "http.response.code" in p.fields] == ["200"]
    times = [float(p.fields["frame.time_epoch"]) for p in packets]
    assert times == sorted(times)


def test_a_verdict_is_picked_out(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    """Between much that is forwarded, the one drop; as it came."""
    path = tmp_path / "drops.pcapng"
    with capturing(weir, path, "--verdict", "drop_land") as process:
        http_many(lab.client, VIP.address, VIP.port, 10)
        send_land(lab, VIP)
        wait_for("the drop is written", lambda: b"drop_land" in path.read_bytes(), 10)
        assert process.poll() is None
    [packet] = dissect(path)
    assert packet.said["verdict"] == "drop_land" and "backend" not in packet.said
    assert packet.fields["ip.src"] == packet.fields["ip.dst"] == VIP.address
    assert packet.direction == INBOUND


@pytest.mark.slow
def test_a_vip_is_picked_out(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    other = Vip("nat", "tcp", 4)
    path = tmp_path / "vip.pcapng"
    with capturing(weir, path, "--vip", other.name):
        http_many(lab.client, VIP.address, VIP.port, 10)
        http_many(lab.client, other.address, other.port, 10)
    packets = dissect(path)
    assert packets and {p.said["vip"] for p in packets} == {other.name}


@pytest.mark.slow
def test_nothing_that_matches_is_an_empty_file_that_opens(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    path = tmp_path / "none.pcapng"
    with capturing(weir, path, "--verdict", "drop_source_routed"):
        http_many(lab.client, VIP.address, VIP.port, 10)
    assert dissect(path) == []
    assert path.stat().st_size > 0 and "0 packets" in path.with_suffix(".log").read_text()


@pytest.mark.slow
def test_count_and_snaplen(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    """Ends by itself after five packets, of which it keeps 60 bytes."""
    path = tmp_path / "count.pcapng"
    with capturing(weir, path, "--vip", VIP.name, "--count", "5", "--snaplen", "60") as process:
        http_many(lab.client, VIP.address, VIP.port, 10)
        assert process.wait(10) == 0
    packets = dissect(path)
    assert len(packets) == 5
    assert all(p.fields["frame.cap_len"] == "60" and int(p.fields["frame.len"]) > 60 for p in packets)


@pytest.mark.slow
def test_duration_ends_it(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    path = tmp_path / "duration.pcapng"
    done = weir.ctl("capture", "-w", str(path), "--duration", "100ms")[1]
    assert done["ended"] == "duration" and done["packets"] == len(dissect(path))


def test_packets_are_for_the_unix_socket_only_and_one_at_a_time(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    with capturing(weir, tmp_path / "first.pcapng"):
        code, said = weir.ctl_text("capture", "-w", str(tmp_path / "second.pcapng"))
        assert code == 1 and "another capture" in said
    assert not (tmp_path / "second.pcapng").exists()
    # As soon as the first has ended the next one begins: nothing is left on.
    with capturing(weir, tmp_path / "third.pcapng"):
        pass


def test_a_client_that_is_killed_ends_the_capture(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        with capturing(weir, tmp_path / "killed.pcapng") as process:
            process.kill()
            process.wait()
    wait_for("another one may begin", lambda: weir.ctl(
        "capture", "-w", str(tmp_path / "next.pcapng"), "--duration", "1ms", check=False)[0] == 0, 5)


@pytest.mark.parametrize(("options", "said"), [
    (("--vip", "full-nat-tpc4"), 'did you mean "full-nat-tcp4"'),
    (("--verdict", "drop_lamd"), 'did you mean "drop_land"'),
    (("--duration", "soon"), "duration"),
])
def test_what_does_not_exist_is_refused(lab: Lab, weir: Weir, tmp_path: Path, options: tuple[str, ...],
                                        said: str) -> None:
    path = tmp_path / "refused.pcapng"
    code, text = weir.ctl_text("capture", "-w", str(path), *options)
    assert code == 1 and said in text
    assert not path.exists()


@pytest.mark.slow
def test_curl_and_tshark_read_it_live(lab: Lab, weir: Weir, tmp_path: Path) -> None:
    """The API's stream is the file: no program of ours is needed to read it."""
    path = tmp_path / "curl.pcapng"
    curl = lab.lb.popen("curl", "-sS", "--no-buffer", "--unix-socket", str(weir.runtime / "control.sock"), "-o",
                        str(path), "http://weir/v1/capture?verdict=forwarded&count=3", log=tmp_path / "curl.log")
    wait_for("the capture has begun", lambda: path.exists() and path.stat().st_size > 0, 10)
    http_many(lab.client, VIP.address, VIP.port, 5)
    assert curl.wait(10) == 0, (tmp_path / "curl.log").read_text()
    assert len(dissect(path)) == 3
