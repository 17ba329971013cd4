"""Sustained load: the course of all configurations together, its changes, and what is left."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from profiler.devices.base import DeviceState, Workload
from profiler.devices.registry import backends
from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.errors import InvalidInputError
from profiler.measuring.campaign import Campaign, Chosen, ProfileRequest
from profiler.measuring.journal import Journal
from profiler.measuring.load import course_of
from profiler.measuring.protocol import FULL, SUSTAINED, protocol_of
from profiler.measuring.records import Block
from profiler.measuring.stats import change_points
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.levels import Statistic
from profiler.tables.statistic import by_statistic
from profiler.tables.table import Verdict
from profiler.terminal import SILENT
from tests.profiler.fast import FAST

SPACE = MobileNetV3Space()
TABLE = Path("t.json")
RULE = replace(SUSTAINED, minutes=4.0)
PROTOCOL = replace(FAST, sustained=RULE)
changes_of = partial(
    change_points, min_z=RULE.min_z, min_step=float(np.log1p(RULE.min_step)), min_length=6
)
CHOSEN = Chosen(tuple(list(SPACE.distinct_ops())[10:14]), ())
SLOW = Scenario(slowdown=40.0)  # of work: few blocks fill the minutes


def test_steps_are_found_where_they_are_also_near_the_end():
    rng = np.random.default_rng(0)
    level = np.repeat([0.0, 0.05, 0.20, 0.0], [100, 60, 180, 8])
    found = changes_of(level + rng.normal(0, 0.004, len(level)))
    assert found == pytest.approx([100, 160, 340], abs=1)


def test_a_flat_series_has_no_steps_and_a_small_one_is_none():
    for seed in range(50):
        noise = np.random.default_rng(seed).normal(0, 0.01, 360)
        assert changes_of(noise) == []
        assert changes_of(noise + 0.02 * (np.arange(360) > 180)) == []
    assert changes_of(np.zeros(360)) == []


def test_the_course_is_common_to_configurations_however_they_take_turns():
    """log(sample) = own level + course; each configuration is seen in few windows only."""
    rng = np.random.default_rng(1)
    windows = np.arange(60)
    course = np.where(windows < 25, 0.0, np.log(1.15))
    blocks: list[list[Block]] = []
    for own_ms in (0.3, 4.0, 17.0, 90.0):
        seen = np.flatnonzero(rng.random(60) < 0.5)
        ms = own_ms * np.exp(course[seen])
        blocks.append(
            [Block("op", 5.0 * w, 0.1, 1, (float(m),)) for w, m in zip(seen, ms, strict=True)]
        )
    found = course_of(blocks, 5.0, 0.5)
    at = (found.times_s / 5).astype(int)
    assert found.levels - found.levels[0] == pytest.approx(course[at] - course[at[0]], abs=2e-3)


class HotDevice(FakeDevice):
    """Tells its temperature, which rises, and its clock, which falls when it throttles."""

    def state(self) -> DeviceState:
        told = super().state()
        clock_mhz = 1800.0 if self.throttled else 2400.0
        return replace(told, temperature_c=30 + self.now() / 60, clock_mhz=clock_mhz)


def load_table_of(device, journal=None, **changes):
    request = ProfileRequest("fake", SPACE, TABLE, PROTOCOL, chosen=CHOSEN, **changes)
    with journal or Journal(None) as journal:
        return Campaign(request, device, journal, SILENT).run()


@pytest.fixture(scope="module")
def throttled():
    """Throttles after 100 s to 1.25 times, and says so."""
    scene = replace(SLOW, throttle_at_s=100.0, throttle_factor=1.25)
    return load_table_of(HotDevice(0, scenario=scene))


def test_a_load_tells_first_minute_change_and_end(throttled):
    load = throttled.load
    assert load.minutes == 4
    (change,) = load.changes
    assert change.at_s == pytest.approx(100, abs=10)
    assert change.ratio == pytest.approx(1.25, rel=0.005)
    assert load.end_ratio == pytest.approx(1.25, rel=0.005)
    assert load.times_s[-1] == pytest.approx(235, abs=5.1)
    assert load.temperatures_c[0] == pytest.approx(30, abs=0.1)
    assert load.temperatures_c[-1] == pytest.approx(34, abs=0.1)
    assert (load.clocks_mhz[0], load.clocks_mhz[-1]) == (2400, 1800)


def test_each_op_has_both_levels_with_intervals(throttled):
    device = FakeDevice(0, scenario=SLOW)
    for key in CHOSEN.ops:
        truth = 40 * device.latency_ms(Workload(key, (SPACE.distinct_ops()[key],)))
        entry = throttled.ops[key]
        assert entry.latency_ms == pytest.approx(truth, rel=0.01)  # without what was throttled
        assert entry.flags == ("throttled",)
        levels = entry.levels
        assert levels[Statistic.FIRST_MINUTE].latency_ms == pytest.approx(truth, rel=0.01)
        sustained = levels[Statistic.SUSTAINED]
        assert sustained.latency_ms == pytest.approx(1.25 * truth, rel=0.01)
        low, high = sustained.ci95_ms
        assert low <= sustained.latency_ms <= high < 1.01 * low


def test_a_table_read_as_sustained_has_those_latencies(throttled):
    read = by_statistic(throttled, Statistic.SUSTAINED, TABLE)
    for key, entry in throttled.ops.items():
        level = entry.levels[Statistic.SUSTAINED]
        assert (read.ops[key].latency_ms, read.ops[key].ci95_ms) == (
            level.latency_ms,
            level.ci95_ms,
        )
    with pytest.raises(InvalidInputError, match="is a table of sustained, not of first_minute"):
        by_statistic(read, Statistic.FIRST_MINUTE, TABLE)
    with pytest.raises(InvalidInputError, match=r"has no p90, .*--protocol tail"):
        by_statistic(throttled, Statistic.P90, TABLE)


def test_a_device_that_does_not_throttle_has_no_change():
    table = load_table_of(FakeDevice(3, scenario=SLOW))
    assert table.load.changes == ()
    assert table.load.end_ratio == pytest.approx(1, abs=0.003)
    assert set(table.load.temperatures_c) == set(table.load.clocks_mhz) == {None}
    assert {entry.verdict for entry in table.ops.values()} == {Verdict.STABLE}


def test_a_load_that_was_cut_off_begins_anew(tmp_path):
    class Unplugged(FakeDevice):
        def state(self):
            if self.now() > 60:
                raise KeyboardInterrupt
            return super().state()

    with Journal(tmp_path / "j") as journal, pytest.raises(KeyboardInterrupt):
        load_table_of(Unplugged(0, scenario=SLOW), journal)
    device = FakeDevice(0, scenario=replace(SLOW, slowdown=44.0))
    table = load_table_of(device, Journal(tmp_path / "j"))
    assert device.now() > 240
    for entry in table.ops.values():
        assert entry.levels[Statistic.FIRST_MINUTE].latency_ms == pytest.approx(
            entry.levels[Statistic.SUSTAINED].latency_ms, rel=0.01
        )


def test_what_does_not_fit_in_memory_at_once_is_refused():
    class Small(FakeDevice):
        def free_memory_mb(self):
            return 0.01

    with pytest.raises(InvalidInputError, match=r"all at once, .*fewer --networks"):
        load_table_of(Small(0, scenario=SLOW))


def test_a_load_that_ends_within_its_first_pass_is_refused_and_fewer_go_on(tmp_path):
    """What was not reached has no level, and is not done."""
    protocol = replace(PROTOCOL, sustained=replace(RULE, minutes=3.0))
    request = ProfileRequest("fake", SPACE, TABLE, protocol, chosen=CHOSEN)
    device = FakeDevice(0, scenario=Scenario(slowdown=9000.0))
    told = r"one pass over 8 configurations takes longer .* 3 minutes, .* 2 .*fewer --networks"
    with Journal(tmp_path / "j") as journal:
        with pytest.raises(InvalidInputError, match=told):
            Campaign(request, device, journal, SILENT).run()
        assert journal.extent() == "kept: 2 blocks of 2 configurations, 0 of them done"
        assert journal.outcomes() == {}
        fewer = replace(request, chosen=Chosen(CHOSEN.ops[1:2], ()))
        table = Campaign(fewer, device, journal, SILENT).run()
    assert table.ops.keys() == set(CHOSEN.ops[1:2])
    assert table.load is not None and table.load.minutes == 3


def test_a_load_that_a_warm_device_bears_throttled_from_its_start_is_told():
    """Batches of runs without a clean sample are not taken for totals."""
    scene = Scenario(slowdown=0.2, throttle_at_s=0.0, throttle_factor=1.25)
    device, protocol = FakeDevice(0, scenario=scene), replace(RULE, minutes=0.5)
    request = ProfileRequest(
        "fake", SPACE, TABLE, replace(PROTOCOL, sustained=protocol), chosen=CHOSEN
    )
    with Journal(None) as journal:
        table = Campaign(request, device, journal, SILENT).run()
        (key, *_) = journal.outcomes()
        assert min(block.runs for block in journal.blocks(key)) > 1
    assert table.failures == {}
    for key, entry in table.ops.items():
        truth = device.latency_ms(Workload(key, (SPACE.distinct_ops()[key],)))
        assert entry.latency_ms == pytest.approx(0.2 * 1.25 * truth, rel=0.01)
        assert entry.verdict is Verdict.THROTTLED


def test_minutes_have_bounds_and_the_protocol_its_own_digest():
    fake = backends()["fake"]
    one = protocol_of(fake, quick=False, kind="sustained")
    assert (one.sustained, one.tail) == (SUSTAINED, None)
    other = protocol_of(fake, quick=False, kind="sustained", minutes=10)
    assert len({one.digest, other.digest, FULL.digest}) == 3
    for minutes in (-1, 0, 2.9, 1441, float("nan"), float("inf")):
        with pytest.raises(InvalidInputError, match="takes 3 to 1440 --minutes"):
            protocol_of(fake, quick=False, kind="sustained", minutes=minutes)
    with pytest.raises(InvalidInputError, match="--minutes is for"):
        protocol_of(fake, quick=False, kind="tail", minutes=5)
    with pytest.raises(InvalidInputError, match="unknown protocol 'tails'; known: tail, sustained"):
        protocol_of(fake, quick=False, kind="tails")


def courses(seed):
    """Ten minutes of what a quiet machine's courses scatter by, in stretches of 20 s.

    The file holds the courses of two sweeps of `pnag profile --device cpu --space kernels`, six
    minutes each on an AMD EPYC guest (benchmarks/throttling.py draws from journals themselves).
    """
    rng = np.random.default_rng(seed)
    recorded = json.loads(Path(__file__).with_name("flat_courses.json").read_text())
    course = np.array(recorded[seed % len(recorded)])
    starts = rng.integers(len(course) - 4, size=30)
    return np.concatenate([course[start : start + 4] for start in starts]), rng.integers(24, 108)


def test_a_throttling_step_is_found_within_60_s_and_a_flat_course_has_none():
    found = alarms = 0
    for seed in range(100):
        flat, at = courses(seed)
        stepped = flat + np.log(1.05) * (np.arange(len(flat)) >= at)
        found += any(abs(cut - at) <= 12 for cut in changes_of(stepped[: at + 12]))
        alarms += bool(changes_of(flat))
    assert found >= 95
    assert alarms == 0
