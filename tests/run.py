#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""Runs every test of the project and prints one total; scripts/test calls it after the build.

meson's unit tests (each GoogleTest case counts), and by pytest (each parametrised case counts) the scripts' and header
compile tests, the conformance suite and the end-to-end tests. The last line is "N passed, N failed, N skipped".
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from pathlib import Path

from sanitizers import Reports

ROOT = Path(__file__).resolve().parent.parent
PYTHON = "/usr/bin/python3"


@dataclass
class Totals:
    """Case counts of one or more runs, and what failed by name."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[str] = field(default_factory=list)
    skips: list[str] = field(default_factory=list)

    def fail(self, name: str) -> None:
        self.failed += 1
        self.failures.append(name)

    def add(self, other: Totals) -> None:
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.failures += other.failures
        self.skips += other.skips


def count_gtest_xml(path: Path) -> Totals:
    """Cases of one GoogleTest report."""
    totals = Totals()
    for case in ET.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}.{case.get('name')}"
        if case.get("status") == "notrun":
            continue  # left out by the name filter
        if case.find("failure") is not None or case.find("error") is not None:
            totals.fail(name)
        elif case.get("result") == "skipped" or case.find("skipped") is not None:
            totals.skipped += 1
            totals.skips.append(name)
        else:
            totals.passed += 1
    return totals


def count_junit_xml(path: Path) -> Totals:
    """Cases of one pytest report. A case that passes and then fails its teardown is one failure."""
    worst: dict[str, str] = {}
    rank = {"passed": 0, "skipped": 1, "failed": 2}
    for case in ET.parse(path).getroot().iter("testcase"):
        name = f"{case.get('classname')}::{case.get('name')}"
        outcome = "passed"
        if case.find("failure") is not None or case.find("error") is not None:
            outcome = "failed"
        elif case.find("skipped") is not None:
            outcome = "skipped"
        if rank[outcome] >= rank[worst.get(name, "passed")]:
            worst[name] = outcome
    totals = Totals()
    for name, outcome in worst.items():
        if outcome == "failed":
            totals.fail(name)
        elif outcome == "skipped":
            totals.skipped += 1
            totals.skips.append(name)
        else:
            totals.passed += 1
    return totals


def is_gtest(program: Path) -> bool:
    return program.is_file() and b"gtest_list_tests" in program.read_bytes()


def gtest_cases(program: Path) -> list[str]:
    """Suite.Case names of a GoogleTest program."""
    listed = subprocess.run([str(program), "--gtest_list_tests"], capture_output=True, text=True).stdout
    cases, suite = [], ""
    for line in listed.splitlines():
        name = line.split("#")[0].rstrip()
        if name.endswith(".") and not line.startswith(" "):
            suite = name
        elif line.startswith("  ") and suite:
            cases.append(suite + name.strip())
    return cases


def meson_tests(build: Path) -> list[dict]:
    """meson's own list; each test also says which program it runs and whether that is GoogleTest's."""
    listed = subprocess.run([PYTHON, "/usr/bin/meson", "introspect", "--tests", str(build)],
                            capture_output=True, text=True, check=True).stdout
    tests = json.loads(listed)
    for test in tests:
        test["program"] = Path(test["cmd"][0])
        test["gtest"] = is_gtest(test["program"])
    return tests


def select(tests: list[dict], name: str | None, quick: bool) -> tuple[list[dict], str | None]:
    """The tests to run and the GTEST_FILTER that narrows them, if any."""
    if quick:
        tests = [t for t in tests if "slow" not in [s.split(":")[-1] for s in t["suite"]]]
    if not name:
        return tests, None
    by_name = [t for t in tests if name in t["name"]]
    if by_name:
        return by_name, None
    by_case = [t for t in tests if t["gtest"] and any(name in case for case in gtest_cases(t["program"]))]
    return by_case, f"*{name}*"


def run_unit_tests(build: Path, name: str | None, quick: bool, extra: dict[str, str]) -> Totals:
    """meson's tests, run by meson; GoogleTest programs write a report each, the others count as one case.
    EXTRA: environment of theirs."""
    totals = Totals()
    tests, gtest_filter = select(meson_tests(build), name, quick)
    if not tests:
        return totals
    with tempfile.TemporaryDirectory(prefix="weir-unit-") as reports:
        env = dict(os.environ, GTEST_OUTPUT=f"xml:{reports}/", **extra)
        if gtest_filter:
            env["GTEST_FILTER"] = gtest_filter
        subprocess.run([PYTHON, "/usr/bin/meson", "test", "-C", str(build), "--no-rebuild", "--print-errorlogs",
                        "--timeout-multiplier", extra.get("WEIR_SLOWNESS", "1"), *[t["name"] for t in tests]],
                       env=env, stdin=subprocess.DEVNULL)
        results = {}
        for line in (build / "meson-logs" / "testlog.json").read_text().splitlines():
            entry = json.loads(line)
            results[entry["name"].split(" / ")[-1]] = entry["result"]
        counted: set[Path] = set()
        for test in tests:
            outcome = results.get(test["name"], "ERROR")
            found, reported = Totals(), False
            for report in Path(reports).glob(f"{test['program'].name}*.xml"):
                if report not in counted and report.stem.removeprefix(test["program"].name).strip("_0123456789") == "":
                    counted.add(report)
                    reported = True
                    found.add(count_gtest_xml(report))
            if outcome == "SKIP":
                found.skipped += 1
                found.skips.append(test["name"])
            elif outcome not in ("OK", "EXPECTEDFAIL") and found.failed == 0:
                found.fail(f"{test['name']} ({outcome})")  # crashed, timed out, or a sanitizer ended it
            elif outcome == "OK" and not test["gtest"]:
                found.passed += 1
            elif outcome == "OK" and not reported:
                found.fail(f"{test['name']} (no report of its cases)")
            totals.add(found)
    return totals


def run_pytest(build: Path, directory: str, name: str | None, quick: bool, extra: dict[str, str]) -> Totals:
    """One pytest directory. EXTRA: environment of the tests and the programs that they start."""
    with tempfile.TemporaryDirectory(prefix="weir-pytest-") as temp:
        report = Path(temp) / "junit.xml"
        command = [PYTHON, "-m", "pytest", "-q", "-ra", "-p", "no:cacheprovider", f"--junitxml={report}",
                   str(ROOT / "tests" / directory)]
        if quick:
            command += ["-m", "not slow"]
        if name:
            command += ["-k", name]
        env = dict(os.environ, WEIR_BUILD_DIR=str(build), PYTHONDONTWRITEBYTECODE="1", **extra)
        done = subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL)
        totals = count_junit_xml(report) if report.exists() else Totals()
        # 0 all passed, 1 some failed, 5 none selected; anything else means pytest itself stopped
        if done.returncode not in (0, 5) and totals.failed == 0:
            totals.fail(f"pytest tests/{directory} ended with code {done.returncode}")
    return totals


def reserve_hugepages(pages: int = 512) -> None:
    """Some tests are faster with hugepages; all work without."""
    control = Path("/proc/sys/vm/nr_hugepages")
    try:
        if int(control.read_text()) < pages:
            control.write_text(f"{pages}\n")
    except OSError:
        pass


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--build", default="build", help="build directory (default: build)")
    parser.add_argument("--quick", action="store_true", help="leave the slow tests out")
    parser.add_argument("name", nargs="?", help="only tests whose name contains this")
    args = parser.parse_args()
    build = (ROOT / args.build).resolve()

    reserve_hugepages()
    total = Totals()
    with tempfile.TemporaryDirectory(prefix="weir-sanitizers-") as directory:
        reports = Reports(build, Path(directory))
        extra = reports.environment()
        for kind, run in (
            ("unit", lambda: run_unit_tests(build, args.name, args.quick, extra)),
            ("scripts", lambda: run_pytest(build, "scripts", args.name, args.quick, extra)),
            ("headers", lambda: run_pytest(build, "headers", args.name, args.quick, extra)),
            ("conformance", lambda: run_pytest(build, "conformance", args.name, args.quick, extra)),
            ("end to end", lambda: run_pytest(build, "e2e", args.name, args.quick, extra)),
        ):
            start = time.monotonic()
            found = run()
            for report in reports.fresh():
                print(report)
                found.fail(f"{kind}: a sanitizer's report: {report.splitlines()[0]}")
            print(f"== {kind}: {found.passed} passed, {found.failed} failed, {found.skipped} skipped "
                  f"in {time.monotonic() - start:.0f} s", flush=True)
            total.add(found)
    for name in total.skips:
        print(f"skipped: {name}")
    for name in total.failures:
        print(f"failed: {name}")
    if args.name and total.passed + total.failed + total.skipped == 0:
        print(f"no test's name contains {args.name!r}")
        total.failed = 1
    print(f"{total.passed} passed, {total.failed} failed, {total.skipped} skipped", flush=True)
    return 0 if total.failed == 0 and total.passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
