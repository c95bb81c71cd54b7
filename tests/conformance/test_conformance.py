# SPDX-License-Identifier: BSD-3-Clause
"""The conformance suite under pytest: each vector on each engine and on the reference model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import differential  # noqa: E402
import notation  # noqa: E402
import run  # noqa: E402
import vectors  # noqa: E402
from engine import VERDICTS, Engine, EngineDied  # noqa: E402
from reference import hashes, rewrite  # noqa: E402

VECTORS = vectors.all_vectors()


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
    assert not problems, "\n".join(problems)


def test_the_model_alone_passes_the_vectors() -> None:
    base = vectors.states()
    assert [problem for vector in VECTORS for problem in vectors.Check(vector, base, None).run()] == []


# What no packet can provoke through the protocol, and what provokes it instead: verdict -> test.
ELSEWHERE = {
    "drop_punt_rate": "kernel_path_test.cpp: the kernel path's thread limits the rate, not a worker",
    "drop_punt_queue_full": "worker_test.cpp, kernel_path_test.cpp: here the queue is emptied after every burst",
    "drop_ring_full": "kernel_path_test.cpp: here the workers take turns until their rings are empty",
    "drop_tx_full": "worker_test.cpp: here the transmit ring is longer than any burst",
    "drop_no_buffer": "worker_fragments_test.cpp: here the buffers do not run out",
}


def test_every_verdict_is_provoked_by_some_vector() -> None:
    provoked = {name for vector in VECTORS for step in vector.steps for name in step.verdicts or []}
    wanted = {name for name, kind in VERDICTS if kind != "NONE"}
    assert provoked <= wanted, f"no verdicts: {sorted(provoked - wanted)}"
    assert wanted - provoked - set(ELSEWHERE) == set()
    assert not provoked & set(ELSEWHERE), "provoked now: take it out of ELSEWHERE"


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


def random_agrees(packets: int, seed: int) -> None:
    tally, found = differential.run_random(run.engine_program(), packets, seed, jobs=2)
    assert not found, "\n".join(found)
    assert tally.packets >= packets - 1


def test_random_sequences_agree_with_the_model() -> None:
    random_agrees(40_000, seed=1)


@pytest.mark.slow
def test_many_random_sequences_agree_with_the_model() -> None:
    random_agrees(1_000_000, seed=2)


def test_a_difference_is_found_and_cut_down(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with another mind: replies keep their TTL."""
    honest = rewrite.translate
    def wrong(packet, source, *rest):  # noqa: ANN001, ANN002, ANN202
        l3 = honest(packet, source, *rest)
        return l3 if packet.family == 4 else l3[:7] + bytes([packet.ttl]) + l3[8:]
    monkeypatch.setattr(rewrite, "translate", wrong)
    tally = differential.Tally()
    engine = Engine(run.engine_program())
    found = differential.run_sequence(engine, "7.0", ("nat",), set(), tally)
    engine.close()
    assert found
    small = differential.minimise(run.engine_program(), found)
    assert sum(event.kind == "in" for event in small.events) <= 2
    assert "want " in differential.as_vector(small)


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
