"""Numbers of latency tables that cannot be measurements of their own.

Whoever measures gets digits that chance drew. Digits that are there twice, a spread of nothing, an
op that beats its own part and a time that is off by a thousand were copied, made up or mislabelled.
What is only unlikely is left alone: at most one honest table in 100 has a finding.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from itertools import combinations, permutations
from math import prod

import numpy as np
from numpy.typing import NDArray

from profiler.graph.op import Op
from profiler.spaces.networks import key_reader, network_ops
from profiler.spaces.registry import is_known
from profiler.tables.checks import disordered, kind_of
from profiler.tables.table import Entry, LatencyTable, Verdict

CHANCE = 0.01  # of a finding in an honest table
_NEAR = 0.01  # relative distance within which values are as likely as each other
_SAME_RATIO = 1e-9  # relative; products of doubles agree to about 1e-15
_MIN_SAME_RATIOS = 3
_MIN_MADDS_RATIO, _MAX_TIME_RATIO = 2.0, 0.8  # measured: twice the work takes at least 1.6 times
SHORTEST_MS = 5e-4  # no runtime is called and returns sooner
SLOWEST_PER_S = 2e8  # multiply-adds and elements moved: what a microcontroller does
_MOVES = 10  # one element read or written costs about as much as 10 multiply-adds
_NEIGHBOURS = 5
_MAX_LOG = math.log(sys.float_info.max)
_UNIT_FROM = (
    80.0  # ops of like work differ by up to 16 times; off by 1000 leaves at least 1000 / 16
)


class FindingKind(StrEnum):
    COPY = "copy"
    SPREAD = "spread"
    ORDER = "order"
    UNIT = "unit"


@dataclass(frozen=True, slots=True)
class AuditFinding:
    """One thing that no measurement gives: `keys` are the ops or architectures concerned."""

    table: str
    kind: FindingKind
    keys: tuple[str, ...]
    message: str


def audit_tables(tables: Mapping[str, LatencyTable]) -> list[AuditFinding]:
    """What is impossible in each table, and between every two; names are those of `tables`.

    Numbers that a table itself calls transferred are no measurements, and are left out.
    """
    found = [one for name, table in tables.items() for one in _audit(name, table)]
    for (name, table), (other, second) in combinations(tables.items(), 2):
        found += _between(f"{name}, {other}", _measured(table), _measured(second))
    return found


def _audit(name: str, table: LatencyTable) -> Iterator[AuditFinding]:
    entries = _measured(table)
    for keys, why in _copies([(key, one.latency_ms) for key, one in entries.items()]):
        yield AuditFinding(name, FindingKind.COPY, keys, why)
    for keys, why in _spreads(entries):
        yield AuditFinding(name, FindingKind.SPREAD, keys, why)
    for key, entry in entries.items():
        for why in [*disordered(entry), *_impossible_mean(entry)]:
            yield AuditFinding(name, FindingKind.ORDER, (key,), why)
    known = is_known(table.space.name)
    works = _works(table, entries) if known else []
    for keys, why in _orders(works):
        yield AuditFinding(name, FindingKind.ORDER, keys, why)
    units = list(_units(entries, works))
    if known:
        units += _network_units(table, {key for keys, _ in units for key in keys})
    for keys, why in units:
        yield AuditFinding(name, FindingKind.UNIT, keys, why)


def _measured(table: LatencyTable) -> dict[str, Entry]:
    named = [*table.ops.items(), *((network.arch, network) for network in table.networks)]
    return {key: entry for key, entry in named if entry.verdict is not Verdict.TRANSFERRED}


# --- copies ----------------------------------------------------------------------------------


def _copies(values: list[tuple[str, float]]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Equal latencies with so many digits that chance does not make them equal."""
    holders: dict[float, list[str]] = defaultdict(list)
    for key, value in values:
        holders[value].append(key)
    for value, keys in holders.items():
        if len(keys) > 1 and _by_chance(value, holders) < CHANCE:
            yield tuple(keys), f"{len(keys)} times {value!r} ms to the digit"


