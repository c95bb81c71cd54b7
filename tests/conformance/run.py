#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Holds an engine to the law: the vectors, then random sequences against the reference model.

    run.py                         all vectors
    run.py VECTOR ...              these
    run.py --engine none           the reference model alone against the vectors
    run.py --packets N [--seed S] [--jobs J]   random sequences only; a difference is printed as a vector
    run.py --write                 fill the vectors' literal bytes in
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import differential  # noqa: E402
import vectors  # noqa: E402
from engine import ROOT, Engine, EngineDied  # noqa: E402


def engine_program() -> Path:
    build = Path(os.environ.get("WEIR_BUILD_DIR", ROOT / "build"))
    return build / "tests/conformance/conformance_dpdk"


def check_vectors(program: Path | None, names: list[str]) -> list[str]:
    """Problems, of all vectors or those named."""
    base = vectors.states()
    engine = Engine(program) if program else None
    problems: list[str] = []
    chosen = [v for v in vectors.all_vectors() if not names or v.name in names]
    problems += [f"no vector is named {name}" for name in names if name not in {v.name for v in chosen}]
    for vector in chosen:
        try:
            found = vectors.Check(vector, base, engine).run()
        except EngineDied as death:
            found, engine = [f"{vector.file.name}:{vector.name}: {death}"], Engine(program)
        problems += found
    if engine:
        engine.close()
    print(f"{len(chosen)} vectors, {len(problems)} problems")
    return problems


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="VECTOR")
    parser.add_argument("--engine", default=str(engine_program()), help="program to test; none: the model alone")
    parser.add_argument("--write", action="store_true", help="fill the literal bytes in")
    parser.add_argument("--packets", type=int, help="random packets to compare")
    parser.add_argument("--seed", type=int, default=1, help="of the random sequences (default: 1)")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: 2)")
    args = parser.parse_args()
    if args.write:
        for path in sorted(vectors.FILES.glob("*.vectors")):
            vectors.write_literals(path)
        return 0
    if args.packets:
        tally, found = differential.run_random(Path(args.engine), args.packets, args.seed, args.jobs)
        for name, count in tally.verdicts.most_common():
            print(f"{count:10} {name}")
        print(f"{tally.packets} packets, {len(found)} differences", *found, sep="\n")
        return 1 if found else 0
    problems = check_vectors(None if args.engine == "none" else Path(args.engine), args.names)
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
