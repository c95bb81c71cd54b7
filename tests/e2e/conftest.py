# SPDX-License-Identifier: BSD-3-Clause
"""One lab for the whole session, a time limit for each test."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from lab import Lab  # noqa: E402  (the path above comes first)
from lateness import Lateness  # noqa: E402
from netns import SLOWNESS  # noqa: E402
from pair import Pair  # noqa: E402
from weir import Node  # noqa: E402

TEST_LIMIT_S = int(180 * SLOWNESS)


def pytest_configure() -> None:
    """A run that is told to end takes its lab down first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    leave_variants_to_the_whole_run(items)
    if SLOWNESS != 1:
        leave_times_to_other_programs(items)


def leave_variants_to_the_whole_run(items: list[pytest.Item]) -> None:
    """A quick run has each test that is not slow with the first of its parameters."""
    seen: set[tuple[Path, str]] = set()
    for item in items:
        if item.get_closest_marker("slow"):
            continue
        test = (item.path, item.originalname)
        if test in seen:
            item.add_marker(pytest.mark.slow)
        seen.add(test)


def leave_times_to_other_programs(items: list[pytest.Item]) -> None:
    """What measures times cannot be held against programs that are several times slower."""
    for item in items:
        if item.get_closest_marker("timing"):
            item.add_marker(pytest.mark.skip(reason="measures times, and the programs are slowed down by sanitizers"))


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests build network namespaces: run them as root")
    with Lab() as built:
        yield built


@pytest.fixture(scope="session")
def session_node(lab: Lab) -> Iterator[Node]:
    node = Node(lab)
    yield node
    node.stop()


@pytest.fixture(scope="module", params=("veth", "xdp"))
def two(lab: Lab, session_node: Node, request: pytest.FixtureRequest) -> Iterator[Pair]:
    """Two balancers with a VIP of each family, the second one made for the module. Nobody else's Weir runs meanwhile."""
    session_node.stop()
    with Lateness(lab.work / "lateness") as lateness:
        made = Pair(lab, lateness, device=request.param, families=(4, 6))
        try:
            made.start()
            yield made
        finally:
            made.stop()


@pytest.fixture
def node(session_node: Node, request: pytest.FixtureRequest) -> Iterator[Node]:
    """The balancer. After each test its books must be closed; after a failed one the next test gets a fresh Weir."""
    yield session_node
    if getattr(request.node, "failed", False):
        if session_node.current is not None:
            print(f"--- Weir's log ---\n{session_node.current.log()}")
        session_node.forget()
    elif session_node.current is not None:
        try:
            session_node.current.assert_closed_books()
        except BaseException:
            session_node.forget()
            raise


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """Leaves a mark on a failed test for the fixtures that clean up after it."""
    outcome = yield
    if outcome.get_result().failed:
        item.failed = True


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """A test that hangs fails instead of holding the run up."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"{item.name}: longer than {TEST_LIMIT_S} s")

    signal.signal(signal.SIGALRM, too_long)
    signal.alarm(TEST_LIMIT_S)
    try:
        yield
    finally:
        signal.alarm(0)
