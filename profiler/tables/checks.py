"""What can be said about latency tables without measuring: faults of one, differences of two."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from profiler.errors import InvalidInputError
from profiler.spaces.networks import distinct_ops, key_reader, network_ops
from profiler.spaces.registry import is_known
from profiler.tables.op_factors import op_factor
from profiler.tables.statistic import refuse_mixed
from profiler.tables.table import Calibration, Entry, LatencyTable, Verdict

# a network outside these shares of its summed ops was measured on something else
NETWORK_TO_SUM = (0.3, 3.0)
MISSING = "(missing)"


@dataclass(frozen=True)
class Findings:
    """`faults` make a table unusable; `warnings` are for its user to judge."""

    faults: tuple[str, ...]
    warnings: tuple[str, ...]


def kind_of(key: str) -> str:
    """The kind that any project's op key begins with.

    >>> kind_of("Conv_1-input:6x6x192-output:6x6x1152")
    'Conv_1'
    """
    return key.split("-input:")[0]


def check_table(table: LatencyTable) -> Findings:
    """Completeness of its space and sanity of its numbers."""
    faults: list[str] = []
    warnings: list[str] = []
    known = is_known(table.space.name)
    if known:
        missing = sorted(distinct_ops(table.search_space).keys() - table.ops.keys())
        faults += [f"op is missing: {key}" for key in missing]
        faults += _wrong_keys(table)
    else:
        warnings.append(f"space {table.space.name!r} is not known here; its ops are not checked")
    for name, entry in [*table.ops.items(), *((n.arch, n) for n in table.networks)]:
        faults += [f"{name}: {fault}" for fault in disordered(entry)]
    both = table.failures.keys() & table.ops.keys()
    faults += [f"both measured and failed: {key}" for key in sorted(both)]
    if known and not faults and table.calibration:
        faults += _wrong_factors(table, table.calibration)
    if known and not faults:
        faults += _implausible_networks(table)
    verdicts = Counter(entry.verdict for entry in table.ops.values())
    warnings += [
        f"{count} of {len(table.ops)} ops are {verdict}"
        for verdict, count in verdicts.items()
        if verdict is not Verdict.STABLE
    ]
    warnings += [f"failed: {key}: {why}" for key, why in sorted(table.failures.items())]
    if table.noise_floor is not None and not table.noise_floor.publishable:
        warnings.append(f"repeats differ by {table.noise_floor.p95_pct:g} % (p95): not publishable")
    return Findings(tuple(faults), tuple(warnings))


def _wrong_keys(table: LatencyTable) -> list[str]:
    faults, read = [], key_reader(table.search_space)
    for key in table.ops:
        try:
            read(key)
        except InvalidInputError as error:
            faults.append(str(error))
    return faults


def _wrong_factors(table: LatencyTable, calibration: Calibration) -> list[str]:
    """Ops that the calibration would make take no time, or less."""
    faults, read = [], key_reader(table.search_space)
    for key in table.ops:
        try:
            op_factor(calibration, read(key))
        except InvalidInputError as error:
            faults.append(str(error))
    return faults


def disordered(entry: Entry) -> list[str]:
    """Statistics that cannot be of one sample."""
    order = [("min", entry.min_ms), ("p10", entry.p10_ms), ("median", entry.median_ms)]
    order.append(("p90", entry.p90_ms))
    present = [(name, value) for name, value in order if value is not None]
    faults = [
        f"{low[0]} {low[1]:g} ms exceeds {high[0]} {high[1]:g} ms"
        for low, high in itertools.pairwise(present)
        if low[1] > high[1]
    ]
    if entry.ci95_ms is not None and not entry.ci95_ms[0] <= entry.latency_ms <= entry.ci95_ms[1]:
        faults.append(f"latency {entry.latency_ms:g} ms lies outside its interval {entry.ci95_ms}")
    return faults


def _implausible_networks(table: LatencyTable) -> list[str]:
    faults, space = [], table.search_space
    for network in table.networks:
        try:
            ops = network_ops(space, space.parse(network.arch))
        except InvalidInputError as error:
            faults.append(f"network {network.arch}: {error}")
            continue
        ratio = network.latency_ms / sum(table.ops[op.key].latency_ms for op in ops)
        if not NETWORK_TO_SUM[0] < ratio < NETWORK_TO_SUM[1]:
            faults.append(f"network {network.arch} takes {ratio:.2f} times the sum of its ops")
    return faults


def compare_tables(a: LatencyTable, b: LatencyTable) -> dict[str, Any]:
    """Keys only in one, ratios b / a of the others in all and by kind, differing settings.

    Raises:
        InvalidInputError: they are of different statistics.
    """
    refuse_mixed(a, b)
    common = [key for key in a.ops if key in b.ops]
    ratios = {key: b.ops[key].latency_ms / a.ops[key].latency_ms for key in common}
    by_kind: dict[str, list[float]] = defaultdict(list)
    for key, ratio in ratios.items():
        by_kind[kind_of(key)].append(ratio)
    furthest = sorted(common, key=lambda key: -abs(float(np.log(ratios[key]))))[:5]
    return {
        "n_common": len(common),
        "only_in_a": sorted(a.ops.keys() - b.ops.keys()),
        "only_in_b": sorted(b.ops.keys() - a.ops.keys()),
        "ratio": _spread(list(ratios.values())),
        "ratio_by_kind": {kind: _spread(values) for kind, values in by_kind.items()},
        "furthest": {key: ratios[key] for key in furthest},
        "space": _differences(a.space.model_dump(), b.space.model_dump()),
        "device": _differences(asdict(a.device), asdict(b.device)),
        "protocol": _differences(a.protocol, b.protocol),
    }


def _spread(ratios: list[float]) -> dict[str, float] | None:
    """Median ratio, and 95th percentile of the relative difference in %."""
    if not ratios:
        return None
    return {
        "median": float(np.median(ratios)),
        "p95_difference_pct": float(100 * np.quantile(np.abs(np.array(ratios) - 1), 0.95)),
    }


def _differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
    return {
        name: [a.get(name, MISSING), b.get(name, MISSING)]
        for name in sorted(a.keys() | b.keys())
        if a.get(name, MISSING) != b.get(name, MISSING)
    }
