# SPDX-License-Identifier: BSD-3-Clause
"""The dataplane is killed, upgraded, given another number of workers: connections go on, by the same backend, without a
reset. The runbook of docs/upgrade.md is run as it stands there."""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from capture import Capture
from lab import Lab
from netns import wait_for
from spec import MODES, Spec, Vip
from traffic import Answer, HttpConnection, bracketed
from weir import BUILD, ROOT, Node, Weir

SPEC = Spec("veth", 1, families=(4,), protocols=("tcp",), weights=(10, 10, 10))
CONNECTIONS = 24  # enough that two workers both have some, and some ports of the other's


@pytest.fixture
def weir(node: Node) -> Iterator[Weir]:
    found = node.ensure(SPEC)
    found.wait_backends_up()
    yield found


def kill_dataplane(weir: Weir) -> None:
    """kill -9; returns when its successor forwards."""
    pids = weir.dataplane_pids()
    assert len(pids) == 1
    os.kill(pids[0], signal.SIGKILL)
    wait_for_successor(weir, pids)


def wait_for_successor(weir: Weir, before: list[int]) -> None:
    wait_for("another dataplane runs", lambda: weir.dataplane_pids() not in ([], before), 20)
    weir.wait_ready()


class Transfer:
    """A download of the lab's blob in the background, so slow that whatever happens meanwhile is in its middle."""

    RATE = 8 << 20  # bytes a second, until told to hurry

    def __init__(self, lab: Lab, vip: Vip) -> None:
        self.received = 0
        self.failure = ""
        self._digest = hashlib.sha256()
        self._blob = lab.blob
        self._hurry = False
        self._sock = lab.client.connect(vip.address, vip.port, 60)
        self._sock.sendall(f"GET /blob HTTP/1.1\r\nHost: {bracketed(vip.address)}\r\nConnection: close\r\n\r\n".encode())
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        wait_for("the transfer runs", lambda: self.received > 1 << 20)

    def _work(self) -> None:
        try:
            head = b""
            while b"\r\n\r\n" not in head:
                head += self._take()
            self._count(head.partition(b"\r\n\r\n")[2])
            while chunk := self._take():
                self._count(chunk)
                if not self._hurry:
                    time.sleep(len(chunk) / self.RATE)
        except OSError as error:
            self.failure = f"{type(error).__name__} after {self.received} bytes"
        finally:
            self._sock.close()

    def _take(self) -> bytes:
        return self._sock.recv(1 << 17)

    def _count(self, chunk: bytes) -> None:
        self._digest.update(chunk)
        self.received += len(chunk)

    def wait_progress(self) -> None:
        """Bytes come that were not on their way before."""
        before = self.received
        wait_for("the transfer goes on", lambda: self.failure or self.received > before + (4 << 20), 30)
        assert not self.failure, self.failure

    def assert_whole(self) -> None:
        self._hurry = True
        self._thread.join(90)
        assert not self.failure, self.failure
        assert (self.received, self._digest.hexdigest()) == (self._blob.bytes, self._blob.sha256)


class Kept:
    """Connections that are open and idle; each asks again afterwards and must be where it was."""

    def __init__(self, lab: Lab, vip: Vip, count: int = CONNECTIONS, timeout_s: float = 15) -> None:
        self._connections = [HttpConnection(lab.client, vip.address, vip.port, timeout_s) for _ in range(count)]
        self.answers = self.ask()

    def ask(self) -> list[Answer]:
        return [connection.get() for connection in self._connections]

    def ask_broken(self) -> int:
        """How many do not answer any more."""
        broken = 0
        for connection in self._connections:
            try:
                connection.get()
            except OSError:
                broken += 1
        return broken

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def no_resets(lab: Lab) -> Iterator[None]:
    """No RST reaches the client or leaves it. What earlier tests left at the backends is ended first: a backend answers a SYN
    from a port that an old connection has there with an ACK, and the client that with an RST, before it tries again."""
    lab.end_left_connections()
    with Capture(lab.client, "eth0", "tcp[tcpflags] & tcp-rst != 0", lab.work) as capture:
        yield
    assert capture.frames() == []


