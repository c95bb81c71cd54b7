# SPDX-License-Identifier: BSD-3-Clause
"""The demo (scripts/demo runs it after the build): the lab of the end-to-end tests with one small configuration."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "e2e"))

from lab import CLIENT4, LB4, ROUTER4, UPLINK, VIP4, Lab  # noqa: E402  (the path above comes first)
from netns import LabError, wait_for  # noqa: E402
from spec import Spec  # noqa: E402
from traffic import Load, http_many, http_once, tally  # noqa: E402
from weir import Weir, program  # noqa: E402

TAG = "weirdemo"
INTERVAL_S, TIMEOUT_S, FALL = 0.5, 0.3, 2

CONFIG = f"""\
[interface.uplink]
device = "{UPLINK}"                      # a veth, driven by DPDK through AF_XDP
addresses = ["{LB4}/24"]
gateway = "{ROUTER4}"

[pool.web]
backends = [
  {{ address = "10.77.0.21:80", name = "backend1", weight = 10 }},
  {{ address = "10.77.0.22:80", name = "backend2", weight = 10 }},
  {{ address = "10.77.0.23:80", name = "backend3", weight = 20 }},
]
health = {{ type = "http", path = "/healthz", interval = "500ms", timeout = "300ms", rise = 2, fall = {FALL} }}

[vip.web]                                # the backends see the balancer's address
address = "{VIP4['full-nat']}"
port = 80
protocol = "tcp"
forward = "full-nat"
pool = "web"

[vip.direct]                             # the backends see the client and answer it directly
address = "{VIP4['dsr-l2']}"
port = 80
protocol = "tcp"
forward = "dsr-l2"
pool = "web"
"""


def say(text: str = "") -> None:
    print(text, flush=True)


def heading(text: str) -> None:
    say(f"\n== {text}")


def show_answers(lab: Lab, address: str, count: int = 200) -> None:
    """Requests on a connection each, and who answered them."""
    answers = http_many(lab.client, address, 80, count)
    for name, answered in sorted(tally(answers).items()):
        say(f"   {name}  {answered:4d}  {'#' * (answered * 60 // count)}")
    say(f"   client address the backends saw: {', '.join(sorted({a.client for a in answers}))} (the client is {CLIENT4})")


def show_failover(lab: Lab, weir: Weir) -> None:
    """A web server is killed under steady load; what its clients noticed, and for how long."""
    victim = lab.backends[1]
    with Load(lab.client, VIP4["full-nat"], 80, threads=4) as load:
        wait_for("the load runs", lambda: load.requests > 200)
        killed = time.monotonic()
        victim.nginx.kill()
        wait_for(f"{victim.name} is out", lambda: weir.backend_states("web")[victim.name] == "down", 10, 0.01)
        out = time.monotonic()
        after = load.requests
        wait_for("the load goes on", lambda: load.requests > after + 500, 30)
    failed = [t for t, _ in load.failures]
    last = f", the last {1000 * (max(failed) - killed):.0f} ms after the kill" if failed else ""
    say(f"   {victim.name} was out of the pool {1000 * (out - killed):.0f} ms after its server was killed "
        f"(promised: {1000 * (FALL * INTERVAL_S + TIMEOUT_S):.0f} ms)")
    say(f"   {load.requests} requests, {len(failed)} failed{last}")
    heading("who answers now")
    show_answers(lab, VIP4["full-nat"])
    started = time.monotonic()
    victim.nginx.restart()
    wait_for(f"{victim.name} is back", lambda: weir.backend_states("web")[victim.name] == "up", 10, 0.01)
    say(f"   {victim.name} was started again and took traffic after {1000 * (time.monotonic() - started):.0f} ms")


def run_demo(lab: Lab, weir: Weir) -> None:
    heading("the configuration")
    say(CONFIG)
    heading("Weir starts: weir-control --spawn-dataplane, DPDK over AF_XDP on a veth")
    began = time.monotonic()
    weir.start(CONFIG)
    say(f"   forwarding, all backends up after {1000 * (time.monotonic() - began):.0f} ms")
    heading(f"curl http://{VIP4['full-nat']}/ from the client's namespace")
    say("   " + lab.client.run("curl", "-sS", "--fail", "-m", "5", f"http://{VIP4['full-nat']}/").strip())
    for name, mode in (("web", "full-nat"), ("direct", "dsr-l2")):
        heading(f"200 connections to the VIP \"{name}\" ({mode}); weights are 10, 10, 20")
        show_answers(lab, VIP4[mode])
    heading("a web server dies under load")
    show_failover(lab, weir)
    heading("weirctl status")
    say(weir.ctl_text("status")[1].rstrip())
    heading("weirctl pool show web")
    say(weir.ctl_text("pool", "show", "web")[1].rstrip())
    weir.assert_closed_books()
    say("\nthe books are closed: every packet that came in has left or was dropped for a named reason")


def say_how_to_look(lab: Lab, weir: Weir) -> None:
    inside = f"ip netns exec {lab.lb.name}"
    heading("the lab is left running")
    say(f"   ip netns exec {lab.client.name} curl http://{VIP4['full-nat']}/")
    say(f"   {program('weirctl')} --runtime-dir {weir.runtime} status")
    say(f"   {program('weirctl')} --runtime-dir {weir.runtime} counters")
    say(f"   {inside} tcpdump -ni {UPLINK}          # what the kernel sees: everything that is not for a VIP")
    say(f"   $EDITOR {weir.config} && kill -HUP {weir.control.pid}")
    say(f"   tail {weir.log_path}")
    say("   scripts/demo --stop")


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="leave the lab running")
    parser.add_argument("--stop", action="store_true", help="take down what --keep left")
    args = parser.parse_args()

    lab = Lab(tag=TAG)
    lab.stop()
    if args.stop:
        return 0
    weir = Weir(lab, Spec())
    kept = False
    try:
        lab.start()
        run_demo(lab, weir)
        if args.keep:
            say_how_to_look(lab, weir)
            kept = True
        else:
            weir.stop()
    except (LabError, OSError, KeyboardInterrupt) as error:
        say(f"\nscripts/demo: {type(error).__name__}: {error}")
        return 1
    finally:
        if not kept:
            lab.stop()
    say("\nscripts/demo: done")
    return 0


if __name__ == "__main__":
    sys.exit(main())
