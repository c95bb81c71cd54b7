# SPDX-License-Identifier: BSD-3-Clause
"""The engines that are held to the law, and what is permitted to each."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from engine import ROOT

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Permitted:
    """One way in which an engine differs on purpose."""

    name: str
    modelled: bool  # the reference model follows it
    sentence: str
    vectors: tuple[str, ...] = ()


@dataclass(frozen=True)
class EngineKind:
    name: str
    permitted: tuple[Permitted, ...] = field(default=())
    not_yet: frozenset[str] = frozenset()  # vectors that it will pass one day

    @property
    def program(self) -> Path:
        build = Path(os.environ.get("WEIR_BUILD_DIR", ROOT / "build"))
        return build / "tests/conformance" / f"conformance_{self.name}"

    @property
    def rules(self) -> frozenset[str]:
        """What model and generator are told."""
        return frozenset(entry.name for entry in self.permitted) | {f"not-yet-{name}" for name in self.not_yet}

    def permission(self, vector: str) -> Permitted | None:
        return next((entry for entry in self.permitted if vector in entry.vectors), None)


def read_permitted(path: Path) -> tuple[Permitted, ...]:
    found: list[Permitted] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        word, _, rest = line.partition(" ")
        if not line or word == "#":
            continue
        if word in ("rule", "limit"):
            name, _, sentence = rest.partition(" ")
            found.append(Permitted(name, word == "rule", sentence))
        elif word == "vectors":
            last = found.pop()
            found.append(Permitted(last.name, last.modelled, last.sentence, tuple(rest.split())))
        else:
            raise ValueError(f"{path.name}:{number}: {line}")
    return tuple(found)


def read_names(path: Path) -> frozenset[str]:
    names = (line.split("#")[0].strip() for line in path.read_text().splitlines())
    return frozenset(name for name in names if name)


DPDK = EngineKind("dpdk")
XDP = EngineKind("xdp", read_permitted(HERE / "permitted_xdp.txt"), read_names(HERE / "not_yet_xdp.txt"))
ENGINES = {kind.name: kind for kind in (DPDK, XDP)}
