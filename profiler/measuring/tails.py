"""Quantiles of samples as they were read, with intervals: what a user waits for, now and then."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from profiler.measuring.records import Block
from profiler.measuring.stats import bootstrap_quantile_ci, in_stretches
from profiler.tables.levels import Level, Statistic

QUANTILES = {Statistic.P50: 0.50, Statistic.P90: 0.90, Statistic.P99: 0.99}
MIN_BLOCKS = 5  # fewer say nothing of how they scatter
SEED = 0


def tail_levels(series: Sequence[Sequence[Block]], resamples: int) -> dict[Statistic, Level]:
    """p50, p90 and p99 of single runs.

    Args:
        series: blocks of one configuration; those of each sweep and copy apart.
    """
    return {
        statistic: interval_of(series, quantile, resamples)
        for statistic, quantile in QUANTILES.items()
    }


def interval_of(series: Sequence[Sequence[Block]], quantile: float, resamples: int) -> Level:
    """A quantile of samples as they were read, with its bootstrap interval of 95 %."""
    samples = [np.array([block.samples_ms for block in blocks]) for blocks in series]
    here = float(np.quantile(np.concatenate([np.ravel(one) for one in samples]), quantile))
    if sum(map(len, samples)) < MIN_BLOCKS:
        return Level(here, None)
    interval = bootstrap_quantile_ci(
        [in_stretches(one) for one in samples],
        quantile=quantile,
        confidence=0.95,
        resamples=resamples,
        rng=np.random.default_rng(SEED),
    )
    return Level(here, interval)
