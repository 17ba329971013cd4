"""Latencies that an expectation explains in part, and terms that learn the rest.

    measured = expected + Σ_terms weight[term] · amount[term] + noise

Every weight has a normal prior around zero: generalised ridge regression (Hoerl & Kennard 1970).
Some terms always take part; of the others leave-one-out error says how wide their priors are,
which may be nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats

Rows = NDArray[np.intp]  # which measurements
SCALES = (0.0, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Term:
    """One weight: what it adds to [n] measurements, and the prior's standard deviation."""

    amounts_ms: Floats
    width: float


@dataclass(frozen=True)
class Ridge:
    """Measurements, and the terms by name that explain them.

    Attributes:
        latency_ms, expected_ms, noise_ms: [n] measured, by the prior's mean, standard error.
        always: terms of fixed width. supported: terms whose widths share one scale.
    """

    latency_ms: Floats
    expected_ms: Floats
    noise_ms: Floats
    always: Mapping[str, Term]
    supported: Mapping[str, Term]

    @property
    def gap_ms(self) -> Floats:
        """[n] what the expectation misses."""
        return self.latency_ms - self.expected_ms

    @cached_property
    def covariances(self) -> dict[float, Floats]:
        """By scale, [n, n] prior covariance of what the expectation misses."""
        n = len(self.latency_ms)
        fixed, grouped = _covariance(self.always, n), _covariance(self.supported, n)
        return {scale: fixed + scale**2 * grouped for scale in SCALES}

    def best_scale(self, rows: Rows) -> float:
        """The scale of least squared relative leave-one-out error among `rows`.

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

    def weights(self, rows: Rows) -> dict[str, float]:
        """Fitted to `rows`; without the terms that leave-one-out error does not support."""
        scale = self.best_scale(rows)
        dual = self._solve(scale, rows)
        scaled = [(self.always, 1.0)] + ([(self.supported, scale)] if scale else [])
        return {
            name: (factor * term.width) ** 2 * float(term.amounts_ms[rows] @ dual)
            for terms, factor in scaled
            for name, term in terms.items()
        }

    def left_out_predictions_ms(self) -> Floats:
        """[n] each measurement predicted from the others, the choice of scale included."""
        predictions = self.expected_ms.copy()
        for left_out in range(len(predictions)):
            rows = np.delete(np.arange(len(predictions)), left_out)
            predictions[left_out] = self.predict_ms(rows, np.array([left_out]))[0]
        return predictions

    def predict_ms(self, rows: Rows, targets: Rows) -> Floats:
        """[m] `targets` by the fit to `rows`; by the expectation alone if these are none."""
        scale = self.best_scale(rows)
        learnt = self.covariances[scale][np.ix_(targets, rows)] @ self._solve(scale, rows)
        return np.asarray(self.expected_ms[targets] + learnt, np.float64)

    def left_out_residuals_ms(self, rows: Rows) -> Floats:
        """[m] what each of `rows` deviates from the fit to the others, by the scale of all."""
        return self._residuals_ms(self.best_scale(rows), rows)

    def _solve(self, scale: float, rows: Rows) -> Floats:
        """[m] dual weights of the fit to `rows`."""
        covariance = self._noisy_covariance(scale, rows)
        return np.asarray(np.linalg.solve(covariance, self.gap_ms[rows]), np.float64)

    def _residuals_ms(self, scale: float, rows: Rows) -> Floats:
        inverse = np.linalg.inv(self._noisy_covariance(scale, rows))
        return np.asarray(inverse @ self.gap_ms[rows] / np.diag(inverse), np.float64)

    def _noisy_covariance(self, scale: float, rows: Rows) -> Floats:
        prior = self.covariances[scale][np.ix_(rows, rows)]
        return np.asarray(prior + np.diag(self.noise_ms[rows] ** 2), np.float64)


def _covariance(terms: Mapping[str, Term], n: int) -> Floats:
    """[n, n] of the sum of all terms."""
    if not terms:
        return np.zeros((n, n))
    deviations = np.array([term.width * term.amounts_ms for term in terms.values()])
    return np.asarray(deviations.T @ deviations, np.float64)


def most_telling(
    covariance: Floats, noise: float, candidates: Rows, targets: Rows, count: int
) -> list[int]:
    """Which `count` of the candidates to measure so that the targets are known best.

    Each in turn lowers the mean posterior variance of the targets most (the greedy form of
    V-optimal design; Gaussian posteriors do not depend on what will be measured).

    Args:
        covariance: [n, n] prior of relative deviations. noise: of a measurement, relative.
    """
    left = covariance.copy()
    chosen: list[int] = []
    for _ in range(min(count, len(candidates))):
        seen = left[np.ix_(targets, candidates)]
        gains = (seen**2).sum(axis=0) / (np.diag(left)[candidates] + noise**2)
        gains[np.isin(candidates, chosen)] = -1.0
        best = int(candidates[np.argmax(gains)])
        chosen.append(best)
        left = left - np.outer(left[:, best], left[best]) / (left[best, best] + noise**2)
    return chosen
