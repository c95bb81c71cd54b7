# SPDX-License-Identifier: BSD-3-Clause
"""The same random sequences through an engine and the model. A difference is cut down to few packets and printed as a
vector."""

from __future__ import annotations

import copy
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from random import Random

from engine import Engine, EngineDied, Outcome
from engines import EngineKind
from reference.model import Model
from reference.outcome import Ambiguous, Expected, Seen
from reference.rules import Rules, Text
from sequences import Event, Generator, random_state

BATCH, BATCHES = 48, 40
LONGEST_SEARCH_S = 60  # for a smaller sequence that still differs
ROOM = 4096  # connections a worker: more than any sequence opens


@dataclass
class Difference:
    """What went wrong, with everything that led to it."""

    seed: str
    text: Text
    workers: int
    events: list[Event]
    reason: str


@dataclass
class Tally:
    packets: int = 0
    sequences: int = 0
    cut_short: int = 0  # of them, those that asked what the law leaves open
    verdicts: Counter = field(default_factory=Counter)


class Wrong(Exception):
    """The engine and the model do not agree."""


class Pair:
    """Engine and model on one sequence."""

    def __init__(self, engine: Engine, text: Text, workers: int, tally: Tally) -> None:
        self.engine, self.text, self.workers, self.tally = engine, text.copy(), workers, tally
        self.model = Model(ROOM, workers, engine.kind.rules)
        engine.begin(workers, ROOM)
        self.publish()

    def publish(self) -> None:
        self.model.publish(Rules(self.text))
        self.engine.publish(self.model.rules.text)

    def play(self, events: list[Event]) -> None:
        """Raises Wrong at the first difference."""
        rules: list[Rules] = []
        for event in events:
            if event.kind == "in":
                self.engine.put(event.frame, event.worker, event.interface, more=event.more)
            elif event.kind == "pass":
                self.engine.pass_time(event.milliseconds)
            else:
                self.text.apply(event.change)
                rules.append(Rules(self.text))
                self.engine.publish(rules[-1].text)
        outcomes = iter(self.engine.exchange())
        burst: list[Event] = []
        for event in events:
            if event.kind == "change":
                self.model.publish(rules.pop(0))
                continue
            outcome = next(outcomes)
            burst.append(event)
            if not event.more:
                self.compare(burst, outcome)
                burst = []

    def compare(self, burst: list[Event], outcome: Outcome) -> None:
        seen = Seen(outcome.frames)
        expected: list[str] = []
        for event in [*burst, None]:
            if event is None:
                result = self.model.released(seen)
            elif event.kind == "pass":
                result = self.model.pass_time(event.milliseconds)
            else:
                result = self.model.packet(event.frame, event.interface, seen)
            expected += result.verdicts
            difference = seen.take(result, self.workers == 1)
            if difference:
                raise Wrong(f"{self.told(outcome)}; the model: {' '.join(expected)}\n{difference}")
        got = sorted(name for _, name in outcome.verdicts if name != "handed_over")
        if got != sorted(expected):
            raise Wrong(f"{self.told(outcome)}; the model: {' '.join(expected)}")
        if seen.rest():
            raise Wrong(f"{self.told(outcome)}: more frames than expected: {seen.rest()[0][2].hex()}")
        self.owner(burst, outcome)
        self.tally.packets += len(burst)
        self.tally.verdicts.update(expected)

    @staticmethod
    def told(outcome: Outcome) -> str:
        return "the engine: " + " ".join(f"{name}@{worker}" for worker, name in outcome.verdicts)

    def owner(self, burst: list[Event], outcome: Outcome) -> None:
        """Hand-overs happen between workers only, twice at most, and a connection has one worker all its life."""
        last = [worker for worker, name in outcome.verdicts if name != "handed_over"]
        overs = len(outcome.verdicts) - len(last)
        if overs > (0 if self.workers == 1 else 2 * (len(burst) + len(last))):
            raise Wrong(f"{self.told(outcome)}: too many hand-overs")
        connection = self.model.touched
        if self.workers == 1 or len(last) != 1 or connection is None:
            return
        if connection.worker is not None and last != [connection.worker]:
            raise Wrong(f"{self.told(outcome)}: the connection was worker {connection.worker}'s")
        connection.worker = last[0]

    def end(self) -> None:
        self.engine.pass_time(1000)
        self.engine.end()
        closed, leaked = self.engine.exchange()[-1]
        if not closed or leaked:
            raise Wrong(f"books {'closed' if closed else 'open'}, {leaked} buffers leaked")


def run_sequence(engine: Engine, seed: str, modes: tuple[str, ...], kinds: set[str], tally: Tally) -> Difference | None:
    rng = Random(seed)
    calm = rng.random() < 0.2
    text, workers = random_state(rng, modes, calm), rng.choice((1, 1, 2))
    pair = Pair(engine, text, workers, tally)
    generator = Generator(rng, pair.text, pair.model, workers, kinds, calm)
    past: list[Event] = []
    try:
        for _ in range(BATCHES):
            events = settled(pair, generator.batch(BATCH))
            past += events
            try:
                pair.play(events)
            except Ambiguous:  # nothing to compare by from here on
                tally.cut_short += 1
                break
        tally.sequences += 1
        pair.end()
    except (Wrong, EngineDied) as reason:
        return Difference(seed, text, workers, past, str(reason))
    return None


