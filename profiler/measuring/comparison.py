"""Which of two models is faster, from copies of each that were measured in turns.

Where a model happens to lie in memory moves its latency by a percent or two for as long as it
is loaded, and no number of samples of that one load shows it. So each model is loaded several
times, all copies are measured in interleaved blocks, and a copy counts as one observation
(Kalibera & Jones 2013): what drifts is common to all of them, and whatever follows one load, or
one stretch of noise, is in the scatter of the copies.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np


class Difference(StrEnum):
    """What the interval of a ratio says."""

    FASTER = "faster"
    SLOWER = "slower"
    NOT_TOLD_APART = "not told apart"  # at this noise


@dataclass(frozen=True, slots=True)
class Comparison:
    """Latency of one model over that of another, with its interval."""

    ratio: float
    interval: tuple[float, float]

    @property
    def finding(self) -> Difference:
        low, high = self.interval
        if high < 1:
            return Difference.FASTER
        return Difference.SLOWER if low > 1 else Difference.NOT_TOLD_APART


def compare(
    first_ms: Sequence[float], other_ms: Sequence[float], *, confidence: float
) -> Comparison:
    """Ratio of the geometric means of the copies, other over first; Welch's interval of its
    logarithm.

    Args:
        first_ms: latency of each copy of the model compared with; at least two.
        other_ms: of each copy of the other.
    """
    from scipy.stats import ttest_ind

    first, other = np.log(first_ms), np.log(other_ms)
    difference = float(other.mean() - first.mean())
    low = high = difference
    if first.std() or other.std():  # else of no scatter at all, as of a simulated device
        test = ttest_ind(other, first, equal_var=False)
        low, high = test.confidence_interval(confidence)
    return Comparison(float(np.exp(difference)), (float(np.exp(low)), float(np.exp(high))))
