# SPDX-License-Identifier: BSD-3-Clause
"""The books checker itself: it passes closed books and flags each term that is off by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from books import TERMS, open_books
from lab import Lab
from spec import Spec, Vip
from traffic import http_many
from weir import Node

CLOSED: dict[str, Any] = {
    "verdicts": [{"name": "forwarded", "class": "forward", "count": 90, "sentence": "sent"},
                 {"name": "drop_land", "class": "drop", "count": 4, "sentence": "land"},
                 {"name": "drop_fragment", "class": "drop", "count": 2, "sentence": "fragment"}],
    "ports": [{"name": "uplink", "rx": 100, "tx": 90}],
    "books": {"rx": 100, "generated": 3, "handed_in": 5, "tx": 90, "punted": 6, "handed_out": 5, "dropped": 6,
              "held": 1, "balanced": True},
}


def test_closed_books_pass() -> None:
    assert not open_books(CLOSED)


@pytest.mark.parametrize("term", TERMS)
@pytest.mark.parametrize("error", (-1, 1))
def test_each_term_off_by_one_is_flagged(term: str, error: int) -> None:
    wrong = copy.deepcopy(CLOSED)
    wrong["books"][term] += error
    assert open_books(wrong)


def test_a_missing_drop_reason_and_a_false_claim_are_flagged() -> None:
    unnamed = copy.deepcopy(CLOSED)
    unnamed["verdicts"][1]["count"] = 3
    assert open_books(unnamed)
    claim = copy.deepcopy(CLOSED)
    claim["books"]["balanced"] = False
    assert open_books(claim)


def test_a_running_weirs_books_off_by_one_are_flagged(lab: Lab, node: Node) -> None:
    weir = node.ensure(Spec("veth", 2))
    http_many(lab.client, Vip("full-nat", "tcp", 4).address, 80, 20)
    weir.assert_closed_books()
    counters = weir.counters()
    for term in TERMS:
        wrong = copy.deepcopy(counters)
        wrong["books"][term] += 1
        assert open_books(wrong)
