# SPDX-License-Identifier: BSD-3-Clause
"""The faults of the drill: what each does to a running Weir, what must hold, and what was measured.

A fault is a function of its stage; it makes the fault while a witness watches, takes it back, and returns a Row. Stages:
solo is one node with three backends, small_disk and small_table are others where these are soon full, two is a pair with
one VIP.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator

from lab import Lab
from lateness import Lateness
from netns import run as command
from one_node import (SMALL_TABLE, SOLO, backend_killed, backend_silent, bad_cable_to_a_backend, control_killed,
                      dataplane_crashes, dataplane_killed_dsr, dataplane_killed_nat, dataplane_stands_still,
                      fragments_without_a_first, full_disk, full_table, link_flaps, lossy_probes, refused_configurations, reloads)
from pair import Pair
from stage import Row, Stage
from two_nodes import (busy_machine, control_stands_still, deaf_backup, node_dies, node_dies_read_only, planned_handover,
                       split_brain)
from weir import Node, Weir

Fault = Callable[[Stage], Row]

SOLO_FAULTS: tuple[Fault, ...] = (
    backend_killed, backend_silent, control_killed, dataplane_killed_dsr, dataplane_killed_nat, dataplane_crashes, reloads,
    refused_configurations, link_flaps, bad_cable_to_a_backend, lossy_probes, dataplane_stands_still,
    fragments_without_a_first)
SMALL_DISK_FAULTS: tuple[Fault, ...] = (full_disk,)
SMALL_TABLE_FAULTS: tuple[Fault, ...] = (full_table,)
PAIR_FAULTS: tuple[Fault, ...] = (node_dies, node_dies_read_only, control_stands_still, planned_handover, split_brain,
                                  deaf_backup, busy_machine)
# What scripts/test goes through; the others take longer or are there already as tests of their own.
SUBSET: tuple[Fault, ...] = (backend_silent, control_killed, dataplane_killed_dsr, reloads, fragments_without_a_first,
                             full_disk, planned_handover, deaf_backup, busy_machine)


@contextlib.contextmanager
def solo(lab: Lab) -> Iterator[Stage]:
    node = Node(lab)
    try:
        weir = node.ensure(SOLO, fresh=True)
        yield Stage(lab, weir)
        weir.assert_closed_books()
    finally:
        node.stop()


class SmallDisk(Weir):
    """Its runtime directory is a file system of half a megabyte."""

    def start_control(self) -> None:
        if not os.path.ismount(self.runtime):
            command("mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(self.runtime))
        super().start_control()

    def stop(self) -> None:
        try:
            super().stop()
        finally:
            command("umount", "-l", str(self.runtime), check=False)


@contextlib.contextmanager
def small_disk(lab: Lab) -> Iterator[Stage]:
    weir = SmallDisk(lab, SOLO, "small")
    try:
        yield Stage(lab, weir.start())
        weir.assert_closed_books()
    finally:
        weir.stop()


@contextlib.contextmanager
def small_table(lab: Lab) -> Iterator[Stage]:
    weir = Weir(lab, SOLO, "narrow")
    try:
        yield Stage(lab, weir.start(SMALL_TABLE))
        weir.assert_closed_books()
    finally:
        weir.stop()


@contextlib.contextmanager
def two(lab: Lab) -> Iterator[Stage]:
    with Lateness(lab.work / "lateness") as lateness:
        # Backends do not die here: a node without a cable would take them for dead, and longer each time.
        pair = Pair(lab, lateness, modes=("dsr-l2", "full-nat"), protocols=("tcp", "udp"), fall=10)
        try:
            pair.start()
            yield Stage(lab, pair.a, pair)
            for weir in (pair.a, pair.b):
                weir.assert_closed_books()
        finally:
            pair.stop()


STAGES = ((solo, SOLO_FAULTS), (small_disk, SMALL_DISK_FAULTS), (small_table, SMALL_TABLE_FAULTS), (two, PAIR_FAULTS))


def run(lab: Lab, wanted: Callable[[Fault], bool], trials: int = 1, seconds: float = 20) -> Iterator[Row]:
    """Stage by stage; each row as soon as it is there."""
    for stage_of, faults in STAGES:
        chosen = [fault for fault in faults if wanted(fault)]
        if chosen:
            with stage_of(lab) as stage:
                stage.trials, stage.seconds = trials, seconds
                for fault in chosen:
                    yield fault(stage)