def settled(pair: Pair, events: list[Event]) -> list[Event]:
    """Lets enough time pass where it would stop within the 20 s in which connections are allowed to expire."""
    for event in events:
        if event.kind == "pass" and event.milliseconds < 20_000:
            event.milliseconds = min(event.milliseconds, 100)
    return events


def whole_bursts(events: list[Event]) -> list[Event]:
    """After events were taken out: more of a burst follows only where a packet of the same interface does."""
    events = [copy.copy(event) for event in events]
    for this, following in zip(events, [*events[1:], Event("pass")]):
        this.more = this.more and following.kind == "in" and following.interface == this.interface
    return events


class Replayer:
    """Plays variants of a sequence, on one engine process for as long as it lives."""

    def __init__(self, kind: EngineKind, found: Difference) -> None:
        self.kind, self.found = kind, found
        self.engine: Engine | None = None
        self.until = time.monotonic() + LONGEST_SEARCH_S

    def differs(self, events: list[Event]) -> str | None:
        """The reason, or None when this variant agrees (or there is no time left to look)."""
        if time.monotonic() > self.until:
            return None
        self.engine = self.engine or Engine(self.kind)
        try:
            pair = Pair(self.engine, self.found.text, self.found.workers, Tally())
            batch: list[Event] = []
            for event in whole_bursts(events):
                batch.append(event)
                if len(batch) >= BATCH and not event.more:
                    pair.play(batch)
                    batch = []
            pair.play(batch)
            pair.end()
        except EngineDied as reason:
            self.engine = None
            return str(reason)
        except Wrong as reason:
            return str(reason)
        except Ambiguous:
            return None
        return None


def minimise(kind: EngineKind, found: Difference) -> Difference:
    """Fewer events that still differ; bursts taken apart when that does not matter. What does not differ again when it
    is played again comes back whole, and says so."""
    replayer = Replayer(kind, found)
    events, reason = [copy.copy(event) for event in found.events], found.reason
    if not replayer.differs(events):
        return Difference(found.seed, found.text, found.workers, events, f"{reason}\n(not when it is played again)")
    single = [copy.copy(event) for event in events]
    for event in single:
        event.more = False
    why = replayer.differs(single)
    if why:
        events, reason = single, why
    size = max(1, len(events) // 2)
    while size:
        at = 0
        while at < len(events):
            fewer = events[:at] + events[at + size:]
            why = replayer.differs(fewer) if fewer else None
            if why:
                events, reason = fewer, why
            else:
                at += size
        size //= 2
    if replayer.engine:
        replayer.engine.close()
    return Difference(found.seed, found.text, found.workers, events, reason)


def as_vector(kind: EngineKind, found: Difference) -> str:
    """In the vectors' own notation, the model's answers filled in."""
    text = found.text.copy()
    model = Model(ROOM, found.workers, kind.rules)
    model.publish(Rules(text))
    lines = [f"# seed {found.seed}: {found.reason.splitlines()[0]}", "# state:"]
    lines += [f"#   {line}" for line in model.rules.text.splitlines()]
    lines += ["vector found-by-chance", f"  workers {found.workers}"]
    for event in found.events:
        if event.kind == "change":
            lines.append(f"  change {event.change}")
            text.apply(event.change)
            model.publish(Rules(text))
        elif event.kind == "pass":
            lines.append(f"  pass {event.milliseconds}ms")
            model.pass_time(event.milliseconds)
        else:
            interface = list(text.rows["interface"])[event.interface]
            lines.append(f"  in worker={event.worker} interface={interface} hex {event.frame.hex()}")
            lines += _answers(model.packet(event.frame, event.interface, None), list(text.rows["interface"]))
            model.released()
    return "\n".join(lines + [f"# {line}" for line in found.reason.splitlines()])


def _answers(expected: Expected, interfaces: list[str]) -> list[str]:
    lines = [f"  gives {' '.join(expected.verdicts) or 'nothing'}"]
    for way, interface, frame in expected.frames:
        lines.append(f"  out {interfaces[interface]} hex {frame.hex()}" if way == 0 else "  kernel")
    return lines


MODES = ("dsr-l2", "nat", "full-nat", "nat", "full-nat", "dsr-ipip", "dsr-gue")
KINDS = {"fragments", "icmp-errors"}


def run_share(kind: EngineKind, seed: int, job: int, jobs: int, packets: int) -> tuple[Tally, str | None]:
    """Every `jobs`th sequence of a seed, until this many packets have gone through; a difference as a vector."""
    tally, number = Tally(), job
    engine = Engine(kind)
    while tally.packets < packets:
        found = run_sequence(engine, f"{seed}.{number}", MODES, KINDS, tally)
        if found:
            return tally, as_vector(kind, minimise(kind, found))
        number += jobs
    engine.close()
    return tally, None


def run_random(kind: EngineKind, packets: int, seed: int, jobs: int) -> tuple[Tally, list[str]]:
    """Random sequences on `jobs` processes."""
    whole, found = Tally(), []
    with ProcessPoolExecutor(jobs) as pool:
        shares = [pool.submit(run_share, kind, seed, job, jobs, packets // jobs) for job in range(jobs)]
        for share in shares:
            tally, difference = share.result()
            whole.packets += tally.packets
            whole.sequences += tally.sequences
            whole.cut_short += tally.cut_short
            whole.verdicts.update(tally.verdicts)
            found += [difference] if difference else []
    return whole, found
