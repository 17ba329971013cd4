"""A sweep over several launches of the runtime: their spread is in the interval, and only there."""

from __future__ import annotations

from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from profiler.devices.base import Workload
from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.measuring.campaign import Campaign, Chosen, ProfileRequest
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import FULL, PHONE, QUICK, for_copies
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Verdict
from profiler.terminal import SILENT

SPACE = MobileNetV3Space()
KEYS = tuple(list(SPACE.distinct_ops())[10:13])
PROTOCOL = replace(
    FULL,
    stopping=replace(FULL.stopping, resamples=300),
    repeats=replace(FULL.repeats, share=0.0, min_count=0),
)


class Launched(FakeDevice):
    """Every workload takes longer by what this launch's place in memory costs."""

    def __init__(self, parent: LaunchingDevice, factor: float) -> None:
        super().__init__(0, scenario=replace(parent.scenario, slowdown=factor))
        self.parent = parent
        self._rng, self._now_s = parent.rng, parent.time_s

    def close(self) -> None:
        self.parent.time_s = self.now()


class LaunchingDevice(FakeDevice):
    def __init__(self, factors, **scenario) -> None:
        super().__init__(0, scenario=Scenario(**scenario))
        self.factors, self.rng, self.time_s = cycle(factors), np.random.default_rng(1), 0.0
        self.launched: list[Launched] = []

    def launch(self) -> Launched:
        self.launched.append(Launched(self, next(self.factors)))
        return self.launched[-1]


def table_of(device, journal, protocol=PROTOCOL):
    request = ProfileRequest("fake", SPACE, Path("t.json"), protocol, chosen=Chosen(KEYS, ()))
    return Campaign(request, device, journal, SILENT).run()


def blocks_by_sweep(journal):
    (epoch,) = journal.epochs()
    sweeps = journal.sweeps(epoch)
    measured = {key: [block.sweep for block in journal.blocks(key)] for key in journal.outcomes()}
    return {key: [of_key.count(sweep) for sweep in sweeps] for key, of_key in measured.items()}


def truth_ms(key):
    return FakeDevice(0).latency_ms(Workload(key, (SPACE.distinct_ops()[key],)))


def test_launches_share_the_blocks_and_canaries_bring_them_onto_one_scale():
    """What moves the canary as it moves the ops is no spread of theirs."""
    device = LaunchingDevice([1.00, 1.03, 0.98])
    with Journal(None) as journal:
        table = table_of(device, journal)
        shares = blocks_by_sweep(journal)
    assert len(device.launched) == 3
    assert all(counts == [20, 20, 20] for counts in shares.values())
    for key, entry in table.ops.items():
        assert entry.latency_ms == pytest.approx(truth_ms(key), rel=0.01)
        assert entry.verdict is Verdict.STABLE
        low, high = entry.ci95_ms
        assert high / low < 1.02


def test_launches_of_few_blocks_do_not_keep_a_noisy_sweep_from_its_end():
    """The level of twenty noisy blocks is uncertain, and remains so after any number of others."""
    needed = {}
    for launches in (1, 3):
        with Journal(None) as journal:
            device = LaunchingDevice([1.0], noise=0.1)
            table_of(device, journal, replace(PROTOCOL, launches=launches))
            needed[launches] = sum(map(sum, blocks_by_sweep(journal).values()))
    assert 60 * len(KEYS) < needed[1]
    assert needed[3] == pytest.approx(needed[1], rel=0.25)


def test_an_interval_spans_launches_that_differ(monkeypatch):
    """Only the ops are moved: their canaries are not, so that nothing normalises it."""
    device = LaunchingDevice([1.0])
    factors = iter([1.00, 1.03, 0.98])
    launch = device.launch

    def moved():
        one, factor = launch(), next(factors)
        draw = one.draw_ms
        is_op = SPACE.distinct_ops().keys()

        def moved_ms(workload, runs):
            return draw(workload, runs) * (factor if workload.key in is_op else 1.0)

        monkeypatch.setattr(one, "draw_ms", moved_ms)
        return one

    monkeypatch.setattr(device, "launch", moved)
    with Journal(None) as journal:
        table = table_of(device, journal)
    for key, entry in table.ops.items():
        truth = truth_ms(key)
        low, high = entry.ci95_ms
        assert low / truth == pytest.approx(0.98, abs=0.015)
        assert high / truth == pytest.approx(1.03, abs=0.015)
        assert entry.verdict is Verdict.STABLE, entry.flags  # no step within any launch


def test_a_sweep_that_was_cut_off_goes_on_with_the_launch_that_it_was_in(tmp_path, monkeypatch):
    device = LaunchingDevice([1.0])
    launch = device.launch

    def dies_in_the_second():
        one = launch()
        if len(device.launched) == 2:
            began = one.now()
            state = one.state

            def state_or_die():
                if one.now() > began + 1.5:
                    raise KeyboardInterrupt
                return state()

            monkeypatch.setattr(one, "state", state_or_die)
        return one

    with Journal(tmp_path / "j") as journal, pytest.raises(KeyboardInterrupt):
        monkeypatch.setattr(device, "launch", dies_in_the_second)
        table_of(device, journal)
    again = LaunchingDevice([1.0])
    with Journal(tmp_path / "j") as journal:
        table_of(again, journal)
        shares = blocks_by_sweep(journal)
    assert len(again.launched) == 2
    for counts in shares.values():
        assert counts[0] == 20
        assert counts[1] + counts[2] == 20
        assert counts[3] == 20


def test_what_failed_in_one_launch_is_not_tried_in_the_next():
    device = LaunchingDevice([1.0], failing_keys=KEYS[:1])
    with Journal(None) as journal:
        table = table_of(device, journal)
        (failed,) = [outcome for outcome in journal.outcomes().values() if outcome.failed]
    assert failed.sweep == 1
    assert table.failures == {KEYS[0]: "load_failed: told to fail"}
    assert len(table.ops) == len(KEYS) - 1


def test_how_many_launches_a_protocol_has():
    assert [one.launches for one in (FULL, QUICK, PHONE, for_copies(FULL))] == [3, 1, 1, 1]
