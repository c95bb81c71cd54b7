# SPDX-License-Identifier: BSD-3-Clause
"""Rows of a whole Weir in the lab: packets over AF_XDP on a veth next to dpdk-testpmd's macswap on the same device, packets
through the kernel's balancer next to a program that only sends them back, and HTTP through each mode next to direct
routing.

Packets: dpdk-testpmd sends 64-byte UDP in 256 flows from the neighbour's cable through the switch, on the last core;
what is measured forwards on core 0, polling. An XDP program has one core together with its sender, which is the kernel
(BPF_PROG_TEST_RUN with live frames). What is sent ends at the other end of the balancer's cable: who is behind it differs from mode
to mode, and is paid for by the core that sends. The rate is what left the balancer's device, read from the kernel's
counters of that device, so that both candidates are counted by the same hand. HTTP: wrk and the servers on the last core, the
balancer polls on core 0; direct routing is measured with it standing by.
"""

from __future__ import annotations

import contextlib
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

from capture import ones_sum  # noqa: E402  (the path above comes first)
from lab import MAC, MAC_LB, NEIGHBOUR4, UPLINK, Lab  # noqa: E402
from netns import Namespace, wait_for  # noqa: E402
from spec import MODES, Spec, Vip  # noqa: E402
from traffic import bracketed, parse_wrk  # noqa: E402

Running = AbstractContextManager[None]
LAST_CORE = (os.cpu_count() or 1) - 1
SENDER_FLOWS = 256
FIRST_PORT = 4000
PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}


def _row(mode: str, kind: str, flows: int) -> dict:
    tracking = "exceptions" if mode == "dsr-l2" else "full"  # the default
    return {"name": f"io {mode} v4 {tracking} {flows} {kind}", "group": "io",
            "engine": "xdp" if kind == "xdp_live" else "dpdk", "mode": mode, "family": "v4", "tracking": tracking,
            "flows": flows, "pools": 1, "case": "hit", "kind": kind}


ROWS = ([_row(mode, kind, SENDER_FLOWS) for kind in ("af_xdp", "xdp_live") for mode in MODES]
        + [_row(mode, kind, 64) for mode in MODES for kind in ("http-requests", "http-connections")])


class Testpmd:
    """One dpdk-testpmd in a namespace until its standard input closes."""

    def __init__(self, lab: Lab, role: str, core: int, vdev: str, options: str) -> None:
        ns = lab.lb if role == "forwarder" else lab.neighbour
        self.command = (f"dpdk-testpmd --lcores=0@{core},1@{core} --main-lcore=0 --no-huge -m 256 --no-shconf --no-pci "
                        f"--no-telemetry --file-prefix=weir-bench-{role} --vdev={vdev} -- --total-num-mbufs=16384 {options}")
        self._log = lab.work / f"testpmd-{role}.log"
        with open(self._log, "wb") as sink:
            self._process = subprocess.Popen(["ip", "netns", "exec", ns.name, "stdbuf", "-oL", *self.command.split()],
                                             stdin=subprocess.PIPE, stdout=sink, stderr=subprocess.STDOUT)
        wait_for(f"testpmd ({role}) forwards", self._running, 20)

    def _running(self) -> bool:
        text = self._log.read_text(errors="replace")
        if self._process.poll() is not None:
            raise RuntimeError(f"dpdk-testpmd ended: {self.command}\n{text}")
        return "Press enter to exit" in text

    def stop(self) -> None:
        self._process.stdin.close()
        self._process.wait(20)


@contextlib.contextmanager
def running(lab: Lab, role: str, core: int, vdev: str, options: str) -> Iterator[Testpmd]:
    pmd = Testpmd(lab, role, core, vdev, options)
    try:
        yield pmd
    finally:
        pmd.stop()


@contextlib.contextmanager
def balancer(lab: Lab, protocol: str, device: str = "veth") -> Iterator[None]:
    from weir import Weir  # which takes the build directory from the environment
    spec = Spec(device, 1, protocols=(protocol,), families=(4,))
    weir = Weir(lab, spec)
    weir.start(spec.toml().replace('idle = "adaptive"', 'idle = "poll"'))
    try:
        yield
        weir.assert_closed_books()
    finally:
        weir.stop()


