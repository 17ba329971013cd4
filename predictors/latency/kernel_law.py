"""Laws of kernels: non-negative costs of their work, fitted to what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from predictors.base import Floats
from predictors.latency.kernel_work import Work

RELATIVE_NOISE, NOISE_MS = 0.03, 0.001  # of one kernel's time
MIN_LEVELLED = 5
MAX_LEVEL = 8.0  # by which kernels alone may be faster or slower than within networks
LEVEL_TOLERANCE = 1e-4  # of its logarithm

Costs = dict[str, dict[str, float]]  # ms per amount of work, by kind and name


@dataclass(frozen=True, slots=True)
class Observation:
    """What some kernels took together: one, or all of a model where the runtime tells no more."""

    works: tuple[Work, ...]
    latency_ms: float
    alone: bool  # measured as a single kernel, in warm caches


class LawFit:
    """The law of all kinds that were observed, kernels alone on the level of those in networks."""

    def __init__(self, observations: Sequence[Observation]) -> None:
        self._columns: dict[tuple[str, str], int] = {}
        totals = [self._totals(one) for one in observations]
        self._amounts = np.zeros((len(totals), len(self._columns)))
        for row, total in enumerate(totals):
            self._amounts[row, list(total)] = list(total.values())
        self._latency_ms = np.array([one.latency_ms for one in observations])
        self._alone = np.array([one.alone for one in observations])

    def _totals(self, observation: Observation) -> dict[int, float]:
        """By column; new columns are made as they come."""
        total: dict[int, float] = {}
        for one in observation.works:
            for name, amount in one.amounts.items():
                column = self._columns.setdefault((one.kind, name), len(self._columns))
                total[column] = total.get(column, 0.0) + amount
        return total

    @cached_property
    def latency_ms(self) -> Floats:
        """[n] as measured, kernels alone times one factor.

        With it, kernels alone and those in networks deviate alike from a law of both.
        """
        from scipy.optimize import brentq

        if min(self._alone.sum(), (~self._alone).sum()) < MIN_LEVELLED:
            return self._latency_ms
        bound = np.log(MAX_LEVEL)
        if self._excess(-bound) <= 0 or self._excess(bound) >= 0:
            return self._latency_ms
        return self._levelled(float(brentq(self._excess, -bound, bound, xtol=LEVEL_TOLERANCE)))

    def _levelled(self, log_factor: float) -> Floats:
        factor = np.where(self._alone, np.exp(log_factor), 1.0)
        return np.asarray(factor * self._latency_ms, np.float64)

    def _excess(self, log_factor: float) -> float:
        """By how much, in logarithms, kernels in networks lie above kernels alone."""
        latency_ms = self._levelled(log_factor)
        law_ms = self._amounts @ self._solved(latency_ms)
        ratio = np.log(latency_ms / np.maximum(law_ms, NOISE_MS))
        return float(np.median(ratio[~self._alone]) - np.median(ratio[self._alone]))

    @cached_property
    def costs(self) -> Costs:
        solution = self._solved(self.latency_ms)
        kinds: Costs = {}
        for (kind, name), at in self._columns.items():
            kinds.setdefault(kind, {})[name] = float(solution[at])
        return kinds

    def _solved(self, latency_ms: Floats) -> Floats:
        """[columns] non-negative costs of least error, in units of each observation's noise."""
        from scipy.optimize import nnls

        noise_ms = RELATIVE_NOISE * latency_ms + NOISE_MS
        scale = np.maximum(self._amounts.max(axis=0), 1e-12)
        solution, _ = nnls(self._amounts / scale / noise_ms[:, None], latency_ms / noise_ms)
        return np.asarray(solution / scale, np.float64)
