#!/usr/bin/python3
# SPDX-License-Identifier: BSD-3-Clause
"""A cable with faults: relay.py [--seed N] [--loss P] [--duplicate P] [--delay MS] [--jitter MS] [--one-way] DEVICE DEVICE

Passes frames between two devices; each frame may be lost, doubled or delayed, by probabilities from 0 to 1 and a seed, so
that a run can be repeated. Jitter above the distance between frames reorders them. With --one-way what goes from the
second device to the first is left alone. SIGUSR1 mends the cable. The kernel of the lab has no netem.
"""

from __future__ import annotations

import argparse
import heapq
import random
import select
import signal
import socket
import time

ETH_P_ALL = 3
PACKET_OUTGOING = 4  # linux/if_packet.h
MOST_BYTES = 65535


class Cable:
    """One direction: what is to be sent to TO, and when."""

    def __init__(self, to: socket.socket, faults: argparse.Namespace, seed: int) -> None:
        self._to, self._faults, self._random = to, faults, random.Random(seed)
        self._waiting: list[tuple[float, int, bytes]] = []
        self._number = 0

    def take(self, frame: bytes, now: float) -> None:
        # Always the same number of draws a frame: what becomes of one does not depend on the others.
        lost, doubled, jitter = self._random.random(), self._random.random(), self._random.random()
        if lost < self._faults.loss:
            return
        due = now + (self._faults.delay + jitter * self._faults.jitter) / 1000
        for _ in range(2 if doubled < self._faults.duplicate else 1):
            self._number += 1
            heapq.heappush(self._waiting, (due, self._number, frame))

    def send_due(self, now: float) -> float | None:
        """When the next one is due; None: nothing waits."""
        while self._waiting and self._waiting[0][0] <= now:
            try:
                self._to.send(heapq.heappop(self._waiting)[2])
            except OSError:  # the device is down or full: one more frame that got lost
                pass
        return self._waiting[0][0] if self._waiting else None


def open_device(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    sock.bind((name, ETH_P_ALL))
    sock.setblocking(False)
    return sock


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for option in ("--loss", "--duplicate"):
        parser.add_argument(option, type=float, default=0.0, metavar="P")
    for option in ("--delay", "--jitter"):
        parser.add_argument(option, type=float, default=0.0, metavar="MS")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--one-way", action="store_true")
    parser.add_argument("devices", nargs=2)
    return parser.parse_args()


def main() -> None:
    faults = parse_arguments()
    first, second = (open_device(name) for name in faults.devices)
    sound = argparse.Namespace(loss=0.0, duplicate=0.0, delay=0.0, jitter=0.0)
    cables = {first: Cable(second, faults, faults.seed),
              second: Cable(first, sound if faults.one_way else faults, faults.seed + 1)}
    signal.signal(signal.SIGUSR1, lambda *_: vars(faults).update(vars(sound)))
    print("ready", flush=True)
    while True:
        now = time.monotonic()
        due = [at for at in (cable.send_due(now) for cable in cables.values()) if at is not None]
        readable, _, _ = select.select(list(cables), [], [], max(0.0, min(due) - now) if due else None)
        now = time.monotonic()
        for sock in readable:
            for _ in range(64):
                try:
                    frame, address = sock.recvfrom(MOST_BYTES)
                except BlockingIOError:
                    break
                if address[2] != PACKET_OUTGOING:
                    cables[sock].take(frame, now)


if __name__ == "__main__":
    main()
