# SPDX-License-Identifier: BSD-3-Clause
"""Runs of programs that were built with sanitizers: their options, and their reports as failures.

A sanitizer that finds something ends its program, and a test may well expect a program to end (or never look): what
counts is the report, which goes to a file that tests/run.py asks for after each part of the suite.
"""

from __future__ import annotations

import json
from pathlib import Path

LEAKS = Path(__file__).resolve().parent / "leaks.txt"
SLOWNESS = "5"  # how many times longer the tests wait for such programs


def sanitizers_of(build: Path) -> list[str]:
    """What BUILD's programs are instrumented with: ["address", "undefined"], ["thread"] or nothing."""
    options = json.loads((build / "meson-info" / "intro-buildoptions.json").read_text())
    value = next(option["value"] for option in options if option["name"] == "b_sanitize")
    return [] if value == "none" else value.split(",")


class Reports:
    """The reports of one run, a file for each process that made one, in DIRECTORY."""

    def __init__(self, build: Path, directory: Path) -> None:
        self.sanitizers = sanitizers_of(build)
        self.directory = directory
        self._seen: set[Path] = set()

    def environment(self) -> dict[str, str]:
        """For every program of the run; empty without sanitizers."""
        if not self.sanitizers:
            return {}
        common = f"log_path={self.directory}/report:halt_on_error=1"
        return {
            # Its frames for use after return are aligned to 32 bytes in GCC 12, and our cache lines are not then.
            "ASAN_OPTIONS": f"{common}:detect_stack_use_after_return=0:strict_string_checks=1",
            "UBSAN_OPTIONS": f"{common}:print_stacktrace=1",
            "LSAN_OPTIONS": f"suppressions={LEAKS}:print_suppressions=0",
            "TSAN_OPTIONS": common,
            "WEIR_SLOWNESS": SLOWNESS,
        }

    def fresh(self) -> list[str]:
        """The reports written since the last call."""
        found = sorted(set(self.directory.glob("report.*")) - self._seen)
        self._seen.update(found)
        return [text for text in (path.read_text(errors="replace").strip() for path in found) if text]
