# SPDX-License-Identifier: BSD-3-Clause
"""How late this machine serves a timer of a real-time process: what a test of milliseconds must not blame on the tested.

A meter on each processor sleeps a few milliseconds at a time, with a priority below that of what is tested, and notes
when it was woken late: by a hypervisor that gave the processor to somebody else, by the kernel, by real-time work.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from subprocess import DEVNULL, Popen

NAP_S = 0.004
NOTED_S = 0.002
PRIORITY = 5  # weir-control's threads: 10 and 20


class Lateness:
    """Runs the meters; use as a context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> Lateness:
        self.path.write_text("")
        self._processes = [Popen([sys.executable, __file__, str(self.path), str(cpu)], stdin=DEVNULL)
                           for cpu in sorted(os.sched_getaffinity(0))]
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.wait()

    def worst_s(self, since: float, until: float | None = None) -> float:
        """The longest lateness that touched the time from SINCE to UNTIL (time.time())."""
        end = time.time() if until is None else until
        worst = 0.0
        for line in self.path.read_text().splitlines():
            fields = line.split()
            if len(fields) == 2:
                woken, late = map(float, fields)
                if woken >= since and woken - late <= end:
                    worst = max(worst, late)
        return worst


def meter(path: str, cpu: int) -> None:
    os.sched_setaffinity(0, {cpu})
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(PRIORITY))
    except PermissionError:
        pass  # then it is the lateness of an ordinary process, as is the tested one's
    with open(path, "a", buffering=1) as notes:
        while True:
            due = time.monotonic() + NAP_S
            time.sleep(NAP_S)
            late = time.monotonic() - due
            if late > NOTED_S:
                notes.write(f"{time.time():.6f} {late:.6f}\n")


if __name__ == "__main__":
    meter(sys.argv[1], int(sys.argv[2]))
