# SPDX-License-Identifier: BSD-3-Clause
"""Programs that cannot start say why in one sentence and end with a code; a start that works is quick."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

import pytest

from lab import UPLINK, Lab
from netns import SLOWNESS
from spec import Spec
from weir import Node, program

GOOD = Spec("veth", 1, modes=("full-nat",), families=(4,), protocols=("tcp",)).toml()


def start_dataplane(lab: Lab, text: str, *wrapper: str) -> subprocess.CompletedProcess[str]:
    """weir-dataplane with this configuration, until it ends by itself."""
    directory = lab.work / "start"
    (directory / "run").mkdir(parents=True, exist_ok=True)
    for path in (lab.work, directory, directory / "run"):
        os.chmod(path, 0o777)
    config = directory / "weir.toml"
    config.write_text(text)
    return subprocess.run(["ip", "netns", "exec", lab.lb.name, *wrapper, program("weir-dataplane"), "--config",
                           str(config), "--runtime-dir", str(directory / "run")],
                          capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)


def assert_one_sentence(done: subprocess.CompletedProcess[str], *words: str) -> None:
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert done.returncode in (1, 2), f"code {done.returncode}: {said}"
    assert not [line for line in said if re.match(r"^(EAL|ETHDEV|TELEMETRY|[A-Z_]+\(\)):", line)], said
    assert said and len(said) <= 5, said
    for word in words:
        assert word in "\n".join(said), said


def test_an_unusable_device(lab: Lab, node: Node) -> None:
    node.stop()
    assert_one_sentence(start_dataplane(lab, GOOD.replace(f'"{UPLINK}"', '"nosuch0"')), "nosuch0")


def test_an_unusable_pci_device(lab: Lab, node: Node) -> None:
    node.stop()
    assert_one_sentence(start_dataplane(lab, GOOD.replace(f'"{UPLINK}"', '"0000:3b:00.0"')), "0000:3b:00.0")


def test_a_core_that_does_not_exist(lab: Lab, node: Node) -> None:
    node.stop()
    assert_one_sentence(start_dataplane(lab, GOOD.replace("workers = [0]", "workers = [0, 99]")), "99")


def test_missing_permission(lab: Lab, node: Node) -> None:
    node.stop()
    done = start_dataplane(lab, GOOD, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all",
                           "--bounding-set=-all")
    assert_one_sentence(done)
    assert re.search(r"permission|privilege|root|CAP_", done.stdout + done.stderr, re.IGNORECASE)


def test_a_missing_configuration_file(lab: Lab, node: Node) -> None:
    for name in ("weir-dataplane", "weir-control"):
        done = subprocess.run([program(name), "--config", "/nonexistent/weir.toml", "--runtime-dir", str(lab.work)],
                              capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
        assert_one_sentence(done, "/nonexistent/weir.toml")


def test_a_broken_configuration_ends_control_with_its_place(lab: Lab, node: Node) -> None:
    path: Path = lab.work / "broken.toml"
    path.write_text(GOOD.replace("scheduler =", "schedular ="))
    done = subprocess.run([program("weir-control"), "--config", str(path), "--runtime-dir", str(lab.work)],
                          capture_output=True, text=True, timeout=20, stdin=subprocess.DEVNULL)
    said = done.stdout + done.stderr
    assert done.returncode == 2 and re.search(r"broken\.toml:\d+:\d+", said) and "scheduler" in said, said


@pytest.mark.parametrize("hugepages", ("auto", "off"))
def test_it_forwards_soon_after_its_start(lab: Lab, node: Node, hugepages: str) -> None:
    """From nothing to ready: the dataplane's share is under a second, the rest is one round of probes."""
    start = time.monotonic()
    node.ensure(Spec("veth", 2, engine=f'hugepages = "{hugepages}"\n', interval="300ms", timeout="200ms", rise=1), fresh=True)
    assert time.monotonic() - start < 6 * SLOWNESS
