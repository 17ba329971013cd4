"""The sweep against a device whose latencies are known in closed form."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from profiler.devices.base import Workload, epoch_of
from profiler.devices.simulated.fake import FakeDevice, Scenario
from profiler.errors import DeviceUnavailableError, MeasurementError
from profiler.flags import Flag
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import FULL
from profiler.measuring.records import Block
from profiler.measuring.stopping import Decision
from profiler.measuring.summary import Levels, summarise
from profiler.measuring.sweep import Sweep
from profiler.measuring.task import Role, make_task
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Verdict

SPACE = MobileNetV3Space()
OPS = list(SPACE.distinct_ops().items())[::16]
WORKLOADS = [Workload(key, (op,)) for key, op in OPS] + [
    Workload(str(arch), tuple(SPACE.ops(arch))) for arch in SPACE.extremes()
]
PROTOCOL = replace(FULL, stopping=replace(FULL.stopping, min_blocks=30, resamples=300))


def measured(device, journal=None, protocol=PROTOCOL, workloads=WORKLOADS, seed=0):
    """Entries by workload key of one sweep, referred to the journal's first sweep."""
    journal = journal or Journal(None)
    number = journal.begin_sweep(device.info, protocol.as_dict(), "now")
    tasks = [
        make_task(w, Role.NETWORK if len(w.ops) > 1 else Role.OP, device.info, protocol)
        for w in workloads
    ]
    sweep = Sweep(device, protocol, journal, number, seed=seed)
    sweep.run(tasks)
    levels = Levels(journal, protocol)
    levels.fix_references(epoch_of(device.info))
    outcomes = journal.outcomes()
    entries = {
        task.workload.key: summarise(
            [block for block in journal.blocks(task.key) if block.sweep == number],
            levels,
            protocol,
            decision=outcomes[task.key].decision,
        )
        for task in tasks
        if not outcomes[task.key].failed
    }
    return entries, sweep.report


def truth(device):
    return {w.key: device.latency_ms(w) for w in WORKLOADS}


def assert_close(entries, expected, rel):
    assert {key: entry.latency_ms for key, entry in entries.items()} == pytest.approx(
        expected, rel=rel
    )


def test_a_quiet_device_is_measured_to_half_a_percent_of_its_low_decile():
    device = FakeDevice(1)
    entries, report = measured(device)
    low_decile = np.exp(-1.2815515 * device.scenario.noise)
    assert_close(entries, {k: v * low_decile for k, v in truth(device).items()}, 0.005)
    assert {entry.verdict for entry in entries.values()} == {Verdict.STABLE}
    assert report.n_blocks >= 30 * len(WORKLOADS)
    assert report.steady


def test_samples_last_at_least_as_long_as_the_clock_resolves():
    device, journal = FakeDevice(1), Journal(None)
    measured(device, journal)
    task = make_task(WORKLOADS[0], Role.OP, device.info, PROTOCOL)
    for block in journal.blocks(task.key):
        assert block.runs * min(block.samples_ms) > 0.95 * device.min_sample_ms


def test_every_pass_visits_all_in_a_new_order():
    device, journal = FakeDevice(1), Journal(None)
    measured(device, journal)
    blocks = [
        (block.started_s, w.key)
        for w in WORKLOADS
        for block in journal.blocks(
            make_task(w, Role.NETWORK if len(w.ops) > 1 else Role.OP, device.info, PROTOCOL).key
        )
    ]
    names = [name for _, name in sorted(blocks)]
    n = len(WORKLOADS)
    passes = [tuple(names[i : i + n]) for i in range(0, 30 * n, n)]
    assert all(set(visited) == {w.key for w in WORKLOADS} for visited in passes)
    assert len(set(passes)) > 25


def test_the_same_seed_gives_the_same_numbers():
    first, _ = measured(FakeDevice(1), seed=7)
    second, _ = measured(FakeDevice(1), seed=7)
    assert first == second


