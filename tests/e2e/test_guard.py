# SPDX-License-Identifier: BSD-3-Clause
"""The guard: when nothing forwards, the kernel must not answer for a VIP, or it would reset live connections."""

from __future__ import annotations

import os
import signal

import pytest

from capture import TCP, Capture
from lab import UPLINK, Lab
from netns import wait_for
from spec import Spec, Vip
from traffic import HttpConnection
from weir import Node

RST = 0x04


@pytest.mark.parametrize("mode", ("nat", "full-nat"))
@pytest.mark.parametrize("family", (4, 6))
def test_no_reset_while_the_dataplane_is_gone(lab: Lab, node: Node, mode: str, family: int) -> None:
    """Both programs are killed; the addresses stay. Retransmissions meet silence with the guard, a reset without."""
    weir = node.ensure(Spec("veth", 1), fresh=True)
    vip = Vip(mode, "tcp", family)
    connection = HttpConnection(lab.client, vip.address, vip.port, timeout_s=20)
    connection.get()
    weir.kill_control()
    for pid in weir.dataplane_pids():
        os.kill(pid, signal.SIGKILL)
    wait_for("the dataplane is gone", lambda: not weir.dataplane_pids())
    try:
        with Capture(lab.lb, UPLINK, f"host {vip.address} and tcp", lab.work) as cap:
            connection.sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            # Three copies of the request have reached the balancer: the kernel had its chances to answer.
            wait_for("the request is retransmitted", lambda: len(
                [f for f in cap.frames() if f.dst == vip.address and f.payload]) >= 3, 15)
        frames = cap.frames()
        assert not [f for f in frames if f.proto == TCP and f.tcp_flags & RST]
        # Negative control: without the guard the very next retransmission is answered with a reset.
        lab.lb.run("tc", "qdisc", "del", "dev", UPLINK, "clsact")
        with Capture(lab.lb, UPLINK, f"host {vip.address} and tcp", lab.work) as cap, pytest.raises(ConnectionResetError):
            connection.sock.recv(1)
        assert [f for f in cap.frames() if f.src == vip.address and f.tcp_flags & RST]
    finally:
        connection.close()
        node.forget()