def _by_chance(value: float, holders: Mapping[float, list[str]]) -> float:
    """Bound of the probability of as many equal pairs, at the digits of `value` or more.

    Pairs that are near each other share a grid of steps; the number that also share the step is
    about Poisson, whose tail from n on is at most exp(n - mean) (mean / n)^n (Chernoff).
    """
    step = _step(value) / value
    near = 1 + _n_near(np.sort(np.log(np.fromiter(holders, float))))
    mean = near * min(step / (2 * _NEAR), 1.0)
    n_equal = sum(
        math.comb(len(keys), 2) for v, keys in holders.items() if _step(v) / v <= 1.001 * step
    )
    if n_equal <= mean:
        return 1.0
    return math.exp(n_equal - mean + n_equal * math.log(mean / n_equal))


def _step(value: float) -> float:
    """What the last digit of a value, as it is written, counts; doubles have no finer one."""
    written = float(Decimal(1).scaleb(int(Decimal(repr(value)).as_tuple().exponent)))
    return max(written, math.ulp(value))


def _n_near(sorted_logs: NDArray[np.float64]) -> int:
    """Pairs of different values that are within 1 % of each other."""
    ends = np.searchsorted(sorted_logs, sorted_logs + _NEAR, side="right")
    return int((ends - np.arange(len(sorted_logs)) - 1).sum())


def _between(
    names: str, first: Mapping[str, Entry], second: Mapping[str, Entry]
) -> Iterator[AuditFinding]:
    one = {entry.latency_ms: key for key, entry in first.items()}
    other = {entry.latency_ms: key for key, entry in second.items()}
    holders = {value: [""] for value in one | other}  # copies within one table are told apart
    shared = one.keys() & other.keys()
    holders |= {value: [one[value], other[value]] for value in shared}
    copied = [value for value in shared if _by_chance(value, holders) < CHANCE]
    if copied:
        keys = tuple(sorted(one[value] for value in copied))
        why = f"{len(keys)} latencies of the one are in the other to the digit"
        yield AuditFinding(names, FindingKind.COPY, keys, why)
    ratios = {
        key: second[key].latency_ms / first[key].latency_ms for key in first.keys() & second.keys()
    }
    for keys, ratio in _same(ratios):
        if abs(ratio - 1) > _SAME_RATIO:
            why = f"{len(keys)} latencies are {ratio:.6g} times those of the other, to the digit"
            yield AuditFinding(names, FindingKind.COPY, keys, why)
    median = float(np.median(list(ratios.values()))) if ratios else 1.0
    if not 1 / 300 < median < 300:
        why = f"the second is {median:.4g} times the first: is one of them not in ms?"
        yield AuditFinding(names, FindingKind.UNIT, (), why)


def _same(ratios: Mapping[str, float]) -> Iterator[tuple[tuple[str, ...], float]]:
    """Keys, three or more, whose ratios do not differ by more than rounding does."""
    ordered = sorted(ratios.items(), key=lambda item: item[1])
    group: list[tuple[str, float]] = []
    for key, ratio in [*ordered, ("", math.inf)]:
        if group and ratio > group[-1][1] * (1 + _SAME_RATIO):
            if len(group) >= _MIN_SAME_RATIOS:
                yield tuple(sorted(name for name, _ in group)), group[0][1]
            group = []
        group.append((key, ratio))


# --- spreads ---------------------------------------------------------------------------------


