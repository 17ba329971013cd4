"""Budgets: read from the command line, and embedded for the networks."""

from __future__ import annotations

import math
import string
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from profiler.errors import InvalidInputError
from profiler.numerals import decimal_number

_COUNTS = {"k": 1e3, "m": 1e6, "g": 1e9}
_UNITS = {  # how large the units are that an amount in another unit may be written in
    "ms": {"s": 1000.0, "us": 1e-3},
    "mJ": {"j": 1000.0, "uj": 1e-3},
    "MB": {"gb": 1000.0, "kb": 1e-3},
    "madds": _COUNTS,
    "params": _COUNTS,
}
_MICRO = str.maketrans({"\N{MICRO SIGN}": "u", "\N{GREEK SMALL LETTER MU}": "u"})  # look alike
_BEYOND = 0.02  # of the range, within which a drawn budget is no limit


def parse_budget_ms(text: str) -> float:
    """A latency budget in ms: a bare number is ms, `s` and `us` are converted.

    >>> parse_budget_ms("35"), parse_budget_ms("0.035s"), parse_budget_ms("35 ms")
    (35.0, 35.0, 35.0)

    Raises:
        InvalidInputError: not a positive, finite number with a known unit.
    """
    budget_ms = _amount(text, "ms")
    if budget_ms is None:
        raise InvalidInputError(
            f"budget {text!r} is not a positive latency; write it like 35ms or 0.035s"
        )
    return budget_ms


def parse_amount(text: str, unit: str, *, what: str) -> float:
    """A bound on any cost, in its unit; counts take an optional k, M or G.

    >>> parse_amount("6M", "params", what="params"), parse_amount("0.012 J", "mJ", what="energy")
    (6000000.0, 12.0)

    Raises:
        InvalidInputError: not a positive, finite number with a known unit.
    """
    amount = _amount(text, unit)
    if amount is None:
        is_count = _UNITS.get(unit) is _COUNTS
        wanted = (
            "count; write it like 6M" if is_count else f"number of {unit}; write it like 6{unit}"
        )
        raise InvalidInputError(f"{what} bound {text!r} is not a positive {wanted}")
    return amount


def _amount(text: str, unit: str) -> float | None:
    """None for what is no positive, finite number in `unit` or one that is converted to it."""
    text = text.translate(_MICRO)
    number = text.rstrip(string.ascii_letters)
    given = text[len(number) :].lower()
    scales = {"": 1.0, unit.lower(): 1.0} | _UNITS.get(unit, {})
    value = decimal_number(number.removesuffix(" ")) or 0.0
    amount = value * scales.get(given, 0.0)
    return amount if 0 < amount < math.inf else None


def spread_budgets_ms(low_ms: float, high_ms: float) -> list[float]:
    """Five budgets at 10, 30, 50, 70 and 90 % of a reachable range."""
    return [low_ms + share * (high_ms - low_ms) for share in (0.1, 0.3, 0.5, 0.7, 0.9)]


def budgets_at(low_ms: float, high_ms: float, shares: Floats) -> Floats:
    """[n] budgets at [n] shares, uniform in [0, 1), of a reachable range.

    A few are the end of the range exactly: only then is the dearest architecture within budget.
    """
    return np.minimum(low_ms + (1 + _BEYOND) * (high_ms - low_ms) * shares, high_ms)


@dataclass(frozen=True)
class BudgetGrid:
    """K budgets with an embedding each; any other budget mixes its two neighbours linearly.

    Section 3.1.2 of the paper. Budgets outside the grid take the nearest end.
    """

    anchors_ms: Floats  # [K], increasing

    @classmethod
    def evenly(cls, low_ms: float, high_ms: float, n_budgets: int) -> BudgetGrid:
        """K budgets evenly over the reachable range; the middle of it for K = 1."""
        if n_budgets == 1:
            return cls(np.array([(low_ms + high_ms) / 2]))
        return cls(np.linspace(low_ms, high_ms, n_budgets))

    def weights(self, budgets_ms: Floats) -> NDArray[np.float32]:
        """[n, K] interpolation weights of [n] budgets; rows sum to 1.

        >>> BudgetGrid.evenly(10.0, 30.0, 3).weights(np.array([15.0, 99.0])).tolist()
        [[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]]
        """
        budgets_ms = np.asarray(budgets_ms, dtype=np.float64)
        n_anchors = len(self.anchors_ms)
        place = np.interp(budgets_ms, self.anchors_ms, np.arange(n_anchors, dtype=np.float64))
        tent = 1 - np.abs(place[:, None] - np.arange(n_anchors))
        weights: NDArray[np.float32] = np.maximum(tent, 0).astype(np.float32)
        return weights
