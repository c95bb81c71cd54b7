# SPDX-License-Identifier: BSD-3-Clause
"""Network namespaces with an owner: named after the process that made them, reaped when that process is gone."""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

PREFIX = "weirlab"
SLOWNESS = float(os.environ.get("WEIR_SLOWNESS", "1"))  # of the programs under test; tests/sanitizers.py
_OWNED = re.compile(rf"^{PREFIX}-(\d+)-(\d+)-")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


class LabError(AssertionError):
    """A command or wait of the lab that did not do what it must; the message says which and why."""


def run(*command: str, check: bool = True, timeout_s: float = 60, stdin: str | None = None) -> str:
    """Runs a command to its end and returns its output; raises with its errors if it fails."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, input=stdin or "")
    if check and done.returncode != 0:
        raise LabError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def wait_for(what: str, condition: Callable[[], object], timeout_s: float = 10, step_s: float = 0.02) -> object:
    """Polls CONDITION until it is true; returns its value or raises naming WHAT did not happen. Programs that were
    built with sanitizers get SLOWNESS times as long."""
    timeout_s *= SLOWNESS
    deadline = time.monotonic() + timeout_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout_s} s")
        time.sleep(step_s)


def start_ticks(pid: int) -> str | None:
    """When a process started, in clock ticks since boot: with its pid, the process's identity."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return None


def owner_tag() -> str:
    """The prefix of everything this process makes."""
    return f"{PREFIX}-{os.getpid()}-{start_ticks(os.getpid())}"


class Namespace:
    """One network namespace. Commands started in it end with it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def create(self) -> Namespace:
        run("ip", "netns", "add", self.name)
        self.run("ip", "link", "set", "lo", "up")
        # Documented addresses only, usable at once: no router advertisements, no duplicate detection.
        for scope in ("all", "default"):
            for family, key, value in (
                ("ipv6", "accept_dad", 0), ("ipv6", "accept_ra", 0), ("ipv6", "forwarding", 0),
                ("ipv4", "rp_filter", 0), ("ipv4", "forwarding", 0), ("ipv4", "send_redirects", 0),
                ("ipv4", "accept_redirects", 0),
            ):
                self.sysctl(f"net.{family}.conf.{scope}.{key}", value)
        return self

    def run(self, *command: str, check: bool = True, timeout_s: float = 60, stdin: str | None = None) -> str:
        return run("ip", "netns", "exec", self.name, *command, check=check, timeout_s=timeout_s, stdin=stdin)

    def ip(self, arguments: str, check: bool = True) -> str:
        """`ip` with the namespace's links: ns.ip("link set eth0 up")."""
        return run("ip", "-n", self.name, *arguments.split(), check=check)

    def popen(self, *command: str, log: Path | None = None, env: dict[str, str] | None = None,
              **options: object) -> subprocess.Popen:
        """Starts a program in the namespace; it is the very process returned (ip execs it). Its output goes to LOG."""
        full = ["ip", "netns", "exec", self.name, *command]
        if log is not None:
            with open(log, "ab") as sink:
                return subprocess.Popen(full, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT,
                                        env=env, **options)
        return subprocess.Popen(full, env=env, **{"stdin": subprocess.DEVNULL, **options})

    def sysctl(self, key: str, value: object) -> None:
        with self.entered():
            Path("/proc/sys/" + key.replace(".", "/")).write_text(f"{value}\n")

    def pids(self) -> list[int]:
        return [int(p) for p in run("ip", "netns", "pids", self.name, check=False).split()]

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """The calling thread is in the namespace: sockets made here stay there."""
        with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{self.name}") as there:
            _setns(there.fileno())
            try:
                yield
            finally:
                _setns(home.fileno())

    def socket(self, family: int, kind: int) -> socket.socket:
        with self.entered():
            return socket.socket(family, kind)

    def connect(self, address: str, port: int, timeout_s: float = 5, source_port: int = 0) -> socket.socket:
        """A TCP connection from the namespace. Several may have one source port, to different destinations."""
        sock = self.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        try:
            sock.settimeout(timeout_s)
            if source_port:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                sock.bind(("", source_port))
            sock.connect((address, port))
        except BaseException:
            sock.close()
            raise
        return sock

    def delete(self) -> None:
        """Ends what still runs in the namespace, then removes it."""
        end_processes(self.pids())
        run("ip", "netns", "del", self.name, check=False)


def _setns(descriptor: int) -> None:
    if _libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns: entering a network namespace needs root")


def end_processes(pids: list[int], grace_s: float = 2) -> None:
    """SIGTERM, then SIGKILL to whatever is left."""
    identities = {pid: start_ticks(pid) for pid in pids if pid != os.getpid()}

    def alive() -> list[int]:
        return [p for p, started in identities.items() if started is not None and start_ticks(p) == started
                and Path(f"/proc/{p}/stat").read_text().rpartition(")")[2].split()[0] != "Z"]

    for pid in identities:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while time.monotonic() < deadline and _quietly(alive):
        time.sleep(0.02)
    for pid in _quietly(alive):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _quietly(alive: Callable[[], list[int]]) -> list[int]:
    """ALIVE, asked again when a process vanished between two looks at it."""
    for _ in range(5):
        with contextlib.suppress(OSError):
            return alive()
    return []


def reap_stale() -> list[str]:
    """Removes namespaces and directories of earlier runs whose owner is gone; returns their names."""
    reaped = []
    root = Path("/run/netns")
    for path in list(root.iterdir()) if root.is_dir() else []:
        if _is_stale(path.name):
            Namespace(path.name).delete()
            reaped.append(path.name)
    for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}-*"):
        if _is_stale(path.name):
            run("umount", str(path / "bpf"), check=False)
            shutil.rmtree(path, ignore_errors=True)
            reaped.append(path.name)
    return reaped


def _is_stale(name: str) -> bool:
    match = _OWNED.match(name)
    return bool(match) and start_ticks(int(match.group(1))) != match.group(2)
