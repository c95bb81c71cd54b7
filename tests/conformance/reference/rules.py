# SPDX-License-Identifier: BSD-3-Clause
"""The state a sequence runs under. One row a line, `kind name key=value ...`, the text that engines are given too:

    key 11 22                        hash key
    node tunnel_v4=10.9.0.0 tunnel_v4_count=16 gue_port=6080 grace=0 answers_pps=100000 icmp_pps=1000
    interface lan mac=02:00:00:00:00:aa mtu=1500 vlan=none kernel=yes
    hop h1 mac=02:00:00:00:01:00 interface=lan mtu=1500 vlan=none resolved=yes
    backend b1 address=10.0.0.11 port=8080 hop=h1 state=up weight=1 max=0
    pool web scheduler=maglev size=13 members=b1,b2 persistence=0 prefix_v4=24 prefix_v6=64 was=none
    vip web address=203.0.113.10 protocol=tcp ports=80 mode=nat pool=web down=reset ...
    snat s1 address=192.0.2.64 ports=40000-40063
    local 192.0.2.2                  an address of the node's own

`was` of a pool: the members it had before the window that is open (for VIPs with tracking=exceptions).
Rows are numbered in the order they stand in; a row given again changes the keys it names. `full()` fills the defaults in,
so that an engine's reader needs none.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass, field

from . import hashes

MODES = ("dsr-l2", "nat", "full-nat", "dsr-ipip", "dsr-gue")
DSR = ("dsr-l2", "dsr-ipip", "dsr-gue")

DEFAULTS: dict[str, dict[str, str]] = {
    "node": {"tunnel_v4": "0.0.0.0", "tunnel_v4_count": "0", "tunnel_v6": "::", "tunnel_v6_count": "0",
             "gue_port": "6080", "grace": "0", "answers_pps": "0", "icmp_pps": "0"},
    "interface": {"mac": "02:00:00:00:00:aa", "mtu": "1500", "vlan": "none", "kernel": "yes"},
    "hop": {"mac": "", "interface": "lan", "mtu": "1500", "vlan": "none", "resolved": "yes"},
    "backend": {"address": "", "port": "0", "hop": "none", "state": "up", "weight": "1", "max": "0"},
    "pool": {"scheduler": "maglev", "size": "13", "members": "auto", "persistence": "0", "prefix_v4": "24",
             "prefix_v6": "64", "was": "none"},
    "vip": {"address": "", "protocol": "tcp", "ports": "80", "mode": "nat", "pool": "", "down": "auto", "max": "0",
            "timeouts": "30,3600,60,10,60", "all_down": "open", "on_limit": "drop", "clamp": "yes", "too_big": "yes",
            "recovers": "auto", "served": "yes", "tracking": "full"},
    "snat": {"address": "", "ports": "40000-40063"},
}


def address(text: str) -> bytes:
    """4 or 16 bytes."""
    return socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text)


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


@dataclass
class Text:
    """The rows as given, editable: a sequence changes its state by giving rows again."""

    key: tuple[int, int] = (11, 22)
    rows: dict[str, dict[str, dict[str, str]]] = field(default_factory=lambda: {kind: {} for kind in DEFAULTS})
    local: list[str] = field(default_factory=list)

    def apply(self, line: str) -> None:
        words = line.split()
        kind = words[0]
        if kind == "key":
            self.key = (int(words[1]), int(words[2]))
        elif kind == "local":
            self.local.append(words[1])
        elif kind == "remove":
            del self.rows[words[1]][words[2]]
        elif kind in DEFAULTS:
            name, given = ("node", words[1:]) if kind == "node" else (words[1], words[2:])
            row = self.rows[kind].setdefault(name, dict(DEFAULTS[kind]))
            for pair in given:
                key, _, value = pair.partition("=")
                if key not in DEFAULTS[kind]:
                    raise ValueError(f"{kind} has no {key!r}: {line}")
                row[key] = value
        else:
            raise ValueError(f"unknown row: {line}")

    def copy(self) -> Text:
        rows = {kind: {name: dict(row) for name, row in named.items()} for kind, named in self.rows.items()}
        return Text(self.key, rows, list(self.local))

    def own(self, pool: str) -> list[str]:
        """The backends of a pool: those named `pool.something`; without any, all there are."""
        named = self.rows["backend"]
        return [b for b in named if b.startswith(pool + ".")] or list(named)

    def members(self, pool: str) -> list[str]:
        """Backends a pool balances over. `auto`: those that are up and have a weight; none is: all that are not
        drained, unless every VIP of the pool asks for something else (on_all_down)."""
        row = self.rows["pool"][pool]
        if row["members"] != "auto":
            return [name for name in row["members"].split(",") if name and name != "none"]
        named, own = self.rows["backend"], self.own(pool)
        up = [b for b in own if named[b]["state"] == "up" and named[b]["weight"] != "0"]
        if up:
            return up
        closed = all(v["all_down"] != "open" for v in self.rows["vip"].values() if v["pool"] == pool)
        return [] if closed else [b for b in own if named[b]["state"] == "down"]

    def full(self) -> str:
        """Every row with every key."""
        lines = [f"key {self.key[0]} {self.key[1]}"]
        if "node" not in self.rows["node"]:
            self.apply("node")
        for kind in DEFAULTS:
            for name, row in self.rows[kind].items():
                row = dict(row)
                if kind == "pool":
                    row["members"] = ",".join(self.members(name)) or "none"
                    row["own"] = ",".join(self.own(name)) or "none"
                if kind == "vip":
                    row.update(self.policies(row))
                lines.append(" ".join([kind, name, *(f"{key}={value}" for key, value in row.items())]))
        return "\n".join(lines + [f"local {text}" for text in self.local]) + "\n"

    def policies(self, vip: dict[str, str]) -> dict[str, str]:
        """What `auto` means: the product's defaults."""
        hashed = self.rows["pool"][vip["pool"]]["scheduler"] in ("maglev", "source-hash")
        recovers = "yes" if hashed and vip["mode"] != "full-nat" else "no"
        down = "reselect" if vip["protocol"] == "udp" or vip["mode"] in DSR else "reset"
        return {"recovers": recovers if vip["recovers"] == "auto" else vip["recovers"],
                "down": down if vip["down"] == "auto" else vip["down"]}


