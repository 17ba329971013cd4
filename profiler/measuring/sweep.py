"""The sweep: one loop for every device, from prepared workloads to raw blocks in the journal.

All configurations are kept loaded and visited in a new seeded order in each pass, a short
block at a time, so that whatever drifts over minutes is common to all of them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence, Set
from contextlib import ExitStack, contextmanager
from math import ceil, inf
from typing import cast

import numpy as np

from profiler.devices.base import (
    Device,
    DeviceBase,
    DeviceState,
    ModelDevice,
    ModelWorkload,
    PreparedWorkload,
    Workload,
    epoch_of,
)
from profiler.errors import DeviceUnavailableError, InvalidInputError, MeasurementError
from profiler.flags import Flag
from profiler.measuring.active import Active
from profiler.measuring.canaries import Canaries
from profiler.measuring.canary import nearest_canary
from profiler.measuring.journal import Journal
from profiler.measuring.outlook import Outlook
from profiler.measuring.protocol import MeasuringProtocol, Sustained
from profiler.measuring.records import Block, Condition, Outcome, SweepReport, SweepTimes
from profiler.measuring.sampling import Sampler, without_gc
from profiler.measuring.stats import Floats
from profiler.measuring.stopping import Decision
from profiler.measuring.task import Task
from profiler.measuring.waiting import CoolDown, GateKeeper
from profiler.measuring.watchdog import Watchdog
from profiler.terminal import Progress, SilentProgress


class Sweep:
    """Measures tasks on an open device and records blocks; computes no latency itself.

    Args:
        share: of what a configuration needs at least; with less than 1 it is then left to a later
            sweep.
        launched: it is one of several launches.
        max_s: then no configuration goes on beyond its least number of blocks.
    """

    def __init__(
        self,
        device: Device,
        protocol: MeasuringProtocol,
        journal: Journal,
        number: int,
        *,
        seed: int,
        progress: Progress | None = None,
        share: float = 1.0,
        launched: bool = False,
        max_s: float = inf,
    ) -> None:
        self._device, self._protocol, self._journal = device, protocol, journal
        self._number, self._seed = number, seed
        self._share, self._launched, self._max_s = share, launched, max_s
        self._epoch = epoch_of(device.info)
        self._progress = progress or SilentProgress()
        self._rng = np.random.default_rng(seed)
        self._now = device.now
        self._keeper = GateKeeper(protocol.gate, device.sleep)
        self._cool_down = CoolDown(
            protocol.throttling, device.info.spec, device.sleep, self._progress.say
        )
        self._sampler = Sampler(protocol.sampling)
        self._canaries = Canaries(device, protocol, self._sampler, journal, number)
        self._outlook = Outlook(self._progress, ceil(share * protocol.stopping.min_blocks))
        self._watchdog: Watchdog | None = None
        self._had_their_time: Set[str] = frozenset()  # keys; they are asked for again
        self._start_s = self._zero_s = self._now()  # blocks count from the latter

    @property
    def report(self) -> SweepReport:
        """Where its time went so far."""
        return self._journal.report(self._number)

    def run(self, tasks: Sequence[Task]) -> None:
        """Measure every task to its stopping rule.

        Raises:
            DeviceUnavailableError: the device is gone or not quiescent; what was measured
                is in the journal.
            InvalidInputError: a sustained load of more than fits in memory, or once into its time.
        """
        self._outlook.begin(task.key for task in tasks)
        self._had_their_time = self._journal.outcomes().keys()
        try:
            with ExitStack() as undo, without_gc():
                self._attend(undo)
                if self._canaries.are_used and tasks:
                    with self._reference_needed():
                        self._canaries.warm_up()
                    self._record_times()  # the process may be killed before it ends
                groups = list(self._groups(tasks))
                if len(groups) > 1 and self._protocol.sustained:
                    raise InvalidInputError(
                        f"a sustained load is of all at once, and {len(tasks)} configurations do "
                        "not fit in memory; ask for fewer --networks"
                    )
                for group in groups:
                    self._run_group(group)
        finally:
            self._canaries.close()
            self._record_times()

    def _attend(self, undo: ExitStack) -> None:
        """To a device in real time: what it says, and whether it hangs."""
        if isinstance(self._device, DeviceBase):
            self._device.say = self._progress.say
            if threading.current_thread() is threading.main_thread():
                self._watchdog = undo.enter_context(Watchdog(self._journal.path, self._number))

    def _now_at(self, key: str, name: str) -> None:
        if self._watchdog is not None:
            self._watchdog.about(key, name)

    def _record_times(self) -> None:
        times = SweepTimes(
            wall_s=self._now() - self._start_s,
            warm_up_s=self._canaries.warm_up_s,
            waited_s=self._keeper.waited_s + self._cool_down.waited_s,
            steady=self._canaries.steady,
        )
        self._journal.set_times(self._number, times)

    def _groups(self, tasks: Sequence[Task]) -> Iterator[list[Task]]:
        """Tasks in seeded order, as many at once as memory allows."""
        rule, free_mb = self._protocol.residency, self._device.free_memory_mb()
        within_mb = rule.max_mb if free_mb is None else min(rule.max_mb, rule.max_share * free_mb)
        budget = 1e6 * within_mb
        group: list[Task] = []
        held = 0.0
        for index in self._rng.permutation(len(tasks)):
            size = rule.loaded_bytes(tasks[index].workload)
            if group and held + size > budget:
                yield group
                group, held = [], 0.0
            group.append(tasks[index])
            held += size
        if group:
            yield group

    def _run_group(self, tasks: Sequence[Task]) -> None:
        active: list[Active] = []
        try:
            for task in tasks:
                ready = self._prepare(task)
                if ready is not None:
                    active.append(ready)
            load, first_pass = self._protocol.sustained, True
            if load is not None:
                self._zero_s = self._now()
            while active:
                for n_done, index in enumerate(self._rng.permutation(len(active))):
                    if not self._load_is_over():
                        self._measure(active[index], self._note(active))
                    elif load is not None and first_pass:
                        raise _too_short(load, n_done, len(active))
                first_pass = False
                active = [one for one in active if not self._finished(one)]
        finally:
            for one in active:
                one.prepared.close()

    def _load_is_over(self) -> bool:
        return self._load_passed() >= 1

    def _load_passed(self) -> float:
        """Share of a sustained load; 0 of anything else."""
        rule = self._protocol.sustained
        return (self._now() - self._zero_s) / (60 * rule.minutes) if rule else 0.0

    def _note(self, active: Sequence[Active]) -> str:
        """Said once all have what is asked for at least."""
        if self._protocol.sustained is not None:
            return ""
        finishing = all(one.n_blocks >= self._outlook.at_least for one in active)
        return f"finishing: {len(active)} unconverged" if finishing else ""

    def _prepare(self, task: Task) -> Active | None:
        prepared: PreparedWorkload | None = None
        self._now_at(task.key, task.workload.key)
        try:
            prepared = self._sampler.load(lambda: self._load(task.workload))
            single_ms = self._single_ms(prepared)
        except MeasurementError as error:
            if prepared is not None:
                prepared.close()
            self._fail(task, error)
            return None
        min_sample_ms = self._device.min_sample_ms
        count = self._protocol.sampling.runs_per_sample(single_ms, min_sample_ms)
        one = Active(task, prepared, count, single_ms, nearest_canary(task.workload))
        for block in self._journal.blocks(task.key, epoch=self._epoch):
            one.count(block)  # of a sweep that was cut off
        if task.key in self._had_their_time:
            one.spent_s = 0.0
        self._outlook.expect(task.key, max(self._outlook.at_least - one.n_blocks, 1))
        return one

    def _single_ms(self, prepared: PreparedWorkload) -> float:
        """The fastest of some single runs."""
        return min(
            self._sampler.sample_ms(prepared, 1) for _ in range(self._protocol.warm_up.min_runs)
        )

    def _load(self, workload: Workload | ModelWorkload) -> PreparedWorkload:
        if isinstance(workload, ModelWorkload):
            return cast(ModelDevice, self._device).prepare_model(workload)
        return self._device.prepare(workload)

    def _measure(self, one: Active, note: str) -> None:
        """One block: the canary, an untimed run, the samples."""
        canary = self._canaries.get(one.canary)
        if canary is not None:
            with self._reference_needed():
                self._keeper.wait(canary, self._now)
        start_s = self._now()
        workload = one.task.workload
        n_samples = self._protocol.sampling.samples_per_block(is_network=workload.is_network)
        with self._reference_needed():
            canary_ms = canary.sample_ms() if canary else None
        self._now_at(one.task.key, workload.key)
        try:
            if self._device.uses_canary:  # an untimed run: others evicted it from the caches
                alone_ms = self._sampler.sample_ms(one.prepared, 1)
                one.single_ms = min(one.single_ms, alone_ms)
            samples = tuple(
                self._sampler.sample_ms(one.prepared, one.runs) for _ in range(n_samples)
            )
        except MeasurementError as error:
            self._give_up(one, error)
            return
        spent_s, state = self._now() - start_s, self._device.state()
        block = Block(
            name=workload.key,
            started_s=start_s - self._zero_s,
            spent_s=spent_s,
            runs=one.runs,
            samples_ms=samples,
            canary=one.canary.value if canary else "",
            canary_ms=canary_ms,
            flags=self._flags(state),
            sweep=self._number,
        )
        self._journal.add_block(one.task.key, block)
        if canary_ms is not None:
            self._canaries.count(one.canary, canary_ms)
        one.count(block)
        if self._protocol.sustained:
            self._record(state, block.started_s)
        else:
            self._cool_down.after(block.flags)
        if not block.throttled:
            self._outlook.block(one.task.key, note)

    def _record(self, state: DeviceState, at_s: float) -> None:
        if state.temperature_c is not None or state.clock_mhz is not None:
            condition = Condition(at_s, state.temperature_c, state.clock_mhz)
            self._journal.add_condition(self._number, condition)

    @contextmanager
    def _reference_needed(self) -> Iterator[None]:
        """Without its reference op no configuration can be measured.

        Raises:
            DeviceUnavailableError: it failed for good.
        """
        self._now_at("", "the reference op")
        try:
            yield
        except MeasurementError as error:
            raise DeviceUnavailableError(
                f"the reference op of {self._device.info.spec} failed ({error.reason}: {error}); "
                "see to the device, then go on with --resume"
            ) from error

    def _flags(self, state: DeviceState) -> tuple[str, ...]:
        flags = list(state.warnings)
        flags += [Flag.THROTTLED.about(reason) for reason in state.throttle_reasons]
        limits = self._protocol.host
        if (state.waiting_pct or 0.0) > limits.waiting_pct:
            flags.append(Flag.PREEMPTED)
        if (state.steal_pct or 0.0) > limits.steal_pct:
            flags.append(Flag.STEAL)
        return (*flags, *self._canaries.flags())

    def _finished(self, one: Active) -> bool:
        if one.failed:
            return True
        if self._share < 1 and self._may_pause(one):
            self._outlook.expect(one.task.key, 0)
            one.prepared.close()
            return True
        decision = self._decision(one)
        if decision is None:
            return False
        wrong_mean = self._wrong_mean(one)
        if wrong_mean is not None:
            self._give_up(one, wrong_mean)
            return True
        outcome = Outcome(self._number, one.task.workload.key, decision)
        self._journal.add_outcome(one.task.key, outcome)
        self._outlook.expect(one.task.key, 0)
        one.prepared.close()
        return True

    def _wrong_mean(self, one: Active) -> MeasurementError | None:
        """What the samples are where they cannot be means of as many runs as were asked for."""
        rule = self._protocol.sampling
        if self._number not in one.samples_ms:  # all were throttled, which slows batches only
            return None
        batch_ms = float(np.min(one.samples_ms[self._number]))
        if rule.returns_totals(one.single_ms, batch_ms, one.runs):
            lie = "returns totals instead of means"
        elif rule.runs_too_few(one.single_ms, batch_ms, one.runs):
            try:  # at what caches and clocks are by now, it may be faster alone as well
                one.single_ms = min(one.single_ms, self._single_ms(one.prepared))
            except MeasurementError as error:
                return error
            if not rule.runs_too_few(one.single_ms, batch_ms, one.runs):
                return None
            lie = "runs less than it is asked to, or divides twice"
        else:
            return None
        message = (
            f"a run takes {batch_ms / one.single_ms:.2g} times as long in a batch of {one.runs} "
            f"as alone: the device {lie}"
        )
        return MeasurementError(message, reason="not_a_mean")

    def _may_pause(self, one: Active) -> bool:
        """Whether a later launch goes on with it."""
        is_network = one.task.workload.is_network
        return self._protocol.stopping.may_pause(
            one.n_blocks, one.spent_s, self._share, is_network=is_network
        )

    def _decision(self, one: Active) -> Decision | None:
        """What ends a configuration: its time under load, or enough samples and their interval."""
        protocol, rule = self._protocol, self._protocol.stopping
        if protocol.sustained is not None:
            to_come = max(0, ceil(one.n_blocks / self._load_passed()) - one.n_blocks)
            self._outlook.expect(one.task.key, to_come)
            return Decision.CONVERGED if self._load_is_over() else None
        if protocol.tail is not None and not protocol.tail.is_enough(one.n_samples, one.span_s):
            if one.n_blocks:  # that were not throttled: they have a rate
                to_come = protocol.tail.blocks_to_come(one.n_blocks, one.n_samples, one.span_s)
                self._outlook.expect(one.task.key, to_come)
            return None
        width, is_network = None, one.task.workload.is_network
        if rule.is_due(one.n_blocks):
            width = rule.width(
                self._on_one_scale(one), protocol.estimator, is_network=is_network, seed=self._seed
            )
            to_come = rule.blocks_to_come(width, one.n_blocks, one.spent_s, is_network=is_network)
            self._outlook.expect(one.task.key, to_come)
        decision = rule.decide(width, one.spent_s, is_network=is_network)
        if decision is None and one.n_blocks >= rule.min_blocks and self._time_is_over():
            return Decision.CAPPED
        return decision

    def _time_is_over(self) -> bool:
        return self._now() - self._start_s >= self._max_s

    def _on_one_scale(self, one: Active) -> list[Floats]:
        """Samples of each sweep; of several, over the canary's level, as the estimate will be:
        a machine that is slower after a resumption would keep every interval wide. Of launches
        over their own level, as of one sweep: how far these are apart is for the interval to
        tell, and no number of samples of the last one makes it less."""
        sweeps = {sweep: np.array(samples) for sweep, samples in one.samples_ms.items()}
        if self._launched:
            levels = [samples / self._protocol.estimator(samples) for samples in sweeps.values()]
            return [np.concatenate(levels)]
        if len(sweeps) == 1 or self._canaries.get(one.canary) is None:
            return list(sweeps.values())
        level_ms = self._canaries.level_ms
        return [samples / level_ms(sweep, one.canary) for sweep, samples in sweeps.items()]

    def _give_up(self, one: Active, error: MeasurementError) -> None:
        one.prepared.close()
        one.failed = True
        self._fail(one.task, error)

    def _fail(self, task: Task, error: MeasurementError) -> None:
        outcome = Outcome.failure(self._number, task.workload.key, error)
        self._journal.add_outcome(task.key, outcome)
        self._outlook.expect(task.key, 0)


def _too_short(load: Sustained, n_done: int, n_all: int) -> InvalidInputError:
    return InvalidInputError(
        f"one pass over {n_all} configurations takes longer than a load of {load.minutes:g} "
        f"minutes, which ended after {n_done} of them; ask for more --minutes or fewer --networks"
    )
