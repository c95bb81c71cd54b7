# SPDX-License-Identifier: BSD-3-Clause
"""What clients do: HTTP one connection a request, kept connections, UDP, wrk, and steady load in the background."""

from __future__ import annotations

import hashlib
import re
import socket
import struct
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

from netns import LabError, Namespace


@dataclass(frozen=True)
class Answer:
    """What a backend said: its name and the client address and port it saw."""

    backend: str
    client: str
    client_port: int


def bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address


def parse_answer(text: str) -> Answer:
    backend, client, port = text.split()[:3]
    return Answer(backend, client, int(port))


class HttpConnection:
    """One TCP connection, used for any number of requests."""

    def __init__(self, ns: Namespace, address: str, port: int, timeout_s: float = 5, source_port: int = 0) -> None:
        self.sock = ns.connect(address, port, timeout_s, source_port)
        self.local = self.sock.getsockname()[:2]
        self._request = f"GET / HTTP/1.1\r\nHost: {bracketed(address)}\r\n\r\n".encode()
        self._buffer = b""

    def get(self) -> Answer:
        """Sends a request and waits for the whole answer."""
        self.sock.sendall(self._request)
        while b"\r\n\r\n" not in self._buffer:
            self._read()
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        status = head.split(b" ", 2)[1]
        length = int(re.search(rb"(?i)content-length: *(\d+)", head).group(1))
        self._buffer = rest
        while len(self._buffer) < length:
            self._read()
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        if status != b"200":
            raise LabError(f"HTTP status {status.decode()}")
        return parse_answer(body.decode())

    def _read(self) -> None:
        chunk = self.sock.recv(65536)
        if not chunk:
            raise ConnectionResetError("closed by the other side")
        self._buffer += chunk

    def close(self, reset: bool = False) -> None:
        if reset:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


def http_once(ns: Namespace, address: str, port: int, timeout_s: float = 5) -> Answer:
    connection = HttpConnection(ns, address, port, timeout_s)
    try:
        return connection.get()
    finally:
        connection.close()


def http_many(ns: Namespace, address: str, port: int, count: int) -> list[Answer]:
    """COUNT requests, a new connection each."""
    return [http_once(ns, address, port) for _ in range(count)]


def udp_once(ns: Namespace, address: str, port: int, payload: str = "hello", timeout_s: float = 5) -> Answer:
    """One datagram from a fresh port and its echo. The answer must come from where the question went to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with ns.socket(family, socket.SOCK_DGRAM) as sock:
        sock.settimeout(timeout_s)
        sock.connect((address, port))  # the kernel then drops answers from any other address
        sock.send(payload.encode())
        text = sock.recv(65535).decode()
    if not text.endswith(" " + payload):
        raise LabError(f"UDP echo answered {text!r} to {payload!r}")
    return parse_answer(text)


def udp_many(ns: Namespace, address: str, port: int, count: int) -> list[Answer]:
    return [udp_once(ns, address, port, f"datagram {i}") for i in range(count)]


def tally(answers: list[Answer]) -> Counter[str]:
    return Counter(a.backend for a in answers)


def download(ns: Namespace, address: str, port: int, path: str = "/blob", timeout_s: float = 120) -> tuple[int, str]:
    """Size and SHA-256 of what curl gets."""
    process = ns.popen("curl", "-sS", "--fail", "-m", str(timeout_s), "-g",
                       f"http://{bracketed(address)}:{port}{path}", stdout=-1)
    digest, size = hashlib.sha256(), 0
    while chunk := process.stdout.read(1 << 20):
        digest.update(chunk)
        size += len(chunk)
    if process.wait() != 0:
        raise LabError(f"curl ended with code {process.returncode} after {size} bytes")
    return size, digest.hexdigest()


@dataclass(frozen=True)
class WrkResult:
    """One run of wrk."""

    requests: int
    rate: float
    errors: int
    text: str


def parse_wrk(text: str) -> WrkResult:
    requests = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec:\s*([\d.]+)", text)
    if not requests or not rate:
        raise LabError(f"wrk said: {text}")
    errors = 0
    sockets = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    if sockets:
        errors += sum(map(int, sockets.groups()))
    responses = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    if responses:
        errors += int(responses.group(1))
    return WrkResult(int(requests.group(1)), float(rate.group(1)), errors, text)


def wrk(ns: Namespace, address: str, port: int, seconds: int = 10, threads: int = 2, connections: int = 64) -> WrkResult:
    return parse_wrk(ns.run("wrk", f"-t{threads}", f"-c{connections}", f"-d{seconds}s",
                            f"http://{bracketed(address)}:{port}/", timeout_s=seconds + 60))


@dataclass
class Load:
    """Steady requests in the background until stop(): half of the threads keep their connection, half open one each;
    without KEPT all open one each.

    Every failed request is recorded with its time; nothing is retried. A kept connection that fails is replaced.
    """

    ns: Namespace
    address: str
    port: int
    threads: int = 4
    pause_s: float = 0.002
    timeout_s: float = 3
    kept: bool = True
    requests: int = 0
    failures: list[tuple[float, str]] = field(default_factory=list)
    answers: list[tuple[float, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(self.kept and i % 2 == 0,), daemon=True)
                         for i in range(self.threads)]

    def start(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def stop(self) -> Load:
        self._stop.set()
        for thread in self._threads:
            thread.join(self.timeout_s * 3)
        return self

    def __enter__(self) -> Load:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _work(self, keep: bool) -> None:
        connection: HttpConnection | None = None
        while not self._stop.wait(self.pause_s):
            try:
                if connection is None:
                    connection = HttpConnection(self.ns, self.address, self.port, self.timeout_s)
                answer = connection.get()
                with self._lock:
                    self.requests += 1
                    self.answers.append((time.monotonic(), answer.backend))
                if not keep:
                    connection.close()
                    connection = None
            except OSError as error:
                with self._lock:
                    self.requests += 1
                    self.failures.append((time.monotonic(), f"{type(error).__name__}: {error}"))
                if connection is not None:
                    connection.close()
                    connection = None
        if connection is not None:
            connection.close()
