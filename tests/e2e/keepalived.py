# SPDX-License-Identifier: BSD-3-Clause
"""keepalived as a peer: its configuration, its life, its log; and a VRRP capture read from bytes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from netns import Namespace, wait_for

# What keepalived says when it does not like an advert or its own configuration.
COMPLAINT = re.compile(r"checksum|mismatch|invalid|wrong|unexpected|ignor|bogus|error|unknown|fail|bad |VRID not|expected",
                       re.IGNORECASE)
# ... and what it says of itself.
HARMLESS = re.compile(r"max_auto_priority|\(built for|Receive advertisement timeout|Non-existent")


@dataclass(frozen=True)
class Instance:
    """One virtual router as keepalived has it."""

    name: str
    vrid: int
    version: int
    priority: int
    address: str
    interval_s: float
    preempt: bool
    source: str | None = None  # unicast: its own address
    peer: str | None = None

    def text(self, device: str) -> str:
        lines = [f"vrrp_instance {self.name} {{", f"  version {self.version}", "  state BACKUP", f"  interface {device}",
                 f"  virtual_router_id {self.vrid}", f"  priority {self.priority}", f"  advert_int {self.interval_s:g}"]
        if not self.preempt:
            lines.append("  nopreempt")
        if self.peer:
            # Over IPv6 its unicast adverts have the system's hop limit unless it is told otherwise.
            lines += ["  unicast_ttl 255", f"  unicast_src_ip {self.source}", "  unicast_peer {", f"    {self.peer}", "  }"]
        length = 128 if ":" in self.address else 32
        lines += ["  virtual_ipaddress {", f"    {self.address}/{length}", "  }", "}"]
        return "\n".join(lines) + "\n"


class Keepalived:
    """keepalived in a namespace of the lab."""

    def __init__(self, ns: Namespace, device: str, work: Path, instances: list[Instance]) -> None:
        self.ns, self.device, self.instances = ns, device, instances
        self.directory = work / "keepalived"
        self.log_path = self.directory / "log"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "keepalived.conf"
        # Thirty-six instances on a busy machine: real-time priority as ours, and announcements that leave it time.
        config.write_text("global_defs {\n  router_id lab\n  vrrp_version 3\n  vrrp_rt_priority 15\n  vrrp_rlimit_rttime 50000000\n"
                          "  vrrp_garp_master_repeat 1\n  vrrp_garp_master_delay 1\n"
                          "  vrrp_garp_lower_prio_repeat 1\n}\n" +
                          "".join(i.text(self.device) for i in self.instances))
        self.process = self.ns.popen("keepalived", "-n", "-l", "-D", "-P", "-f", str(config), "-p",
                                     str(self.directory / "pid"), "-r", str(self.directory / "vrrp_pid"),
                                     log=self.log_path)

    def _pids(self) -> list[int]:
        if self.process is None:
            return []
        children = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, text=True)
        return [*map(int, children.stdout.split()), self.process.pid]

    def kill(self) -> None:
        """As if its host had died: no priority 0. Its addresses are taken off by hand, a dead host has none."""
        for pid in self._pids():
            os.kill(pid, signal.SIGSTOP)  # none of them sees another one die
        for pid in self._pids():
            os.kill(pid, signal.SIGKILL)
        if self.process is not None:
            self.process.wait()
        self.process = None
        for instance in self.instances:
            family = "-6 " if ":" in instance.address else ""
            length = 128 if family else 32
            self.ns.ip(f"{family}addr del {instance.address}/{length} dev {self.device}", check=False)

    def stop(self) -> None:
        """SIGTERM: it releases what it owns."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def complaints(self) -> list[str]:
        return [line for line in self.log().splitlines() if COMPLAINT.search(line) and not HARMLESS.search(line)]


@dataclass(frozen=True)
class Advert:
    """One VRRP packet that was seen on the wire."""

    at: float
    source: str
    vrid: int
    priority: int
    ipv6: bool


_LINE = re.compile(r"^(\d+\.\d+) IP(6?) .*?(\S+) > (\S+): .*?VRRPv(\d), Advertisement, vrid (\d+), prio (\d+)")


class VrrpCapture:
    """tcpdump of VRRP on one link, with the kernel's time stamps."""

    def __init__(self, ns: Namespace, device: str, path: Path) -> None:
        self.path = path
        path.unlink(missing_ok=True)
        self.process = ns.popen("tcpdump", "-i", device, "-n", "-tt", "-l", "--immediate-mode", "ip proto 112 or ip6 proto 112",
                                log=path)
        wait_for("tcpdump listens", lambda: path.exists() and "listening on" in path.read_text(errors="replace"))

    def adverts(self) -> list[Advert]:
        found = []
        for line in self.path.read_text(errors="replace").splitlines():
            if match := _LINE.match(line):
                at, six, source, _, _, vrid, priority = match.groups()
                found.append(Advert(float(at), source, int(vrid), int(priority), six == "6"))
        return found

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(10)