class Interface:
    def __init__(self, name: str, index: int, row: dict[str, str]) -> None:
        self.name, self.index = name, index
        self.mac, self.mtu = mac(row["mac"]), int(row["mtu"])
        self.kernel = row["kernel"] == "yes"


class Hop:
    def __init__(self, row: dict[str, str], interfaces: dict[str, Interface]) -> None:
        self.interface = interfaces[row["interface"]]
        self.mtu = int(row["mtu"])
        self.resolved = row["resolved"] == "yes"
        self.vlan = None if row["vlan"] == "none" else int(row["vlan"])
        self.ethernet = ethernet(mac(row["mac"]), self.interface.mac, self.vlan)


def ethernet(to: bytes, source: bytes, vlan: int | None) -> bytes:
    """Everything of a frame before its ethertype."""
    return to + source + (b"" if vlan is None else b"\x81\x00" + vlan.to_bytes(2, "big"))


class Backend:
    def __init__(self, name: str, row: dict[str, str], hops: dict[str, Hop]) -> None:
        self.name, self.state, self.weight = name, row["state"], int(row["weight"])
        self.address, self.port = address(row["address"]), int(row["port"])
        self.family = 4 if len(self.address) == 4 else 6
        self.hop = hops.get(row["hop"])
        self.max = int(row["max"])


class Pool:
    def __init__(self, name: str, row: dict[str, str], members: list[Backend], own: list[str], was: list[Backend]) -> None:
        self.name, self.scheduler, self.size = name, row["scheduler"], int(row["size"])
        self.members, self.own, self.was = members, own, was
        self.persistence = int(row["persistence"])
        self.prefix = {4: int(row["prefix_v4"]), 6: int(row["prefix_v6"])}

    def network_of(self, client: bytes) -> bytes:
        """The client's address with all behind the prefix cleared."""
        kept = self.prefix[4 if len(client) == 4 else 6]
        bits = int.from_bytes(client, "big") >> (8 * len(client) - kept) << (8 * len(client) - kept)
        return bits.to_bytes(len(client), "big")

    def table(self, members: list[Backend]) -> list[int]:
        return hashes.maglev(tuple((*hashes.identity(b.address, b.port), b.weight or 1) for b in members), self.size)

    def oldest(self, flow_hash: int) -> Backend | None:
        """Whose the flow's slot was before, where it was another's."""
        if not self.was or not self.members:
            return None
        at = hashes.slot_of(flow_hash, self.size)
        backend = self.was[self.table(self.was)[at]]
        return None if backend is self.members[self.table(self.members)[at]] else backend

    def slot(self, flow_hash: int, full: set[str]) -> Backend | None:
        """The Maglev slot's backend, or that of the first slot behind it whose backend has room."""
        table = self.table(self.members)
        first = hashes.slot_of(flow_hash, self.size)
        for at in (*range(first, self.size), *range(first)):
            backend = self.members[table[at]]
            if backend.name not in full:
                return backend
        return None


