"""Conformal intervals: half-widths from residuals of networks that the fit had not seen.

Split conformal prediction with finite-sample correction (Vovk et al. 2005; Lei et al. 2018):
with n exchangeable residuals, the k-th smallest covers a new one with probability k / (n + 1).
Leave-one-out residuals stand in for a held-out half (the jackknife of Barber et al. 2021).
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from predictors.base import Floats
from profiler.errors import InvalidInputError

MIN_COVERAGE = 0.5
FEWEST, MOST = 3, 10_000  # networks that a calibration takes, and that can be asked for


def check_confidence(confidence: float | None) -> None:
    """None asks for no interval.

    Raises:
        InvalidInputError: not strictly between 0 and 1.
    """
    if confidence is not None and not 0 < confidence < 1:
        raise InvalidInputError(f"confidence {confidence:g} is not between 0 and 1")


def conformal_quantiles(relative_residuals: Floats) -> dict[float, float]:
    """Half-width by coverage from n absolute relative residuals |y - c| / c.

    The largest coverage that n residuals support is n / (n + 1).

    >>> conformal_quantiles(np.array([0.03, 0.01, 0.02]))
    {0.5: 0.02, 0.75: 0.03}
    """
    ordered = np.sort(np.abs(relative_residuals))
    n = len(ordered)
    return {
        (rank + 1) / (n + 1): float(residual)
        for rank, residual in enumerate(ordered)
        if (rank + 1) / (n + 1) >= MIN_COVERAGE
    }


def networks_needed(confidence: float) -> int:
    """The fewest networks n whose residuals support a coverage: n / (n + 1) reaches it.

    >>> networks_needed(0.9), networks_needed(0.95), networks_needed(0.99)
    (9, 19, 99)
    """
    n = max(FEWEST, math.floor(confidence / (1 - confidence)) - 1)
    while n / (n + 1) < confidence:
        n += 1
    return n


def missing(confidence: float) -> str:
    """What an interval takes where there is none."""
    needed = networks_needed(confidence)
    # an imported table cannot be measured further, so that no table's own command is named
    like = f", as one of pnag profile --networks {needed} is" if needed <= MOST else ""
    return f"the table is not calibrated on the {needed} measured networks that it takes{like}"


def half_width(relative_quantiles: Mapping[float, float], confidence: float) -> float:
    """Half-width around c(α), as a fraction of it, that covers at least `confidence`.

    Raises:
        InvalidInputError: too few residuals for that.
    """
    half = supported_half_width(relative_quantiles, confidence)
    if half is None:
        raise InvalidInputError(f"no interval for confidence {confidence:g}: {missing(confidence)}")
    return half


def supported_half_width(
    relative_quantiles: Mapping[float, float], confidence: float
) -> float | None:
    """`half_width`, or None where too few residuals support it."""
    known = [coverage for coverage in relative_quantiles if coverage >= confidence]
    return relative_quantiles[min(known)] if known else None


def interval_ms(latency_ms: float, half: float) -> tuple[float, float]:
    """The interval of a relative half-width around a latency."""
    return latency_ms * (1 - half), latency_ms * (1 + half)
