"""Model files measured by the same sweep as ops and networks, and compared with each other.

Each model is loaded several times: the copies are what its interval and a comparison rest on.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from profiler.devices.base import DeviceInfo, ModelDevice, ModelWorkload, epoch_of
from profiler.devices.registry import backend_of, check_runs, open_for_models
from profiler.errors import InvalidInputError, MeasurementError
from profiler.measuring.comparison import compare
from profiler.measuring.journal import Journal, journal_path
from profiler.measuring.launches import run_sweep
from profiler.measuring.load import loads_of
from profiler.measuring.protocol import FULL, MeasuringProtocol, for_copies
from profiler.measuring.records import Block, Outcome, counted
from profiler.measuring.sampling import deadline
from profiler.measuring.stopping import Decision
from profiler.measuring.summary import Levels, raw_ms, summarise
from profiler.measuring.task import Role, Task, make_task
from profiler.models.cold_start import ColdStart
from profiler.models.file import RunnableModel, check_names, read_model_file, runnable
from profiler.models.inputs import Shapes, Values
from profiler.system.atomic import refuse_unwritable, write_text_atomic
from profiler.system.lock import device_lock
from profiler.system.stamp import this_tool
from profiler.system.user_files import read_json, validated
from profiler.tables.levels import Level, Load, Statistic
from profiler.terminal import SILENT, Terminal


@dataclass(frozen=True)
class ModelRequest:
    """Which files to measure, and how, on one device.

    Attributes:
        threads: several measure one model at each of these counts.
        shapes: by input, where axes are free.
        arrays: values of inputs; the others are drawn.
        out: where the result goes, beside its journal; None keeps the journal in memory.
    """

    spec: str
    paths: Sequence[Path]
    threads: Sequence[int] = (1,)
    batch_size: int = 1
    shapes: Shapes = field(default_factory=dict)
    arrays: Values = field(default_factory=dict)
    protocol: MeasuringProtocol = FULL
    out: Path | None = None
    seed: int = 0
    resume: bool = True
    device_options: Mapping[str, Any] = field(default_factory=dict)


def measure_models(request: ModelRequest, terminal: Terminal = SILENT) -> ModelReport:
    """Measure every model, and compare the others with the first.

    Raises:
        InvalidInputError: no models, inputs or settings to measure, or no place for the result.
        DeviceUnavailableError: the device is absent, locked or not quiescent.
        MeasurementError: a model cannot be measured; names it.
    """
    if len(request.threads) > 1 and len(request.paths) > 1:
        raise InvalidInputError("several --threads compare one --model with itself")
    if request.out is not None:
        refuse_unwritable(request.out)
    check_runs(request.spec, request.paths)
    files = [read_model_file(path) for path in request.paths]
    check_names(files, list(request.shapes), "--shape")
    check_names(files, list(request.arrays), "--input")
    models = [
        (
            runnable(
                file, shapes=request.shapes, arrays=request.arrays,
                batch_size=request.batch_size, seed=request.seed,
            ),
            threads,
        )
        for file in files
        for threads in request.threads
    ]  # fmt: skip
    with ExitStack() as stack:
        device = stack.enter_context(
            open_for_models(
                request.spec, threads=max(request.threads), batch_size=request.batch_size,
                **request.protocol.options_for(backend_of(request.spec)),
                **request.device_options,
            )
        )  # fmt: skip
        place = None
        if request.out is not None:
            stack.enter_context(device_lock(f"table {request.out.resolve()}"))
            place = journal_path(request.out)
        journal = stack.enter_context(Journal(place, fresh=not request.resume))
        report = ModelSweep(
            device, journal, models, request.protocol, terminal,
            seed=request.seed,
        ).run()  # fmt: skip
        if request.out is not None:
            write_text_atomic(request.out, json.dumps(report.as_dict(), indent=1) + "\n")
    return report


@dataclass(frozen=True, slots=True)
class OpLatency:
    """One op of the executed graph, or `calls` that its runtime tells as one; the shares of a
    model's ops sum to 1."""

    name: str
    kind: str
    latency_ms: float
    share: float
    calls: int = 1


