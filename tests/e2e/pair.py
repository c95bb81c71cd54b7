# SPDX-License-Identifier: BSD-3-Clause
"""Two Weirs on one switch, with a VIP between them at the default timers; and when each of them was heard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from keepalived import VrrpCapture
from lab import LAN4, LAN6, LB4, LB6, MAC, UPLINK, VIP4, VIP6, Lab
from lateness import Lateness
from netns import Namespace, wait_for
from spec import Spec
from weir import Weir

SECRET = "one secret for both of them\n"
INTERVAL_S = 0.030
PRIORITIES = {"a": 200, "b": 100}
SECOND4, SECOND6 = LAN4.format(4), LAN6.format(4)
VIP, VIP_V6 = VIP4["full-nat"], VIP6["full-nat"]


def skew_s(priority: int) -> float:
    return (256 - priority) / 256 * INTERVAL_S


def spec_of(name: str, shared: Path, more: Mapping[str, Any]) -> Spec:
    settings = {"device": "veth", "modes": ("full-nat",), "families": (4,), "protocols": ("tcp",), **more}
    return Spec(**settings,
                extra=f'[cluster]\nhash_key_file = "{shared}/flow.key"\n\n'
                '[ownership]\nmode = "vrrp"\n\n[ownership.group.main]\nvrid = 77\n'
                f'priority = {PRIORITIES[name]}\nsecret_file = "{shared}/vrrp.secret"\n')


class Pair:
    """Nodes a (the lab's balancer) and b (one more on the same switch). MORE: of their Spec."""

    def __init__(self, lab: Lab, lateness: Lateness, **more: Any) -> None:
        self.lab, self.lateness = lab, lateness
        (lab.work / "vrrp.secret").write_text(SECRET)
        self.second = Namespace(f"{lab.tag}-lb2").create()
        lab.plug(self.second, UPLINK, MAC.format(4), None, None, queues=2)
        other = SimpleNamespace(lb=self.second, work=lab.work / "second", bpffs=lab.bpffs / "second",
                                reset_lb=lambda: None,
                                let_xdp_send=lambda program: lab.let_xdp_send(program, self.second))
        spec = spec_of("b", lab.work, more)
        self.a = Weir(lab, spec_of("a", lab.work, more), "node-a")
        self.b = Weir(other, spec, "node-b")
        self.text_b = spec.toml().replace(f'"{LB4}/', f'"{SECOND4}/').replace(f'"{LB6}/', f'"{SECOND6}/')
        self.capture = VrrpCapture(lab.switch, "br0", lab.work / "pair.txt")

    def start(self) -> None:
        self.b.start(self.text_b)
        self.a.start()
        self.wait_owner("a")

    def stop(self) -> None:
        for weir in (self.a, self.b):
            weir.stop()
        self.capture.stop()
        self.lab.switch.ip(f"link del {self.lab.port_of(self.second, UPLINK)}", check=False)
        self.second.delete()

    def has(self, name: str) -> bool:
        ns = self.lab.lb if name == "a" else self.second
        return f" {VIP}/32" in ns.ip(f"-o addr show dev {UPLINK}")

    def wait_owner(self, name: str, timeout_s: float = 10) -> None:
        other = "b" if name == "a" else "a"
        wait_for(f"{name} alone owns the VIP", lambda: self.has(name) and not self.has(other), timeout_s, 0.01)

    def times(self, since: float) -> dict[str, list[tuple[float, int]]]:
        """Adverts (time, priority) of each node."""
        sources = {LB4: "a", SECOND4: "b"}
        found: dict[str, list[tuple[float, int]]] = {"a": [], "b": []}
        for advert in self.capture.adverts():
            if advert.vrid == 77 and advert.at >= since and advert.source in sources:
                found[sources[advert.source]].append((advert.at, advert.priority))
        return found

    def takeover_s(self, cut: float) -> tuple[float, float]:
        """From a's last advert of an owner to b's first after the moment CUT; and how late the machine was meanwhile."""
        seen = self.times(cut - 1)
        first = min(at for at, _ in seen["b"] if at >= cut)
        last = max(at for at, priority in seen["a"] if priority and at < first)
        return first - last, self.lateness.worst_s(last, first)
