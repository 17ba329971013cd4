"""Statistics of latency samples: vectorised numpy, no state, nothing deleted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def bootstrap_quantile_ci(
    sweeps: Sequence[Floats],
    *,
    quantile: float,
    confidence: float,
    resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Percentile bootstrap interval of a quantile of samples that come in blocks.

    Hierarchical (Kalibera & Jones 2013): where a sweep was interrupted and another went on,
    sweeps are resampled first and blocks within each next, because samples of one block,
    and blocks of one sweep, share their disturbances.

    Args:
        sweeps: samples of each sweep, [n_blocks, samples_per_block] each.
        confidence: coverage in (0, 1).
    """
    if len(sweeps) == 1:
        blocks = sweeps[0]
        drawn = blocks[rng.integers(len(blocks), size=(resamples, len(blocks)))]
        estimates = _quantile_of_rows(drawn.reshape(resamples, -1), quantile)
    else:
        estimates = np.empty(resamples)
        for row, chosen in enumerate(rng.integers(len(sweeps), size=(resamples, len(sweeps)))):
            parts = [_redraw(sweeps[index], rng) for index in chosen]
            estimates[row] = np.quantile(np.concatenate(parts), quantile)
    tail = (1 - confidence) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return float(low), float(high)


def _redraw(blocks: Floats, rng: np.random.Generator) -> Floats:
    return blocks[rng.integers(len(blocks), size=len(blocks))].ravel()


def _quantile_of_rows(rows: Floats, quantile: float) -> Floats:
    """`np.quantile(rows, quantile, axis=1)` by partition: a bootstrap spends its time here."""
    position = quantile * (rows.shape[1] - 1)
    below = int(position)
    above = min(below + 1, rows.shape[1] - 1)
    parted = np.partition(rows, (below, above), axis=1)
    estimates: Floats = parted[:, below] + (position - below) * (
        parted[:, above] - parted[:, below]
    )
    return estimates


def tag_outliers(values: Floats, iqr_multiple: float) -> NDArray[np.bool_]:
    """Mask of values farther than `iqr_multiple` IQR from the quartiles (Tukey's fences).

    >>> tag_outliers(np.array([1.0, 1.1, 1.2, 1.3, 9.0]), 3.0).tolist()
    [False, False, False, False, True]
    """
    q1, q3 = np.quantile(values, [0.25, 0.75])
    reach = iqr_multiple * (q3 - q1)
    mask: NDArray[np.bool_] = (values < q1 - reach) | (values > q3 + reach)
    return mask


def two_modes(
    values: Floats, *, separation: float, min_share: float, ashman_d: float
) -> tuple[float, float] | None:
    """Medians of two modes, or None if the values have one.

    The split minimises the variance within both parts (Otsu 1979). Two modes are claimed
    if the medians differ by `separation` (relative), each part holds `min_share` of the
    values, and Ashman's D = √2·|μ1 - μ2| / √(σ1² + σ2²) exceeds `ashman_d` (Ashman, Bird &
    Zepf 1994).
    """
    n = len(values)
    if n < 4:
        return None
    x = np.sort(values)
    left = np.arange(1, n)
    sums, squares = np.cumsum(x), np.cumsum(x**2)
    within = (squares[:-1] - sums[:-1] ** 2 / left) + (
        squares[-1] - squares[:-1] - (sums[-1] - sums[:-1]) ** 2 / (n - left)
    )
    split = int(np.argmin(within)) + 1
    low, high = x[:split], x[split:]
    if min(len(low), len(high)) < min_share * n:
        return None
    m_low, m_high = float(np.median(low)), float(np.median(high))
    spread = float(np.sqrt(low.var() + high.var()))
    distinct = np.sqrt(2) * (high.mean() - low.mean()) > ashman_d * spread
    return (m_low, m_high) if distinct and m_high - m_low >= separation * m_low else None


def change_point(values: Floats, *, p_value: float) -> int | None:
    """Index where the level of a series changes, or None (Pettitt 1979, on ranks).

    Equal values share their mean rank: in order of time they would look like a trend.

    U_t = 2·Σ_{i<=t} rank_i - t·(n + 1); p ~ 2·exp(-6·max|U|² / (n³ + n²)).
    """
    n = len(values)
    if n < 8:
        return None
    _, value, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[value]
    t = np.arange(1, n)
    u = np.abs(2 * np.cumsum(ranks)[:-1] - t * (n + 1))
    at = int(np.argmax(u))
    significant = 2 * np.exp(-6 * float(u[at]) ** 2 / (n**3 + n**2)) < p_value
    return at + 1 if significant else None


def windows_agree(values: Sequence[float], *, window: int, count: int, tolerance: float) -> bool:
    """Whether the medians of the last `count` windows of `window` values agree.

    >>> windows_agree([9, 9, 1, 1, 1, 1], window=2, count=2, tolerance=0.02)
    True
    """
    if len(values) < window * count:
        return False
    medians = np.median(np.reshape(values[-window * count :], (count, window)), axis=1)
    return bool(medians.max() - medians.min() <= tolerance * medians.min())


def relative_difference_pct(first: Floats, second: Floats) -> Floats:
    """|a - b| over their mean, in percent."""
    difference: Floats = 100 * np.abs(first - second) / ((first + second) / 2)
    return difference