@dataclass(frozen=True, slots=True)
class ModelResult:
    """One model at one count of threads; what could not be had is None, with its reason in
    `unavailable`."""

    model: str
    sha256: str
    device: str
    threads: int
    latency_ms: float
    interval_ms: tuple[float, float]  # 95 %
    median_ms: float
    p90_ms: float
    p99_ms: float
    verdict: str
    flags: tuple[str, ...]
    n_samples: int
    load_ms: float
    first_run_ms: float
    peak_memory_mb: float | None
    ops: tuple[OpLatency, ...] | None  # in order of execution
    unavailable: Mapping[str, str]
    copies: tuple[str, ...] = ()  # their keys in the journal
    levels: Mapping[Statistic, Level] = field(default_factory=dict)  # as in a table's entries


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """A model's latency over that of the first, with an interval of 99 %."""

    model: str
    threads: int
    first: str
    first_threads: int
    ratio: float
    interval: tuple[float, float]
    finding: str


@dataclass(frozen=True, slots=True)
class ModelReport:
    results: tuple[ModelResult, ...]
    comparisons: tuple[ModelComparison, ...]
    device: DeviceInfo
    created: str  # when the last of it was measured
    tool: str
    load: Load | None = None  # how the device bore it, where that was asked for

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def read_model_report(path: Path) -> ModelReport:
    """What `measure_models` wrote.

    Raises:
        InvalidInputError: unreadable, something else, or numbers that no measurement gives.
    """
    document = read_json(path, allow_nan=False)
    if not (isinstance(document, dict) and {"results", "comparisons", "device"} <= document.keys()):
        raise InvalidInputError(f"{path} was not written by pnag profile --model ... --out")
    report = validated(ModelReport, document, path)
    if not report.results:
        raise InvalidInputError(f"{path} holds no results")
    for one in report.results:
        if not (0 < one.interval_ms[0] <= one.latency_ms <= one.interval_ms[1]):
            raise InvalidInputError(f"{path}: {one.model}: the latency lies outside its interval")
    return report


