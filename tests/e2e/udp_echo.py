# SPDX-License-Identifier: BSD-3-Clause
"""UDP echo: udp_echo.py NAME PORT... answers "NAME client-address client-port payload" from the address it was sent to.

Answering from the destination address is what a DSR backend must do (the VIP is on its loopback).
"""

from __future__ import annotations

import selectors
import socket
import sys

IP_PKTINFO = 8  # linux/in.h; not in Python's socket module


def listen(family: int, port: int) -> socket.socket:
    server = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
    else:
        server.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    server.bind(("", port))
    return server


def answer(server: socket.socket, name: str) -> None:
    payload, ancillary, _, peer = server.recvmsg(65535, 256)
    control = []
    for level, kind, data in ancillary:
        if level == socket.IPPROTO_IPV6 and kind == socket.IPV6_PKTINFO:
            control = [(level, kind, data[:16] + bytes(4))]
        elif level == socket.IPPROTO_IP and kind == IP_PKTINFO:
            # in_pktinfo: interface, source to use (spec_dst), destination of the packet: the source is the destination
            control = [(level, kind, bytes(4) + data[8:12] + bytes(4))]
    reply = f"{name} {peer[0]} {peer[1]} ".encode() + payload
    try:
        server.sendmsg([reply], control, 0, peer)
    except OSError as error:
        print(f"{name}: answer to {peer}: {error}", flush=True)


def main() -> None:
    name, ports = sys.argv[1], [int(p) for p in sys.argv[2:]]
    selector = selectors.DefaultSelector()
    for port in ports:
        for family in (socket.AF_INET, socket.AF_INET6):
            selector.register(listen(family, port), selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            answer(key.fileobj, name)


if __name__ == "__main__":
    main()