def packets_sent(lab: Lab) -> int:
    return int(lab.lb.run("cat", f"/sys/class/net/{UPLINK}/statistics/tx_packets"))


@contextlib.contextmanager
def testpmd_sends(lab: Lab, vip: Vip) -> Iterator[None]:
    with running(lab, "sender", LAST_CORE, "net_af_packet0,iface=eth0,blocksz=4096,framesz=2048,framecnt=512,qpairs=1",
                 f"--forward-mode=txonly --txonly-multi-flow --txpkts=64 --eth-peer=0,{MAC_LB} "
                 f"--tx-ip={NEIGHBOUR4},{vip.address} --tx-udp={FIRST_PORT},{vip.port} --no-flush-rx"):
        yield


def udp_frame(vip: Vip) -> bytes:
    """64 bytes from the neighbour, without a UDP checksum."""
    addresses = socket.inet_aton(NEIGHBOUR4) + socket.inet_aton(vip.address)
    header = struct.pack("!BBHHHBBH", 0x45, 0, 50, 0, 0x4000, 64, socket.IPPROTO_UDP, 0) + addresses
    header = header[:10] + struct.pack("!H", 0xFFFF - ones_sum(header)) + header[12:]
    macs = bytes.fromhex((MAC_LB + MAC.format(0x11)).replace(":", ""))
    return macs + struct.pack("!H", 0x0800) + header + struct.pack("!HHHH", FIRST_PORT, vip.port, 30, 0) + bytes(22)


@contextlib.contextmanager
def kernel_sends(lab: Lab, vip: Vip, build: Path) -> Iterator[None]:
    """Out of the switch's end of the balancer's cable: neither the switch nor a socket is on the way."""
    process = lab.switch.popen("taskset", "-c", str(LAST_CORE), str(build / "bench" / "weir-xdp-sender"),
                               lab.port_of(lab.lb, UPLINK), str(SENDER_FLOWS), str(FIRST_PORT), **PIPES)
    try:
        process.stdin.write(udp_frame(vip))
        process.stdin.close()
        if process.stdout.readline() != b"sending\n":
            raise RuntimeError("weir-xdp-sender ended")
        yield
    finally:
        process.terminate()
        if process.wait(10) != 0:
            raise RuntimeError("weir-xdp-sender failed")


def rate_under_load(lab: Lab, sender: Running, seconds: float) -> float:
    """Packets/s that left the balancer's device while SENDER runs."""
    with sender:
        sent, start = packets_sent(lab), time.monotonic()
        time.sleep(seconds)
        return (packets_sent(lab) - sent) / (time.monotonic() - start)


def attach(ns: Namespace, device: str, section: str, build: Path) -> None:
    """A program of xdp_wire.bpf.c, in the place of what is there."""
    ns.ip(f"-force link set {device} xdp obj {build / 'bench' / 'xdp_wire.bpf.o'} sec xdp/{section}")


def end_behind_the_cable(lab: Lab, build: Path) -> None:
    attach(lab.switch, lab.port_of(lab.lb, UPLINK), "sink", build)


@contextlib.contextmanager
def testpmd_macswap(lab: Lab, build: Path) -> Iterator[None]:
    with running(lab, "forwarder", 0, f"net_af_xdp0,iface={UPLINK},start_queue=0,queue_count=1", "--forward-mode=macswap"):
        end_behind_the_cable(lab, build)
        yield


@contextlib.contextmanager
def xdp_reflection(lab: Lab, build: Path) -> Iterator[None]:
    lab.lb.ip(f"link set {UPLINK} up")
    attach(lab.lb, UPLINK, "reflect", build)
    end_behind_the_cable(lab, build)
    yield


@contextlib.contextmanager
def udp_balancer(lab: Lab, device: str, build: Path) -> Iterator[None]:
    with balancer(lab, "udp", device):
        end_behind_the_cable(lab, build)
        yield


