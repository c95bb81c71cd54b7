# SPDX-License-Identifier: BSD-3-Clause
"""Packets as a line of text: layers joined by ` / `, each a word, a from>to pair where it has one, and key=value.

    eth client>lb vlan=10 / ip 198.51.100.7>203.0.113.10 ttl=9 / tcp 30000>80 S mss=1460 / data 10

Lengths, checksums and next-header fields are computed unless given. `$name` stands for a port the engine chooses.

    eth A>B [vlan=TCI] [tpid=88a8] [type=HEX]    names of MACS, or aa:bb:..
    ip A>B [ttl id tos df mf offset=BYTES part=FROM..TO opts=HEX len ihl version proto sum]
    ip6 A>B [ttl tc label part=FROM..TO id len version next]   part: a fragment of what follows, built whole first
    hbh/dst/rt [HEX]    extension header with this body (6 bytes unless given)
    frag [id offset more]  a fragment header as it stands
    tcp A>B FLAGS [seq ack win off opts=HEX mss=N sum]    FLAGS of FSRPAU, or - for none
    udp A>B [len sum]          sum=none: no checksum
    icmp/icmp6 TYPE.CODE [mtu=N rest=HEX cut=BYTES sum]   layers after it are what an error quotes, cut short
    gue [proto]                the 4 bytes of variant 0
    data N | text WORD | hex DIGITS [zeros=N]
    pad N   behind the IP packet      cut N   the frame's first N bytes

`sum=bad` is a checksum that is wrong by the same ones' complement difference wherever it appears, so that a packet that
came in with it must leave with it.
"""

from __future__ import annotations

from struct import pack

from reference.hashes import checksum, fold, total
from reference.rules import address, mac

MACS = {"client": "02:00:00:00:00:01", "router2": "02:00:00:00:00:02", "lb": "02:00:00:00:00:aa", "lb2": "02:00:00:00:00:ab",
        "b1": "02:00:00:00:01:01", "b2": "02:00:00:00:01:02", "b3": "02:00:00:00:01:03", "b4": "02:00:00:00:01:04",
        "all": "ff:ff:ff:ff:ff:ff"}
FLAGS = {"F": 1, "S": 2, "R": 4, "P": 8, "A": 16, "U": 32}
NEXT = {"ip": 4, "ip6": 41, "tcp": 6, "udp": 17, "icmp": 1, "icmp6": 58, "hbh": 0, "dst": 60, "rt": 43, "frag": 44}


