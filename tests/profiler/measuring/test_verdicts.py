"""What a device may answer, and the verdict on it: only sound samples are stable."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from profiler.devices.simulated.fake import FakeDevice
from profiler.flags import Flag
from profiler.measuring.journal import Journal
from profiler.tables.table import Verdict
from tests.profiler.measuring.test_sweep import PROTOCOL, WORKLOADS, measured

CAPPED = replace(PROTOCOL, stopping=replace(PROTOCOL.stopping, op_cap_s=2.0, network_cap_s=4.0))


class Answering(FakeDevice):
    """Its answers about anything but the canaries are made of the true ones."""

    def __init__(self, answer):
        super().__init__(1)
        self._answer, self._answers = answer, np.random.default_rng(7)

    def draw_ms(self, workload, runs):
        true_ms = super().draw_ms(workload, runs)
        if workload.key.startswith("canary"):
            return true_ms
        return self._answer(true_ms, runs, self._answers)


def levels(*factors, shares=None):
    return lambda ms, _, rng: ms * rng.choice(factors, p=shares)


UNSOUND = {
    "two modes": levels(1, 2),
    "three modes": levels(1, 2, 3),
    "three close modes": levels(1, 1.06, 1.12),
    "four modes": levels(1, 2, 3, 4),
    "a fast mode of 19 %": levels(1, 3, shares=[0.19, 0.81]),
    "a fast mode of 19 %, close": levels(1, 1.1, shares=[0.19, 0.81]),
    "a fast mode of 19 % below a wide one": lambda ms, _, rng: (
        ms * (1 if rng.random() < 0.19 else rng.normal(1.4, 0.08))
    ),
    "uniform over a factor of 3": lambda ms, _, rng: ms * rng.uniform(1, 3),
    "uniform over a factor of 10": lambda ms, _, rng: ms * rng.uniform(1, 10),
    "constant": lambda *_: 5.0,
    "constant for each": lambda ms, _, rng: 0.125 * np.ceil(8 * ms),
    "whole milliseconds": lambda ms, *_: max(1, round(7 * ms)),
    "whole milliseconds of the batch": lambda ms, runs, _: max(1, round(ms * runs)) / runs,
}


@pytest.mark.parametrize("kind", UNSOUND)
def test_samples_that_no_single_number_stands_for_are_not_stable(kind):
    entries, _ = measured(Answering(UNSOUND[kind]), protocol=CAPPED, workloads=WORKLOADS[::2])
    assert Verdict.STABLE not in {entry.verdict for entry in entries.values()}


@pytest.mark.parametrize(
    ("answer", "lie"),
    [
        (lambda ms, runs, _: ms * runs, "returns totals instead of means"),
        (lambda ms, runs, _: ms / runs, "runs less than it is asked to, or divides twice"),
    ],
    ids=["totals", "divided twice"],
)
def test_what_is_no_mean_of_the_runs_that_were_asked_for_is_a_failure(answer, lie):
    journal = Journal(None)
    entries, _ = measured(Answering(answer), journal)
    failed = {one.name: one.message for one in journal.outcomes().values() if one.failed}
    true_ms = {w.key: FakeDevice(1).latency_ms(w) for w in WORKLOADS}
    assert failed.keys() == {key for key, ms in true_ms.items() if ms < 1.9}  # in batches
    assert all(m.startswith("not_a_mean: ") and lie in m for m in failed.values())
    for key, entry in entries.items():  # of single runs, where all of them are the same
        assert entry.latency_ms == pytest.approx(true_ms[key], rel=0.02)


def test_a_device_that_gets_faster_after_its_first_runs_is_no_liar():
    asked: Counter[str] = Counter()

    class Warming(FakeDevice):
        uses_canary = False

        def draw_ms(self, workload, runs):
            asked[workload.key] += 1
            slow = asked[workload.key] <= PROTOCOL.warm_up.min_runs
            return super().draw_ms(workload, runs) * (3 if slow else 1)

    entries, _ = measured(Warming(1))
    for workload in WORKLOADS:
        entry = entries[workload.key]
        assert entry.verdict is Verdict.STABLE
        assert entry.latency_ms == pytest.approx(FakeDevice(1).latency_ms(workload), rel=0.02)


@pytest.mark.parametrize(
    "sound",
    [
        lambda ms, *_: ms,
        lambda ms, *_: round(ms, 6),  # a clock of nanoseconds
        lambda ms, *_: ms * 1e4,
        lambda ms, _, rng: ms * (1 + (rng.random() < 0.5) * rng.gamma(1.5, 0.1)),  # a busy machine
        lambda ms, _, rng: ms * (3 if rng.random() < 0.05 else 1),
    ],
)
def test_sound_samples_are_stable(sound):
    entries, _ = measured(Answering(sound))
    assert {entry.verdict for entry in entries.values()} == {Verdict.STABLE}


def test_the_flags_say_why():
    def flags(kind):
        entries, _ = measured(Answering(UNSOUND[kind]), protocol=CAPPED, workloads=WORKLOADS[:1])
        return entries[WORKLOADS[0].key].flags

    [modes] = Flag.MULTIMODAL.arguments(flags("three modes"))
    low, middle, high = map(float, modes.removesuffix("ms").split(","))
    assert (middle / low, high / low) == pytest.approx((2, 3), rel=0.02)
    assert Flag.SCATTERED in flags("uniform over a factor of 3")
    assert Flag.COARSE in flags("constant")
