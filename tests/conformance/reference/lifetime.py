# SPDX-License-Identifier: BSD-3-Clause
"""States of a connection, as docs/connection-lifetime.md has them: what a packet changes, how long each lasts."""

from __future__ import annotations

FIN, SYN, RST, PSH, ACK, URG = 1, 2, 4, 8, 16, 32

# state: (event, next state) for what changes it, both sides heard. c = from the client, b = from the backend.
_BOTH = {
    "udp_one_way": {"b.udp": "udp_assured"},
    "udp_assured": {},
    "syn_seen": {"b.synack": "syn_ack_seen", "b.rst": "rst_backend"},
    "syn_ack_seen": {"c.ack": "established", "c.fin": "fin_client", "b.rst": "rst_backend"},
    "midstream": {"b.synack": "syn_ack_seen", "b.ack": "established", "b.fin": "fin_backend", "b.rst": "rst_backend"},
    "established": {"c.fin": "fin_client", "c.rst": "rst_client", "b.fin": "fin_backend", "b.rst": "rst_backend"},
    "fin_client": {"c.rst": "rst_client", "b.fin": "closing_client", "b.rst": "rst_backend"},
    "fin_backend": {"c.fin": "closing_backend", "c.rst": "rst_client", "b.rst": "rst_backend"},
    "closing_client": {},
    "closing_backend": {},
    "rst_client": {"c.ack": "established", "c.fin": "fin_client"},
    "rst_backend": {"b.synack": "syn_ack_seen", "b.ack": "established", "b.fin": "fin_backend"},
}
# Where replies do not pass us, the client's second packet has to do for the backend's answer.
_CLIENT = {state: dict(events) for state, events in _BOTH.items()}
_CLIENT["udp_one_way"]["c.udp"] = "udp_assured"
for _state in ("syn_seen", "midstream"):
    _CLIENT[_state].update({"c.ack": "established", "c.fin": "fin_client"})

CONFIRMED = {"udp_assured", "established", "fin_client", "fin_backend", "closing_client", "closing_backend"}
NOT_RESTARTED = {"udp_one_way", "udp_assured", "established"}
KEPT_BY_PACKETS = {"established", "fin_client", "fin_backend"}
ENDED = {"closing_client", "closing_backend", "rst_client", "rst_backend"}

# Index into (syn, established, fin, rst, udp).
TIMEOUT = {
    "udp_one_way": 4, "udp_assured": 4, "syn_seen": 0, "syn_ack_seen": 0, "midstream": 0, "established": 1,
    "fin_client": 2, "fin_backend": 2, "closing_client": 2, "closing_backend": 2, "rst_client": 3, "rst_backend": 3,
}


def event(side: str, flags: int | None) -> str:
    """`side` is c or b; flags None: a UDP datagram."""
    if flags is None:
        return side + ".udp"
    if flags & RST:
        return side + ".rst"
    if flags & SYN:
        return side + (".synack" if flags & ACK else ".syn")
    return side + (".fin" if flags & FIN else ".ack")


def initial(happened: str) -> str | None:
    """State of a connection that begins with this; None: such a packet is not remembered."""
    return {"c.syn": "syn_seen", "c.ack": "midstream", "c.fin": "midstream", "c.udp": "udp_one_way"}.get(happened)


def after(state: str, happened: str, replies_seen: bool) -> str:
    return (_BOTH if replies_seen else _CLIENT)[state].get(happened, state)


def restarts(state: str, flags: int) -> bool:
    """A lone SYN on an old tuple in this state is a new connection."""
    return flags & (SYN | ACK | FIN | RST) == SYN and state not in NOT_RESTARTED


def keeps_alive(before: str, now: str, side: str, backend_down: bool) -> bool:
    if now in ("udp_one_way", "udp_assured"):
        return side == "b" or not backend_down
    return now in KEPT_BY_PACKETS or before != now