def _spreads(entries: Mapping[str, Entry]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key, entry in entries.items():
        if entry.n_samples != 1 and 0 in (entry.std_ms, entry.variance_ms2):
            yield (key,), f"{entry.n_samples or 'its'} samples have a spread of 0"
        elif entry.n_samples > 2 and entry.min_ms is not None and entry.min_ms == entry.p90_ms:
            yield (key,), f"nine tenths of {entry.n_samples} samples are {entry.min_ms!r} ms"
    relative = {key: e.std_ms / e.latency_ms for key, e in entries.items() if e.std_ms}
    for keys, share in _same(relative):
        yield keys, f"{len(keys)} spreads are {share:.6g} of their latency, to the digit"


# --- orderings -------------------------------------------------------------------------------


def _impossible_mean(entry: Entry) -> list[str]:
    """A mean below the least sample, or further from the median than one standard deviation."""
    if entry.mean_ms is None:
        return []
    faults = []
    if entry.min_ms is not None and entry.mean_ms < entry.min_ms:
        faults.append(f"mean {entry.mean_ms:g} ms is below min {entry.min_ms:g} ms")
    if entry.median_ms is not None and entry.std_ms is not None:
        distance = abs(entry.mean_ms - entry.median_ms)
        if distance > entry.std_ms * 1.01:  # both may be rounded
            faults.append(
                f"mean and median differ by {distance:g} ms, more than the standard deviation "
                f"{entry.std_ms:g} ms"
            )
    return faults


@dataclass(frozen=True, slots=True)
class _Work:
    """What an op has to do, and the time that a table says it takes."""

    key: str
    latency_ms: float
    madds: int
    shape: tuple[object, ...]  # ops of one shape differ in how much each layer does
    sizes: tuple[int, ...]  # of what each layer writes, in elements; then of all weights
    total: float  # multiply-adds, and elements moved as so many multiply-adds

    @classmethod
    def of(cls, key: str, entry: Entry, op: Op) -> _Work:
        graph = op.graph
        layers = tuple(type(node.layer).__name__ for node in graph.nodes)
        ends = tuple(tensor.shape for tensor in (*graph.inputs, *graph.outputs))
        sizes = tuple(prod(node.output.shape) for node in graph.nodes)
        read = sum(prod(tensor.shape) for node in graph.nodes for tensor in node.inputs)
        return cls(
            key, entry.latency_ms, graph.madds, (kind_of(key), ends, layers),
            (*sizes, graph.params), graph.madds + _MOVES * (sum(sizes) + read),
        )  # fmt: skip

    def does_more_than(self, other: _Work) -> bool:
        return (
            self.shape == other.shape
            and self.madds >= _MIN_MADDS_RATIO * other.madds
            and all(a >= b for a, b in zip(self.sizes, other.sizes, strict=True))
        )


def _works(table: LatencyTable, entries: Mapping[str, Entry]) -> list[_Work]:
    read = key_reader(table.search_space, batch_size=table.device.batch_size)
    return [_Work.of(key, entries[key], read(key)) for key in table.ops if key in entries]


def _orders(works: Iterable[_Work]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Ops that do all that another does, at least twice as much, in clearly less time."""
    of_shape: dict[tuple[object, ...], list[_Work]] = defaultdict(list)
    for work in works:
        of_shape[work.shape].append(work)
    for group in of_shape.values():
        for more, less in permutations(group, 2):
            ratio = more.latency_ms / less.latency_ms
            if ratio < _MAX_TIME_RATIO and more.does_more_than(less):
                yield (
                    (more.key, less.key),
                    f"the first does {more.madds / less.madds:.1f} times the work of the second "
                    f"in {ratio:.2f} times its time",
                )


# --- units -----------------------------------------------------------------------------------


def _units(
    entries: Mapping[str, Entry], works: list[_Work]
) -> Iterator[tuple[tuple[str, ...], str]]:
    short = tuple(key for key, entry in entries.items() if entry.latency_ms < SHORTEST_MS)
    if short:
        least = min(entries[key].latency_ms for key in short)
        yield short, f"{least:g} ms is shorter than any call of a runtime: seconds?"
    if not works:
        return
    per_s = sum(work.total for work in works) / sum(work.latency_ms for work in works) * 1e3
    if per_s < SLOWEST_PER_S:
        yield (), f"all ops together are slower than on a microcontroller ({per_s:.2g}/s): µs?"
    if len(works) > _NEIGHBOURS:
        yield from _off_by_1000(works)


def _off_by_1000(works: list[_Work]) -> Iterator[tuple[tuple[str, ...], str]]:
    """Ops whose time for their work is far from that of the ops of most similar work."""
    totals = np.log([work.total for work in works])
    costs = np.log([work.latency_ms for work in works]) - totals
    for at, work in enumerate(works):
        nearest = [i for i in np.argsort(np.abs(totals - totals[at]), kind="stable") if i != at]
        ratio = math.exp(min(costs[at] - np.median(costs[nearest[:_NEIGHBOURS]]), _MAX_LOG))
        if not 1 / _UNIT_FROM < ratio < _UNIT_FROM:
            yield (work.key,), f"{ratio:.3g} times what ops of like work take: another unit?"


def _network_units(
    table: LatencyTable, doubted: AbstractSet[str]
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Networks far from the sum of their ops, where no op is to blame."""
    space = table.search_space
    for network in table.networks:
        keys = [op.key for op in network_ops(space, space.parse(network.arch))]
        if doubted.isdisjoint(keys) and table.ops.keys() >= set(keys):
            ratio = network.latency_ms / sum(table.ops[key].latency_ms for key in keys)
            if not 0.01 < ratio < 100:
                yield (network.arch,), f"{ratio:.3g} times the sum of its ops: another unit?"
