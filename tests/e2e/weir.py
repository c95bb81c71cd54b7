# SPDX-License-Identifier: BSD-3-Clause
"""Weir in the lab: starts and ends the real programs in the balancer's namespace and asks weirctl about them."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from books import open_books
from lab import Lab
from netns import SLOWNESS, LabError, end_processes, wait_for
from spec import TAP, Spec

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = Path(os.environ.get("WEIR_BUILD_DIR", ROOT / "build"))
START_LIMIT_S = 20


def program(name: str) -> str:
    path = BUILD / name
    if not path.exists():
        raise LabError(f"{path} is not there: run scripts/build")
    return str(path)


class Weir:
    """One node: weir-control with the dataplane it spawns, in its own runtime directory."""

    def __init__(self, lab: Lab, spec: Spec, name: str = "node", spawn: bool = True) -> None:
        self.lab = lab
        self.spec = spec
        self.directory = lab.work / name
        self.runtime = self.directory / "run"
        self.config = self.directory / "weir.toml"
        self.log_path = self.directory / "weir.log"
        self.pins = lab.bpffs / name
        self.control: subprocess.Popen | None = None
        self.spawn = spawn  # else control and dataplane are started apart, as by two units
        self.dataplane: subprocess.Popen | None = None
        self.installed = BUILD  # where the programs are run from
        self.options: tuple[str, ...] = ()  # more of weir-control's

    # -- life ---------------------------------------------------------------------------------------------------

    def start(self, config: str | None = None) -> Weir:
        """Starts it and returns when it forwards and every backend is up."""
        shutil.rmtree(self.directory, ignore_errors=True)
        self.runtime.mkdir(parents=True)
        self.lab.reset_lb()
        if self.spec.device == "tap":
            self.lab.hide_uplink()
        if self.spec.device != "tap":  # the kernel's balancer forwards, or stands in for the dataplane
            self.lab.let_xdp_send(BUILD / "tests" / "xdp_pass.bpf.o")
        self.config.write_text(config or self.spec.toml())
        self.start_control()
        if not self.spawn:
            self.start_dataplane()
        if self.spec.device == "tap":
            self._or_log(self.adopt_tap)
        self.wait_ready()
        self.wait_backends_up()
        return self

    def start_control(self) -> None:
        spawn = ["--spawn-dataplane"] if self.spawn else []
        self.control = self.lab.lb.popen(str(self.installed / "weir-control"), "--config", str(self.config),
                                         *self.place(), *spawn, *self.options, log=self.log_path)

    def start_dataplane(self) -> None:
        self.dataplane = self.lab.lb.popen(program("weir-dataplane"), "--config", str(self.config), "--runtime-dir",
                                           str(self.runtime), log=self.log_path)

    def kill_dataplane(self) -> None:
        self.end_dataplane(signal.SIGKILL)

    def end_dataplane(self, how: signal.Signals) -> None:
        assert self.dataplane is not None
        self.dataplane.send_signal(how)
        self.dataplane.wait()

    def install(self) -> None:
        """Copies of the programs for this node alone, so that a test can replace them."""
        self.installed = self.directory.with_name(self.directory.name + "-bin")
        self.installed.mkdir(parents=True, exist_ok=True)
        for name in ("weir-control", "weir-dataplane", "weirctl"):
            shutil.copy2(program(name), self.installed / name)
        (self.installed / "xdp").unlink(missing_ok=True)
        (self.installed / "xdp").symlink_to(BUILD / "xdp")

    def place(self) -> tuple[str, ...]:
        """weir-control's options that say which node this is."""
        return "--runtime-dir", str(self.runtime), "--bpffs", str(self.pins)

    def release_xdp(self) -> str:
        """weir-control --release-xdp: what it says."""
        return self.lab.lb.run(str(self.installed / "weir-control"), *self.place(), "--release-xdp")

    def adopt_tap(self) -> None:
        """Once for every start of the dataplane: its port's kernel end goes to the switch."""
        self.lab.adopt_tap(TAP, START_LIMIT_S)

    def wait_ready(self, timeout_s: float = START_LIMIT_S) -> dict[str, Any]:
        return self._or_log(lambda: wait_for("Weir is ready", self._ready, timeout_s, 0.05))

    def _ready(self) -> dict[str, Any] | None:
        if self.control is not None and self.control.poll() is not None:
            raise LabError(f"weir-control ended with code {self.control.returncode}")
        code, status = self.ctl("status", check=False)
        return status if code == 0 and status.get("ready") and not status["engine"].get("standing_in") else None

    def wait_backends_up(self, timeout_s: float = START_LIMIT_S) -> None:
        self._or_log(lambda: wait_for("all backends are up", lambda: all(
            v["backends_up"] == v["backends_total"] for v in self.status()["vips"]), timeout_s, 0.05))

    def _or_log(self, action: Any) -> Any:
        """ACTION; if it fails, the end of Weir's log goes with the failure."""
        try:
            return action()
        except LabError as error:
            raise LabError(f"{error}\n--- {self.log_path.name} ---\n{self.log()}") from None

    def stop(self) -> None:
        """SIGTERM to control, then to a dataplane that outlives it; both must end in time by themselves."""
        late = []
        if self.control is not None:
            self.control.send_signal(signal.SIGTERM)
            try:
                self.control.wait(10 * SLOWNESS)
            except subprocess.TimeoutExpired:
                late.append("weir-control")
                self.control.kill()
                self.control.wait()
            self.control = None
        for pid in self.dataplane_pids():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        try:
            wait_for("weir-dataplane ended", lambda: not self.dataplane_pids(), 10)
        except LabError:
            late.append("weir-dataplane")
            end_processes(self.dataplane_pids(), 0)
        if self.dataplane is not None:
            self.dataplane.wait()  # our child: nobody else reaps it
            self.dataplane = None
        if self.spec.device != "tap":
            self.release_xdp()
            if left := [pin.name for pin in self.pins.rglob("*") if not pin.is_dir()]:
                raise LabError(f"--release-xdp has left {left} on the BPF filesystem")
        if late:
            raise LabError(f"{' and '.join(late)} did not end on SIGTERM within 10 s\n{self.log()}")

    def kill_control(self) -> None:
        assert self.control is not None
        self.control.kill()
        self.control.wait()
        self.control = None

    def dataplane_pids(self) -> list[int]:
        """The dataplane of this node (there is at most one); found by its command line."""
        found = []
        for pid in self.lab.lb.pids():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if command[0].endswith(b"weir-dataplane") and str(self.runtime).encode() in command:
                    found.append(pid)
        return found

    # -- questions ----------------------------------------------------------------------------------------------

    def log(self, last: int = 60) -> str:
        if not self.log_path.exists():
            return "(empty)"
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-last:])

    def ctl_text(self, *arguments: str) -> tuple[int, str]:
        """weirctl's exit code and everything it printed."""
        done = subprocess.run(["ip", "netns", "exec", self.lab.lb.name, program("weirctl"), "--runtime-dir",
                               str(self.runtime), *arguments], capture_output=True, text=True, timeout=30 * SLOWNESS,
                              stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout + done.stderr

    def ctl(self, *arguments: str, check: bool = True) -> tuple[int, Any]:
        """weirctl --json: exit code and decoded output ({} when it printed none)."""
        done = subprocess.run(["ip", "netns", "exec", self.lab.lb.name, program("weirctl"), "--runtime-dir",
                               str(self.runtime), "--json", *arguments], capture_output=True, text=True, timeout=30 * SLOWNESS,
                              stdin=subprocess.DEVNULL)
        if check and done.returncode != 0:
            raise LabError(f"weirctl {' '.join(arguments)}: code {done.returncode}: {done.stderr}{done.stdout}\n"
                           f"{self.log(20)}")
        with contextlib.suppress(json.JSONDecodeError):
            return done.returncode, json.loads(done.stdout)
        return done.returncode, {}

    def status(self) -> dict[str, Any]:
        return self.ctl("status")[1]

    def counters(self) -> dict[str, Any]:
        return self.ctl("counters")[1]

    def verdict(self, name: str) -> int:
        """The count of one verdict."""
        return next(v["count"] for v in self.counters()["verdicts"] if v["name"] == name)

    def generation(self) -> int:
        return self.status()["generation"]

    def backend_states(self, pool: str) -> dict[str, str]:
        """Backend name -> state, as `weirctl pool show` says."""
        return {b["name"]: b["state"] for b in self.ctl("pool", "show", pool)[1]["backends"]}

    def is_out(self, pool: str, backend: str) -> bool:
        """BACKEND is down and the generation in force gives it nothing: the word comes before the deed."""
        entry = next(b for b in self.ctl("pool", "show", pool)[1]["backends"] if b["name"] == backend)
        return entry["state"] == "down" and entry["share"] == 0

    def write_config(self, text: str) -> None:
        """Replaces the file at once: a reload never sees half of it."""
        fresh = self.config.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.config)

    def reload_by_signal(self, text: str, timeout_s: float = 5) -> None:
        """SIGHUP with a new file; returns when its generation runs."""
        before = self.generation()
        self.write_config(text)
        assert self.control is not None
        self.control.send_signal(signal.SIGHUP)
        wait_for("the reload's generation runs", lambda: self.generation() > before, timeout_s)

    def apply(self, text: str) -> tuple[int, str]:
        """weirctl apply of a file with this text."""
        path = self.directory / "apply.toml"
        path.write_text(text)
        return self.ctl_text("apply", str(path))

    # -- books --------------------------------------------------------------------------------------------------

    def assert_closed_books(self, timeout_s: float = 3) -> None:
        """Balanced within TIMEOUT: a burst may be under way when we look, a lost packet stays lost."""
        deadline = time.monotonic() + timeout_s * SLOWNESS
        while problems := open_books(self.counters()):
            if time.monotonic() > deadline:
                raise LabError("the books are open: " + "; ".join(problems))
            time.sleep(0.05)


class Node:
    """At most one running Weir for the session: tests that want the same configuration share it."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._weir: Weir | None = None

    def ensure(self, spec: Spec, fresh: bool = False) -> Weir:
        """A running Weir of this SPEC; FRESH ends one that already runs."""
        if self._weir is not None and (fresh or self._weir.spec != spec or not self._alive()):
            self.stop()
        if self._weir is None:
            weir = Weir(self._lab, spec)
            try:
                weir.start()
            except BaseException:
                with contextlib.suppress(LabError):
                    weir.stop()
                raise
            self._weir = weir
        return self._weir

    def _alive(self) -> bool:
        return self._weir is not None and self._weir.control is not None and self._weir.control.poll() is None

    @property
    def current(self) -> Weir | None:
        return self._weir

    def stop(self) -> None:
        weir, self._weir = self._weir, None
        if weir is not None:
            weir.stop()

    def forget(self) -> None:
        """After a test that left Weir changed: the next one starts its own."""
        with contextlib.suppress(LabError):
            self.stop()
