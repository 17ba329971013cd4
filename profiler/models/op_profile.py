"""Where the time of a model goes: the runtime's own ops after its own fusion.

A profiled run is slower than a plain one, by the same few microseconds for each op, so that
cheap ops look dearer than they are. Plain runs taken in turns with the profiled ones say by how
much: that is taken off every op alike. What remains is used as shares only.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
from numpy.typing import NDArray

from profiler.errors import MeasurementError
from profiler.models.file import ModelFormat, RunnableModel, load
from profiler.models.fresh_process import in_fresh_process
from profiler.models.inputs import Values
from profiler.models.litert_profiler import ProfiledModel
from profiler.models.onnx_runtime import MAX_PROFILE_EVENTS, OnnxSession

Floats = NDArray[np.float64]

MAX_RUNS = 30
MIN_RUNS = 3
MAX_EVENTS = 50_000  # about 30 MB of the runtime's JSON
MAX_S = 5.0  # of plain runs; profiled ones take as long again
LOADS = 5  # of a TFLite model, whose profiler gives means only: their median
RUNS_PER_LOAD = 6
HALF_TICK_MS = 0.5e-3  # durations are cut to whole microseconds
MOST_COST_MS = 10e-3  # profiling adds 1 to 6 µs to a call; more is other work on a busy machine
LEAST_MS = 0.1e-3  # an op that ran took some time, also where the profiler cannot resolve it

EVENT_SUFFIX = "_kernel_time"  # of the names of nodes


@dataclass(frozen=True, slots=True)
class OpShare:
    """One op of the executed graph, with its part of the model's latency in (0, 1].

    Attributes:
        calls: per run; ops that the runtime's profile does not tell apart are one of several.
    """

    name: str
    kind: str
    share: float
    calls: int = 1


Event = dict[str, Any]  # of the runtime's trace
OpKey = tuple[str, str]  # name, kind


def op_shares(model: RunnableModel, *, threads: int) -> tuple[OpShare, ...]:
    """Shares of a model's ops in the runtime of its format, in order of execution; they sum to 1.

    In a process of its own, so that a profiler leaves nothing behind in the one that measures.

    Raises:
        MeasurementError: the runtime refuses, ran no op, or wrote no complete profile.
    """
    of_runtime = _onnx_shares if model.file.format is ModelFormat.ONNX else _tflite_shares
    return in_fresh_process(of_runtime, model, threads)


def _onnx_shares(model: RunnableModel, threads: int) -> tuple[OpShare, ...]:
    path, values = model.file.path, model.values
    with closing(OnnxSession(path, threads=threads)) as plain:
        plain.bind(values)
        events, plain_s = profiled_runs(path, values, threads=threads, runs=2, plain=plain)
        fitting = min(MAX_EVENTS // max(1, len(events[-1])), int(MAX_S / plain_s[-1]))
        runs = min(max(fitting, MIN_RUNS), MAX_RUNS)
        events, plain_s = profiled_runs(path, values, threads=threads, runs=runs, plain=plain)
    # the first profiled run allocates
    return shares(op_times_ms(events[1:]), plain_ms=1e3 * middle_mean(plain_s[1:]))


def _tflite_shares(model: RunnableModel, threads: int) -> tuple[OpShare, ...]:
    """Those that XNNPACK runs are its own ops."""
    values = [model.values[one.name] for one in model.file.inputs]
    times_ms: dict[OpKey, list[float]] = {}
    calls: dict[OpKey, float] = {}
    plain_s = []
    with closing(load(model, threads=threads)) as plain:
        plain.run()
        for _ in range(LOADS):
            start = time.perf_counter()
            plain.run(RUNS_PER_LOAD)
            plain_s.append((time.perf_counter() - start) / RUNS_PER_LOAD)
            profiled = ProfiledModel(model.file.path, values, threads=threads)
            for op in profiled.profile(RUNS_PER_LOAD):
                times_ms.setdefault((op.name, op.kind), []).append(op.ms)
                calls[op.name, op.kind] = op.calls
    medians = {key: (median(series), calls[key]) for key, series in times_ms.items()}
    return shares(medians, plain_ms=1e3 * median(plain_s))


def shares(
    times_ms: Mapping[OpKey, tuple[float, float]], *, plain_ms: float
) -> tuple[OpShare, ...]:
    """Shares from profiled times, freed of what profiling adds to each call.

    Args:
        times_ms: time in a profiled run and number of calls, by op.
        plain_ms: latency of a run that is not profiled.
    """
    if not times_ms:
        raise MeasurementError("the runtime ran no op", reason="missing_profile")
    profiled, calls = np.array(list(times_ms.values()), np.float64).T
    cost_ms = min(_cost_per_call_ms(profiled, calls, plain_ms), MOST_COST_MS)
    left = profiled - calls * cost_ms
    left = np.maximum(left, LEAST_MS)
    return tuple(
        OpShare(name, kind, float(share), max(1, round(calls_per_run)))
        for ((name, kind), (_, calls_per_run)), share in zip(
            times_ms.items(), left / left.sum(), strict=True
        )
    )


def _cost_per_call_ms(profiled: Floats, calls: Floats, plain_ms: float) -> float:
    """c with Σ max(profiled - calls · c, 0) = plain, which falls with c; 0 where none is needed."""
    if profiled.sum() <= plain_ms:
        return 0.0
    per_call = profiled / calls
    order = np.argsort(-per_call)  # the dearest calls are the last to be used up
    costs = (np.cumsum(profiled[order]) - plain_ms) / np.cumsum(calls[order])
    return float(costs.max())


def middle_mean(values: Sequence[float]) -> float:
    """Mean of the middle half: whole microseconds average out, disturbed runs do not count."""
    from scipy.stats import trim_mean

    return float(trim_mean(values, 0.25))


def op_times_ms(
    runs: Sequence[Sequence[Event]], estimate: Callable[[Sequence[float]], float] = middle_mean
) -> dict[OpKey, tuple[float, float]]:
    """Time in ms and number of calls per run of each op, from the node events of several runs.

    An op that runs a subgraph (If, Loop, Scan) counts without the ops in it.

    Args:
        estimate: of an op's time in ms, from its times in each run.
    """
    durations: dict[OpKey, list[float]] = {}
    calls: Counter[OpKey] = Counter()
    for at, events in enumerate(runs):
        for key, self_ms in _self_times_ms(events):
            durations.setdefault(key, [0.0] * len(runs))[at] += self_ms
            calls[key] += 1
    return {key: (estimate(series), calls[key] / len(runs)) for key, series in durations.items()}


def _self_times_ms(events: Iterable[Event]) -> Iterator[tuple[OpKey, float]]:
    """Each event less those within it: they ended, so were written, before it but began later."""
    ended: list[tuple[int, float]] = []  # beginnings and durations of those not within another
    for event in events:
        start, whole_ms = event["ts"], event["dur"] / 1e3 + HALF_TICK_MS
        within_ms = 0.0
        while ended and ended[-1][0] > start:
            within_ms += ended.pop()[1]
        ended.append((start, whole_ms))
        name = event["name"].removesuffix(EVENT_SUFFIX)
        yield (name, event["args"]["op_name"]), max(0.0, whole_ms - within_ms)


def split_runs(events: Iterable[Event]) -> list[list[Event]]:
    """Node events of each run; the event of a run itself follows those of its nodes."""
    runs: list[list[Event]] = [[]]
    for event in events:
        if event["cat"] == "Node":
            runs[-1].append(event)
        elif event["name"] == "model_run":
            runs.append([])
    return runs[:-1]


def profiled_runs(
    model: bytes | Path, values: Values, *, threads: int, runs: int,
    plain: OnnxSession | None = None, optimised: Path | None = None,
    weights_in: Path | None = None,
) -> tuple[list[list[Event]], list[float]]:  # fmt: skip
    """Node events of each of some runs, and seconds of the runs of `plain`, taken in turns.

    Args:
        plain: the model with its inputs bound, not profiled.
        optimised: file to write the graph to that the runtime made of the model.
        weights_in: folder of weights that lie beside a model given by its content.

    Raises:
        MeasurementError: the runtime refuses the model or its values, or lost events, perhaps for
            want of room.
    """
    plain_s: list[float] = []
    with TemporaryDirectory() as folder:
        profile = Path(folder) / "profile"
        session = OnnxSession(
            model, threads=threads, profile=profile, optimised=optimised, weights_in=weights_in
        )
        with closing(session):
            session.bind(values)
            for _ in range(runs):
                if plain is not None:
                    plain_s.append(run_s(plain))
                session.run()
            events = _read_events(session.end_profiling())
    if len(events) >= MAX_PROFILE_EVENTS:
        raise MeasurementError(
            "the runtime's profiler dropped events: too many ops in one run",
            reason="partial_profile",
        )
    return split_runs(events), plain_s


def _read_events(profile: Path) -> list[Event]:
    """What the runtime wrote, which does not say when a disk is full."""
    try:
        events: list[Event] = json.loads(profile.read_bytes())
    except (OSError, ValueError):
        raise MeasurementError(
            f"the runtime's profile is cut short; is there room in {gettempdir()}?",
            reason="partial_profile",
        ) from None
    return events


def run_s(session: OnnxSession) -> float:
    """Seconds of one run."""
    start = time.perf_counter()
    session.run()
    return time.perf_counter() - start
