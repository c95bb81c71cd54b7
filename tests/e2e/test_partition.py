# SPDX-License-Identifier: BSD-3-Clause
"""Two nodes that do not hear each other, or only one way, or have no processor for themselves: the short form of the
drill's rows (scripts/drill), which are also there with more trials and for longer."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "drill"))

import faults  # noqa: E402  (the path above comes first)
import two_nodes  # noqa: E402
from lab import Lab  # noqa: E402
from stage import Stage  # noqa: E402
from weir import Node  # noqa: E402

pytestmark = [pytest.mark.timing, pytest.mark.slow]


@pytest.fixture(scope="module")
def pair(lab: Lab, session_node: Node) -> Iterator[Stage]:
    session_node.stop()
    with faults.two(lab) as stage:
        stage.seconds = 6
        yield stage


@pytest.mark.parametrize("fault", (two_nodes.split_brain, two_nodes.deaf_backup, two_nodes.busy_machine),
                         ids=lambda fault: fault.__name__)
def test_one_owner_again_in_time(pair: Stage, fault: faults.Fault) -> None:
    """Both nodes own while they are cut apart: each row asserts that itself, as proof that the cut was one."""
    row = fault(pair)
    print(row)
    assert row.met and not row.connections_broken, row
