# SPDX-License-Identifier: BSD-3-Clause
"""The same flow has the same backend on both engines: a host can change from one to the other, and two nodes need not have
the same."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))

import frames  # noqa: E402
from engine import SENT, Engine  # noqa: E402
from engines import DPDK, XDP, EngineKind  # noqa: E402
from reference.rules import Rules, Text, address  # noqa: E402

TUPLES = 10_000
BACKENDS = range(1, 8)
ROOM = 4 * TUPLES
BATCH = 500
# family, protocol -> address of the VIP
VIPS = {(4, "tcp"): "203.0.113.10", (4, "udp"): "203.0.113.11", (6, "tcp"): "2001:db8:f::10", (6, "udp"): "2001:db8:f::11"}
Tuple = tuple[int, str, bytes, int, int]


def state(scheduler: str, key: tuple[int, int]) -> Text:
    """Each backend has a next hop of its own, whose MAC tells which it is."""
    text = Text(key=key)
    text.apply("interface lan mac=02:00:00:00:00:aa")
    for n in BACKENDS:
        text.apply(f"hop h{n} mac=02:00:00:00:01:{n:02x} interface=lan")
    for (family, protocol), vip in VIPS.items():
        name = f"{protocol}{family}"
        text.apply(f"pool {name} scheduler={scheduler} size=65537")
        for n in BACKENDS:
            at = f"10.0.0.{n}" if family == 4 else f"2001:db8:b::{n}"
            text.apply(f"backend {name}.{n} address={at} hop=h{n} weight={1 + n % 3}")
        text.apply(f"vip {name} address={vip} protocol={protocol} ports=all mode=dsr-l2 pool={name} tracking=full")
    return text


def random_tuples(rng: Random) -> list[Tuple]:
    return [(family, protocol, rng.randbytes(3).rjust(4, b"\x0a") if family == 4 else b"\x20\x01" + rng.randbytes(14),
             rng.randrange(1024, 65536), rng.randrange(1, 65536))
            for family, protocol in rng.choices(list(VIPS), k=TUPLES)]


def frame_of(flow: Tuple) -> bytes:
    family, protocol, client, source, destination = flow
    vip = address(VIPS[family, protocol])
    number, l4 = (6, frames.tcp(client, vip, source, destination, 0x02)) if protocol == "tcp" else \
        (17, frames.udp(client, vip, source, destination, b"hello"))
    ethertype = 0x0800 if family == 4 else 0x86DD
    return frames.ethernet(frames.ROUTER_MACS[0], ethertype) + frames.ip(client, vip, number, l4)


def backends_by(kind: EngineKind, text: Text, flows: list[Tuple]) -> list[int]:
    engine = Engine(kind)
    try:
        engine.begin(1, ROOM)
        engine.publish(Rules(text).text)
        chosen = []
        for first in range(0, len(flows), BATCH):
            for flow in flows[first:first + BATCH]:
                engine.put(frame_of(flow))
            for outcome in engine.exchange():
                assert [name for _, name in outcome.verdicts] == ["forwarded"]
                [(way, _, frame)] = outcome.frames
                assert way == SENT
                chosen.append(frame[5])
        return chosen
    finally:
        engine.close()


@pytest.mark.parametrize("scheduler", ("maglev", "source-hash"))
def test_ten_thousand_tuples_have_one_backend(scheduler: str) -> None:
    rng = Random(f"same backend {scheduler}")
    key = rng.getrandbits(64), rng.getrandbits(64)
    flows = random_tuples(rng)
    by_dpdk = backends_by(DPDK, state(scheduler, key), flows)
    by_xdp = backends_by(XDP, state(scheduler, key), flows)
    assert set(by_dpdk) == set(BACKENDS)
    different = [flow for flow, one, other in zip(flows, by_dpdk, by_xdp) if one != other]
    assert not different, f"{len(different)} of {len(flows)}, the first: {different[0]}"
    # Negative control: the comparison sees a difference, of the key alone.
    moved = backends_by(XDP, state(scheduler, (key[0] ^ 1, key[1])), flows)
    assert Counter(a != b for a, b in zip(by_dpdk, moved))[True] > TUPLES / 2