@pytest.mark.parametrize(
    ("scenario", "rel"),
    [
        (Scenario(slowdown=1.2), 0.01),  # a machine that is 20 % slower as a whole
        (Scenario(drift_per_s=0.002), 0.02),
        (Scenario(preempted_share=0.3), 0.01),  # 30 % of samples take three times as long
    ],
)
def test_a_disturbed_sweep_gives_the_numbers_of_the_quiet_one(scenario, rel):
    journal = Journal(None)
    quiet, _ = measured(FakeDevice(1), journal)
    disturbed, _ = measured(FakeDevice(2, scenario=scenario), journal_like(journal))
    assert_close(disturbed, {key: entry.latency_ms for key, entry in quiet.items()}, rel)


def journal_like(first):
    """An empty journal with the references of another."""
    journal = Journal(None)
    epoch = first.epochs()[0]
    for canary, reference_ms in first.references_ms(epoch).items():
        journal.set_reference_ms(epoch, canary, reference_ms)
    return journal


def test_throttled_blocks_are_discarded_and_counted():
    hot = Scenario(throttle_at_s=2.0, throttle_for_s=20.0)
    device, journal = FakeDevice(1, scenario=hot), Journal(None)
    entries, report = measured(device, journal)
    tasks = [
        make_task(w, Role.NETWORK if len(w.ops) > 1 else Role.OP, device.info, PROTOCOL)
        for w in WORKLOADS
    ]
    blocks = {task.workload.key: journal.blocks(task.key) for task in tasks}
    hit = {key for key, of_key in blocks.items() if any(block.throttled for block in of_key)}
    assert len(hit) > 3
    assert sum(block.throttled for of_key in blocks.values() for block in of_key) < 12
    assert 20.0 - 1.0 < report.waited_s < 2 * 20.0
    assert {key for key, entry in entries.items() if "throttled" in entry.flags} == hit
    for key in hit:
        kept = [block for block in blocks[key] if not block.throttled]
        assert entries[key].n_samples == sum(len(block.samples_ms) for block in kept)
        assert len(kept) >= 30
    low_decile = np.exp(-1.2815515 * hot.noise)
    assert_close(entries, {k: v * low_decile for k, v in truth(device).items()}, 0.01)


def test_a_device_that_does_not_cool_is_refused_and_what_was_measured_is_kept():
    device = FakeDevice(1, scenario=Scenario(throttle_at_s=2.0))
    journal = Journal(None)
    with pytest.raises(
        DeviceUnavailableError, match=r"fake:1 stayed throttled \(thermal\) for 300 s of waiting"
    ):
        measured(device, journal)
    assert device.now() > 302.0
    tasks = [
        make_task(w, Role.NETWORK if len(w.ops) > 1 else Role.OP, device.info, PROTOCOL)
        for w in WORKLOADS
    ]
    throttled = [block.throttled for task in tasks for block in journal.blocks(task.key)]
    assert 2 < sum(throttled) < 20
    assert not all(throttled)


def test_a_step_in_one_op_is_flagged_there_only():
    key = OPS[2][0]
    device = FakeDevice(1, scenario=Scenario(step_keys=(key,), step_at_s=4.0))
    entries, _ = measured(device)
    flagged = {
        name
        for name, entry in entries.items()
        if Flag.NONSTATIONARY.among(entry.flags) or Flag.MULTIMODAL.among(entry.flags)
    }
    assert flagged == {key}
    assert entries[key].verdict is Verdict.NOISY


def test_two_modes_are_seen_behind_a_few_samples_far_off():
    rng, journal = np.random.default_rng(2), Journal(None)
    samples = np.where(np.arange(300) % 5 < 2, 1.1, 1.0) * rng.normal(1, 0.003, 300)
    samples[::30] = 3.0
    blocks = [
        Block("op", float(i), 0.0, 1, tuple(row), sweep=1)
        for i, row in enumerate(rng.permutation(samples).reshape(100, 3).tolist())
    ]
    entry = summarise(blocks, Levels(journal, PROTOCOL), PROTOCOL, decision=Decision.CONVERGED)
    assert entry.verdict is Verdict.NOISY
    [modes] = Flag.MULTIMODAL.arguments(entry.flags)
    low, high = map(float, modes.removesuffix("ms").split(","))
    assert (low, high) == pytest.approx((1.0, 1.1), rel=0.005)
    assert entry.n_samples == 300  # they are kept in every other statistic


