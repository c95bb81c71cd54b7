# SPDX-License-Identifier: BSD-3-Clause
"""The backend's end of dsr-ipip and dsr-gue: tunnel_end.py DEVICE GUE_PORT ADDRESS...

The kernel here may have no tunnel modules, so this takes the outer header off in user space: what comes to ADDRESS as
IPIP, IPv6-in-IP or GUE is written into a TUN, whose other side delivers it to the VIP on the loopback. Answers leave by
the kernel's own routes. Packets it cannot read are counted and dropped, never guessed at.
"""

from __future__ import annotations

import fcntl
import os
import selectors
import socket
import struct
import sys

TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000
IPIP, IPV6 = 4, 41
GUE_BYTES = 4
UDP_NO_CHECK6_RX = 102


def open_tun(name: str) -> int:
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    return tun


def raw_v4(protocol: int, address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    sock.bind((address, 0))
    return sock


def raw_v6(protocol: int, address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, protocol)
    sock.bind((address, 0))
    return sock


def gue(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_DGRAM)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_UDP, UDP_NO_CHECK6_RX, 1)
    sock.bind((address, port))
    return sock


def inner_of(kind: str, data: bytes) -> bytes:
    """The client's packet; a raw IPv4 socket gives the outer header too, a raw IPv6 one does not."""
    if kind == "raw4":
        return data[(data[0] & 15) * 4:]
    if kind == "gue":
        if data[0] != 0 or data[1] not in (IPIP, IPV6) or data[2:4] != b"\0\0":
            raise ValueError("not GUE variant 0")
        return data[GUE_BYTES:]
    return data


def main() -> None:
    device, port, addresses = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
    tun = open_tun(device)
    selector = selectors.DefaultSelector()
    for address in addresses:
        if ":" in address:
            sockets = [("raw6", raw_v6(IPIP, address)), ("raw6", raw_v6(IPV6, address))]
        else:
            sockets = [("raw4", raw_v4(IPIP, address)), ("raw4", raw_v4(IPV6, address))]
        for kind, sock in [*sockets, ("gue", gue(address, port))]:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            selector.register(sock, selectors.EVENT_READ, kind)
    print("ready", flush=True)
    while True:
        for key, _ in selector.select():
            try:
                os.write(tun, inner_of(key.data, key.fileobj.recv(65535)))
            except (ValueError, OSError) as error:
                print(f"dropped: {error}", flush=True)


if __name__ == "__main__":
    main()
