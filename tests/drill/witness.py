# SPDX-License-Identifier: BSD-3-Clause
"""What clients notice of a fault: numbered datagrams that are echoed, and connections that are kept and used."""

from __future__ import annotations

import socket
import threading
import time
from dataclasses import dataclass, field

from netns import Namespace, wait_for
from traffic import HttpConnection

EVERY_S = 0.002  # one datagram, of the flows in turn
FLOWS = 8
CONNECTIONS = 24  # so many that no backend has none
USE_EVERY_S = 0.02  # a request on one of the connections, in turn
ANSWER_LIMIT_S = 3  # on a connection; TCP's own retransmissions come sooner
SETTLE_S = 0.5  # for the last echoes


@dataclass
class Noticed:
    """Between start and stop. outage_s: the longest time in which a flow had no answer, by when its datagrams were sent."""

    sent: int = 0
    lost: int = 0
    outage_s: float = 0.0
    requests: int = 0
    broken: dict[int, str] = field(default_factory=dict)  # connection -> what happened to it


class Witness:
    """Watches a UDP and a TCP service until stop(). The flows and connections are made by start(), before any fault."""

    def __init__(self, ns: Namespace, udp: tuple[str, int], tcp: tuple[str, int],
                 patience_s: float = ANSWER_LIMIT_S) -> None:
        self._ns, self._udp, self._tcp, self._patience_s = ns, udp, tcp, patience_s
        self._stop = threading.Event()
        self._sent: list[list[tuple[int, float]]] = [[] for _ in range(FLOWS)]
        self._answered: list[set[int]] = [set() for _ in range(FLOWS)]
        self._noticed = Noticed()
        self._turns = 0  # uses of connections, ended
        self.backend_of: list[str] = []  # by connection

    def start(self) -> Witness:
        self._flows = []
        for _ in range(FLOWS):
            sock = self._ns.socket(socket.AF_INET, socket.SOCK_DGRAM)
            sock.connect(self._udp)
            sock.settimeout(0.2)
            self._flows.append(sock)
        self._connections = [HttpConnection(self._ns, *self._tcp, timeout_s=self._patience_s) for _ in range(CONNECTIONS)]
        self.backend_of = [connection.get().backend for connection in self._connections]
        self._threads = [threading.Thread(target=work, args=arguments, daemon=True) for work, arguments in
                         [(self._send, ()), (self._use, ()), *((self._hear, (flow,)) for flow in range(FLOWS))]]
        for thread in self._threads:
            thread.start()
        return self

    def __enter__(self) -> Witness:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        for thing in (*self._flows, *self._connections):
            thing.close()

    def noticed(self) -> Noticed:
        """After the with block."""
        for sent, answered in zip(self._sent, self._answered):
            since: float | None = None
            for number, at in sent:
                if number not in answered:
                    since = since if since is not None else at
                    self._noticed.lost += 1
                elif since is not None:
                    self._noticed.outage_s = max(self._noticed.outage_s, at - since)
                    since = None
            if since is not None:  # to the very end
                self._noticed.outage_s = max(self._noticed.outage_s, sent[-1][1] - since)
            self._noticed.sent += len(sent)
        return self._noticed

    def answered(self) -> int:
        """Datagrams so far."""
        return sum(map(len, self._answered))

    def sent(self) -> int:
        return sum(map(len, self._sent))

    def wait_round(self) -> None:
        """Until every connection that is not broken has been used once more."""
        done = self._turns + CONNECTIONS
        wait_for("every connection is used", lambda: self._turns >= done, CONNECTIONS * self._patience_s)

    def _send(self) -> None:
        number, due = 0, time.monotonic()
        while not self._stop.is_set():
            flow = number % FLOWS
            self._sent[flow].append((number, time.monotonic()))
            try:
                self._flows[flow].send(str(number).encode())
            except OSError:  # an ICMP error about an earlier one; this one did not leave
                pass
            number += 1
            due = max(due + EVERY_S, time.monotonic() - EVERY_S)
            time.sleep(max(0.0, due - time.monotonic()))
        time.sleep(SETTLE_S)

    def _hear(self, flow: int) -> None:
        while self._threads[0].is_alive():
            try:
                self._answered[flow].add(int(self._flows[flow].recv(2048).split()[-1]))
            except OSError:  # nothing yet, or an ICMP error
                pass

    def _use(self) -> None:
        """A connection that has failed is not used again."""
        while not self._stop.wait(USE_EVERY_S):
            index = self._turns % CONNECTIONS
            if index in self._noticed.broken:
                self._turns += 1
                continue
            try:
                backend = self._connections[index].get().backend
                self._noticed.requests += 1
                if backend != self.backend_of[index]:
                    self._noticed.broken[index] = f"answered by {backend} instead of {self.backend_of[index]}"
            except Exception as error:  # noqa: BLE001  (whatever it is, the connection is broken)
                self._noticed.broken[index] = str(error) or type(error).__name__
            self._turns += 1