def test_a_workload_that_cannot_be_prepared_is_a_failure_never_a_number():
    key = OPS[1][0]
    device, journal = FakeDevice(1, scenario=Scenario(failing_keys=(key,))), Journal(None)
    entries, _ = measured(device, journal)
    assert entries.keys() == {w.key for w in WORKLOADS} - {key}
    failed = [o for o in journal.outcomes().values() if o.failed]
    assert [(o.name, o.message) for o in failed] == [(key, "load_failed: told to fail")]


class Flaky:
    """Fails transiently on chosen calls."""

    def __init__(self, inner, failures):
        self._inner, self._failures = inner, failures

    def sample_ms(self, runs):
        if self._failures and self._failures.pop():
            raise MeasurementError("link lost", reason="link", transient=True)
        return self._inner.sample_ms(runs)

    def close(self):
        self._inner.close()


@pytest.mark.parametrize(("failures", "outcome"), [(2, Decision.CONVERGED), (3, Decision.FAILED)])
@pytest.mark.parametrize("n_before", [0, 1, 3])  # the warm-up has three runs
def test_transient_failures_are_tried_again_but_not_for_ever(
    monkeypatch, failures, outcome, n_before
):
    device, journal = FakeDevice(1), Journal(None)
    monkeypatch.setattr(type(device), "uses_canary", False)
    plan = [True] * failures + [False] * n_before
    prepare = device.prepare
    monkeypatch.setattr(device, "prepare", lambda w: Flaky(prepare(w), plan))
    measured(device, journal, workloads=WORKLOADS[:1])
    assert [o.decision for o in journal.outcomes().values()] == [outcome]


def test_a_machine_that_stays_slow_is_refused_and_keeps_what_was_measured():
    gate = replace(PROTOCOL.gate, refuse_after_s=0.5, max_wait_s=100.0)
    hidden = Scenario(throttle_at_s=1.0, throttle_visible=False)
    journal = Journal(None)
    with pytest.raises(DeviceUnavailableError, match="not quiescent"):
        measured(FakeDevice(1, scenario=hidden), journal, replace(PROTOCOL, gate=gate))
    task = make_task(WORKLOADS[0], Role.OP, FakeDevice(1).info, PROTOCOL)
    assert task.key  # the journal still answers after the refusal
    assert journal.epochs() == [epoch_of(FakeDevice(1).info)]


def test_canaries_take_less_than_a_third_of_the_time():
    device, journal = FakeDevice(1), Journal(None)
    workloads = [Workload(key, (op,)) for key, op in SPACE.distinct_ops().items()]
    _, report = measured(device, journal, workloads=workloads)
    times, samples_ms = journal.canary_series(1, "resident")
    assert len(times) == len(workloads) * 30
    canary_s = samples_ms.sum() / 1e3 * round(1.0 / samples_ms.mean())
    assert canary_s < 0.3 * report.measuring_s


def test_keys_depend_on_what_changes_the_number_and_on_nothing_else():
    info, workload = FakeDevice(1).info, WORKLOADS[0]
    key = make_task(workload, Role.OP, info, FULL).key
    for same in (
        replace(info, boot_id="another"),
        replace(info, runtime_version="2"),
        replace(info, affinity=(3,)),
    ):
        assert make_task(workload, Role.OP, same, FULL).key == key
    changed = [
        make_task(WORKLOADS[1], Role.OP, info, FULL),
        make_task(workload, Role.REPEAT, info, FULL),
        make_task(workload, Role.OP, replace(info, threads=2), FULL),
        make_task(workload, Role.OP, replace(info, precision="int8"), FULL),
        make_task(workload, Role.OP, replace(info, options=(("clock", "wall"),)), FULL),
        make_task(workload, Role.OP, info, PROTOCOL),
    ]
    assert len({key, *(task.key for task in changed)}) == 7
