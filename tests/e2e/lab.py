# SPDX-License-Identifier: BSD-3-Clause
"""The lab: one switch, a balancer, three backends, a client behind a router and one on the LAN itself.

    client -- router --+            LAN 10.77.0.0/24, 2001:db8:77::/64
                       |
    neighbour ------ switch ------ lb        client net 10.77.1.0/24, 2001:db8:77:1::/64
                       |
           backend1 backend2 backend3

Everything is a namespace with a veth into the switch's bridge, software checksums (no offloads) and a fixed MAC. The
router has a second leg on the LAN (its own address and MAC), so that a test can make a client's packets come from
another MAC than the one the balancer's routes lead to. Replies of backends: from a VIP or the "direct" address by the
router, from the backend's own address by the balancer (what `nat` needs).
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from netns import Namespace, owner_tag, reap_stale, run, wait_for
from services import Blob, Nginx, TunnelEnd, UdpEcho

MTU = 1500
LAN4, LAN6 = "10.77.0.{}", "2001:db8:77::{}"
FAR4, FAR6 = "10.77.1.{}", "2001:db8:77:1::{}"
ROUTER4, ROUTER6 = LAN4.format(1), LAN6.format(1)
ROUTER_SECOND4, ROUTER_SECOND6 = LAN4.format(3), LAN6.format(3)
LB4, LB6 = LAN4.format(2), LAN6.format(2)
SNAT_PORTS = (40000, 59999)  # the default of [snat], which the balancer's own programs are kept off
CLIENT4, CLIENT6 = FAR4.format(10), FAR6.format(10)
NEIGHBOUR4, NEIGHBOUR6 = LAN4.format(11), LAN6.format(11)
# VIPs by forwarding mode: the DSR ones also live on the backends' loopback.
HOST_OF_VIP = {"dsr-l2": 100, "nat": 101, "full-nat": 102, "dsr-ipip": 103, "dsr-gue": 104}
DSR_MODES = ("dsr-l2", "dsr-ipip", "dsr-gue")
VIP4 = {mode: LAN4.format(host) for mode, host in HOST_OF_VIP.items()}
VIP6 = {mode: LAN6.format(host) for mode, host in HOST_OF_VIP.items()}
GUE_PORT = 6080
UPLINK = "uplink0"
MAC = "02:77:00:00:00:{:02x}"
MAC_ROUTER, MAC_LB, MAC_ROUTER_SECOND = MAC.format(1), MAC.format(2), MAC.format(3)
OFFLOADS = "rx off tx off sg off tso off gso off gro off".split()


@dataclass
class Backend:
    """A server: nginx and a UDP echo on both families."""

    index: int
    ns: Namespace
    work: Path
    nginx: Nginx = field(init=False)
    echo: UdpEcho = field(init=False)
    tunnel: TunnelEnd = field(init=False)

    def __post_init__(self) -> None:
        self.nginx = Nginx(self.ns, self.name, self.work)
        self.echo = UdpEcho(self.ns, self.name, self.work)
        self.tunnel = TunnelEnd(self.ns, self.name, self.work)

    @property
    def name(self) -> str:
        return f"backend{self.index}"

    def address(self, family: int) -> str:
        return (LAN4 if family == 4 else LAN6).format(20 + self.index)

    def direct_address(self, family: int) -> str:
        """An address that clients reach without the balancer, both ways."""
        return (LAN4 if family == 4 else LAN6).format(30 + self.index)

    @property
    def mac(self) -> str:
        return MAC.format(0x20 + self.index)


class Lab:
    """Builds the namespaces and takes them down; start() and stop() may follow each other."""

    def __init__(self, tag: str | None = None, backends: int = 3) -> None:
        self.tag = tag or owner_tag()
        self.work = Path(tempfile.gettempdir()) / f"{self.tag}-work"
        self.switch, self.router, self.client, self.neighbour, self.lb = (
            Namespace(f"{self.tag}-{role}") for role in ("switch", "router", "client", "neighbour", "lb"))
        self.backends = [Backend(i, Namespace(f"{self.tag}-backend{i}"), self.work) for i in range(1, backends + 1)]
        self.blob = Blob(self.work / "blob", megabytes=100)

    @property
    def bpffs(self) -> Path:
        """For what Weir pins: `ip netns exec` hides the host's own below /sys."""
        return self.work / "bpf"

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self) -> Lab:
        reap_stale()
        try:
            self.bpffs.mkdir(parents=True)
            run("mount", "-t", "bpf", "bpf", str(self.bpffs))
            self._wire()
            self.blob.write()
            for backend in self.backends:
                backend.nginx.start(self.blob.path)
                backend.echo.start()
                backend.tunnel.start(GUE_PORT, [backend.address(4), backend.address(6)])
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        for ns in self.namespaces():
            ns.delete()
        run("umount", str(self.bpffs), check=False)
        shutil.rmtree(self.work, ignore_errors=True)

    def __enter__(self) -> Lab:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def namespaces(self) -> list[Namespace]:
        return [self.client, self.neighbour, self.router, self.lb, *(b.ns for b in self.backends), self.switch]

    # -- wiring -------------------------------------------------------------------------------------------------

    def _wire(self) -> None:
        for ns in self.namespaces():
            ns.create()
        self.switch.ip("link add br0 type bridge stp_state 0 forward_delay 0 mcast_snooping 0")
        self.switch.ip("link set br0 up")
        self.plug(self.router, "eth0", MAC_ROUTER, LAN4.format(1), LAN6.format(1))
        self.plug(self.router, "eth1", MAC_ROUTER_SECOND, LAN4.format(3), LAN6.format(3))
        self.plug(self.lb, UPLINK, MAC_LB, None, None, queues=2)
        self.plug(self.neighbour, "eth0", MAC.format(0x11), NEIGHBOUR4, NEIGHBOUR6)
        for backend in self.backends:
            self.plug(backend.ns, "eth0", backend.mac, backend.address(4), backend.address(6))
            self._make_backend(backend)
        self._wire_client()
        self.neighbour.ip(f"route add {FAR4.format(0)}/24 via {ROUTER4}")
        self.neighbour.ip(f"-6 route add {FAR6.format(0)}/64 via {ROUTER6}")
        self.client.sysctl("net.ipv4.ip_local_port_range", "1024 65000")
        self.client.sysctl("net.ipv4.ip_local_reserved_ports", "20000-29999")  # ports that tests name
        self.client.sysctl("net.ipv4.tcp_tw_reuse", 1)

    def plug(self, ns: Namespace, device: str, mac: str, v4: str | None, v6: str | None, queues: int = 1,
             bridge: str = "br0") -> None:
        """A cable from DEVICE in NS to a port of the switch."""
        port = self.port_of(ns, device)
        count = f"numtxqueues {queues} numrxqueues {queues}"
        self.switch.ip(f"link add {port} mtu {MTU} {count} type veth peer name {device} netns {ns.name} mtu {MTU} "
                       f"address {mac} {count}")
        for where, name in ((self.switch, port), (ns, device)):
            where.run("ethtool", "-K", name, *OFFLOADS)
            where.ip(f"link set {name} up")
        self.switch.ip(f"link set {port} master {bridge}")
        if v4:
            ns.ip(f"addr add {v4}/24 dev {device}")
        if v6:
            ns.ip(f"addr add {v6}/64 dev {device} nodad")

    def port_of(self, ns: Namespace, device: str) -> str:
        """The switch's end of a cable."""
        role = ns.name.removeprefix(self.tag + "-")
        return f"{role}-{device}"[:15]

    def _wire_client(self) -> None:
        self.router.ip(f"link add far0 type veth peer name eth0 netns {self.client.name} address {MAC.format(0x10)}")
        for ns, device, host, peer in ((self.router, "far0", 1, None), (self.client, "eth0", 10, 1)):
            ns.run("ethtool", "-K", device, *OFFLOADS)
            ns.ip(f"link set {device} up")
            ns.ip(f"addr add {FAR4.format(host)}/24 dev {device}")
            ns.ip(f"addr add {FAR6.format(host)}/64 dev {device} nodad")
            if peer:
                ns.ip(f"route add default via {FAR4.format(peer)}")
                ns.ip(f"-6 route add default via {FAR6.format(peer)}")
        for family in ("ipv4", "ipv6"):
            self.router.sysctl(f"net.{family}.conf.all.forwarding", 1)
        # Two legs on one LAN: each answers ARP for its own address only.
        self.router.sysctl("net.ipv4.conf.all.arp_ignore", 1)
        self.router.sysctl("net.ipv4.conf.all.arp_announce", 2)

    def _make_backend(self, backend: Backend) -> None:
        ns = backend.ns
        # DSR: the VIP is on lo, and ARP/ND never speak of it.
        ns.sysctl("net.ipv4.conf.all.arp_ignore", 1)
        ns.sysctl("net.ipv4.conf.all.arp_announce", 2)
        for mode in DSR_MODES:
            ns.ip(f"addr add {VIP4[mode]}/32 dev lo")
            ns.ip(f"addr add {VIP6[mode]}/128 dev lo nodad")
        ns.ip(f"addr add {backend.direct_address(4)}/24 dev eth0")
        for family, option in ((4, "-4"), (6, "-6")):
            ns.ip(f"{option} rule add from {backend.address(family)} table 100")
        self.route_backend(backend)

    def route_backend(self, backend: Backend) -> None:
        """From the VIP or the direct address by the router; from the own address by the balancer. Again after a cut:
        the kernel forgets routes (and IPv6 addresses) of a link that went down."""
        ns = backend.ns
        ns.ip(f"addr replace {backend.address(6)}/64 dev eth0 nodad")
        ns.ip(f"addr replace {backend.direct_address(6)}/64 dev eth0 nodad preferred_lft 0")
        for option, lan, router, balancer in (("-4", LAN4.format(0) + "/24", ROUTER4, LB4),
                                              ("-6", LAN6.format(0).removesuffix("0") + "/64", ROUTER6, LB6)):
            ns.ip(f"{option} route replace default via {router}")
            ns.ip(f"{option} route replace {lan} dev eth0 table 100")
            ns.ip(f"{option} route replace default via {balancer} table 100")

    # -- the balancer's cable -----------------------------------------------------------------------------------

    def reset_lb(self) -> None:
        """Takes away whatever a run of Weir, clean or not, left on the balancer's side."""
        lb = self.lb
        for pins in self.bpffs.iterdir():  # beside the kernel's files, and a link that `ip` makes
            if pins.is_dir() and not pins.is_symlink():
                shutil.rmtree(pins)
        self.switch.ip(f"link set {self.port_of(lb, UPLINK)} xdp off")
        lb.ip(f"link set {UPLINK} xdp off", check=False)
        lb.run("tc", "qdisc", "del", "dev", UPLINK, "clsact", check=False)
        lb.ip(f"addr flush dev {UPLINK}", check=False)
        for line in lb.ip("-o link show").splitlines():
            name = line.split(":")[1].strip().split("@")[0]
            if name not in ("lo", UPLINK):
                lb.ip(f"link del {name}", check=False)
        lb.ip(f"link set {UPLINK} down")
        lb.ip(f"link set {UPLINK} up")
        lb.ip("neigh flush all", check=False)
        for ns in (self.router, self.neighbour, *(b.ns for b in self.backends)):
            ns.ip("neigh flush all", check=False)

    def end_left_connections(self) -> None:
        """Ends what the backends still have of clients' connections: of those whose client or balancer was taken away, of
        those in TIME_WAIT. Probes go on: they never come from a port that is lent to clients."""
        whose = f"dst {CLIENT4} or dst [{CLIENT6}] or ( dport >= :{SNAT_PORTS[0]} and dport <= :{SNAT_PORTS[1]} )"
        for backend in self.backends:
            backend.ns.run("ss", "-tanHK", whose)

    def let_xdp_send(self, program: Path, balancer: Namespace | None = None) -> None:
        """The far end of the balancer's cable takes what an XDP program sends: it has one itself, that does nothing."""
        self.switch.ip(f"link set {self.port_of(balancer or self.lb, UPLINK)} xdp obj {program} sec xdp")

    def hide_uplink(self) -> None:
        """The balancer's kernel has no cable of its own (the kernel-bypassed case)."""
        self.lb.ip(f"link set {UPLINK} down")

    def adopt_tap(self, name: str, timeout_s: float = 10) -> None:
        """Moves the kernel end of a net_tap port out of the balancer's sight, into the switch."""
        wait_for(f"{name} is up in the balancer's namespace",
                 lambda: ",UP" in self.lb.ip(f"-o link show {name}", check=False), timeout_s)
        self.lb.ip(f"link set {name} netns {self.switch.name}")
        # The frames for the port's own MAC must go through the cable: the bridge would keep them if its end had it too.
        self.switch.ip(f"link set {name} address {MAC.format(0xfe)}")
        self.switch.ip(f"link set {name} mtu {MTU} master br0 up")
