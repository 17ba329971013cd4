"""Progress is of the blocks that a sweep will really take."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.measuring.journal import Journal
from profiler.measuring.outlook import Outlook
from profiler.measuring.protocol import SUSTAINED, Tail
from profiler.measuring.sweep import Sweep
from profiler.measuring.task import Role, make_task
from tests.profiler.measuring.test_sweep import PROTOCOL, WORKLOADS


@dataclass
class Recorded:
    """What a progress was told: share done after each step, notes, lines."""

    total: float = 0.0
    done: float = 0.0
    shares: list[float] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    def advance(self, steps=1.0, *, note=""):
        self.done += steps
        self.shares.append(self.done / self.total)
        self.notes.append(note)

    def skip(self, steps):
        raise AssertionError("blocks of earlier sweeps are no part of this one")

    def expect(self, total):
        self.total = total

    def say(self, text):
        self.lines.append(text)


def test_what_is_expected_is_corrected():
    progress = Recorded()
    outlook = Outlook(progress, at_least=10)
    outlook.begin("ab")
    assert progress.total == 20
    outlook.block("a")
    outlook.expect("a", 29)  # it will need 30
    assert progress.total == 40
    outlook.expect("b", 0)  # it failed
    assert (progress.total, progress.done) == (30, 1)
    for _ in range(30):
        outlook.block("a")  # one more than thought
    assert (progress.total, progress.done) == (31, 30)  # whether it is the last, a look will say
    outlook.expect("a", 0)
    assert (progress.total, progress.done) == (31, 31)


def test_a_sweep_ends_at_the_whole_and_says_what_it_finishes():
    target = replace(PROTOCOL.stopping, op_half_width=0.0008, op_cap_s=3.0)
    device, progress, journal = FakeDevice(1), Recorded(), Journal(None)
    protocol = replace(PROTOCOL, stopping=target)
    tasks = [make_task(w, Role.OP, device.info, protocol) for w in WORKLOADS[:4]]
    number = journal.begin_sweep(device.info, protocol.as_dict(), "now")
    Sweep(device, protocol, journal, number, seed=0, progress=progress).run(tasks)
    assert progress.done == progress.total == sum(len(journal.blocks(t.key)) for t in tasks)
    at_least = 4 * target.min_blocks
    assert set(progress.notes[: at_least - 1]) == {""}
    assert progress.notes[-1] == "finishing: 1 unconverged"
    assert max(progress.shares[:-1]) < 1
    assert progress.shares[at_least + 4] < 0.9  # and not 100 % while half is to come


def test_progress_of_a_sustained_load_is_its_time():
    device, progress = FakeDevice(1, scenario=Scenario(slowdown=40.0)), Recorded()
    protocol = replace(PROTOCOL, sustained=replace(SUSTAINED, minutes=2.0))
    tasks = [make_task(w, Role.OP, device.info, protocol) for w in WORKLOADS[:4]]
    with Journal(None) as journal:
        number = journal.begin_sweep(device.info, protocol.as_dict(), "now")
        Sweep(device, protocol, journal, number, seed=0, progress=progress).run(tasks)
        blocks = [block for task in tasks for block in journal.blocks(task.key)]
    passed = np.sort([block.started_s for block in blocks]) / 120
    known = passed > 0.1  # the rate of blocks
    assert np.array(progress.shares)[known] == pytest.approx(passed[known], abs=0.05)
    assert max(progress.shares[:-1]) < progress.shares[-1] == 1
    assert set(progress.notes) == {""}


@pytest.mark.parametrize("tail", [Tail(2000, 0.0), Tail(50, 60.0)])
def test_progress_of_a_tail_is_of_all_its_samples_and_time(tail):
    device, progress = FakeDevice(1), Recorded()
    protocol = replace(PROTOCOL, tail=tail)
    tasks = [make_task(w, Role.OP, device.info, protocol) for w in WORKLOADS[:4]]
    with Journal(None) as journal:
        number = journal.begin_sweep(device.info, protocol.as_dict(), "now")
        Sweep(device, protocol, journal, number, seed=0, progress=progress).run(tasks)
        n_blocks = sum(len(journal.blocks(task.key)) for task in tasks)
    done = np.linspace(0, 1, n_blocks + 1)[1:]
    known = done > 0.2  # the rate of blocks
    assert np.array(progress.shares)[known] == pytest.approx(done[known], abs=0.05)