class ModelSweep:
    """Measures models on an open device.

    Args:
        models: each with the threads that it runs on.
    """

    def __init__(
        self,
        device: ModelDevice,
        journal: Journal,
        models: Sequence[tuple[RunnableModel, int]],
        protocol: MeasuringProtocol,
        terminal: Terminal,
        *,
        seed: int = 0,
    ) -> None:
        self._device, self._journal, self._terminal = device, journal, terminal
        self._protocol, self._seed = for_copies(protocol), seed
        n_copies = protocol.comparison.copies
        self._epoch = epoch_of(device.info)
        self._levels = Levels(journal, self._protocol)
        self._loads: dict[int, Load] = {}  # by sweep
        self._copies: list[list[ModelWorkload]] = []  # of each model
        loaded: Counter[tuple[str, int]] = Counter()
        for model, threads in models:
            first = loaded[model.digest, threads]  # the same one twice has twice as many
            loaded[model.digest, threads] += n_copies
            self._copies.append(
                [ModelWorkload(model, threads, first + at) for at in range(n_copies)]
            )

    def run(self) -> ModelReport:
        """Cold starts, then the sweep, then where the time goes.

        Raises:
            DeviceUnavailableError: the device is gone or not quiescent; what was measured is in
                the journal.
            MeasurementError: a model cannot be measured; names it.
        """
        pending = self._pending()
        starts = [self._cold_start(copies[0]) for copies in self._copies]
        if pending:
            self._sweep(pending)
        blocks = (self._blocks(copy) for copies in self._copies for copy in copies)
        self._loads = loads_of(blocks, self._journal, self._protocol)
        results = tuple(map(self._result, self._copies, starts))
        others = zip(self._copies[1:], results[1:], strict=True)
        comparisons = tuple(self._compared(results[0], *other) for other in others)
        return ModelReport(
            results, comparisons, self._device.info, self._journal.started(), this_tool(),
            next(iter(self._loads.values()), None),
        )  # fmt: skip

    def _pending(self) -> list[Task]:
        """What is not measured yet; once all is, what did not converge."""
        tasks = [task for copies in self._copies for task in map(self._task, copies)]
        outcomes = self._outcomes(tasks)
        capped = [
            task
            for task, one in zip(tasks, outcomes, strict=True)
            if one is not None and one.decision is Decision.CAPPED
        ]
        return [task for task, one in zip(tasks, outcomes, strict=True) if one is None] or capped

    def _task(self, workload: ModelWorkload) -> Task:
        return make_task(workload, Role.NETWORK, self._device.info, self._protocol)

    def _outcomes(self, tasks: Sequence[Task]) -> list[Outcome | None]:
        """Of this boot and runtime; an earlier one's is on another scale."""
        recorded = self._journal.outcomes()
        for task in tasks:
            if (one := recorded.get(task.key)) and one.hung and one.epoch == self._epoch:
                raise MeasurementError(f"{task.workload.key}: {one.message}", reason="model_failed")

        def of(task: Task) -> Outcome | None:
            outcome = recorded.get(task.key)
            if outcome is None or outcome.failed or outcome.epoch != self._epoch:
                return None
            return outcome if self._journal.blocks(task.key, epoch=self._epoch) else None

        return [of(task) for task in tasks]

    def _cold_start(self, workload: ModelWorkload) -> ColdStart:
        try:
            with deadline(self._protocol.sampling.deadline_s, "its first use"):
                return self._device.cold_start(workload)
        except MeasurementError as error:
            raise _refused(workload, error) from None

    def _sweep(self, tasks: Sequence[Task]) -> None:
        n = len(self._copies)
        run_sweep(
            self._device, self._protocol, self._journal, tasks, self._terminal,
            seed=self._seed, what=f"{n} model{'s' * (n != 1)}",
        )  # fmt: skip
        self._levels.fix_references(self._epoch)
        outcomes = self._journal.outcomes()
        for task in tasks:
            if outcomes[task.key].failed:
                raise MeasurementError(
                    f"{task.workload.key}: {outcomes[task.key].message}", reason="model_failed"
                )

    def _blocks(self, workload: ModelWorkload) -> list[Block]:
        return self._journal.blocks(self._task(workload).key, epoch=self._epoch)

    def _result(self, copies: Sequence[ModelWorkload], start: ColdStart) -> ModelResult:
        blocks = [block for copy in copies for block in self._blocks(copy)]
        blocks.sort(key=lambda block: (block.sweep, block.started_s))
        outcomes = self._outcomes([self._task(copy) for copy in copies])
        capped = any(one is None or one.decision is Decision.CAPPED for one in outcomes)
        decision = Decision.CAPPED if capped else Decision.CONVERGED
        load = self._loads.get(blocks[-1].sweep)
        entry = summarise(blocks, self._levels, self._protocol, decision=decision, load=load)
        ops, unavailable = self._ops(copies[0], entry.latency_ms)
        if start.peak_memory_mb is None:
            unavailable["peak_memory_mb"] = "this system does not tell it"
        return ModelResult(
            model=str(copies[0].model.file.path),
            sha256=copies[0].model.file.sha256,
            device=self._device.info.spec,
            threads=copies[0].threads,
            latency_ms=entry.latency_ms,
            interval_ms=entry.ci95_ms or (entry.latency_ms, entry.latency_ms),
            median_ms=entry.median_ms or entry.latency_ms,
            p90_ms=entry.p90_ms or entry.latency_ms,
            p99_ms=float(np.quantile(raw_ms(counted(blocks)), 0.99)),
            verdict=entry.verdict,
            flags=entry.flags,
            n_samples=entry.n_samples,
            load_ms=start.load_ms,
            first_run_ms=start.first_run_ms,
            peak_memory_mb=start.peak_memory_mb,
            ops=ops,
            unavailable=unavailable,
            copies=tuple(self._task(copy).key for copy in copies),
            levels=entry.levels,
        )

    def _ops(
        self, workload: ModelWorkload, latency_ms: float
    ) -> tuple[tuple[OpLatency, ...] | None, dict[str, str]]:
        try:
            with deadline(self._protocol.sampling.deadline_s, "the profile of its ops"):
                shares = self._device.op_shares(workload)
        except MeasurementError as error:
            return None, {"ops": str(error)}
        return tuple(
            OpLatency(op.name, op.kind, op.share * latency_ms, op.share, op.calls) for op in shares
        ), {}

    def _compared(
        self, first: ModelResult, copies: Sequence[ModelWorkload], other: ModelResult
    ) -> ModelComparison:
        """By the passes that all copies of both took part in; of a load by all that was read."""
        kept = counted if self._protocol.sustained is None else list
        both = [
            [kept(self._blocks(copy)) for copy in of_one] for of_one in (self._copies[0], copies)
        ]
        passes = min(len(blocks) for of_one in both for blocks in of_one)
        first_ms, other_ms = (
            [
                self._protocol.estimator(np.array([b.samples_ms for b in blocks[:passes]]))
                for blocks in of_one
            ]
            for of_one in both
        )
        found = compare(first_ms, other_ms, confidence=self._protocol.comparison.confidence)
        return ModelComparison(
            other.model, other.threads, first.model, first.threads,
            found.ratio, found.interval, found.finding,
        )  # fmt: skip


def _refused(workload: ModelWorkload, error: MeasurementError) -> MeasurementError:
    hint = " (inputs without --input are random)" if error.reason == "run_failed" else ""
    return MeasurementError(f"{workload.model.file.path}: {error}{hint}", reason=error.reason)
