# SPDX-License-Identifier: BSD-3-Clause
"""Load and bulk: wrk without a single error, 100 MB with the right hash."""

from __future__ import annotations

import pytest

from lab import Lab
from spec import FAMILIES, MODES, Spec, Vip
from traffic import download, wrk
from weir import Node

TAP = Spec("tap", 1)


@pytest.fixture(scope="module", params=(Spec("veth", 2), Spec("xdp")), ids=str)
def visible(request: pytest.FixtureRequest) -> Spec:
    """Of a device that the kernel sees."""
    return request.param


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("seconds", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_wrk_through_a_visible_device(lab: Lab, node: Node, visible: Spec, mode: str, seconds: int) -> None:
    node.ensure(visible)
    result = wrk(lab.client, Vip(mode, "tcp", 4).address, 80, seconds=seconds)
    print(result.text)
    assert result.errors == 0 and result.requests > 100 * seconds


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("mode", MODES)
def test_100_megabytes_through_a_visible_device(lab: Lab, node: Node, visible: Spec, mode: str, family: int) -> None:
    node.ensure(visible)
    assert download(lab.client, Vip(mode, "tcp", family).address, 80) == (lab.blob.bytes, lab.blob.sha256)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.slow
def test_wrk_through_a_bypassed_device(lab: Lab, node: Node, mode: str) -> None:
    node.ensure(TAP)
    result = wrk(lab.client, Vip(mode, "tcp", 4).address, 80, seconds=5)
    print(result.text)
    assert result.errors == 0 and result.requests > 100


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.slow
def test_100_megabytes_through_a_bypassed_device(lab: Lab, node: Node, mode: str) -> None:
    node.ensure(TAP)
    assert download(lab.client, Vip(mode, "tcp", 6).address, 80) == (lab.blob.bytes, lab.blob.sha256)
