# SPDX-License-Identifier: BSD-3-Clause
"""Measurements in the lab (scripts/bench runs it after the build); prints one table and the commands behind it.

Packets: dpdk-testpmd sends 64-byte UDP in 256 flows from the neighbour's cable through the switch, on the last core;
what is measured forwards on core 0. The rate is what left the balancer's device, read from the kernel's counters of that
device, so that both candidates are counted by the same hand.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

from lab import MAC_LB, NEIGHBOUR4, UPLINK, Lab  # noqa: E402  (the path above comes first)
from netns import wait_for  # noqa: E402
from spec import MODES, Spec, Vip  # noqa: E402
from traffic import bracketed, wrk  # noqa: E402
from weir import Weir  # noqa: E402

LAST_CORE = (os.cpu_count() or 1) - 1


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


def packets(lab: Lab, direction: str) -> int:
    return int(lab.lb.run("cat", f"/sys/class/net/{UPLINK}/statistics/{direction}_packets"))


def measure(lab: Lab, seconds: float) -> tuple[float, float]:
    """Packets/s that reached and that left the balancer's device."""
    rx, tx, start = packets(lab, "rx"), packets(lab, "tx"), time.monotonic()
    time.sleep(seconds)
    elapsed = time.monotonic() - start
    return (packets(lab, "rx") - rx) / elapsed, (packets(lab, "tx") - tx) / elapsed


def offer(lab: Lab, vip: Vip) -> contextlib.AbstractContextManager[Testpmd]:
    """The sender: to the balancer's MAC, for this VIP."""
    return running(lab, "sender", LAST_CORE, "net_af_packet0,iface=eth0,blocksz=4096,framesz=2048,framecnt=512,qpairs=1",
                   f"--forward-mode=txonly --txonly-multi-flow --txpkts=64 --eth-peer=0,{MAC_LB} "
                   f"--tx-ip={NEIGHBOUR4},{vip.address} --tx-udp=4000,{vip.port} --no-flush-rx")


def packet_rates(lab: Lab, seconds: float, rows: list[tuple[str, str]], commands: list[str]) -> None:
    for backend in lab.backends:
        backend.echo.stop()  # the datagrams end at a closed port: no server in the measurement
    lab.reset_lb()
    # One queue: testpmd's AF_XDP port cannot drive a veth's several, and both must drive the same device.
    for ns, device in ((lab.switch, lab.port_of(lab.lb, UPLINK)), (lab.lb, UPLINK)):
        ns.run("ethtool", "-L", device, "rx", "1", "tx", "1")
    vip = Vip("dsr-l2", "udp", 4)
    with running(lab, "forwarder", 0, f"net_af_xdp0,iface={UPLINK},start_queue=0,queue_count=1",
                 "--forward-mode=macswap") as pmd:
        with offer(lab, vip) as sender:
            offered, rate = measure(lab, seconds)
        commands += [pmd.command, sender.command]
        rows.append(("testpmd macswap over AF_XDP", f"{rate / 1e3:8.0f} kpps of {offered / 1e3:.0f} offered"))
    for mode in MODES:
        weir = Weir(lab, Spec("veth", 1, protocols=("tcp", "udp"), families=(4,)))
        weir.start()
        try:
            with offer(lab, Vip(mode, "udp", 4)):
                offered, rate = measure(lab, seconds)
            rows.append((f"weir {mode} over AF_XDP, 1 worker", f"{rate / 1e3:8.0f} kpps of {offered / 1e3:.0f} offered"))
            weir.assert_closed_books()
        finally:
            weir.stop()


def request_rates(lab: Lab, seconds: int, rows: list[tuple[str, str]], commands: list[str]) -> None:
    weir = Weir(lab, Spec("veth", 1, families=(4,), protocols=("tcp",)))
    weir.start()
    try:
        targets = [("direct, routed, one backend", lab.backends[0].direct_address(4))]
        targets += [(f"weir {mode}, 1 worker", Vip(mode, "tcp", 4).address) for mode in MODES]
        for name, address in targets:
            result = wrk(lab.client, address, 80, seconds=seconds)
            rows.append((f"HTTP {name}", f"{result.rate:8.0f} requests/s, {result.errors} errors"))
        commands.append(f"wrk -t2 -c64 -d{seconds}s http://{bracketed(targets[-1][1])}:80/")
        weir.assert_closed_books()
    finally:
        weir.stop()


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="length of each measurement (default: 5)")
    args = parser.parse_args()
    rows: list[tuple[str, str]] = []
    commands: list[str] = []
    with Lab() as lab:
        request_rates(lab, args.seconds, rows, commands)
        packet_rates(lab, args.seconds, rows, commands)
    width = max(len(name) for name, _ in rows)
    for name, value in rows:
        print(f"{name:{width}}  {value}")
    print("\nThe lab, the senders and what is measured share "
          f"{os.cpu_count()} cores: compare rows, not machines. Commands:")
    for command in commands:
        print(f"  {command}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
