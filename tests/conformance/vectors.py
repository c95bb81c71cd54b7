# SPDX-License-Identifier: BSD-3-Clause
"""Vectors: what goes in, what must come out, literally. Text files, one word a line's meaning:

    vector NAME [what it shows]
    state NAME              a state of states.txt
    workers N               1 unless said
    room N [HALF_OPEN]      connections a worker
    change ROW              a row of the state given again (reference/rules.py): the next generation
    unpublish               no generation at all
    pass 31s | 250ms
    in [worker=N] [interface=NAME] [kernel] PACKET     (notation.py)
    gives VERDICT ...       one for each packet that the line led to; `nothing` for none
    out INTERFACE PACKET    what is sent, in order
    = HEX                   the same, literally, `..` for what the engine chooses; may go on over several lines
    kernel [PACKET]         given to the kernel; as it came unless written out

`run.py --write` fills the `=` lines in from the `out` lines, never from an engine: review them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import notation
from engine import KERNEL_CONTROL, SENT, Engine, EngineDied, Outcome
from reference.model import Model
from reference.outcome import Expected, Seen
from reference.rules import Rules, Text

HERE = Path(__file__).resolve().parent
FILES = HERE / "vectors"


@dataclass
class Out:
    way: str  # "sent" or "kernel"
    interface: str
    packet: str | None  # None: as it came in
    hex: str = ""
    line: int = 0


@dataclass
class Step:
    kind: str  # in, change, unpublish, pass
    line: int
    packet: str = ""
    worker: int = 0
    interface: str = ""
    from_kernel: bool = False
    change: str = ""
    milliseconds: int = 0
    verdicts: list[str] | None = None
    outs: list[Out] = field(default_factory=list)


@dataclass
class Vector:
    name: str
    file: Path
    line: int
    title: str = ""
    state: str = ""
    workers: int = 1
    room: tuple[int, int] = (1024, 1024)
    steps: list[Step] = field(default_factory=list)


class Mistake(Exception):
    """The vector itself is wrong."""


def states() -> dict[str, Text]:
    """states.txt: `state NAME [like OTHER]`, then rows."""
    found: dict[str, Text] = {}
    name = ""
    for line in (FILES / "states.txt").read_text().splitlines():
        words = line.split("#")[0].split()
        if not words:
            continue
        if words[0] == "state":
            name = words[1]
            found[name] = found[words[3]].copy() if words[2:3] == ["like"] else Text()
        else:
            found[name].apply(" ".join(words))
    return found


def milliseconds(text: str) -> int:
    return int(text[:-2]) if text.endswith("ms") else int(text.removesuffix("s")) * 1000


def parse(path: Path) -> list[Vector]:
    vectors: list[Vector] = []
    for number, raw in enumerate(path.read_text().splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        word, _, rest = line.partition(" ")
        if word == "vector":
            name, _, title = rest.partition(" ")
            vectors.append(Vector(name, path, number, title))
            continue
        try:
            _line(vectors[-1], word, rest.strip(), number)
        except (ValueError, IndexError, KeyError) as problem:
            raise Mistake(f"{path.name}:{number}: {problem!r}: {line}") from problem
    return vectors


def _line(vector: Vector, word: str, rest: str, number: int) -> None:
    if word == "state":
        vector.state = rest
    elif word == "workers":
        vector.workers = int(rest)
    elif word == "room":
        sizes = [int(size) for size in rest.split()]
        vector.room = (sizes[0], sizes[-1])
    elif word in ("change", "unpublish"):
        vector.steps.append(Step(word, number, change=rest))
    elif word == "pass":
        vector.steps.append(Step("pass", number, milliseconds=milliseconds(rest)))
    elif word == "in":
        step = Step("in", number)
        while not rest.startswith("eth ") and not rest.startswith("hex "):
            option, _, rest = rest.partition(" ")
            key, _, value = option.partition("=")
            if key == "worker":
                step.worker = int(value)
            elif key == "interface":
                step.interface = value
            elif key == "kernel":
                step.from_kernel = True
            else:
                raise ValueError(option)
        step.packet = rest
        vector.steps.append(step)
    elif word == "gives":
        vector.steps[-1].verdicts = [] if rest == "nothing" else rest.split()
    elif word == "out":
        interface, _, packet = rest.partition(" ")
        vector.steps[-1].outs.append(Out("sent", interface, packet, line=number))
    elif word == "kernel":
        vector.steps[-1].outs.append(Out("kernel", "", rest or None, line=number))
    elif word == "=":
        vector.steps[-1].outs[-1].hex += rest.replace(" ", "")
    else:
        raise ValueError(word)


def all_vectors() -> list[Vector]:
    vectors = [vector for path in sorted(FILES.glob("*.vectors")) for vector in parse(path)]
    names = [vector.name for vector in vectors]
    doubled = {name for name in names if names.count(name) > 1}
    if doubled:
        raise Mistake(f"two vectors are named {', '.join(sorted(doubled))}")
    return vectors


class Check:
    """One vector on one engine (or on the model alone, engine None)."""

    def __init__(self, vector: Vector, base: dict[str, Text], engine: Engine | None, by_model: bool = False) -> None:
        """`by_model`: the engine is held to the model with the engine's own rules, not to what is written."""
        self.vector, self.engine, self.by_model = vector, engine, by_model
        self.text = base[vector.state].copy()
        self.model = Model(vector.room[0], vector.workers, engine.kind.rules if engine and by_model else frozenset())
        self.bound: dict[str, int] = {}
        self.problems: list[str] = []

    def run(self) -> list[str]:
        """What is wrong, empty when nothing is."""
        vector, engine = self.vector, self.engine
        if engine:
            engine.begin(vector.workers, *vector.room)
        self.publish()
        for step in vector.steps:
            self.step(step)
            if self.problems:
                break
        if engine:
            engine.end()
            closed, leaked = engine.exchange()[-1]
            if not closed:
                self.problems.append("the books do not close")
            if leaked:
                self.problems.append(f"{leaked} packet buffers leaked")
        return [f"{vector.file.name}:{vector.name}: {problem}" for problem in self.problems]

    def publish(self) -> None:
        self.model.publish(Rules(self.text))
        if self.engine:
            self.engine.publish(self.text.full())

    def step(self, step: Step) -> None:
        if step.kind == "change":
            self.text.apply(step.change)
            return self.publish()
        if step.kind == "unpublish":
            self.model.publish(None)
            return self.engine.unpublish() if self.engine else None
        seen: Outcome | None = None
        frame = notation.build(step.packet, self.bound) if step.kind == "in" else b""
        interface = self.interface(step.interface) if step.kind == "in" else 0
        if self.engine:
            if step.kind == "pass":
                self.engine.pass_time(step.milliseconds)
            else:
                self.engine.put(frame, step.worker, interface, step.from_kernel)
            seen = self.engine.exchange()[-1]
            if not self.by_model:
                self.compare(step, frame, "engine", [name for _, name in seen.verdicts], seen.frames)
        frames = Seen(seen.frames) if seen else None
        if step.kind == "pass":
            expected = self.model.pass_time(step.milliseconds)
        elif step.from_kernel:
            expected = Expected(["from_kernel"], [(SENT, interface, frame)])
        else:
            expected = self.model.packet(frame, interface, frames)
            later = self.model.released(frames)
            expected = Expected(expected.verdicts + later.verdicts, expected.frames + later.frames)
        if self.by_model:
            self.agree(step, seen, frames, expected)
        else:
            self.compare(step, frame, "model", expected.verdicts, expected.frames)

    def agree(self, step: Step, outcome: Outcome, frames: Seen, expected: Expected) -> None:
        """The engine with the model."""
        verdicts = sorted(name for _, name in outcome.verdicts)
        difference = frames.take(expected) or (f"sent more: {frames.rest()}" if frames.rest() else None)
        if verdicts != sorted(expected.verdicts):
            difference = f"gives {' '.join(verdicts) or 'nothing'}, the model {' '.join(expected.verdicts) or 'nothing'}"
        if difference:
            self.problems.append(f"line {step.line}: {difference}")

    def interface(self, name: str) -> int:
        names = list(self.text.rows["interface"])
        return names.index(name) if name else 0

    def compare(self, step: Step, frame: bytes, who: str, verdicts: list[str], frames: list[tuple[int, int, bytes]]) -> None:
        def wrong(text: str) -> None:
            self.problems.append(f"line {step.line}: {who}: {text}")

        wanted = step.verdicts
        if wanted is None:
            wanted = [] if step.kind == "pass" else ["?"]
        # Whether it comes to the right worker is the engine's business; where a vector says so, it is held to that.
        if who == "model" or "handed_over" not in wanted:
            verdicts, wanted = ([name for name in names if name != "handed_over"] for names in (verdicts, wanted))
        if sorted(verdicts) != sorted(wanted):
            wrong(f"gives {' '.join(verdicts) or 'nothing'}, not {' '.join(wanted) or 'nothing'}")
        if len(frames) != len(step.outs):
            wrong(f"{len(frames)} frames come out, not {len(step.outs)}: {' '.join(f.hex() for _, _, f in frames)}")
            return
        for out, (way, interface, actual) in zip(step.outs, frames):
            if (out.way == "sent") != (way == SENT):
                wrong(f"line {out.line}: went {'out' if way == SENT else 'to the kernel'}")
            if out.way == "sent" and interface != self.interface(out.interface):
                wrong(f"line {out.line}: left by interface {interface}")
            if out.way == "kernel" and "punted_control" in wanted and way != KERNEL_CONTROL:
                wrong(f"line {out.line}: not in the class of control protocols")
            if out.packet is None:
                exact = frame
            else:
                notation.bind(out.packet, self.bound, actual)
                exact = notation.build(out.packet, {name: 0 for name in notation.symbols(out.packet)} | self.bound)
            if actual != exact:
                wrong(f"line {out.line}:\n    sent {actual.hex()}\n    want {exact.hex()}")
            if out.packet is not None and not _matches(out.hex, actual):
                wrong(f"line {out.line}: not the literal bytes:\n    sent    {actual.hex()}\n    literal {out.hex}")