class Vip:
    def __init__(self, name: str, row: dict[str, str], pools: dict[str, Pool]) -> None:
        self.name, self.mode, self.pool = name, row["mode"], pools[row["pool"]]
        self.address, self.protocol = address(row["address"]), {"tcp": 6, "udp": 17}[row["protocol"]]
        first, _, last = row["ports"].partition("-")
        self.ports = None if first == "all" else (int(first), int(last or first))
        self.down, self.max = row["down"], int(row["max"])
        self.timeouts = [int(seconds) for seconds in row["timeouts"].split(",")]
        self.all_down, self.on_limit = row["all_down"], row["on_limit"]
        self.clamp, self.too_big = row["clamp"] == "yes", row["too_big"] == "yes"
        self.recovers, self.served = row["recovers"] == "yes", row["served"] == "yes"
        self.is_dsr = self.mode in DSR
        self.exceptions = row["tracking"] == "exceptions"


class Snat:
    def __init__(self, name: str, row: dict[str, str]) -> None:
        self.name, self.address = name, address(row["address"])
        first, _, last = row["ports"].partition("-")
        self.first, self.last = int(first), int(last or first)


class Rules:
    """The same, ready for look-ups."""

    def __init__(self, text: Text) -> None:
        self.text = text.full()
        rows = text.rows
        node = rows["node"]["node"]
        self.key = text.key
        self.grace_s, self.answers_pps = int(node["grace"]), int(node["answers_pps"])
        self.icmp_pps = int(node["icmp_pps"])
        self.tunnel = {4: (address(node["tunnel_v4"]), int(node["tunnel_v4_count"])),
                       6: (address(node["tunnel_v6"]), int(node["tunnel_v6_count"]))}
        self.gue_port = int(node["gue_port"])
        interfaces = {name: Interface(name, i, row) for i, (name, row) in enumerate(rows["interface"].items())}
        self.interfaces = list(interfaces.values())
        hops = {name: Hop(row, interfaces) for name, row in rows["hop"].items()}
        self.backends = {name: Backend(name, row, hops) for name, row in rows["backend"].items()}
        pools = {name: Pool(name, row, [self.backends[b] for b in text.members(name)], text.own(name),
                            [self.backends[b] for b in row["was"].split(",") if b != "none"])
                 for name, row in rows["pool"].items()}
        self.vips = {name: Vip(name, {**row, **text.policies(row)}, pools) for name, row in rows["vip"].items()}
        self.snat = [Snat(name, row) for name, row in rows["snat"].items()]
        self._index(text)

    def _index(self, text: Text) -> None:
        self.exact: dict[tuple[bytes, int, int], tuple[str, object]] = {}
        self.ranges: dict[tuple[bytes, int], list[tuple[int, int, str, object]]] = {}
        self.all_ports: dict[tuple[bytes, int], tuple[str, object]] = {}
        self.addresses: dict[bytes, str] = {address(local): "local" for local in text.local}
        self.has_nat = False
        for vip in self.vips.values():
            if not vip.served:
                continue
            self.addresses[vip.address] = "vip-address"
            if vip.ports is None:
                self.all_ports[vip.address, vip.protocol] = ("vip", vip)
            elif vip.ports[0] == vip.ports[1]:
                self.exact[vip.address, vip.protocol, vip.ports[0]] = ("vip", vip)
            else:
                self.ranges.setdefault((vip.address, vip.protocol), []).append((*vip.ports, "vip", vip))
            if vip.mode == "nat":
                self._index_nat(vip, text)
        for snat in self.snat:
            for protocol in {vip.protocol for vip in self.vips.values() if vip.mode == "full-nat"}:
                self.ranges.setdefault((snat.address, protocol), []).append((snat.first, snat.last, "snat", snat))

    def _index_nat(self, vip: Vip, text: Text) -> None:
        """What the backends of a `nat` VIP send from their service ports are replies."""
        self.has_nat = True
        for backend in (self.backends[name] for name in text.own(vip.pool.name)):
            ports = (backend.port, backend.port) if backend.port else vip.ports
            if ports is None:
                self.all_ports.setdefault((backend.address, vip.protocol), ("backend", backend))
            elif ports[0] == ports[1]:
                self.exact.setdefault((backend.address, vip.protocol, ports[0]), ("backend", backend))
            else:
                self.ranges.setdefault((backend.address, vip.protocol), []).append((*ports, "backend", backend))

    def endpoint(self, at: bytes, protocol: int, port: int) -> tuple[str, object] | None:
        """The most specific meaning: this port, a range with it, all ports."""
        found = self.exact.get((at, protocol, port))
        if found:
            return found
        for first, last, kind, what in self.ranges.get((at, protocol), ()):
            if first <= port <= last:
                return kind, what
        return self.all_ports.get((at, protocol))
