# SPDX-License-Identifier: BSD-3-Clause
"""Captures with tcpdump, and what must be true of each captured frame: lengths and checksums, computed here from bytes."""

from __future__ import annotations

import re
import signal
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from netns import LabError, Namespace, wait_for

TCP, UDP, ICMP, ICMP6 = 6, 17, 1, 58


@dataclass(frozen=True)
class Frame:
    """One captured frame, decoded as far as tests need it. problem: why it is not a valid packet, or empty."""

    src_mac: str
    dst_mac: str
    src: str
    dst: str
    proto: int
    sport: int
    dport: int
    tcp_flags: int
    ttl: int
    payload: bytes
    problem: str
    raw: bytes


def ones_sum(data: bytes) -> int:
    """Internet checksum's folded sum (RFC 1071), not complemented."""
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return total


def mac_text(data: bytes) -> str:
    return ":".join(f"{b:02x}" for b in data)


def decode(raw: bytes) -> Frame | None:
    """A TCP, UDP or ICMP frame over IPv4 or IPv6 without extension headers; None for anything else."""
    try:
        return _decode(raw)
    except (IndexError, struct.error):
        return Frame(mac_text(raw[6:12]), mac_text(raw[:6]), "", "", 0, 0, 0, 0, 0, b"", "a header is cut short", raw)


def _decode(raw: bytes) -> Frame | None:
    kind = struct.unpack("!H", raw[12:14])[0]
    problem = ""
    if kind == 0x0800:
        header = raw[14 : 14 + (raw[14] & 15) * 4]
        total, ttl, proto = struct.unpack("!H", header[2:4])[0], header[8], header[9]
        src, dst, pseudo_addresses = header[12:16], header[16:20], header[12:20]
        body = raw[14 + len(header) : 14 + total]
        if len(raw) < 14 + total:
            problem = "IPv4 total length beyond the frame"
        elif ones_sum(header) != 0xFFFF:
            problem = "IPv4 header checksum"
    elif kind == 0x86DD:
        header = raw[14:54]
        length, proto, ttl = struct.unpack("!H", header[4:6])[0], header[6], header[7]
        src, dst, pseudo_addresses = header[8:24], header[24:40], header[8:40]
        body = raw[54 : 54 + length]
        if len(body) < length:
            problem = "IPv6 payload length beyond the frame"
    else:
        return None
    if proto not in (TCP, UDP, ICMP, ICMP6):
        return None
    pseudo = pseudo_addresses + struct.pack("!IHBB", len(body), 0, 0, proto)
    sport = dport = flags = 0
    payload = body[8:]
    if proto in (TCP, UDP):
        sport, dport = struct.unpack("!HH", body[:4])
    if proto == TCP:
        flags, payload = body[13], body[(body[12] >> 4) * 4 :]
        problem = problem or ("" if ones_sum(pseudo + body) == 0xFFFF else "TCP checksum")
    elif proto == UDP:
        length, checksum = struct.unpack("!HH", body[4:8])
        if length != len(body):
            problem = problem or "UDP length"
        elif checksum == 0:
            problem = problem or ("UDP checksum 0 over IPv6" if kind == 0x86DD else "")
        elif ones_sum(pseudo + body) != 0xFFFF:
            problem = problem or "UDP checksum"
    else:
        covered = body if proto == ICMP else pseudo + body
        problem = problem or ("" if ones_sum(covered) == 0xFFFF else "ICMP checksum")
    return Frame(mac_text(raw[6:12]), mac_text(raw[:6]), str(ip_address(src)), str(ip_address(dst)), proto, sport, dport,
                 flags, ttl, payload, problem, raw)


def read_pcap(path: Path) -> list[bytes]:
    """Frames of a classic little-endian pcap file, microsecond or nanosecond."""
    data = path.read_bytes()
    if data[:4] not in (b"\xd4\xc3\xb2\xa1", b"\x4d\x3c\xb2\xa1"):
        raise LabError(f"{path}: not a pcap file")
    frames, offset = [], 24
    while offset + 16 <= len(data):
        kept = struct.unpack("<I", data[offset + 8 : offset + 12])[0]
        frames.append(data[offset + 16 : offset + 16 + kept])
        offset += 16 + kept
    return frames


class Capture:
    """tcpdump on one device from enter to exit; frames() then gives what it saw."""

    def __init__(self, ns: Namespace, device: str, expression: str, work: Path) -> None:
        self.path = work / f"capture-{ns.name}-{device}.pcap"
        self._log = self.path.with_suffix(".log")
        self._ns, self._device, self._expression = ns, device, expression
        self._process: subprocess.Popen | None = None

    def __enter__(self) -> Capture:
        self.path.unlink(missing_ok=True)
        self._log.unlink(missing_ok=True)
        self._process = self._ns.popen("tcpdump", "-i", self._device, "-U", "--immediate-mode", "-n", "-s", "0",
                                       "-B", "16384", "-Z", "root", "-w", str(self.path), self._expression, log=self._log)
        wait_for("tcpdump listens", lambda: "listening on" in self._log.read_text())
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        # What was sent before this point has crossed the lab's veths already; tcpdump may not have read it yet.
        wait_for("tcpdump has read what its filter let through", self._has_caught_up)
        self._process.send_signal(signal.SIGINT)
        self._process.wait(10)

    def _has_caught_up(self) -> bool:
        """Asks tcpdump for its counts: SIGUSR1 makes it print them and go on."""
        reports = len(self._counts())
        self._process.send_signal(signal.SIGUSR1)
        wait_for("tcpdump's counts", lambda: len(self._counts()) > reports)
        captured, passed_filter = self._counts()[-1]
        return captured == passed_filter

    def _counts(self) -> list[tuple[str, str]]:
        return re.findall(r"(\d+) packets? captured, (\d+) packets? received by filter", self._log.read_text())

    def frames(self) -> list[Frame]:
        return [f for f in map(decode, read_pcap(self.path)) if f is not None]


def problems(frames: Iterable[Frame]) -> list[str]:
    """What is wrong with any of the frames."""
    return [f"{f.src}:{f.sport} > {f.dst}:{f.dport}: {f.problem}" for f in frames if f.problem]
