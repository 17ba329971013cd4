"""What differs between two latency tables of one space, with intervals: two dates, or two devices.

No op is told apart by less than the A/A noise floor: what was measured twice, unannounced, differed
by as much.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from profiler.measuring.comparison import Comparison
from profiler.tables.checks import kind_of
from profiler.tables.table import Entry, LatencyTable

CONFIDENCE = 0.95


@dataclass(frozen=True)
class OpChange:
    """One op in both tables; `found` is its latency after over that before."""

    key: str
    before_ms: float
    after_ms: float
    found: Comparison


@dataclass(frozen=True)
class GroupChange:
    """The geometric mean of the ratios of `n` ops or networks, each of them one observation."""

    what: str
    n: int
    found: Comparison


@dataclass(frozen=True)
class Changes:
    ops: tuple[OpChange, ...]
    groups: tuple[GroupChange, ...]


def table_changes(before: LatencyTable, after: LatencyTable) -> Changes:
    """Of every op that both tables have, and of whole networks, all ops and each kind of op."""
    floor = max(_floor(before), _floor(after))
    ops = tuple(
        OpChange(key, b.latency_ms, a.latency_ms, _compared(b, a, floor))
        for key, a in after.ops.items()
        if (b := before.ops.get(key)) is not None
    )
    known = {network.arch: network for network in before.networks}
    networks = [
        network.latency_ms / known[network.arch].latency_ms
        for network in after.networks
        if network.arch in known
    ]
    by_kind: dict[str, list[float]] = defaultdict(list)
    for op in ops:
        by_kind[kind_of(op.key)].append(op.found.ratio)
    rows = {"whole networks": networks, "all ops": [op.found.ratio for op in ops], **by_kind}
    groups = [
        GroupChange(what, len(ratios), _mean(ratios))
        for what, ratios in rows.items()
        if len(ratios) > 1
    ]
    return Changes(ops, tuple(groups))


def _floor(table: LatencyTable) -> float:
    return math.log1p(table.noise_floor.p95_pct / 100) if table.noise_floor else 0.0


def _compared(before: Entry, after: Entry, floor: float) -> Comparison:
    """The ratio with an interval from both intervals, never narrower than the noise floor."""
    half = max(floor, math.hypot(_log_half(before), _log_half(after)))
    ratio = after.latency_ms / before.latency_ms
    return Comparison(ratio, (ratio * math.exp(-half), ratio * math.exp(half)))


def _log_half(entry: Entry) -> float:
    """Half the 95 % interval of a latency's logarithm; of an import, which has none, 0."""
    if entry.ci95_ms is None or entry.ci95_ms[0] <= 0:
        return 0.0
    return math.log(entry.ci95_ms[1] / entry.ci95_ms[0]) / 2


def _mean(ratios: Sequence[float]) -> Comparison:
    """Geometric mean with Student's interval."""
    from scipy.stats import t

    logs = np.log(ratios)
    mean = float(logs.mean())
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    half = error * float(t.ppf((1 + CONFIDENCE) / 2, len(logs) - 1))
    return Comparison(math.exp(mean), (math.exp(mean - half), math.exp(mean + half)))
