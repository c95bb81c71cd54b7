# SPDX-License-Identifier: BSD-3-Clause
"""The conformance suite under pytest: each vector on each engine and on the reference model."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import differential  # noqa: E402
import frames  # noqa: E402
import notation  # noqa: E402
import vectors  # noqa: E402
from engine import ROOT, VERDICTS, Engine, EngineDied  # noqa: E402
from engines import ENGINES, XDP, EngineKind  # noqa: E402
from reference import hashes, rewrite  # noqa: E402
from reference.model import Model  # noqa: E402
from reference.outcome import Ambiguous, Expected, Seen  # noqa: E402
from reference.rules import Rules  # noqa: E402
from sequences import Event  # noqa: E402

VECTORS = vectors.all_vectors()


@pytest.fixture(scope="module", params=ENGINES.values(), ids=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> Iterator[list[Engine]]:
    """A list of one, so that a test can put a fresh one in place of one that died."""
    held = [Engine(request.param)]
    yield held
    held[0].close()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector.name)
def test_vector(vector: vectors.Vector, engine: list[Engine]) -> None:
    if engine[0].process.poll() is not None:
        engine[0] = Engine(engine[0].kind)
    try:
        problems = vectors.judge(vector, vectors.states(), engine[0])
    except EngineDied as death:
        problems = [str(death)]
    assert not problems, "\n".join(problems)


def test_the_model_alone_passes_the_vectors() -> None:
    base = vectors.states()
    assert [problem for vector in VECTORS for problem in vectors.Check(vector, base, None).run()] == []


def test_what_is_permitted_names_vectors_once() -> None:
    named = [name for kind in ENGINES.values() for entry in kind.permitted for name in entry.vectors]
    named += [name for kind in ENGINES.values() for name in kind.not_yet]
    assert set(named) <= {vector.name for vector in VECTORS}
    assert len(named) == len(set(named))


def test_what_is_permitted_stands_in_the_documentation() -> None:
    text = (ROOT / "docs/xdp.md").read_text()
    assert [entry.name for entry in XDP.permitted if f"| {entry.name} | {entry.sentence} |" not in text] == []


def test_a_permission_that_is_not_needed_fails() -> None:
    vector = next(v for v in VECTORS if v.name == "nat-v4-tcp")
    engine = Engine(replace(XDP, permitted=(replace(XDP.permitted[0], vectors=(vector.name,)),)))
    assert "passes as written" in vectors.judge(vector, vectors.states(), engine)[0]
    engine.close()


def test_a_permission_goes_no_further_than_its_rule() -> None:
    """The model without the rule does not agree with what the engine does."""
    vector = next(v for v in VECTORS if v.name == "cut-nat")
    other = replace(next(e for e in XDP.permitted if e.name == "kernel-side"), vectors=(vector.name,))
    engine = Engine(replace(XDP, permitted=(other,)))
    assert vectors.judge(vector, vectors.states(), engine)
    engine.close()


# What no packet can provoke through the protocol, and what provokes it instead: verdict -> test.
ELSEWHERE = {
    "drop_punt_rate": "kernel_path_test.cpp: the kernel path's thread limits the rate, not a worker",
    "drop_punt_queue_full": "worker_test.cpp, kernel_path_test.cpp: here the queue is emptied after every burst",
    "drop_ring_full": "kernel_path_test.cpp: here the workers take turns until their rings are empty",
    "drop_tx_full": "worker_test.cpp: here the transmit ring is longer than any burst",
    "drop_standing_in": "balancer_given_test.cpp: here no engine takes another's place",
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


def test_a_value_that_the_notation_does_not_know_is_refused() -> None:
    with pytest.raises(ValueError, match="ip: fl means nothing here"):
        notation.build("eth client>lb / ip 198.51.100.7>203.0.113.10 fl=1 / udp 30000>53")


def test_literal_bytes_are_what_the_notation_says() -> None:
    for vector in VECTORS:
        for step in vector.steps:
            for out in step.outs:
                if out.packet is not None:
                    assert out.hex == notation.literal(out.packet, {}), f"{vector.name}: run.py --write, and review"


every_engine = pytest.mark.parametrize("kind", ENGINES.values(), ids=list(ENGINES))


MANY = 1_000_000  # packets


def random_agrees(kind: EngineKind, packets: int, seed: int) -> None:
    tally, found = differential.run_random(kind, packets, seed, jobs=2)
    assert not found, "\n".join(found)
    assert tally.packets >= packets - 1
    assert tally.cut_short <= max(2, tally.sequences // 4), "the sequences ask too often for what the law leaves open"


@every_engine
def test_random_sequences_agree_with_the_model(kind: EngineKind) -> None:
    random_agrees(kind, MANY // 25, seed=1)


@pytest.mark.slow
@every_engine
def test_many_random_sequences_agree_with_the_model(kind: EngineKind) -> None:
    random_agrees(kind, MANY, seed=2)


@every_engine
def test_a_difference_is_found_and_cut_down(kind: EngineKind, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model with another mind: replies keep their TTL."""
    honest = rewrite.translate
    def wrong(packet, source, *rest):  # noqa: ANN001, ANN002, ANN202
        l3 = honest(packet, source, *rest)
        return l3 if packet.family == 4 else l3[:7] + bytes([packet.ttl]) + l3[8:]
    monkeypatch.setattr(rewrite, "translate", wrong)
    tally = differential.Tally()
    engine = Engine(kind)
    found = differential.run_sequence(engine, "7.0", ("nat",), set(), tally)
    engine.close()
    assert found
    small = differential.minimise(kind, found)
    assert sum(event.kind == "in" for event in small.events) <= 2
    assert "want " in differential.as_vector(kind, small)