def adopted(weir: Weir) -> dict[str, int]:
    """What the running dataplane took over, summed over its workers."""
    workers = weir.counters()["workers"]
    return {key: sum(w[f"connections_{key}"] for w in workers) for key in ("adopted", "moved", "refused")}


@pytest.mark.parametrize("mode", MODES)
def test_kill_9_of_the_dataplane_breaks_no_connection(lab: Lab, weir: Weir, mode: str) -> None:
    vip = Vip(mode, "tcp", 4)
    with no_resets(lab), Kept(lab, vip) as kept:
        transfer = Transfer(lab, vip)
        kill_dataplane(weir)
        transfer.wait_progress()
        assert kept.ask() == kept.answers, "another backend, or another port towards it"
        transfer.assert_whole()
    if mode != "dsr-l2":  # in direct return the hash remembers
        assert adopted(weir)["adopted"] >= CONNECTIONS + 1
    assert adopted(weir)["refused"] == 0


@pytest.mark.slow
def test_it_is_killed_again_and_again(lab: Lab, weir: Weir) -> None:
    vip = Vip("full-nat", "tcp", 4)
    with no_resets(lab), Kept(lab, vip) as kept:
        for _ in range(3):
            kill_dataplane(weir)
        assert kept.ask() == kept.answers
    events = weir.ctl("events")[1]
    assert "took over" in str(events)


@pytest.mark.slow
def test_without_the_tables_connections_break(lab: Lab, node: Node, weir: Weir) -> None:
    """Negative control, and the limit of it: control holds the tables, so they are gone when both die at once."""
    vip = Vip("full-nat", "tcp", 4)
    with Kept(lab, vip, 6, timeout_s=2) as kept:
        before = weir.dataplane_pids()
        weir.kill_control()
        os.kill(before[0], signal.SIGKILL)
        wait_for("it is gone", lambda: not weir.dataplane_pids())
        weir.start_control()
        wait_for_successor(weir, before)
        assert adopted(weir)["adopted"] == 0
        assert kept.ask_broken() == 6
    node.forget()


@pytest.mark.parametrize("mode", ("nat", "full-nat"))
def test_control_killed_and_then_the_dataplane(lab: Lab, weir: Weir, mode: str) -> None:
    """A control process that restarts is given the tables again by the dataplane that runs."""
    vip = Vip(mode, "tcp", 4)
    with no_resets(lab), Kept(lab, vip) as kept:
        weir.kill_control()
        weir.start_control()
        weir.wait_ready()
        kill_dataplane(weir)
        assert kept.ask() == kept.answers


@pytest.mark.slow
@pytest.mark.parametrize("mode", ("nat", "full-nat"))
def test_another_number_of_workers_keeps_connections(lab: Lab, node: Node, weir: Weir, mode: str) -> None:
    """1 -> 2 -> 1. In full-nat about half of the ports then belong to the worker that does not have the connection."""
    vip = Vip(mode, "tcp", 4)
    with no_resets(lab), Kept(lab, vip) as kept:
        transfer = Transfer(lab, vip)
        for workers in (2, 1):
            restart_both(weir, replace(SPEC, workers=workers).toml())
            assert weir.status()["engine"]["workers"] == workers
            numbers = adopted(weir)
            assert numbers["adopted"] >= CONNECTIONS + 1 and numbers["moved"] > 0 and numbers["refused"] == 0, numbers
            transfer.wait_progress()
            assert kept.ask() == kept.answers
            weir.assert_closed_books()
        transfer.assert_whole()


def restart_both(weir: Weir, text: str) -> None:
    """control is started with a configuration that the running dataplane cannot take up, and starts another one."""
    before = weir.dataplane_pids()
    weir.write_config(text)
    weir.control.send_signal(signal.SIGTERM)
    weir.control.wait(10)
    weir.start_control()
    wait_for_successor(weir, before)
    weir.wait_backends_up()


