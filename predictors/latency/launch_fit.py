"""Which measured networks were bound by launches, and what their launches cost.

A queued device takes max(launch(α), compute(α)). Compute is the calibrated table, fitted to the
networks bound by it; launches are a non-negative sum over kernels, fitted to the others. Which
are which follows from both, so that fit and assignment are alternated, as in max-affine
regression (Magnani & Boyd 2009), from several starts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from predictors.latency.launches import STARTS, weighted_nnls
from predictors.latency.ridge import Ridge, Rows

ITERATIONS = 20
MIN_LAUNCH_BOUND = 8  # twice as many as the launch law has costs


@dataclass(frozen=True)
class Ends:
    """Both ends of the queue.

    Attributes:
        compute_bound: the networks that the calibration is fitted to.
        launch_costs: by column of the launch amounts, in ms.
        error: mean relative error when each network is left out of the fit of its end.
    """

    compute_bound: Rows
    launch_costs: Floats
    error: float


def fit_ends(networks: Ridge, launches: Floats, rows: Rows) -> Ends | None:
    """Fit to the networks `rows`; None if no assignment has enough of them bound by launches.

    Args:
        launches: [n, kinds] amounts of launches of all networks, columns of mean 1.
    """
    by_compute = np.argsort(np.argsort(networks.expected_ms[rows] / networks.latency_ms[rows]))
    found = [
        _alternated(networks, launches, rows, by_compute < share * len(rows))
        for share in STARTS[1:]
    ]
    return min((ends for ends in found if ends), key=lambda ends: ends.error, default=None)


def left_out_ms(networks: Ridge, launches: Floats) -> Floats | None:
    """[n] each network predicted from the others, the assignment to the ends included.

    None if the others do not always have enough networks bound by launches.
    """
    n = len(networks.latency_ms)
    predicted = np.empty(n)
    for left_out in range(n):
        rows, target = np.delete(np.arange(n), left_out), np.array([left_out])
        ends = fit_ends(networks, launches, rows)
        if ends is None:
            return None
        launch_ms = launches[left_out] @ ends.launch_costs
        predicted[left_out] = max(networks.predict_ms(ends.compute_bound, target)[0], launch_ms)
    return predicted


def _alternated(
    networks: Ridge, launches: Floats, rows: Rows, launch_bound: NDArray[np.bool_]
) -> Ends | None:
    for _ in range(ITERATIONS):
        if launch_bound.sum() < MIN_LAUNCH_BOUND:
            return None
        queued, compute_bound = rows[launch_bound], rows[~launch_bound]
        costs, residuals = _launch_law(networks, launches, queued)
        launch_bound = launches[rows] @ costs > networks.predict_ms(compute_bound, rows)
        if np.array_equal(rows[launch_bound], queued):
            break
    residuals_ms = np.concatenate([residuals, networks.left_out_residuals_ms(compute_bound)])
    latency_ms = networks.latency_ms[np.concatenate([queued, compute_bound])]
    return Ends(compute_bound, costs, float(np.mean(np.abs(residuals_ms) / latency_ms)))


def _launch_law(networks: Ridge, launches: Floats, rows: Rows) -> tuple[Floats, Floats]:
    """Costs [kinds] by weighted non-negative least squares, and left-out residuals in ms [m]."""
    amounts, latency_ms = launches[rows], networks.latency_ms[rows]
    weight = 1 / networks.noise_ms[rows] ** 2
    costs = weighted_nnls(amounts, latency_ms, weight / weight.sum())
    orthonormal = np.linalg.qr(amounts[:, costs > 0] * np.sqrt(weight)[:, None])[0]
    leverage = np.minimum((orthonormal**2).sum(axis=1), 0.99)
    return costs, (latency_ms - amounts @ costs) / (1 - leverage)