def test_the_model_admits_what_it_cannot_know() -> None:
    """A connection was given a SNAT port that nothing shows. It may be that of one that has ended, which then is gone."""
    model, engine = Model(), Model()  # the second one plays the engine
    for either in model, engine:
        either.publish(Rules(vectors.states()["full-nat"]))
    vip, backend, snat = bytes([203, 0, 113, 10]), bytes([10, 0, 0, 11]), bytes([192, 0, 2, 64])
    syn, syn_ack, ack, rst = 2, 18, 16, 4

    def send(source: bytes, destination: bytes, l4: bytes) -> Expected:
        frame = frames.ethernet(frames.ROUTER_MACS[0], 0x0800) + frames.ip(source, destination, 6, l4)
        made = engine.packet(frame)
        assert model.packet(frame, 0, Seen(made.frames)).verdicts == made.verdicts
        return made

    def client(number: int, flags: int, body: bytes = b"") -> Expected:
        source = bytes([198, 51, 100, number])
        return send(source, vip, frames.tcp(source, vip, 5000, 80, flags, body))

    def connect(number: int) -> None:
        port = int.from_bytes(client(number, syn).frames[0][2][34:36], "big")
        send(backend, snat, frames.tcp(backend, snat, 8080, port, syn_ack))
        client(number, ack)

    connect(1)
    connect(2)
    client(1, rst)
    assert client(3, syn, bytes(3000)).verdicts == ["drop_too_big"]
    client(2, ack)  # it has not ended
    with pytest.raises(Ambiguous):
        client(1, ack)
    client(1, syn)  # begins anew, whether or not it was gone
    client(1, ack)


def test_a_burst_that_lost_its_end_is_closed() -> None:
    """Else its packets would stay unanswered, and that would look like the difference that was searched for."""
    events = [Event("in", more=True), Event("in", more=True), Event("pass"), Event("in", more=True)]
    assert [event.more for event in differential.whole_bursts(events)] == [True, False, False, False]
    assert [event.more for event in events] == [True, True, False, True], "the given ones stay"


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
