#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Verifies vrrp.pml exhaustively with Spin, shows that it can fail, and replays random runs of it on machine.cpp.

check.py REPLAY-PROGRAM [--runs N]
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODEL = Path(__file__).resolve().parent / "vrrp.pml"

# Nodes, troubles in a run, preemption, equal priorities.
CASES = [
    (2, 5, True, False), (2, 5, False, False), (2, 5, True, True),
    (3, 2, True, False), (3, 1, False, False), (3, 1, True, True),
]

# What the model must not survive: (the right words, the wrong ones).
MUTANTS = [
    # an owner that never yields to an equal with a higher address
    ("(prio > PRIO(me) || (prio == PRIO(me) && other > me))", "(prio > PRIO(me))", (2, 3, True, True)),
    # an owner that yields to nobody but an equal
    ("(prio > PRIO(me) || (prio == PRIO(me) && other > me))", "(prio == PRIO(me) && other > me)", (2, 3, True, False)),
    # a backup that goes on waiting when the owner has given up
    ("prio == 0 -> timer[me] = SKEW(me)", "prio == 0 -> timer[me] = 9 * A", (2, 2, True, False)),
    # a backup that preempts although it was told not to
    ("prio < PRIO(me) && PREEMPT\n", "prio < PRIO(me)\n", (2, 2, False, False)),
]


def options(case: tuple[int, int, bool, bool]) -> list[str]:
    nodes, troubles, preempt, equal = case
    return [f"-DN={nodes}", f"-DFAULTS={troubles}", f"-DPREEMPT={int(preempt)}", *(["-DEQUAL"] if equal else [])]


def run(*command: str, cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


def verify(text: str, case: tuple[int, int, bool, bool]) -> tuple[int, int]:
    """States and errors of an exhaustive search; one that was cut short is an error of ours."""
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        (work / "model.pml").write_text(text)
        run("spin", "-a", *options(case), "model.pml", cwd=work)
        run("gcc", "-O1", "-w", "-DSAFETY", "-DMEMLIM=4000", "-o", "pan", "pan.c", cwd=work)
        out = run("./pan", "-m100000", "-n", cwd=work)
    errors = re.search(r"errors: (\d+)", out)
    states = re.search(r"(\d+) states, stored", out)
    if not errors or not states or "max search depth too small" in out or "Search not completed" in out and (
            errors.group(1) == "0"):
        raise SystemExit(f"{case}: the search is not whole:\n{out}")
    return int(states.group(1)), int(errors.group(1))


def simulate_and_replay(program: str, case: tuple[int, int, bool, bool], seed: int) -> int:
    """Events of one random run on which model and machine agreed."""
    with tempfile.TemporaryDirectory() as name:
        trace = run("spin", f"-n{seed}", "-T", "-u2000", *options(case), str(MODEL), cwd=Path(name))
    played = subprocess.run([program, str(int(case[2])), str(int(case[3]))], input=trace, capture_output=True, text=True)
    if played.returncode != 0:
        raise SystemExit(f"{case}, seed {seed}: {played.stdout}{played.stderr}")
    return int(played.stdout)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("replay")
    parser.add_argument("--runs", type=int, default=20, help="random runs of each case")
    wanted = parser.parse_args()
    began = time.monotonic()
    model = MODEL.read_text()
    for case in CASES:
        states, errors = verify(model, case)
        print(f"{' '.join(options(case))}: {states} states, {errors} errors")
        if errors:
            return 1
    for right, wrong, case in MUTANTS:
        if right not in model:
            raise SystemExit(f"the model has no {right!r} any more")
        if verify(model.replace(right, wrong), case)[1] == 0:
            print(f"the model survives {wrong!r}: what it checks is too little")
            return 1
    events = sum(simulate_and_replay(wanted.replay, case, seed) for case in CASES for seed in range(1, wanted.runs + 1))
    print(f"{len(MUTANTS)} mutants found; {events} events of {wanted.runs * len(CASES)} random runs replayed "
          f"in agreement; {time.monotonic() - began:.0f} s")
    return 0 if events > 1000 else 1


if __name__ == "__main__":
    sys.exit(main())
