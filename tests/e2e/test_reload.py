# SPDX-License-Identifier: BSD-3-Clause
"""Reloads and the death of the control process under load: not one failed request. A refused file changes nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lab import Lab
from netns import wait_for
from spec import Spec, Vip
from stats import unfair_shares
from traffic import Load, http_many, tally
from weir import Node, Weir

DPDK = Spec("veth", 2, modes=("dsr-l2", "full-nat"), families=(4,), protocols=("tcp",), weights=(10, 10, 10))
SPECS = [pytest.param(DPDK, id="dpdk"), pytest.param(replace(DPDK, device="xdp"), id="xdp")]
RELOADS = 20


@pytest.fixture(scope="module", params=SPECS)
def spec(request: pytest.FixtureRequest) -> Spec:
    return request.param


@pytest.fixture
def weir(node: Node, spec: Spec) -> Weir:
    found = node.ensure(spec)
    found.wait_backends_up()
    return found


def loads(lab: Lab) -> tuple[Load, Load]:
    return (Load(lab.client, Vip("full-nat", "tcp", 4).address, 80), Load(lab.client, Vip("dsr-l2", "tcp", 4).address, 80))


def test_reloads_under_load_fail_no_request(lab: Lab, weir: Weir) -> None:
    full_nat, dsr = loads(lab)
    with full_nat, dsr:
        for number in range(RELOADS):
            text = replace(weir.spec, weights=(10, 10, 11 + number % 3)).toml()
            if number % 2:
                weir.reload_by_signal(text)
            else:
                before = weir.generation()
                code, said = weir.apply(text)
                assert code == 0, said
                wait_for("the applied generation runs", lambda: weir.generation() > before, 5)
        seen = full_nat.requests, dsr.requests
        wait_for("the load goes on", lambda: full_nat.requests > seen[0] + 50 and dsr.requests > seen[1] + 50)
    assert full_nat.failures == [] and dsr.failures == []
    weir.reload_by_signal(weir.spec.toml())


def test_a_reload_takes_effect(lab: Lab, weir: Weir) -> None:
    """Negative control of the one above: the reloads are not ignored."""
    vip = Vip("full-nat", "tcp", 4)
    weights = {"backend1": 60, "backend2": 10, "backend3": 10}
    assert unfair_shares(tally(http_many(lab.client, vip.address, 80, 300)), weights)
    weir.reload_by_signal(replace(weir.spec, weights=(60, 10, 10)).toml())
    try:
        assert not unfair_shares(tally(http_many(lab.client, vip.address, 80, 300)), weights)
    finally:
        weir.reload_by_signal(weir.spec.toml())


BROKEN = {
    "syntax": lambda text: text.replace("mtu = 1500", "mtu = = 1500"),
    "unknown key": lambda text: text.replace("scheduler =", "schedular =", 1),
    "no such pool": lambda text: text.replace('pool = "pool-full-nat-tcp4"', 'pool = "nowhere"'),
    "bad weight": lambda text: text.replace("weight = 10", "weight = 70000", 1),
}


@pytest.mark.parametrize("how", ("apply", "signal"))
@pytest.mark.parametrize("kind", BROKEN)
def test_a_refused_configuration_changes_nothing(lab: Lab, weir: Weir, kind: str, how: str) -> None:
    good = weir.spec.toml()
    broken = BROKEN[kind](good)
    assert broken != good
    before = weir.status()
    full_nat, dsr = loads(lab)
    with full_nat, dsr:
        wait_for("the load runs", lambda: full_nat.requests > 20 and dsr.requests > 20)
        if how == "apply":
            code, said = weir.apply(broken)
            assert code in (1, 2) and "apply.toml:" in said
        else:
            logged = len(weir.log(10**6))
            weir.write_config(broken)
            weir.control.send_signal(1)
            wait_for("the refusal is logged", lambda: "weir.toml:" in weir.log(10**6)[logged:], 5)
        seen = full_nat.requests, dsr.requests
        wait_for("the load goes on", lambda: full_nat.requests > seen[0] + 50 and dsr.requests > seen[1] + 50)
    assert full_nat.failures == [] and dsr.failures == []
    after = weir.status()
    assert after["generation"] == before["generation"]
    assert [(v["name"], v["backends_up"]) for v in after["vips"]] == [(v["name"], v["backends_up"]) for v in before["vips"]]
    weir.write_config(good)


def test_control_killed_under_load_fails_no_request(lab: Lab, weir: Weir) -> None:
    before = weir.status()
    states = weir.backend_states("pool-full-nat-tcp4")
    dataplane = weir.dataplane_pids()
    assert len(dataplane) == (0 if weir.spec.device == "xdp" else 1)
    full_nat, dsr = loads(lab)
    with full_nat, dsr:
        wait_for("the load runs", lambda: full_nat.requests > 50 and dsr.requests > 50)
        weir.kill_control()
        seen = full_nat.requests, dsr.requests
        wait_for("headless forwarding", lambda: full_nat.requests > seen[0] + 300 and dsr.requests > seen[1] + 300, 30)
        weir.start_control()
        weir.wait_ready()
        seen = full_nat.requests, dsr.requests
        wait_for("the load goes on", lambda: full_nat.requests > seen[0] + 300 and dsr.requests > seen[1] + 300, 30)
    assert full_nat.failures == [] and dsr.failures == []
    assert weir.dataplane_pids() == dataplane, "the dataplane was replaced instead of adopted"
    assert weir.generation() >= before["generation"]
    assert weir.backend_states("pool-full-nat-tcp4") == states


@pytest.mark.slow
def test_control_killed_again_and_again(lab: Lab, weir: Weir) -> None:
    load = Load(lab.client, Vip("full-nat", "tcp", 4).address, 80)
    with load:
        for _ in range(5):
            weir.kill_control()
            weir.start_control()
            weir.wait_ready()
    assert load.failures == [] and load.requests > 100