def free_huge_pages() -> int:
    return int(re.search(r"HugePages_Free: +(\d+)", Path("/proc/meminfo").read_text()).group(1))


def kill_many(weir: Weir, kills: int) -> None:
    """The dataplane is a unit of its own here: a control process that supervises waits ever longer between starts."""
    for _ in range(kills):
        weir.kill_dataplane()
        weir.start_dataplane()
        weir.wait_ready()


@pytest.mark.slow
@pytest.mark.parametrize("kills", (3, pytest.param(100, marks=pytest.mark.slow)))
def test_kills_leak_no_huge_pages(lab: Lab, node: Node, kills: int) -> None:
    node.stop()
    idle = free_huge_pages()
    weir = Weir(lab, replace(SPEC, modes=("full-nat",), engine='hugepages = "on"\n'), "apart", spawn=False)
    try:
        weir.start()
        vip = Vip("full-nat", "tcp", 4)
        with no_resets(lab), Kept(lab, vip) as kept:
            running = free_huge_pages()
            assert running < idle, "it has none"
            kill_many(weir, kills)
            # Others on this machine may use some for a while; a leak stays.
            wait_for("as many are free as before the kills", lambda: free_huge_pages() >= running, 30)
            assert kept.ask() == kept.answers
        weir.assert_closed_books()
    finally:
        weir.stop()
    wait_for("all are free again", lambda: free_huge_pages() >= idle, 30)


# -- the runbook ----------------------------------------------------------------------------------------------------

def runbook(program: str) -> str:
    """The commands that docs/upgrade.md gives for a program."""
    text = (ROOT / "docs" / "upgrade.md").read_text()
    section = text.partition(f"\n## {program}\n")[2].partition("\n## ")[0]
    return "\n".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))


def follow_runbook(weir: Weir, program: str) -> None:
    commands = runbook(program)
    assert commands, f"docs/upgrade.md says nothing about {program}"
    environment = {**os.environ, "RUN": str(weir.runtime), "NEW": str(BUILD), "BIN": str(weir.installed)}
    with open(weir.log_path, "ab") as log:
        done = subprocess.run(["ip", "netns", "exec", weir.lab.lb.name, "sh", "-euxc", commands], env=environment,
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=60)
    assert done.returncode == 0, weir.log()


@pytest.fixture
def installed(lab: Lab, node: Node) -> Iterator[Weir]:
    """A node whose programs are files of its own, which an upgrade replaces."""
    node.stop()
    weir = Weir(lab, SPEC, "installed")
    weir.install()
    try:
        yield weir.start()
        weir.assert_closed_books()
    finally:
        weir.stop()


def which_file(path: Path) -> tuple[int, int]:
    """A file that was put in another's place differs in one of these: an inode's number may be used again."""
    return path.stat().st_ino, path.stat().st_ctime_ns


@pytest.mark.slow
@pytest.mark.parametrize("program", ("weir-dataplane", "weir-control", "weirctl"))
def test_the_upgrade_of_each_program_breaks_no_connection(lab: Lab, installed: Weir, program: str) -> None:
    weir = installed
    before, file_before = weir.dataplane_pids(), which_file(weir.installed / program)
    vips = [Vip(mode, "tcp", 4) for mode in MODES]
    with no_resets(lab), contextlib.ExitStack() as stack:
        kept = [stack.enter_context(Kept(lab, vip)) for vip in vips]
        transfer = Transfer(lab, Vip("full-nat", "tcp", 4))
        follow_runbook(weir, program)
        if program == "weir-dataplane":
            wait_for_successor(weir, before)
        elif program == "weir-control":  # we are its service manager
            weir.control.wait(10)
            weir.start_control()
            weir.wait_ready()
        assert which_file(weir.installed / program) != file_before, "it is the old program still"
        assert (weir.dataplane_pids() == before) == (program != "weir-dataplane")
        transfer.wait_progress()
        assert [k.ask() for k in kept] == [k.answers for k in kept]
        transfer.assert_whole()
