#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Holds an engine to the law: the vectors, then random sequences against the reference model.

    run.py                         all vectors on all engines
    run.py VECTOR ...              these
    run.py --engine xdp            on one
    run.py --engine none           the reference model alone against the vectors
    run.py --packets N [--seed S] [--jobs J]   random sequences only; a difference is printed as a vector
    run.py --write                 fill the vectors' literal bytes in
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import differential  # noqa: E402
import vectors  # noqa: E402
from engine import Engine, EngineDied  # noqa: E402
from engines import ENGINES, EngineKind  # noqa: E402


def check_vectors(kind: EngineKind | None, names: list[str]) -> list[str]:
    """Problems, of all vectors or those named, on an engine and the model, or on the model alone."""
    base = vectors.states()
    engine = Engine(kind) if kind else None
    problems: list[str] = []
    chosen = [v for v in vectors.all_vectors() if not names or v.name in names]
    problems += [f"no vector is named {name}" for name in names if name not in {v.name for v in chosen}]
    for vector in chosen:
        try:
            problems += vectors.judge(vector, base, engine)
        except EngineDied as death:
            problems, engine = [*problems, f"{vector.file.name}:{vector.name}: {death}"], Engine(kind)
        if engine and engine.process.poll() is not None:
            engine = Engine(kind)
    if engine:
        engine.close()
    differ = ""
    if kind and not names:
        permitted = sum(len(entry.vectors) for entry in kind.permitted)
        differ = f", {permitted} permitted to differ, {len(kind.not_yet)} not yet expected to pass"
    print(f"{kind.name if kind else 'model'}: {len(chosen)} vectors{differ}, {len(problems)} problems")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="VECTOR")
    parser.add_argument("--engine", choices=[*ENGINES, "none"], action="append",
                        help="to test (default: all of them); none: the model alone")
    parser.add_argument("--write", action="store_true", help="fill the literal bytes in")
    parser.add_argument("--packets", type=int, help="random packets to compare")
    parser.add_argument("--seed", type=int, default=1, help="of the random sequences (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    args = parser.parse_args()
    if args.write:
        for path in sorted(vectors.FILES.glob("*.vectors")):
            vectors.write_literals(path)
        return 0
    kinds = [ENGINES.get(name) for name in args.engine or ENGINES]
    problems: list[str] = []
    for kind in kinds:
        if args.packets:
            tally, found = differential.run_random(kind, args.packets, args.seed, args.jobs)
            for name, count in tally.verdicts.most_common():
                print(f"{count:10} {name}")
            print(f"{kind.name}: {tally.packets} packets, {len(found)} differences; {tally.cut_short} of {tally.sequences} "
                  "sequences cut short")
            problems += found
        else:
            problems += check_vectors(kind, args.names)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
