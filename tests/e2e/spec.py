# SPDX-License-Identifier: BSD-3-Clause
"""A configuration of Weir for the lab, and what each of its VIPs is expected to do."""

from __future__ import annotations

from dataclasses import dataclass

from lab import CLIENT4, CLIENT6, LAN4, LAN6, LB4, LB6, ROUTER4, ROUTER6, UPLINK, VIP4, VIP6

MODES = ("dsr-l2", "nat", "full-nat")
FAMILIES = (4, 6)
TAP = "wtap0"
INTERFACE = "uplink"
BACKENDS = (1, 2, 3)

TCP_PORT = 80
UDP_PORT = 7777
# Backend ports differ by mode, so that no backend is shared by two VIPs under the same port.
BACKEND_PORTS = {
    "tcp": {"dsr-l2": 80, "dsr-ipip": 80, "dsr-gue": 80, "nat": 8080, "full-nat": 8081},
    "udp": {"dsr-l2": 7777, "dsr-ipip": 7777, "dsr-gue": 7777, "nat": 7778, "full-nat": 7779},
}


@dataclass(frozen=True)
class Vip:
    """One VIP as the lab knows it."""

    mode: str
    protocol: str
    family: int

    @property
    def name(self) -> str:
        return f"{self.mode}-{self.protocol}{self.family}"

    @property
    def pool(self) -> str:
        return f"pool-{self.name}"

    @property
    def address(self) -> str:
        return (VIP4 if self.family == 4 else VIP6)[self.mode]

    @property
    def port(self) -> int:
        return TCP_PORT if self.protocol == "tcp" else UDP_PORT

    @property
    def backend_port(self) -> int:
        return BACKEND_PORTS[self.protocol][self.mode]

    def seen_client(self) -> str:
        """The client address a backend must see when `client` asks: its own, or the balancer's in full-nat."""
        if self.mode == "full-nat":
            return LB4 if self.family == 4 else LB6
        return CLIENT4 if self.family == 4 else CLIENT6


def endpoint(address: str, port: int) -> str:
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def backend_address(index: int, family: int) -> str:
    return (LAN4 if family == 4 else LAN6).format(20 + index)


@dataclass(frozen=True)
class Spec:
    """What varies between the tests' configurations. device: "veth" (kernel-visible), "tap" (kernel-bypassed) or "xdp"
    (kernel-visible, without DPDK)."""

    device: str = "veth"
    workers: int = 1
    weights: tuple[int, ...] = (10, 10, 20)
    modes: tuple[str, ...] = MODES
    families: tuple[int, ...] = FAMILIES
    protocols: tuple[str, ...] = ("tcp", "udp")
    interval: str = "1s"
    timeout: str = "500ms"
    rise: int = 2
    fall: int = 3
    engine: str = ""  # more lines for [engine]
    scheduler: str = "maglev"
    pool: str = ""  # more lines for every [pool.NAME]
    vip: str = ""  # more lines for every [vip.NAME]
    extra: str = ""  # more tables

    def __str__(self) -> str:
        return f"{self.device}-{self.workers}"

    def vips(self) -> list[Vip]:
        return [Vip(m, p, f) for m in self.modes for p in self.protocols for f in self.families]

    def weight_of(self) -> dict[str, int]:
        """Backend name -> weight."""
        return {f"backend{i}": w for i, w in zip(BACKENDS, self.weights)}

    def kernel_interface(self) -> str:
        """Where addresses live and the guard sits."""
        return f"weir-{INTERFACE}" if self.device == "tap" else UPLINK

    def toml(self) -> str:
        device = f"vdev:net_tap0,iface={TAP},mac=02:77:00:00:00:02" if self.device == "tap" else UPLINK
        mode = "xdp" if self.device == "xdp" else "dpdk"
        parts = [
            '[node]\nname = "lb"\n',
            f'[engine]\nmode = "{mode}"\nworkers = {list(range(self.workers))}\nidle = "adaptive"\n'
            f"connections = 65_536\n{self.engine}",
            f'[interface.{INTERFACE}]\ndevice = "{device}"\naddresses = ["{LB4}/24", "{LB6}/64"]\n'
            f'gateway = ["{ROUTER4}", "{ROUTER6}"]\nmtu = 1500\n',
        ]
        parts += [self._vip_toml(vip) for vip in self.vips()]
        parts.append(self.extra)
        return "\n".join(parts)

    def _vip_toml(self, vip: Vip) -> str:
        backends = "".join(
            f'  {{ address = "{endpoint(backend_address(i, vip.family), vip.backend_port)}", '
            f'weight = {w}, name = "backend{i}" }},\n' for i, w in zip(BACKENDS, self.weights))
        # UDP services are probed by their server's HTTP: what fails is the whole backend.
        port = "" if vip.protocol == "tcp" else "port = 80\n"
        return (f'[pool.{vip.pool}]\nscheduler = "{self.scheduler}"\n{self.pool}backends = [\n{backends}]\n'
                f'[pool.{vip.pool}.health]\ntype = "http"\npath = "/healthz"\n{port}'
                f'interval = "{self.interval}"\ntimeout = "{self.timeout}"\nrise = {self.rise}\nfall = {self.fall}\n'
                f'[vip.{vip.name}]\naddress = "{vip.address}"\nport = {vip.port}\nprotocol = "{vip.protocol}"\n'
                f'forward = "{vip.mode}"\npool = "{vip.pool}"\n{self.vip}')
