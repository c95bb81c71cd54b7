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

TEST_LIMIT_S = 180


def pytest_configure() -> None:
    """A run that is told to end takes its lab down first."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.fail("the end-to-end tests build network namespaces: run them as root")
    with Lab() as built:
        yield built


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
