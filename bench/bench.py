# SPDX-License-Identifier: BSD-3-Clause
"""Measures what was asked for, prints one table and writes the JSON (scripts/bench runs it after the build).

Rows come from weir-bench, which is the workers in one process, and from veth.py, which is a whole Weir in the lab.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import veth

ROOT = Path(__file__).resolve().parent.parent

STAGES = {  # column -> the stages in it
    "rx": ("receive",), "read": ("read",), "short": ("short_way",), "parse": ("parse", "fragments"), "match": ("match", "hand_over"),
    "track": ("track",), "rewrite": ("rewrite", "answer"), "tx": ("transmit",), "keep": ("housekeeping",),
}


def in_process(args: argparse.Namespace, *more: str) -> Iterator[str]:
    """Lines of weir-bench; what it complains about goes to our own standard error."""
    command = [str(args.build / "bench" / "weir-bench"), "--filter", args.filter, "--most-flows", str(args.most_flows),
               "--repeats", str(args.repeats), "--seconds", str(args.seconds), *more]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as process:
        yield from (line.rstrip("\n") for line in process.stdout)
    if process.returncode != 0:
        raise RuntimeError(f"weir-bench ended with code {process.returncode}")


def remark(row: dict) -> str:
    """What only some rows have."""
    known = [("speed_up", "{:.2f} x one worker"), ("kept", "{:.1%} of both alone"),
             ("rate_kept", "{:.1%} of the rate kept"),
             ("ns_of_attack", "{:.1f} ns a packet of the attack"), ("idle_polls", "{:.0%} of polls empty"),
             ("kpps", "{:.0f} kpps"), ("of_macswap", "{:.1%} of macswap's rate"), ("requests_s", "{:.0f} requests/s"),
             ("connections_s", "{:.0f} connections/s"), ("of_direct", "{:.1%} of direct routing's")]
    words = [text.format(row[key]) for key, text in known if key in row]
    if row["group"] == "publish":
        words += [f"{row[key + '_ns'] / 1e6:.1f} ms {key}" for key in ("compile", "seal", "swap")]
    if "burst_p999_ns" in row:
        words += [f"{name} of bursts {row[f'burst_{key}_ns'] / 1e3:.1f} us, else {row[f'burst_{key}_calm_ns'] / 1e3:.1f}"
                  for name, key in (("p99.9", "p999"), ("worst", "worst"))]
    return ", ".join(words)


def print_row(row: dict, width: int) -> None:
    macswap = f"{row['ns_macswap']:8.1f}" if row["ns_macswap"] else " " * 8
    ratio = f"{row['ratio']:8.2f}" if row["ratio"] else " " * 8
    print(f"{row['name']:{width}} {row['ns']:12.1f} {macswap} {ratio}  {remark(row)}".rstrip(), flush=True)


def print_stages(rows: list[dict], width: int) -> None:
    """Where the time goes: ns a packet."""
    print(f"\n{'ns a packet by stage':{width}} " + " ".join(f"{name:>7}" for name in STAGES) + f" {'sum':>7} {'whole':>7}")
    for row in rows:
        cells = [sum(row["stages"][stage] for stage in stages) for stages in STAGES.values()]
        print(f"{row['name']:{width}} " + " ".join(f"{ns:7.1f}" for ns in [*cells, sum(cells), row["ns_whole"]]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__.splitlines()[0])
    parser.add_argument("--filter", default="", metavar="TEXT", help="only rows whose name or group contains this")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there")
    parser.add_argument("--seconds", type=float, default=0.25, help="of each row (default: %(default)s; in the lab at least 1)")
    parser.add_argument("--repeats", type=int, default=7, help="interleaved; their median counts (default: %(default)s)")
    parser.add_argument("--most-flows", type=int, default=1 << 32, metavar="N", help="leave rows with more flows out")
    parser.add_argument("--list", action="store_true", help="name the rows, measure nothing")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="build directory (default: build)")
    args = parser.parse_args()

    names = list(in_process(args, "--list"))
    lab = [row for row in veth.ROWS if args.filter in row["name"] and row["flows"] <= args.most_flows]
    names_all = names + [row["name"] for row in lab]
    if args.list:
        print("\n".join(names_all))
        return 0
    if not names_all:
        print(f"no row's name contains {args.filter!r}", file=sys.stderr)
        return 1
    width = max(map(len, names_all))
    print(f"{'':{width}} {'ns':>12} {'macswap':>8} {'ratio':>8}")
    rows: list[dict] = []
    if names:
        for line in in_process(args):
            rows.append(json.loads(line))
            print_row(rows[-1], width)
    if lab:
        for row in veth.measure(lab, max(1.0, args.seconds), args.repeats, args.build):
            rows.append(row)
            print_row(row, width)
    staged = [row for row in rows if "stages" in row]
    if staged:
        print_stages(staged, width)
    if args.json:
        args.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
