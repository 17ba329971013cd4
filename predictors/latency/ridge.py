"""Latencies that an expectation explains in part, and terms that learn the rest.

    measured = expected + Σ_terms weight[term] · amount[term] + noise

Every weight has a normal prior around zero: generalised ridge regression (Hoerl & Kennard 1970).
Some terms always take part; of the others leave-one-out error says how wide their priors are,
which may be nothing, and whether the widest of them take part at all.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats

Rows = NDArray[np.intp]  # which measurements
SCALES = (0.0, 0.5, 1.0, 2.0, 4.0)
CLEAR_GAIN = 1.0  # standard errors by which more terms must lower the leave-one-out error


@dataclass(frozen=True)
class Term:
    """One weight: what it adds to [n] measurements, and the prior's standard deviation."""

    amounts_ms: Floats
    width: float


@dataclass(frozen=True, slots=True)
class Choice:
    """What leave-one-out error decides: the scale of priors, whether optional terms take part."""

    scale: float
    optional: bool = False


@dataclass(frozen=True)
class Ridge:
    """Measurements, and the terms by name that explain them.

    Attributes:
        latency_ms, expected_ms, noise_ms: [n] measured, by the prior's mean, standard error.
        always: terms of fixed width. supported: terms whose widths share one scale.
        optional: terms of fixed width, which all take part or none.
    """

    latency_ms: Floats
    expected_ms: Floats
    noise_ms: Floats
    always: Mapping[str, Term]
    supported: Mapping[str, Term]
    optional: Mapping[str, Term] = field(default_factory=dict)

    @property
    def gap_ms(self) -> Floats:
        """[n] what the expectation misses."""
        return self.latency_ms - self.expected_ms

    @cached_property
    def covariances(self) -> dict[Choice, Floats]:
        """By choice, [n, n] prior covariance of what the expectation misses."""
        n = len(self.latency_ms)
        fixed, grouped = _covariance(self.always, n), _covariance(self.supported, n)
        found = {Choice(scale): fixed + scale**2 * grouped for scale in SCALES}
        if self.optional:
            wide = _covariance(self.optional, n)
            found |= {replace(c, optional=True): known + wide for c, known in found.items()}
        return found

    def best_choice(self, rows: Rows) -> Choice:
        """The choice of least squared relative leave-one-out error among `rows`; optional terms
        only where they lower it clearly.

        The errors have the closed form of Gaussian process regression (Rasmussen & Williams
        2006, eq. 5.12).
        """
        if not len(rows):
            return Choice(0.0)
        asked = rows.tobytes()
        if asked not in self._choices:
            self._choices[asked] = self._best_choice(rows)
        return self._choices[asked]

    @cached_property
    def _choices(self) -> dict[bytes, Choice]:
        """By rows: fits that are alternated ask for the same ones again and again."""
        return {}

    def _best_choice(self, rows: Rows) -> Choice:
        errors = {
            choice: np.abs(self._residuals_ms(choice, rows)) / self.latency_ms[rows]
            for choice in self.covariances
        }
        plain, wide = (
            min(
                (choice for choice in errors if choice.optional == optional),
                key=lambda choice: float(np.mean(errors[choice] ** 2)),
                default=Choice(0.0),
            )
            for optional in (False, True)
        )
        return wide if wide.optional and clearly_lower(errors[plain], errors[wide]) else plain

    def weights(self, rows: Rows) -> dict[str, float]:
        """Fitted to `rows`; without the terms that leave-one-out error does not support."""
        choice = self.best_choice(rows)
        dual = self._solve(choice, rows)
        scaled = [(self.always, 1.0)] + [(self.supported, choice.scale)] * (choice.scale > 0)
        scaled += [(self.optional, 1.0)] * choice.optional
        return {
            name: (factor * term.width) ** 2 * float(term.amounts_ms[rows] @ dual)
            for terms, factor in scaled
            for name, term in terms.items()
        }

    def left_out_predictions_ms(self) -> Floats:
        """[n] each measurement predicted from the others, the choice included."""
        predictions = self.expected_ms.copy()
        for left_out in range(len(predictions)):
            rows = np.delete(np.arange(len(predictions)), left_out)
            predictions[left_out] = self.predict_ms(rows, np.array([left_out]))[0]
        return predictions

    def predict_ms(self, rows: Rows, targets: Rows) -> Floats:
        """[m] `targets` by the fit to `rows`; by the expectation alone if these are none."""
        choice = self.best_choice(rows)
        learnt = self.covariances[choice][np.ix_(targets, rows)] @ self._solve(choice, rows)
        return np.asarray(self.expected_ms[targets] + learnt, np.float64)

    def left_out_residuals_ms(self, rows: Rows) -> Floats:
        """[m] what each of `rows` deviates from the fit to the others, by the choice of all."""
        return self._residuals_ms(self.best_choice(rows), rows)

    def _solve(self, choice: Choice, rows: Rows) -> Floats:
        """[m] dual weights of the fit to `rows`."""
        covariance = self._noisy_covariance(choice, rows)
        return np.asarray(np.linalg.solve(covariance, self.gap_ms[rows]), np.float64)

    def _residuals_ms(self, choice: Choice, rows: Rows) -> Floats:
        inverse = np.linalg.inv(self._noisy_covariance(choice, rows))
        return np.asarray(inverse @ self.gap_ms[rows] / np.diag(inverse), np.float64)

    def _noisy_covariance(self, choice: Choice, rows: Rows) -> Floats:
        prior = self.covariances[choice][np.ix_(rows, rows)]
        return np.asarray(prior + np.diag(self.noise_ms[rows] ** 2), np.float64)


def _covariance(terms: Mapping[str, Term], n: int) -> Floats:
    """[n, n] of the sum of all terms."""
    if not terms:
        return np.zeros((n, n))
    deviations = np.array([term.width * term.amounts_ms for term in terms.values()])
    return np.asarray(deviations.T @ deviations, np.float64)


def clearly_lower(before: Floats, after: Floats) -> bool:
    """Whether [n] errors fall by more than the standard error of how much they do."""
    gain = before - after
    return bool(gain.mean() > CLEAR_GAIN * gain.std(ddof=1) / math.sqrt(len(gain)))


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
