"""Tails of single runs: their quantiles, intervals and how much they rest on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from profiler.devices.base import Workload
from profiler.devices.registry import backends
from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.errors import InvalidInputError
from profiler.measuring.campaign import Campaign, Chosen, ProfileRequest
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import TAIL, protocol_of
from profiler.measuring.records import Block
from profiler.measuring.tails import QUANTILES, tail_levels
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.levels import Statistic
from profiler.terminal import SILENT
from tests.profiler.fast import FAST

SPACE = MobileNetV3Space()
FAKE = backends()["fake"]


def blocks_of(samples):
    return [Block("op", float(i), 0.1, 1, tuple(row)) for i, row in enumerate(samples)]


def test_intervals_of_independent_samples_are_those_of_order_statistics():
    """The interval of a quantile between two order statistics (binomial ranks)."""
    samples = np.random.default_rng(0).gamma(2.0, 1.0, (70, 16))
    ordered = np.sort(samples.ravel())
    found = tail_levels([blocks_of(samples)], 2000)
    for statistic, quantile in QUANTILES.items():
        level = found[statistic]
        assert level.latency_ms == np.quantile(samples, quantile)
        expected = binom.ppf([0.025, 0.975], len(ordered), quantile)
        ranks = np.searchsorted(ordered, np.array(level.ci95_ms))
        assert ranks == pytest.approx(expected, abs=0.3 * np.ptp(expected))


def test_samples_of_a_block_share_their_disturbances():
    """Copies of one sample in each block tell no more than the blocks: the interval is as wide."""
    each = np.random.default_rng(1).gamma(2.0, 1.0, (70, 1))
    one, copied = (
        tail_levels([blocks_of(samples)], 2000)[Statistic.P90]
        for samples in (each, np.repeat(each, 16, axis=1))
    )
    widths = [float(np.ptp(np.array(level.ci95_ms))) for level in (one, copied)]
    assert widths[1] == pytest.approx(widths[0], rel=0.25)


def test_too_few_blocks_have_no_interval():
    levels = tail_levels([blocks_of([[1.0, 2.0]] * 4)], 100)
    assert [level.ci95_ms for level in levels.values()] == [None] * 3


@pytest.fixture(scope="module")
def table():
    """One run in twelve is preempted, for three times as long."""
    protocol = protocol_of(FAKE, quick=True, kind="tail")
    protocol = replace(protocol, stopping=replace(protocol.stopping, resamples=200))
    scene = Scenario(preempted_share=1 / 12, slowdown=5.0)
    chosen = Chosen(tuple(list(SPACE.distinct_ops())[10:12]), ())
    request = ProfileRequest("fake", SPACE, Path("t.json"), protocol, chosen=chosen)
    with Journal(None) as journal:
        found = Campaign(request, FakeDevice(2, scenario=scene), journal, SILENT).run()
        (key, *_) = journal.outcomes()
        blocks = journal.blocks(key)
    return found, blocks


def test_the_tail_is_of_single_runs_and_holds_what_the_latency_leaves_out(table):
    found, _ = table
    device = FakeDevice(2, scenario=Scenario(slowdown=5.0))
    for key, entry in found.ops.items():
        truth = 5 * device.latency_ms(Workload(key, (SPACE.distinct_ops()[key],)))
        assert entry.latency_ms == pytest.approx(truth, rel=0.015)
        assert entry.levels[Statistic.P50].latency_ms == pytest.approx(truth, rel=0.01)
        assert entry.levels[Statistic.P90].latency_ms == pytest.approx(truth, rel=0.02)
        assert entry.levels[Statistic.P99].latency_ms == pytest.approx(3 * truth, rel=0.02)


def test_it_rests_on_1024_samples_over_60_s(table):
    found, blocks = table
    assert all(entry.n_samples >= TAIL.min_samples == 1024 for entry in found.ops.values())
    assert blocks[-1].started_s + blocks[-1].spent_s - blocks[0].started_s >= TAIL.min_span_s == 60
    assert {block.runs for block in blocks} == {1}
    assert TAIL.is_enough(1024, 60.0)
    assert not TAIL.is_enough(1023, 60.0)
    assert not TAIL.is_enough(1024, 59.9)


def test_a_device_that_is_throttled_at_first_is_waited_for():
    """The first blocks are discarded, and say nothing of how many are to come."""
    protocol = protocol_of(FAKE, quick=True, kind="tail")
    tail = replace(TAIL, min_samples=64, min_span_s=1.0)
    scene = Scenario(throttle_at_s=0.0, throttle_for_s=20.0, slowdown=5.0)
    chosen = Chosen(tuple(list(SPACE.distinct_ops())[10:12]), ())
    request = ProfileRequest(
        "fake", SPACE, Path("t.json"), replace(protocol, tail=tail), chosen=chosen
    )
    with Journal(None) as journal:
        found = Campaign(request, FakeDevice(0, scenario=scene), journal, SILENT).run()
        (key, *_) = journal.outcomes()
        assert journal.blocks(key)[0].throttled
    for key, entry in found.ops.items():
        truth = 5 * FakeDevice(0).latency_ms(Workload(key, (SPACE.distinct_ops()[key],)))
        assert entry.levels[Statistic.P50].latency_ms == pytest.approx(truth, rel=0.01)
        assert entry.n_samples >= 64


def test_means_of_many_runs_have_no_tails():
    with pytest.raises(InvalidInputError, match=r"device adb gives means .* have no tails"):
        protocol_of(backends()["adb"], quick=False, kind="tail")


def test_other_protocols_measure_none():
    chosen = Chosen(tuple(list(SPACE.distinct_ops())[10:12]), ())
    request = ProfileRequest("fake", SPACE, Path("t.json"), FAST, chosen=chosen)
    with Journal(None) as journal:
        found = Campaign(request, FakeDevice(0), journal, SILENT).run()
    assert [entry.levels for entry in found.ops.values()] == [{}, {}]
    assert "levels" not in found.to_json()
