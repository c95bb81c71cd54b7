# SPDX-License-Identifier: BSD-3-Clause
"""An engine under test, spoken to over pipes (protocol.hpp has the commands)."""

from __future__ import annotations

import re
import struct
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engines import EngineKind

ROOT = Path(__file__).resolve().parent.parent.parent

SENT, KERNEL_CONTROL, KERNEL = 0, 1, 2


def verdict_list() -> list[tuple[str, str]]:
    """(name, class) of every verdict, in the order of its numbers; 0 is none."""
    text = (ROOT / "dataplane/forwarding/verdict.h").read_text().replace("\\\n", "")
    found = re.findall(r"X\((\w+),\s*(\w+),\s*(\w+),\s*\"", text)
    return [("undecided", "NONE"), *((name, kind) for _, name, kind in found)]


VERDICTS = verdict_list()
NAMES = [name for name, _ in VERDICTS]


@dataclass
class Outcome:
    """What one packet (or burst, or the passing of time) led to."""

    verdicts: list[tuple[int, str]] = field(default_factory=list)  # (worker, name), one a packet
    frames: list[tuple[int, int, bytes]] = field(default_factory=list)  # (way, interface, bytes)
    workers: list[int] = field(default_factory=list)  # of the frames


class EngineDied(Exception):
    """The engine ended in the middle of a sequence."""


class Engine:
    """A process that runs until close(). Commands are gathered and exchanged in one go."""

    def __init__(self, kind: EngineKind) -> None:
        self.kind = kind
        self.process = subprocess.Popen([str(kind.program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/")
        self.commands: list[bytes] = []
        self.answers: list[str] = []

    def begin(self, workers: int = 1, connections: int = 1024, half_open: int | None = None) -> None:
        half_open = connections if half_open is None else half_open
        self.commands.append(struct.pack("<cBII", b"B", workers, connections, half_open))

    def publish(self, state_text: str) -> None:
        text = state_text.encode()
        self.commands.append(struct.pack("<cI", b"S", len(text)) + text)

    def unpublish(self) -> None:
        self.commands.append(b"N")

    def pass_time(self, milliseconds: int) -> None:
        self.commands.append(struct.pack("<cQ", b"T", milliseconds))
        self.answers.append("outcome")

    def put(self, frame: bytes, worker: int = 0, interface: int = 0, from_kernel: bool = False, more: bool = False) -> None:
        flags = from_kernel | more << 1
        self.commands.append(struct.pack("<cBBBH", b"P", worker, interface, flags, len(frame)) + frame)
        self.answers.append("outcome")

    def end(self) -> None:
        self.commands.append(b"E")
        self.answers.append("end")

    def exchange(self) -> list:
        """Sends what was gathered; gives an Outcome for each packet and each passing of time, (books closed, buffers
        leaked) for each end."""
        data = b"".join(self.commands)
        answers, self.commands, self.answers = self.answers, [], []
        try:
            self.process.stdin.write(struct.pack("<I", len(data)) + data)
            self.process.stdin.flush()
            head = self.process.stdout.read(4)
            body = self.process.stdout.read(*struct.unpack("<I", head)) if len(head) == 4 else b""
        except BrokenPipeError:
            head = b""
        if len(head) != 4:
            raise EngineDied(f"{self.kind.program.name} ended with code {self.process.wait()}")
        at, results = 0, []
        for kind in answers:
            if kind == "end":
                closed, leaked = struct.unpack_from("<BI", body, at)
                at += 5
                results.append((bool(closed), leaked))
            else:
                outcome, at = _outcome(body, at)
                results.append(outcome)
        return results

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def _outcome(body: bytes, at: int) -> tuple[Outcome, int]:
    outcome = Outcome()
    count = body[at] | body[at + 1] << 8
    at += 2
    for _ in range(count):
        worker, verdict, times = struct.unpack_from("<BBI", body, at)
        at += 6
        outcome.verdicts += [(worker, NAMES[verdict])] * times
    count = body[at] | body[at + 1] << 8
    at += 2
    for _ in range(count):
        worker, way, interface, size = struct.unpack_from("<BBBH", body, at)
        at += 5
        outcome.frames.append((way, interface, body[at:at + size]))
        outcome.workers.append(worker)
        at += size
    return outcome, at
