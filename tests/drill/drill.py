# SPDX-License-Identifier: BSD-3-Clause
"""Makes one fault after the other and prints what came of it (scripts/drill runs it after the build)."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "e2e"))

import faults  # noqa: E402  (the path above comes first)
from lab import Lab  # noqa: E402

COLUMNS = (("detected ms", "detected_ms"), ("restored ms", "restored_ms"), ("lost", "packets_lost"),
           ("broken", "connections_broken"))
FAULT_WIDTH = 50


def name_of(fault: faults.Fault) -> str:
    return fault.__name__.replace("_", "-")


def print_row(row: faults.Row) -> None:
    cells = [getattr(row, key) for _, key in COLUMNS]
    numbers = "".join(f"{'-' if cell is None else cell:>13}" for cell in cells)
    print(f"{row.fault:{FAULT_WIDTH}}{numbers}  {'met   ' if row.met else 'MISSED'}  {row.target}", flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/drill", description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every fault (default: those that scripts/test goes through)")
    parser.add_argument("--filter", default="", metavar="TEXT", help="only faults of --list whose name contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--list", action="store_true", help="name the faults")
    parser.add_argument("--trials", type=int, default=1, metavar="N", help="faults that end a program or a node: N times")
    parser.add_argument("--seconds", type=float, default=20, metavar="S", help="faults that last: for S seconds")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    everything = [fault for _, some in faults.STAGES for fault in some]
    chosen = [fault for fault in everything
              if (args.all or args.filter or fault in faults.SUBSET) and args.filter in name_of(fault)]
    if args.list:
        print("\n".join(name_of(fault) for fault in everything))
        return 0
    if not chosen:
        print(f"no fault's name contains {args.filter!r}; --list names them", file=sys.stderr)
        return 2
    print(f"{'fault':{FAULT_WIDTH}}" + "".join(f"{title:>13}" for title, _ in COLUMNS) + "          target")
    rows = []
    with Lab() as lab:
        for row in faults.run(lab, lambda fault: fault in chosen, args.trials, args.seconds):
            rows.append(row)
            print_row(row)
    if args.json:
        args.json.write_text(json.dumps({"rows": [row.json() for row in rows]}, indent=1) + "\n")
    return 0 if all(row.met for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