class Values(dict[str, str]):
    """What a layer gives as key=value; knows which of them nobody asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: set[str] = set()

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)

    def get(self, key: str, default: str) -> str:  # type: ignore[override]
        return self[key] if key in self else default

    def unused(self) -> list[str]:
        return sorted(set(self) - self.asked)


class Layer:
    def __init__(self, text: str) -> None:
        words = text.split()
        self.kind = words[0]
        self.source = self.destination = ""
        self.words: list[str] = []
        self.values = Values()
        for word in words[1:]:
            if ">" in word:
                self.source, _, self.destination = word.partition(">")
            elif "=" in word:
                key, _, value = word.partition("=")
                self.values[key] = value
            else:
                self.words.append(word)

    def number(self, key: str, default: int) -> int:
        return int(self.values[key], 0) if key in self.values else default


class Builder:
    """One packet; `bound` are the values of $names."""

    def __init__(self, text: str, bound: dict[str, int]) -> None:
        self.layers = [Layer(part) for part in text.split(" / ")]
        self.bound = bound

    def build(self) -> bytes:
        pad = cut = None
        while self.layers[-1].kind in ("pad", "cut"):
            layer = self.layers.pop()
            if layer.kind == "pad":
                pad = int(layer.words[0])
            else:
                cut = int(layer.words[0])
        frame = self.layer(0, None)
        for layer in self.layers:
            if unused := layer.values.unused():
                raise ValueError(f"{layer.kind}: {', '.join(unused)} means nothing here")
        frame += b"\0" * (pad or 0)
        return frame if cut is None else frame[:cut]

    def port(self, text: str) -> int:
        return self.bound[text[1:]] if text.startswith("$") else int(text)

    def layer(self, at: int, above: Layer | None) -> bytes:
        """This layer and all behind it. `above`: the nearest IP layer, for pseudo headers."""
        if at == len(self.layers):
            return b""
        layer = self.layers[at]
        return getattr(self, "_" + layer.kind)(layer, at, above)

    def next(self, at: int) -> int:
        return NEXT.get(self.layers[at + 1].kind, 59) if at + 1 < len(self.layers) else 59

    def _eth(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        head = mac(MACS.get(layer.destination, layer.destination)) + mac(MACS.get(layer.source, layer.source))
        if "vlan" in layer.values:
            head += int(layer.values.get("tpid", "8100"), 16).to_bytes(2, "big") + pack(">H", layer.number("vlan", 0))
        kind = self.layers[at + 1].kind if at + 1 < len(self.layers) else ""
        ethertype = int(layer.values.get("type", {"ip": "0800", "ip6": "86dd"}.get(kind, "0806")), 16)
        return head + pack(">H", ethertype) + self.layer(at + 1, None)

    def _ip(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        body = self.layer(at + 1, layer)
        offset, more = layer.number("offset", 0), "mf" in layer.words
        if "part" in layer.values:
            offset, end = (int(n) for n in layer.values["part"].split(".."))
            more = more or end < len(body)
            body = body[offset:end]
        options = bytes.fromhex(layer.values.get("opts", ""))
        header = pack(
            ">BBHHHBBH4s4s", layer.number("version", 4) << 4 | layer.number("ihl", 5 + len(options) // 4),
            layer.number("tos", 0), layer.number("len", 20 + len(options) + len(body)), layer.number("id", 0x1234),
            ("df" in layer.words) << 14 | more << 13 | offset // 8, layer.number("ttl", 64),
            layer.number("proto", self.next(at)), 0, address(layer.source), address(layer.destination)) + options
        return header[:10] + self.sum(layer, checksum(header)) + header[12:] + body

    def _ip6(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        body, following = self.layer(at + 1, layer), self.next(at)
        if "part" in layer.values:
            start, end = (int(n) for n in layer.values["part"].split(".."))
            word = start | (end < len(body))
            body = pack(">BBHI", following, 0, word, layer.number("id", 7)) + body[start:end]
            following = 44
        first = layer.number("version", 6) << 28 | layer.number("tc", 0) << 20 | layer.number("label", 0)
        return pack(">IHBB16s16s", first, layer.number("len", len(body)), layer.number("next", following),
                    layer.number("ttl", 64), address(layer.source), address(layer.destination)) + body

    def _extension(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        body = bytes.fromhex(layer.words[0]) if layer.words else b"\x01\x04\0\0\0\0"
        kind = layer.number("next", self.next(at))
        return bytes([kind, (len(body) + 2) // 8 - 1]) + body + self.layer(at + 1, above)

    _hbh = _dst = _rt = _extension

    def _frag(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        word = layer.number("offset", 0) | ("more" in layer.words)
        return pack(">BBHI", self.next(at), 0, word, layer.number("id", 7)) + self.layer(at + 1, above)

    def pseudo(self, above: Layer, protocol: int, length: int) -> bytes:
        return address(above.source) + address(above.destination) + pack(">II", length, protocol)

    def sum(self, layer: Layer, right: int) -> bytes:
        given = layer.values.get("sum", "")
        if given == "bad":
            right = 0xFFFF - fold((0xFFFF - right) + 0x1111)
        elif given:
            right = 0 if given == "none" else int(given, 0)
        return pack(">H", right)

    def _tcp(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        options = bytes.fromhex(layer.values.get("opts", ""))
        if "mss" in layer.values:
            options = pack(">BBH", 2, 4, layer.number("mss", 0)) + options
        flags = sum(FLAGS[letter] for word in layer.words for letter in word if letter in FLAGS)
        head = pack(">HHIIBBH", self.port(layer.source), self.port(layer.destination), layer.number("seq", 0x01020304),
                    layer.number("ack", 0x05060708), layer.number("off", 5 + len(options) // 4) << 4, flags,
                    layer.number("win", 64240))
        rest = b"\0\0" + options + self.layer(at + 1, above)
        whole = self.pseudo(above, 6, len(head) + 2 + len(rest)) + head + b"\0\0" + rest
        return head + self.sum(layer, 0xFFFF - fold(total(whole))) + rest

    def _udp(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        body = self.layer(at + 1, above)
        head = pack(">HHH", self.port(layer.source), self.port(layer.destination), layer.number("len", 8 + len(body)))
        whole = self.pseudo(above, 17, 8 + len(body)) + head + b"\0\0" + body
        return head + self.sum(layer, checksum(whole) or 0xFFFF) + body

    def _icmp(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        kind, _, code = layer.words[0].partition(".")
        rest = bytes.fromhex(layer.values.get("rest", "00000000"))
        if "mtu" in layer.values:
            rest = pack(">I", layer.number("mtu", 0))
        body = self.layer(at + 1, None)
        if "cut" in layer.values:
            body = body[:layer.number("cut", 0)]
        head = bytes([int(kind), int(code or 0)])
        before = self.pseudo(above, 58, 8 + len(body)) if layer.kind == "icmp6" else b""
        return head + self.sum(layer, checksum(before + head + b"\0\0" + rest + body)) + rest + body

    _icmp6 = _icmp

    def _gue(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        return bytes([0, layer.number("proto", self.next(at)), 0, 0]) + self.layer(at + 1, None)

    def _data(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        return bytes(i * 7 + 1 & 0xFF for i in range(int(layer.words[0])))

    def _text(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        return " ".join(layer.words).encode()

    def _hex(self, layer: Layer, at: int, above: Layer | None) -> bytes:
        return bytes.fromhex("".join(layer.words)) + bytes(layer.number("zeros", 0))


def symbols(text: str) -> set[str]:
    return {word for part in text.replace(">", " ").split() if part.startswith("$") for word in [part[1:]]}


def build(text: str, bound: dict[str, int] | None = None) -> bytes:
    return Builder(text, bound or {}).build()


def bind(text: str, bound: dict[str, int], frame: bytes) -> None:
    """Takes the values of `text`'s unbound $names from a frame that should be it: they stand where two values of the
    name make a port's two bytes differ from 00 00 to ff ff."""
    for name in symbols(text) - set(bound):
        others = {other: 0 for other in symbols(text)} | bound
        low, high = build(text, others | {name: 0}), build(text, others | {name: 0xFFFF})
        for at in range(min(len(low), len(frame)) - 1):
            if low[at:at + 2] == b"\0\0" and high[at:at + 2] == b"\xff\xff":
                bound[name] = int.from_bytes(frame[at:at + 2], "big")
                break


def literal(text: str, bound: dict[str, int]) -> str:
    """Hex of a frame, `..` where an unbound $name (or a checksum over it) stands."""
    free = sorted(symbols(text))
    low = build(text, {name: 0 for name in free})
    varied = [build(text, {name: value for name in free}) for value in (0xFFFF, 0x1234, 0xABCD)]
    return "".join(".." if any(v[i] != low[i] for v in varied) else f"{low[i]:02x}" for i in range(len(low)))
