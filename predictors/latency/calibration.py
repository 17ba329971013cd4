"""Correcting the sum of ops on measured whole networks, so that it stays a sum of ops.

    c(α) = intercept + Σ_ops latency(op) · Σ_{g ∈ groups(op)} factor[g]

An op measured alone differs from the same op inside a network (layout conversions at its edges,
colder or warmer caches) by a part common to all ops and by parts that depend on the size of the
feature map, on stride, kernel and expansion, and on the op itself. Each part has a normal prior
around zero: ridge regression towards the table (ridge.py). How wide the priors of groups are is
chosen by leave-one-out error, and may be nothing. A further part moves all ops from the table
towards the law that the table follows (work_law.py): what one op alone deviates from it, a
network often does not show.

A device that works through a queue takes no less than the host needs to fill it: there
c(α) = max(sum, launches) where that predicts networks clearly better (launch_fit.py).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from predictors.base import Floats
from predictors.intervals import Drift, above, margins_over, quantiles_of_picks
from predictors.latency.launch_fit import fit_ends, left_out_ms
from predictors.latency.launch_terms import launch_terms
from predictors.latency.launches import design
from predictors.latency.ridge import Ridge, Rows, Term, clearly_lower
from predictors.latency.work_law import fit_work_law
from profiler.devices.registry import backend_named
from profiler.errors import InvalidInputError
from profiler.graph.op import Op
from profiler.spaces.networks import distinct_ops, network_ops
from profiler.tables.op_factors import COMMON, op_groups
from profiler.tables.table import Calibration, LatencyTable, Launches, NetworkEntry, Verdict

MIN_NETWORKS = 3
LAW, INTERCEPT = "law", "intercept"
# Prior standard deviations as fractions of latency: of the common factor around 1, of the
# intercept and the share of the law around 0 and, before scaling, of each level of groups.
COMMON_WIDTH = 0.2
INTERCEPT_WIDTH = 0.05
LAW_WIDTH = 1.0
LEVEL_WIDTHS = {"size": 0.05, "stride": 0.05, "kernel": 0.02, "expand": 0.02, "op": 0.02}
NETWORK_NOISE = 0.005  # what a whole network repeats to, at best

OpLatency = Callable[[Op], float]


def usable_networks(table: LatencyTable) -> list[NetworkEntry]:
    """The measured networks that a fit may use: all that were not throttled."""
    return [n for n in table.networks if n.verdict is not Verdict.THROTTLED]


def fit_calibration(table: LatencyTable, op_latency_ms: OpLatency) -> Calibration:
    """Fit corrections of `op_latency_ms` (the table's, or predicted) on the table's networks.

    Networks count by how well they repeat.

    Raises:
        InvalidInputError: fewer than 3 usable networks, one that is not of the space, or latencies
            that no calibration fits.
    """
    return _fit(table, op_latency_ms)[0]


def left_out_latencies_ms(table: LatencyTable, op_latency_ms: OpLatency) -> dict[str, float]:
    """What the table's usable networks would take by calibrations that have not seen them, by
    architecture: each is fitted to the other networks.

    Raises:
        InvalidInputError: as for `fit_calibration`.
    """
    archs = [network.arch for network in usable_networks(table)]
    return dict(zip(archs, _fit(table, op_latency_ms)[1].tolist(), strict=True))


def _fit(table: LatencyTable, op_latency_ms: OpLatency) -> tuple[Calibration, Floats]:
    """The calibration, and [n] the usable networks in ms, each predicted from the others."""
    try:
        with np.errstate(all="ignore"):
            return _solve(table, op_latency_ms)
    except ValueError:  # a singular system, factors below 0
        raise InvalidInputError("latencies of its ops and networks fit no calibration") from None


def _solve(table: LatencyTable, op_latency_ms: OpLatency) -> tuple[Calibration, Floats]:
    measured = usable_networks(table)
    if len(measured) < MIN_NETWORKS:
        raise InvalidInputError(
            f"the table has {len(measured)} usable measured networks; calibration needs at least "
            f"{MIN_NETWORKS} (pnag profile --networks 30)"
        )
    space, batch_size = table.search_space, table.device.batch_size
    ops = [network_ops(space, space.parse(n.arch), batch_size=batch_size) for n in measured]
    law_ms = _law(table, op_latency_ms)
    networks = _ridge(measured, ops, op_latency_ms, law_ms)
    law_ratios = {op: latency_ms / op_latency_ms(op) for op, latency_ms in law_ms.items()}
    left_out = networks.left_out_predictions_ms()
    every = np.arange(len(measured))
    additive = _calibration(table, networks, every, law_ratios, left_out), left_out
    backend = backend_named(table.device.platform)
    if backend is None or not backend.queued:
        return additive
    return _launch_aware(table, networks, ops, law_ratios, left_out) or additive


def _launch_aware(
    table: LatencyTable,
    networks: Ridge,
    ops: Sequence[Sequence[Op]],
    law_ratios: Mapping[Op, float],
    additive_left_out_ms: Floats,
) -> tuple[Calibration, Floats] | None:
    """As `_fit`, with launches; None where they do not clearly predict better."""
    launches = design(ops, launch_terms)
    ends = fit_ends(networks, launches.amounts, np.arange(len(ops)))
    left_out = left_out_ms(networks, launches.amounts) if ends else None
    if ends is None or left_out is None:
        return None
    before, after = (
        np.abs(predicted / networks.latency_ms - 1)
        for predicted in (additive_left_out_ms, left_out)
    )
    if not clearly_lower(before, after):
        return None
    law = launches.law(ends.launch_costs)
    launch = Launches(fixed_ms=law.fixed_ms, kernels_ms=dict(law.costs))
    rows = ends.compute_bound
    return _calibration(table, networks, rows, law_ratios, left_out, launch), left_out


def _calibration(
    table: LatencyTable,
    networks: Ridge,
    rows: Rows,
    law_ratios: Mapping[Op, float],
    left_out: Floats,
    launch: Launches | None = None,
) -> Calibration:
    """Fitted to the networks `rows`, with its error, and what is said of others', from left-out
    predictions [n] in ms."""
    factors = networks.weights(rows)
    factors[COMMON] += 1
    law_share, intercept = factors.pop(LAW), factors.pop(INTERCEPT)
    for op, ratio in law_ratios.items():
        factors[op.key] = factors.get(op.key, 0.0) + law_share * (ratio - 1)
    error = np.abs(networks.latency_ms - left_out)
    picked = np.array([network.picked for network in usable_networks(table)])
    measured = networks.latency_ms
    relative = measured / left_out - 1
    quantiles = quantiles_of_picks(relative, picked)
    bounds = quantiles_of_picks(above(relative), picked)
    drift = Drift.of(table.sessions)
    return Calibration(
        intercept_ms=intercept * float(networks.latency_ms.mean()),
        factors=factors,
        n_networks=len(left_out),
        residual_mape_pct=float(100 * np.mean(error / networks.latency_ms)),
        relative_quantiles=quantiles if drift is None else drift.widened(quantiles),
        margins=margins_over(table.sessions, bounds, np.array([measured.min(), measured.max()])),
        launch=launch,
        n_picked=int(picked.sum()),
        n_sessions=0 if drift is None else drift.n_sessions,
    )


def _law(table: LatencyTable, op_latency_ms: OpLatency) -> dict[Op, float]:
    """Latency in ms by the law that the table's ops follow, of all blocks of its space."""
    ops = list(distinct_ops(table.search_space, batch_size=table.device.batch_size).values())
    threads = np.full(len(ops), float(table.device.threads))
    law = fit_work_law(ops, threads, np.array([op_latency_ms(op) for op in ops]))
    fitted = dict(zip(ops, law.predict_ms(ops, threads).tolist(), strict=True))
    return {op: latency_ms for op, latency_ms in fitted.items() if op_groups(op)}


def _ridge(
    measured: Sequence[NetworkEntry],
    ops: Sequence[Sequence[Op]],
    op_latency_ms: OpLatency,
    law_ms: Mapping[Op, float],
) -> Ridge:
    """What the table expects of measured networks, and what may correct it."""
    n = len(measured)
    total_ms, law_gap_ms = np.zeros(n), np.zeros(n)
    groups_ms: dict[tuple[str, str], Floats] = defaultdict(lambda: np.zeros(n))
    for i, network in enumerate(ops):
        for op in network:
            latency_ms = op_latency_ms(op)
            total_ms[i] += latency_ms
            law_gap_ms[i] += law_ms.get(op, latency_ms) - latency_ms
            for level_and_group in op_groups(op).items():
                groups_ms[level_and_group][i] += latency_ms
    measured_ms = np.array([network.latency_ms for network in measured])
    always = {
        COMMON: Term(total_ms, COMMON_WIDTH),
        LAW: Term(law_gap_ms, LAW_WIDTH),
        INTERCEPT: Term(np.full(n, measured_ms.mean()), INTERCEPT_WIDTH),
    }
    # level by level, as they are written in the table
    supported = {
        group: Term(amounts_ms, width)
        for level, width in LEVEL_WIDTHS.items()
        for (of_level, group), amounts_ms in groups_ms.items()
        if of_level == level
    }
    noise_ms = np.array([_standard_error(network) for network in measured])
    return Ridge(measured_ms, total_ms, noise_ms, always, supported)


def _standard_error(network: NetworkEntry) -> float:
    """Of a measured latency in ms: from its 95 % interval, but never below the noise floor."""
    floor = NETWORK_NOISE * network.latency_ms
    if network.ci95_ms is None:
        return floor
    low, high = network.ci95_ms
    return max(floor, (high - low) / (2 * 1.96))
