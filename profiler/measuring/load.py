"""Latency over a sustained load: its course, where it changes, and what is left at the end.

All configurations take turns without pause, so that what heat and power do to one of them they do
to all. log(sample) = configuration + window: fitted by turns (Tukey's median polish, with the
protocol's own quantile), the windows are one course of the whole device, however few samples each
configuration has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from profiler.measuring.journal import Journal
from profiler.measuring.protocol import MeasuringProtocol, Sustained
from profiler.measuring.records import Block, Condition
from profiler.measuring.stats import Floats, change_points
from profiler.measuring.tails import interval_of
from profiler.tables.levels import Change, Level, Load, Statistic

TURNS = 8  # of the polish: it has settled


@dataclass(frozen=True)
class Course:
    """Logarithm of the latency of all configurations together, by window.

    Attributes:
        times_s: when each window with samples began, [n].
        levels: [n].
    """

    times_s: Floats
    levels: Floats

    def changes(self, rule: Sustained) -> list[int]:
        """Windows with which another level begins."""
        return change_points(
            self.levels,
            min_z=rule.min_z,
            min_step=float(np.log1p(rule.min_step)),
            min_length=rule.min_windows,
        )


def course_of(
    configurations: Sequence[Sequence[Block]], window_s: float, quantile: float
) -> Course:
    """The course of one sweep.

    Args:
        configurations: blocks of each, of that sweep.
        quantile: of the samples, that is their level.
    """
    rows = [
        (at, int(block.started_s // window_s), np.log(ms))
        for at, blocks in enumerate(configurations)
        for block in blocks
        for ms in block.samples_ms
    ]
    configuration, window, logs = (np.array(column) for column in zip(*rows, strict=True))
    windows, window = np.unique(window, return_inverse=True)
    levels = np.zeros(len(windows))
    for _ in range(TURNS):
        own = _by_group(logs - levels[window], configuration, quantile)
        levels = _by_group(logs - own[configuration], window, quantile)
    return Course(windows * window_s, levels)


def _by_group(values: Floats, group: NDArray[np.int64], quantile: float) -> Floats:
    """The quantile of the values of each group, [max(group) + 1]."""
    order = np.argsort(group, kind="stable")
    parts = np.split(values[order], np.cumsum(np.bincount(group))[:-1])
    return np.array([np.quantile(part, quantile) if len(part) else 0.0 for part in parts])


def loads_of(
    configurations: Iterable[Sequence[Block]], journal: Journal, protocol: MeasuringProtocol
) -> dict[int, Load]:
    """Of each sweep that was the last of some configurations; the one of most comes first. None
    where the protocol asks for no load.

    Args:
        configurations: blocks of each, of all sweeps: a load that was cut off begins anew. Read
            only where there is a load.
    """
    rule = protocol.sustained
    if rule is None:
        return {}
    by_sweep: dict[int, list[list[Block]]] = {}
    for blocks in configurations:
        last = blocks[-1].sweep
        by_sweep.setdefault(last, []).append([block for block in blocks if block.sweep == last])
    ordered = sorted(by_sweep.items(), key=lambda item: -len(item[1]))
    return {
        sweep: load_of(members, journal.conditions(sweep), protocol, rule)
        for sweep, members in ordered
    }


def load_of(
    configurations: Sequence[Sequence[Block]],
    conditions: Sequence[Condition],
    protocol: MeasuringProtocol,
    rule: Sustained,
) -> Load:
    """What a sweep tells of the device under its load.

    Args:
        configurations: blocks of each, of that sweep.
        conditions: what the device told of itself meanwhile.
    """
    course = course_of(configurations, rule.window_s, protocol.estimator.quantile)
    is_first = course.times_s < max(rule.first_s, course.times_s[0] + rule.window_s)
    first = float(np.median(course.levels[is_first]))
    cuts = course.changes(rule)
    changes = tuple(
        Change(
            float(course.times_s[start]), _ratio(float(np.median(course.levels[start:end])), first)
        )
        for start, end in pairwise([*cuts, len(course.levels)])
    )
    is_end = course.times_s >= _end_s(rule, changes)
    end = float(np.median(course.levels[is_end])) if is_end.any() else float(course.levels[-1])
    temperatures, clocks = _read_by_window(course.times_s, conditions, rule.window_s)
    return Load(
        minutes=rule.minutes,
        times_s=tuple(course.times_s.tolist()),
        ratios=tuple(_ratio(float(level), first) for level in course.levels),
        temperatures_c=temperatures,
        clocks_mhz=clocks,
        changes=changes,
        end_ratio=_ratio(end, first),
    )


def sustained_levels(
    series: Sequence[Sequence[Block]], load: Load, protocol: MeasuringProtocol, rule: Sustained
) -> dict[Statistic, Level]:
    """Of one configuration: in the first minute, and after the last change; of the samples as they
    were read, throttled or not.

    Args:
        series: its blocks; those of each copy apart.
    """
    from_s = _end_s(rule, load.changes)
    first = [[b for b in blocks if b.started_s < rule.first_s] or blocks[:1] for blocks in series]
    last = [[b for b in blocks if b.started_s >= from_s] or blocks[-1:] for blocks in series]
    quantile = protocol.estimator.quantile
    return {
        Statistic.FIRST_MINUTE: interval_of(first, quantile, protocol.stopping.resamples),
        Statistic.SUSTAINED: interval_of(last, quantile, protocol.stopping.resamples),
    }


def _end_s(rule: Sustained, changes: Sequence[Change]) -> float:
    """From when on the level is that of the end."""
    share_s = 60 * rule.minutes * (1 - rule.end_share)
    return max([share_s, *(change.at_s for change in changes)])


def _ratio(level: float, first: float) -> float:
    return float(np.exp(level - first))


def _read_by_window(
    times_s: Floats, conditions: Sequence[Condition], window_s: float
) -> tuple[tuple[float | None, ...], tuple[float | None, ...]]:
    """Temperature and clock in each window, None where neither was read."""
    read: dict[int, list[Condition]] = {}
    for one in conditions:
        read.setdefault(int(one.at_s // window_s), []).append(one)

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return float(np.mean(known)) if known else None

    here = [read.get(round(time_s / window_s), []) for time_s in times_s]
    return (
        tuple(mean([one.temperature_c for one in window]) for window in here),
        tuple(mean([one.clock_mhz for one in window]) for window in here),
    )
