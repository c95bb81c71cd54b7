# SPDX-License-Identifier: BSD-3-Clause
"""What the backends run: a real nginx and a UDP echo, each saying who answered and which client address it saw."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
from pathlib import Path

from netns import LabError, Namespace, wait_for

HTTP_PORTS = (80, 8080, 8081)  # dsr-l2, nat, full-nat: no backend port is shared by two VIPs
UDP_PORTS = (7777, 7778, 7779)
TUNNEL_PROGRAM = Path(__file__).with_name("tunnel_end.py")
ECHO_PROGRAM = Path(__file__).with_name("udp_echo.py")

NGINX_CONF = """\
user root;
worker_processes 1;
daemon off;
pid {work}/nginx.pid;
error_log {work}/error.log warn;
worker_rlimit_nofile 65536;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    default_type text/plain;
    keepalive_timeout 300s;
    keepalive_requests 100000000;
    sendfile on;
    client_body_temp_path {work}/t1; proxy_temp_path {work}/t2; fastcgi_temp_path {work}/t3;
    uwsgi_temp_path {work}/t4; scgi_temp_path {work}/t5;
    server {{
{listens}
        location / {{ return 200 "{name} $remote_addr $remote_port\\n"; }}
        location = /healthz {{ root {work}; try_files /healthy =503; }}
        location = /blob {{ alias {blob}; }}
    }}
}}
"""


class Blob:
    """A large file with known content."""

    def __init__(self, path: Path, megabytes: int) -> None:
        self.path = path
        self.bytes = megabytes * 1024 * 1024
        self.sha256 = ""

    def write(self) -> None:
        digest = hashlib.sha256()
        with open(self.path, "wb") as out:
            for number in range(self.bytes // 65536):
                # Each block differs, so that a lost, doubled or swapped segment changes the hash.
                block = hashlib.sha256(number.to_bytes(8, "big")).digest() * 2048
                digest.update(block)
                out.write(block)
        self.sha256 = digest.hexdigest()


class Nginx:
    """One nginx in a namespace. kill() leaves the port closed, fail_health() makes only /healthz answer 503."""

    def __init__(self, ns: Namespace, name: str, work: Path) -> None:
        self.ns = ns
        self.name = name
        self.work = work / f"nginx-{name}"
        self.process: subprocess.Popen | None = None

    def start(self, blob: Path) -> None:
        self.work.mkdir(exist_ok=True)
        self.set_healthy(True)
        listens = "\n".join(f"        listen {port} backlog=4096;\n        listen [::]:{port} ipv6only=on backlog=4096;"
                            for port in HTTP_PORTS)
        conf = self.work / "nginx.conf"
        conf.write_text(NGINX_CONF.format(work=self.work, name=self.name, listens=listens, blob=blob))
        self.restart()

    def restart(self) -> None:
        self.process = self.ns.popen("nginx", "-c", str(self.work / "nginx.conf"), "-e", str(self.work / "error.log"),
                                     log=self.work / "out.log")
        wait_for(f"nginx of {self.name} listens", self._listens)

    def _listens(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise LabError(f"nginx of {self.name} ended: {(self.work / 'error.log').read_text()}")
        try:
            self.ns.connect("127.0.0.1", HTTP_PORTS[-1], 1).close()
            return True
        except OSError:
            return False

    def set_healthy(self, healthy: bool) -> None:
        mark = self.work / "healthy"
        if healthy:
            mark.write_text("ok\n")
        else:
            mark.unlink(missing_ok=True)

    def kill(self) -> None:
        """Ends master and workers at once; connections are reset by the kernel."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        self.process.send_signal(signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(child), signal.SIGKILL)
        self.process.wait()


class TunnelEnd:
    """Takes the outer headers of dsr-ipip and dsr-gue off (tunnel_end.py) and hands the packets to the kernel."""

    DEVICE = "tunnel0"

    def __init__(self, ns: Namespace, name: str, work: Path) -> None:
        self.ns = ns
        self.name = name
        self.log = work / f"tunnel-{name}.log"

    def start(self, gue_port: int, addresses: list[str]) -> None:
        self.ns.ip(f"tuntap add {self.DEVICE} mode tun")
        self.ns.ip(f"link set {self.DEVICE} mtu 1500 up")
        for device in ("all", self.DEVICE):  # clients' packets come in here and their answers leave elsewhere
            self.ns.sysctl(f"net.ipv4.conf.{device}.rp_filter", 0)
        self.ns.popen("/usr/bin/python3", str(TUNNEL_PROGRAM), self.DEVICE, str(gue_port), *addresses, log=self.log)
        wait_for(f"the tunnel's end at {self.name} listens", lambda: "ready" in self.log.read_text())


class UdpEcho:
    """The UDP service of a backend (udp_echo.py)."""

    def __init__(self, ns: Namespace, name: str, work: Path) -> None:
        self.ns = ns
        self.name = name
        self.log = work / f"echo-{name}.log"
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.process = self.ns.popen("/usr/bin/python3", str(ECHO_PROGRAM), self.name, *map(str, UDP_PORTS),
                                     log=self.log)
        wait_for(f"UDP echo of {self.name} listens", lambda: "ready" in self.log.read_text())

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        self.process.wait()