def packet_rows(lab: Lab, rows: list[dict], seconds: float, repeats: int, reference: Callable[[], Running],
                weir: Callable[[], Running], sends: Callable[[Vip], Running]) -> Iterator[dict]:
    """ROWS that have one REFERENCE and one sender, measured by turns."""
    for backend in lab.backends:
        backend.echo.stop()  # the datagrams end at a closed port: no server in the measurement
    rates: dict[str, list[float]] = {row["mode"]: [] for row in rows}
    of_reference: list[float] = []
    for _ in range(repeats):
        lab.reset_lb()
        # One queue: testpmd's AF_XDP port cannot drive a veth's several, and both must drive the same device.
        for ns, device in ((lab.switch, lab.port_of(lab.lb, UPLINK)), (lab.lb, UPLINK)):
            ns.run("ethtool", "-L", device, "rx", "1", "tx", "1")
        with reference():
            of_reference.append(rate_under_load(lab, sends(Vip(rows[0]["mode"], "udp", 4)), seconds))
        with weir():
            for mode, seen in rates.items():
                seen.append(rate_under_load(lab, sends(Vip(mode, "udp", 4)), seconds))
    reference_rate = statistics.median(of_reference)
    for row in rows:
        rate = statistics.median(rates[row["mode"]])
        yield row | {"ns": 1e9 / rate, "ns_macswap": 1e9 / reference_rate, "ratio": reference_rate / rate,
                     "kpps": rate / 1e3, "of_macswap": rate / reference_rate}


def give_servers_the_last_core(lab: Lab) -> None:
    for backend in lab.backends:
        for pid in backend.ns.pids():
            os.sched_setaffinity(pid, {LAST_CORE})


def http_rate(lab: Lab, address: str, kind: str, seconds: float) -> float:
    close = ("-H", "Connection: close") if kind == "http-connections" else ()
    result = parse_wrk(lab.client.run("taskset", "-c", str(LAST_CORE), "wrk", "-t2", "-c64", f"-d{round(seconds)}s", *close,
                                      f"http://{bracketed(address)}:80/", timeout_s=seconds + 60))
    if result.errors:
        raise RuntimeError(f"wrk saw {result.errors} errors:\n{result.text}")
    return result.rate


def http_rows(lab: Lab, rows: list[dict], seconds: float, repeats: int) -> Iterator[dict]:
    rates: dict[str, list[float]] = {row["name"]: [] for row in rows}
    direct: dict[str, list[float]] = {row["kind"]: [] for row in rows}
    give_servers_the_last_core(lab)
    with balancer(lab, "tcp"):
        for _ in range(repeats):
            for kind, seen in direct.items():
                seen.append(http_rate(lab, lab.backends[0].direct_address(4), kind, seconds))
            for row in rows:
                rates[row["name"]].append(http_rate(lab, Vip(row["mode"], "tcp", 4).address, row["kind"], seconds))
    for row in rows:
        rate, reference = statistics.median(rates[row["name"]]), statistics.median(direct[row["kind"]])
        yield row | {"ns": 1e9 / rate, "ns_macswap": None, "ratio": None,
                     row["kind"].removeprefix("http-") + "_s": rate, "of_direct": rate / reference}


def measure(rows: list[dict], seconds: float, repeats: int, build: Path) -> Iterator[dict]:
    """The chosen of ROWS, each completed with what came out. Needs root: the lab is made of network namespaces."""
    os.environ["WEIR_BUILD_DIR"] = str(build)
    of_kind = {kind: [row for row in rows if row["kind"] == kind] for kind in ("af_xdp", "xdp_live")}
    http = [row for row in rows if row["kind"] not in of_kind]
    with Lab() as lab:
        if http:
            yield from http_rows(lab, http, seconds, repeats)
        if packets := of_kind["af_xdp"]:
            yield from packet_rows(lab, packets, seconds, repeats, lambda: testpmd_macswap(lab, build),
                                   lambda: udp_balancer(lab, "veth", build), lambda vip: testpmd_sends(lab, vip))
        if packets := of_kind["xdp_live"]:
            yield from packet_rows(lab, packets, seconds, repeats, lambda: xdp_reflection(lab, build),
                                   lambda: udp_balancer(lab, "xdp", build), lambda vip: kernel_sends(lab, vip, build))
