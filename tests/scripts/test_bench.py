# SPDX-License-Identifier: BSD-3-Clause
"""The bench runs: every row that it names comes out, with a time, in the schema. Nothing about how long anything takes."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("WEIR_BUILD_DIR", ROOT / "build"))

TEXTS = {
    "name": None,
    "group": {"pipeline", "floor", "io", "xdp", "publish", "stall", "attack"},
    "engine": {"dpdk", "xdp"},
    "mode": {"dsr-l2", "dsr-ipip", "dsr-gue", "nat", "full-nat", ""},
    "family": {"v4", "v6", ""},
    "tracking": {"full", "exceptions", ""},
    "case": {"hit", "new", "mixed", ""},
}


def bench(*options: str) -> subprocess.CompletedProcess:
    return subprocess.run(["/usr/bin/python3", str(ROOT / "bench" / "bench.py"), "--build", str(BUILD), *options],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


def check_schema(row: dict) -> None:
    for key, known in TEXTS.items():
        assert isinstance(row[key], str), row
        assert known is None or row[key] in known, row
    assert row["flows"] >= 1 and row["pools"] >= 1 and row["ns"] > 0, row
    for key in ("ns_macswap", "ratio"):
        assert row[key] is None or row[key] > 0, row
    assert all(ns >= 0 for ns in row.get("stages", {}).values()), row


def rows_of(tmp_path: Path, *options: str) -> list[dict]:
    """What came out, after a check that it is just what --list names."""
    listed = bench("--list", *options)
    assert listed.returncode == 0, listed.stderr
    done = bench("--repeats", "1", "--json", str(tmp_path / "rows.json"), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((tmp_path / "rows.json").read_text())["rows"]
    for row in rows:
        check_schema(row)
        assert row["name"] in done.stdout
    assert [row["name"] for row in rows] == listed.stdout.splitlines()
    return rows


def test_rows_of_the_pipeline(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, "--filter", "pipeline", "--most-flows", "16384", "--seconds", "0.001")
    seen = {(row["mode"], row["family"], row["flows"], row["case"]) for row in rows}
    wanted = {(mode, family, flows, case) for mode in TEXTS["mode"] - {""} for family in TEXTS["family"] - {""}
              for flows, case in ((1, "hit"), (1000, "hit"), (16384, "hit"), (1000, "mixed"), (1000, "new"))}
    assert wanted <= seen
    of_one_worker = [row for row in rows if "workers" not in row]
    assert all(row["ns_macswap"] and row["ratio"] and row["stages"] for row in of_one_worker)
    assert all(row["speed_up"] > 0 and row["kept"] > 0 for row in rows if row not in of_one_worker)
    assert len(of_one_worker) == len(rows) - 2


def test_rows_of_the_balancer_in_the_kernel(tmp_path: Path) -> None:
    """Each run checks that every packet was forwarded and that only new ones were recorded."""
    rows = rows_of(tmp_path, "--filter", "xdp ", "--most-flows", "1000", "--repeats", "1", "--seconds", "0.001")
    seen = {(row["mode"], row["tracking"], row["flows"]) for row in rows}
    wanted = {(mode, tracking, flows) for mode, tracking in (("dsr-l2", "exceptions"), ("dsr-l2", "full"), ("full-nat", "full"))
              for flows in (1, 1000)}
    assert wanted <= seen
    assert all(row["group"] == row["engine"] == "xdp" and row["ns_io"] < row["ns_whole"] for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["workers=2", "attack", "floor", "net_ring", "publish", "stall", "v4 full 1M"])
def test_rows_of(tmp_path: Path, text: str) -> None:
    assert rows_of(tmp_path, "--filter", text, "--seconds", "0.001")


@pytest.mark.slow
@pytest.mark.parametrize("text", ["af_xdp", "http"])
def test_rows_of_the_lab(tmp_path: Path, text: str) -> None:
    assert rows_of(tmp_path, "--filter", text)


def test_a_row_that_is_wrong_is_found() -> None:
    row = {"name": "x", "group": "pipeline", "engine": "dpdk", "mode": "nat", "family": "v4", "tracking": "full",
           "case": "hit", "flows": 1, "pools": 1, "ns": 1.0, "ns_macswap": None, "ratio": None}
    check_schema(row)
    for wrong in ({"ns": 0}, {"ns": -1.0}, {"case": "hits"}, {"mode": 3}, {"ratio": 0}):
        with pytest.raises(AssertionError):
            check_schema(row | wrong)
