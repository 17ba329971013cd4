"""Statistics of latency samples: vectorised numpy, no state, nothing deleted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
MAX_STRETCHES = 500
_CACHED = 128  # resamples drawn at once: they stay in the processor's cache


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
    lengths = [len(blocks) for blocks in sweeps]
    chosen = rng.integers(len(sweeps), size=(resamples, len(sweeps)))
    drawn = _draw_blocks(lengths, chosen, rng)
    samples = np.concatenate([np.ravel(blocks) for blocks in sweeps])
    block_of = np.repeat(
        np.arange(len(drawn)), np.repeat([blocks.shape[1] for blocks in sweeps], lengths)
    )
    sizes = np.take([blocks.size for blocks in sweeps], chosen).sum(axis=1)
    estimates = _quantile_of_drawn(samples, block_of, drawn, sizes, quantile)
    tail = (1 - confidence) / 2
    low, high = np.quantile(estimates, [tail, 1 - tail])
    return float(low), float(high)


def in_stretches(blocks: Floats, most: int = MAX_STRETCHES) -> Floats:
    """Rows of neighbouring blocks, at most so many: neighbours share what disturbs them, and
    resamples of a hundred thousand blocks would fill memory. The last few are left out.

    >>> in_stretches(np.arange(10.0).reshape(5, 2), most=2)
    array([[0., 1., 2., 3., 4., 5.]])

    Args:
        blocks: [n, samples_per_block].
    """
    each = -(-len(blocks) // most)
    n = len(blocks) // each
    return blocks[: n * each].reshape(n, -1)


def _draw_blocks(
    lengths: Sequence[int], chosen: NDArray[np.int64], rng: np.random.Generator
) -> NDArray[np.int32]:
    """How often each block is in each resample, [n_blocks, resamples]: of each chosen sweep as
    many blocks as it has, with replacement.

    Args:
        lengths: blocks of each sweep.
        chosen: sweeps of each resample, [resamples, n_sweeps].
    """
    n_blocks, starts = sum(lengths), np.cumsum([0, *lengths[:-1]])
    drawn = np.empty((n_blocks, len(chosen)), dtype=np.int32)
    for at in range(0, len(chosen), _CACHED):
        some = chosen[at : at + _CACHED]
        first = np.take(starts, some) + n_blocks * np.arange(len(some))[:, None]
        each = np.take(lengths, some).ravel()
        blocks = integers_below(np.repeat(each, each), rng) + np.repeat(first.ravel(), each)
        counts = np.bincount(blocks, minlength=len(some) * n_blocks)
        drawn[:, at : at + _CACHED] = counts.reshape(len(some), n_blocks).T
    return drawn


def integers_below(bounds: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """`rng.integers(bounds)`, with the same numbers in half of the time: the high half of 32
    random bits times the bound (Lemire 2019), but for draws that may have to be repeated."""
    least, most = bounds.min(), bounds.max()
    if least == most:
        return rng.integers(least, size=len(bounds))
    state = rng.bit_generator.state
    product = rng.integers(2**32, size=len(bounds), dtype=np.uint32) * bounds.view(np.uint64)
    low = product.astype(np.uint32)
    if least == 1 or (low.min() < most and (low < bounds).any()):  # the least mostly tells
        rng.bit_generator.state = state
        return rng.integers(bounds)
    product >>= np.uint64(32)
    return product.view(np.int64)


def _quantile_of_drawn(
    samples: Floats,
    block_of: NDArray[np.int64],
    drawn: NDArray[np.int32],
    sizes: NDArray[np.int64],
    quantile: float,
) -> Floats:
    """`np.quantile` of each resample, without building it: of the sorted samples, each counted
    as often as its block was drawn, the ones at the two ranks that the quantile lies between.

    The lowest samples are looked at until all resamples reach those ranks: a low quantile needs
    few.

    Args:
        samples: [n].
        block_of: the block of each, [n].
        drawn: how often each block was drawn, [n_blocks, resamples].
        sizes: samples in each resample, [resamples].
    """
    order = np.argsort(samples, kind="stable")
    position = quantile * (sizes - 1)
    below = position.astype(np.int32)
    above = np.minimum(below + 1, sizes - 1).astype(np.int32)
    reached, at_below, at_above = np.zeros((3, len(sizes)), dtype=np.int32)
    for block in block_of[order]:
        reached += drawn[block]
        at_below += reached <= below
        short = reached <= above
        if not short.any():
            break
        at_above += short
    low, high = (samples[order[at]] for at in (at_below, at_above))
    estimates: Floats = low + (position - below) * (high - low)
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


def are_latencies(values: Floats) -> NDArray[np.bool_]:
    """Mask of what can be a latency: finite and above 0.

    >>> are_latencies(np.array([0.5, 0.0, -1.0, np.nan, np.inf])).tolist()
    [True, False, False, False, False]
    """
    mask: NDArray[np.bool_] = np.isfinite(values) & (values > 0)
    return mask


def modes_of(
    values: Floats,
    *,
    separation: float,
    min_share: float,
    min_slow_share: float,
    ashman_d: float,
    max_parts: int,
) -> tuple[float, ...]:
    """Medians of the modes, the fastest first; empty if the values have one mode.

    Of two neighbouring modes the faster holds at least `min_share` of the values, the slower
    `min_slow_share`; they differ by `separation` (relative), and they are distinct:

    - two parts, cut so that the scatter within both is least, by Ashman's
      D = √2·|μ1 - μ2| / √(σ1² + σ2²) above `ashman_d` (Ashman, Bird & Zepf 1994);
    - more, from cutting again and joining neighbours that are not distinct, by D with the larger
      of σ1 and σ2 for both: with many cuts a narrow part beside a wide one is found by chance.
    """  # fmt: skip
    x, n = np.sort(values), len(values)
    if n < 4 or x[-1] / x[0] - 1 < separation:  # of any two medians, too
        return ()
    several = _joined(_cut(x, max_parts), ashman_d, separation)
    for parts, spread in ((several, np.maximum), (_cut(x, 2), _root_mean_square)):
        if any(
            len(low) >= min_share * n
            and len(high) >= min_slow_share * n
            and _ashman_d(low, high, spread) > ashman_d
            and _separation(low, high) >= separation
            for low, high in pairwise(parts)
        ):
            return tuple(float(np.median(part)) for part in parts if len(part) >= min_share * n)
    return ()


def _cut(x: Floats, n_parts: int) -> list[Floats]:
    """Sorted values in parts: of the widest scatter is cut first, where least of it is left."""
    parts = [x]
    while len(parts) < n_parts:
        scatter = [len(part) * part.var() for part in parts]
        at = int(np.argmax(scatter))
        if not scatter[at]:
            break
        cut = _otsu(parts[at])
        parts[at : at + 1] = [parts[at][:cut], parts[at][cut:]]
    return parts


def _otsu(x: Floats) -> int:
    """Where to cut sorted values for the least sum of squares within both parts (Otsu 1979)."""
    n, centred = len(x), x - x.mean()
    left = np.arange(1, n)
    sums, squares = np.cumsum(centred), np.cumsum(centred**2)
    within = (squares[:-1] - sums[:-1] ** 2 / left) + (
        squares[-1] - squares[:-1] - (sums[-1] - sums[:-1]) ** 2 / (n - left)
    )
    return int(np.argmin(within)) + 1


def _joined(parts: list[Floats], ashman_d: float, separation: float) -> list[Floats]:
    """Neighbours put together, the least distinct first, until all are distinct and apart."""
    for measure, least in (
        (lambda low, high: _ashman_d(low, high, np.maximum), ashman_d), (_separation, separation)
    ):  # fmt: skip
        while len(parts) > 1:
            found = [measure(*pair) for pair in pairwise(parts)]
            at = int(np.argmin(found))
            if found[at] > least:
                break
            parts = [*parts[:at], np.concatenate(parts[at : at + 2]), *parts[at + 2 :]]
    return parts


def _ashman_d(low: Floats, high: Floats, spread: Callable[[float, float], float]) -> float:
    sigma = float(spread(low.std(), high.std()))
    return float(high.mean() - low.mean()) / sigma if sigma else np.inf


def _root_mean_square(one: float, other: float) -> float:
    return float(np.hypot(one, other) / np.sqrt(2))


def _separation(low: Floats, high: Floats) -> float:
    """Of the medians, relative to the lower one."""
    return float(np.median(high) / np.median(low)) - 1


def spread_around(values: Floats, quantile: float, *, below: float, above: float) -> float:
    """Distance of the quantiles `below` and `above` a quantile, relative to it.

    >>> round(spread_around(np.linspace(1, 3, 101), 0.1, below=0.05, above=0.15), 3)
    0.333
    """
    low, here, high = np.quantile(values, [quantile - below, quantile, quantile + above])
    return float((high - low) / here)


def is_coarse(values: Floats, *, max_step: float, min_distinct: float) -> bool:
    """Whether ties say that the values come in steps larger than `max_step` (relative), or are
    all the same.

    >>> is_coarse(np.array([4.0, 5.0, 5.0, 6.0, 5.0, 4.0]), max_step=0.005, min_distinct=0.8)
    True
    """
    distinct = np.unique(np.round(values / np.median(values), 9))  # what arithmetic leaves aside
    if len(distinct) == 1:
        return len(values) > 1
    ties = len(distinct) < min_distinct * len(values)
    return bool(ties and np.diff(distinct).min() > max_step)


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


def change_points(values: Floats, *, min_z: float, min_step: float, min_length: int) -> list[int]:
    """Indices where the level of a series changes, in order.

    Binary segmentation on ranks: a stretch is cut where Mann and Whitney's statistic of its two
    sides, standardised, is largest, if that exceeds `min_z`; Pettitt's, which is not, sees no
    change near an end. Neighbours whose medians differ by less than `min_step` are one.

    Args:
        values: [n], on a scale on which a step is a difference (logarithms of latencies).
        min_length: of each side of a cut.
    """
    cuts, stretches = [0, len(values)], [(0, len(values))]
    while stretches:
        start, end = stretches.pop()
        cut = _best_cut(values[start:end], min_z, min_length)
        if cut is not None:
            cuts.append(start + cut)
            stretches += [(start, start + cut), (start + cut, end)]
    cuts.sort()
    while len(cuts) > 2:
        levels = [float(np.median(values[a:b])) for a, b in pairwise(cuts)]
        steps = np.abs(np.diff(levels))
        least = int(np.argmin(steps))
        if steps[least] >= min_step:
            break
        del cuts[least + 1]
    return cuts[1:-1]


def _best_cut(values: Floats, min_z: float, min_length: int) -> int | None:
    n = len(values)
    if n < 2 * min_length:
        return None
    _, value, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[value]
    t = np.arange(min_length, n - min_length + 1)
    surplus = np.cumsum(ranks)[t - 1] - t * (n + 1) / 2
    z = np.abs(surplus) / np.sqrt(t * (n - t) * (n + 1) / 12)
    at = int(np.argmax(z))
    return int(t[at]) if z[at] > min_z else None


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
