# SPDX-License-Identifier: BSD-3-Clause
"""The conformance suite under pytest: each vector on each engine and on the reference model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import notation  # noqa: E402
import run  # noqa: E402
import vectors  # noqa: E402
from engine import Engine, EngineDied  # noqa: E402
from reference import hashes  # noqa: E402

VECTORS = vectors.all_vectors()
NOT_YET = run.not_yet()


@pytest.fixture(scope="module")
def engine() -> Iterator[list[Engine]]:
    """A list of one, so that a test can put a fresh one in place of one that died."""
    held = [Engine(run.engine_program())]
    yield held
    held[0].close()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector(vector: vectors.Vector, engine: list[Engine]) -> None:
    if engine[0].process.poll() is not None:
        engine[0] = Engine(run.engine_program())
    try:
        problems = vectors.Check(vector, vectors.states(), engine[0]).run()
    except EngineDied as death:
        problems = [str(death)]
    if vector.name in NOT_YET:
        assert problems, "passes now: take it out of not_yet.txt"
        pytest.xfail(problems[0])
    assert not problems, "\n".join(problems)


def test_the_model_alone_passes_the_vectors() -> None:
    base = vectors.states()
    assert [problem for vector in VECTORS for problem in vectors.Check(vector, base, None).run()] == []


def test_not_yet_names_vectors() -> None:
    assert NOT_YET <= {vector.name for vector in VECTORS}


@pytest.mark.parametrize("spoil", ["verdict", "byte", "interface", "frame"])
def test_a_vector_that_is_wrong_fails(spoil: str) -> None:
    vector = next(v for v in vectors.all_vectors() if v.name == "nat-v4-tcp")
    step = vector.steps[0]
    if spoil == "verdict":
        step.verdicts = ["replied"]
    elif spoil == "byte":
        step.outs[0].hex = step.outs[0].hex[:-1] + "f"
    elif spoil == "interface":
        vector.steps[0].outs[0].way = "kernel"
    else:
        step.outs[0].packet = step.outs[0].packet.replace("ttl=63", "ttl=64")
    assert vectors.Check(vector, vectors.states(), None).run()


def test_literal_bytes_are_what_the_notation_says() -> None:
    for vector in VECTORS:
        for step in vector.steps:
            for out in step.outs:
                if out.packet is not None:
                    assert out.hex == notation.literal(out.packet, {}), f"{vector.name}: run.py --write, and review"


def test_the_reference_siphash_knows_a_published_value() -> None:
    """SipHash-1-3 of the empty string, key 00 01 .. 0f: the first of the reference implementation's vectors."""
    key = (0x0706050403020100, 0x0F0E0D0C0B0A0908)
    assert hashes.siphash13(key, b"") == 0xABAC0158050FC4DC


def test_the_reference_maglev_shares_by_weight() -> None:
    backends = tuple((*hashes.identity(bytes([10, 0, 0, i]), 80), i) for i in range(1, 5))
    table = hashes.maglev(backends, 1009)
    shares = [table.count(i) for i in range(4)]
    assert all(abs(share - 1009 * weight / 10) <= 1 for share, weight in zip(shares, (1, 2, 3, 4)))


def test_the_reference_checksum_knows_an_example() -> None:
    """RFC 1071, section 3."""
    assert hashes.checksum(bytes.fromhex("0001f203f4f5f6f7")) == 0xFFFF - 0xDDF2
