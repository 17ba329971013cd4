"""Correcting the sum of ops on measured whole networks, so that it stays a sum of ops.

    c(α) = intercept + Σ_ops latency(op) · Σ_{g ∈ groups(op)} factor[g]

An op measured alone differs from the same op inside a network (layout conversions at its edges,
colder or warmer caches) by a part common to all ops and by parts that depend on the size of the
feature map, on stride, kernel and expansion, and on the op itself. Each part has a normal prior
around zero: generalised ridge regression towards the table (Hoerl & Kennard 1970). How wide the
priors of groups are is chosen by leave-one-out error, and may be nothing. A further part moves
all ops from the table towards the law that the table follows (work_law.py): what one op alone
deviates from it, a network often does not show.

A device that works through a queue takes no less than the host needs to fill it: there
c(α) = max(sum, launches) where that predicts networks clearly better (launch_fit.py).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from predictors.base import Floats
from predictors.intervals import conformal_quantiles
from predictors.latency.launch_fit import Rows, fit_ends, left_out_ms
from predictors.latency.launches import design, launch_terms
from predictors.latency.work_law import fit_work_law
from profiler.devices.registry import backend_named
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3_ops import OpConfig
from profiler.tables.op_factors import COMMON, op_groups
from profiler.tables.table import Calibration, LatencyTable, Launches, NetworkEntry, Verdict

MIN_NETWORKS = 3
# Prior standard deviations as fractions of latency: of the common factor around 1, of the
# intercept and the share of the law around 0 and, before scaling, of each level of groups.
COMMON_WIDTH = 0.2
INTERCEPT_WIDTH = 0.05
LAW_WIDTH = 1.0
LEVEL_WIDTHS = {"size": 0.05, "stride": 0.05, "kernel": 0.02, "expand": 0.02, "op": 0.02}
SCALES = (0.0, 0.5, 1.0, 2.0, 4.0)
NETWORK_NOISE = 0.005  # what a whole network repeats to, at best
CLEAR_GAIN = 1.0  # standard errors by which launches must lower the leave-one-out error

OpLatency = Callable[[OpConfig], float]


def usable_networks(table: LatencyTable) -> list[NetworkEntry]:
    """The measured networks that a fit may use: all that were not throttled."""
    return [n for n in table.networks if n.verdict is not Verdict.THROTTLED]


def fit_calibration(table: LatencyTable, op_latency_ms: OpLatency) -> Calibration:
    """Fit corrections of `op_latency_ms` (the table's, or predicted) on the table's networks.

    Networks count by how well they repeat.

    Raises:
        InvalidInputError: fewer than 3 usable networks, or one that is not of the space.
    """
    measured = usable_networks(table)
    if len(measured) < MIN_NETWORKS:
        raise InvalidInputError(
            f"the table has {len(measured)} usable measured networks; calibration needs at least "
            f"{MIN_NETWORKS} (pnag profile --networks 30)"
        )
    space, batch_size = table.search_space, table.device.batch_size
    ops = [space.ops(space.parse_architecture(n.arch), batch_size=batch_size) for n in measured]
    law_ms = _law(table, op_latency_ms)
    networks = _Networks.of(measured, ops, op_latency_ms, law_ms)
    law_ratios = {op: latency_ms / op_latency_ms(op) for op, latency_ms in law_ms.items()}
    left_out = networks.left_out_predictions_ms()
    additive = _calibration(networks, np.arange(len(measured)), law_ratios, left_out)
    backend = backend_named(table.device.platform)
    if backend is None or not backend.queued:
        return additive
    return _launch_aware(networks, ops, law_ratios, left_out) or additive


def _launch_aware(
    networks: _Networks,
    ops: Sequence[Sequence[OpConfig]],
    law_ratios: Mapping[OpConfig, float],
    additive_left_out_ms: Floats,
) -> Calibration | None:
    """The calibration with launches; None where they do not clearly predict better."""
    launches = design(ops, launch_terms)
    ends = fit_ends(networks, launches.amounts, np.arange(len(ops)))
    left_out = left_out_ms(networks, launches.amounts) if ends else None
    if ends is None or left_out is None:
        return None
    before, after = (
        np.abs(predicted / networks.latency_ms - 1)
        for predicted in (additive_left_out_ms, left_out)
    )
    gain = before - after
    if gain.mean() <= CLEAR_GAIN * gain.std(ddof=1) / math.sqrt(len(gain)):
        return None
    law = launches.law(ends.launch_costs)
    launch = Launches(fixed_ms=law.fixed_ms, kernels_ms=dict(law.costs))
    return _calibration(networks, ends.compute_bound, law_ratios, left_out, launch)


def _calibration(
    networks: _Networks,
    rows: Rows,
    law_ratios: Mapping[OpConfig, float],
    left_out: Floats,
    launch: Launches | None = None,
) -> Calibration:
    """Fitted to the networks `rows`, with its errors from left-out predictions [n] in ms."""
    scale = networks.best_scale(rows)
    dual = networks.solve(scale, rows)
    factors = {COMMON: 1 + COMMON_WIDTH**2 * float(networks.table_ms[rows] @ dual)}
    for level, columns in networks.levels.items() if scale else ():
        variance = (scale * LEVEL_WIDTHS[level]) ** 2
        factors |= {
            group: variance * float(column[rows] @ dual) for group, column in columns.items()
        }
    law_share = LAW_WIDTH**2 * float(networks.law_gap_ms[rows] @ dual)
    for op, ratio in law_ratios.items():
        factors[op.key] = factors.get(op.key, 0.0) + law_share * (ratio - 1)
    error = np.abs(networks.latency_ms - left_out)
    return Calibration(
        intercept_ms=networks.intercept_variance * float(dual.sum()),
        factors=factors,
        n_networks=len(left_out),
        residual_mape_pct=float(100 * np.mean(error / networks.latency_ms)),
        relative_quantiles=conformal_quantiles(error / left_out),
        launch=launch,
    )


def _law(table: LatencyTable, op_latency_ms: OpLatency) -> dict[OpConfig, float]:
    """Latency in ms by the law that the table's ops follow, of all blocks of its space."""
    ops = list(table.search_space.distinct_ops(batch_size=table.device.batch_size).values())
    threads = np.full(len(ops), float(table.device.threads))
    law = fit_work_law(ops, threads, np.array([op_latency_ms(op) for op in ops]))
    fitted = dict(zip(ops, law.predict_ms(ops, threads).tolist(), strict=True))
    return {op: latency_ms for op, latency_ms in fitted.items() if op_groups(op)}


@dataclass(frozen=True)
class _Networks:
    """Measured networks and the table's latency in them, in total and by group.

    Attributes:
        latency_ms, table_ms, noise_ms: [n] measured, summed from the table, standard error.
        law_gap_ms: [n] what the sum would change by if blocks followed the law.
        levels: by level and group, [n] latency by the table of the group's ops.
    """

    latency_ms: Floats
    table_ms: Floats
    noise_ms: Floats
    law_gap_ms: Floats
    levels: dict[str, dict[str, Floats]]

    @classmethod
    def of(
        cls,
        measured: Sequence[NetworkEntry],
        ops: Sequence[Sequence[OpConfig]],
        op_latency_ms: OpLatency,
        law_ms: Mapping[OpConfig, float],
    ) -> _Networks:
        total, law_gap = np.zeros(len(measured)), np.zeros(len(measured))
        levels: dict[str, dict[str, Floats]] = {
            level: defaultdict(lambda: np.zeros(len(measured))) for level in LEVEL_WIDTHS
        }
        for i, network in enumerate(ops):
            for op in network:
                latency_ms = op_latency_ms(op)
                total[i] += latency_ms
                law_gap[i] += law_ms.get(op, latency_ms) - latency_ms
                for level, group in op_groups(op).items():
                    levels[level][group][i] += latency_ms
        latency = np.array([network.latency_ms for network in measured])
        noise = np.array([_standard_error(network) for network in measured])
        return cls(latency, total, noise, law_gap, levels)

    @property
    def gap_ms(self) -> Floats:
        """[n] what the plain sum of the table misses."""
        return self.latency_ms - self.table_ms

    @property
    def intercept_variance(self) -> float:
        return float((INTERCEPT_WIDTH * self.latency_ms.mean()) ** 2)

    @cached_property
    def covariances(self) -> dict[float, Floats]:
        """By scale, [n, n] prior covariance of what the table misses."""
        common = COMMON_WIDTH**2 * np.outer(self.table_ms, self.table_ms)
        common += LAW_WIDTH**2 * np.outer(self.law_gap_ms, self.law_gap_ms)
        common += self.intercept_variance
        grouped = np.zeros_like(common)
        for level, columns in self.levels.items():
            stacked = np.array(list(columns.values()))
            grouped += LEVEL_WIDTHS[level] ** 2 * stacked.T @ stacked
        return {scale: common + scale**2 * grouped for scale in SCALES}

    def best_scale(self, rows: Rows) -> float:
        """The scale of least squared relative leave-one-out error among the networks `rows`.

        The errors have the closed form of Gaussian process regression (Rasmussen & Williams
        2006, eq. 5.12).
        """
        if not len(rows):
            return 0.0
        errors = {}
        for scale in SCALES:
            residual = self._residuals_ms(scale, rows)
            errors[scale] = float(np.mean((residual / self.latency_ms[rows]) ** 2))
        return min(SCALES, key=lambda scale: errors[scale])

    def solve(self, scale: float, rows: Rows) -> Floats:
        """[m] dual weights of the ridge fit to the networks `rows`."""
        covariance = self._noisy_covariance(scale, rows)
        return np.asarray(np.linalg.solve(covariance, self.gap_ms[rows]), np.float64)

    def left_out_predictions_ms(self) -> Floats:
        """[n] each network predicted from the others, the choice of scale included."""
        predictions = self.table_ms.copy()
        for left_out in range(len(predictions)):
            rows = np.delete(np.arange(len(predictions)), left_out)
            predictions[left_out] = self.predict_ms(rows, np.array([left_out]))[0]
        return predictions

    def predict_ms(self, rows: Rows, targets: Rows) -> Floats:
        """[m] networks `targets` by the fit to `rows`; by the table alone if these are none."""
        scale = self.best_scale(rows)
        learnt = self.covariances[scale][np.ix_(targets, rows)] @ self.solve(scale, rows)
        return np.asarray(self.table_ms[targets] + learnt, np.float64)

    def left_out_residuals_ms(self, rows: Rows) -> Floats:
        """[m] what each of `rows` deviates from the fit to the others, by the scale of all."""
        return self._residuals_ms(self.best_scale(rows), rows)

    def _residuals_ms(self, scale: float, rows: Rows) -> Floats:
        inverse = np.linalg.inv(self._noisy_covariance(scale, rows))
        return np.asarray(inverse @ self.gap_ms[rows] / np.diag(inverse), np.float64)

    def _noisy_covariance(self, scale: float, rows: Rows) -> Floats:
        prior = self.covariances[scale][np.ix_(rows, rows)]
        return np.asarray(prior + np.diag(self.noise_ms[rows] ** 2), np.float64)


def _standard_error(network: NetworkEntry) -> float:
    """Of a measured latency in ms: from its 95 % interval, but never below the noise floor."""
    floor = NETWORK_NOISE * network.latency_ms
    if network.ci95_ms is None:
        return floor
    low, high = network.ci95_ms
    return max(floor, (high - low) / (2 * 1.96))