def judge(vector: Vector, base: dict[str, Text], engine: Engine | None) -> list[str]:
    """What is wrong with the vector on this engine, with what is permitted to it taken into account."""
    permission = engine.kind.permission(vector.name) if engine else None
    if engine and vector.name in engine.kind.not_yet:
        done = not Check(vector, base, engine).run()
        return [f"{vector.file.name}:{vector.name}: passes; take it out of what is not yet expected to"] if done else []
    if permission is None:
        return Check(vector, base, engine).run()
    try:
        differs = Check(vector, base, engine).run()
    except EngineDied:
        return []
    if not differs:
        return [f"{vector.file.name}:{vector.name}: passes as written; take it out of what {permission.name} permits"]
    return Check(vector, base, engine, by_model=True).run() if permission.modelled else []


def _matches(literal: str, frame: bytes) -> bool:
    text = frame.hex()
    return len(text) == len(literal) and all(b in (".", a) for a, b in zip(text, literal))


def write_literals(path: Path) -> None:
    """Fills the `=` lines in from what the `out` lines say. Ports that an earlier line left to the engine stay open."""
    lines: list[str] = []
    for raw in path.read_text().splitlines():
        line = raw.strip()
        if line.startswith("= "):
            continue
        lines.append(raw.rstrip())
        word, _, rest = line.partition(" ")
        packet = rest.partition(" ")[2] if word == "out" else rest if word == "kernel" else ""
        if packet:
            text = notation.literal(packet, {})
            indent = " " * (len(raw) - len(raw.lstrip()) + 2)
            lines += [f"{indent}= {text[at:at + 100]}" for at in range(0, len(text), 100)]
    path.write_text("\n".join(lines) + "\n")
