# SPDX-License-Identifier: BSD-3-Clause
"""Closed books: every packet that came in, was made or handed in has left, is held, or was dropped for a named reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

TERMS = ("rx", "generated", "handed_in", "tx", "punted", "handed_out", "dropped", "held")


def open_books(counters: Mapping[str, Any]) -> list[str]:
    """What does not add up in `weirctl --json counters`; empty when the books are closed. Exact integers."""
    books = counters["books"]
    problems = []
    came = books["rx"] + books["generated"] + books["handed_in"]
    left = books["tx"] + books["punted"] + books["handed_out"] + books["dropped"] + books["held"]
    if came != left:
        problems.append(f"{came} came, {left} left: " + ", ".join(f"{t} {books[t]}" for t in TERMS))
    if not books["balanced"]:
        problems.append("Weir itself says that its books are not balanced")
    drops = sum(v["count"] for v in counters["verdicts"] if v["class"] == "drop")
    if drops != books["dropped"]:
        problems.append(f"the drop verdicts sum to {drops}, the books say {books['dropped']}")
    for term in ("rx", "tx"):
        by_port = sum(p[term] for p in counters["ports"])
        if by_port != books[term]:
            problems.append(f"{term}: the ports sum to {by_port}, the books say {books[term]}")
    return problems
