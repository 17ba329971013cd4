"""Saturating quadratic regression over tokens: a closed-form fit, and fast to evaluate.

y(α) = C - exp(-u(α)),  u(α) = b + Σ_i q_ii x_i + Σ_{i≠j} q_ij x_i x_j, where the binary
features x say "this token is at least the c-th choice" (dead tokens are all zero) and no
prediction exceeds the ceiling C. The prior shrinks pairs more than main effects, so that far
from the data u is nearly additive. u is the posterior mean of a Gaussian process with kernel
10 + s + γ s², s = z·z' (Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006,
sec. 4.2.2, eq. 2.25) on warped values (Snelson et al., "Warped Gaussian Processes", 2003).
γ, the noise and C maximise the marginal likelihood (eq. 5.8), so held-out rows tune nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from profiler.spaces.base import Tokens

CONSTANT = 10.0  # prior variance of the constant, relative to that of the main effects
PAIR_WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # γ
CEILINGS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 10.0)  # above the highest value, in ranges of values
NOISES = tuple(np.logspace(-5, 1, 31))  # noise variance over that of the main effects
SELECTION_ROWS = 600  # rows that choose γ and the noise; more do not change the choice
CHUNK_ROWS = 4096  # features of this many rows stay in the cache


@dataclass(frozen=True)
class Encoding:
    """Binary features of tokens [n, L]: x_i = token[position_i] ≥ threshold_i."""

    n_choices: tuple[int, ...]

    def features(self, tokens: Tokens) -> Floats:
        """[n, d] with d = Σ (choices - 1).

        >>> Encoding((3, 2)).features(np.array([[2, 0], [1, -1]], np.int8)).tolist()
        [[1.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
        """
        position = np.repeat(np.arange(len(self.n_choices)), np.array(self.n_choices) - 1)
        threshold = np.concatenate([np.arange(1, n) for n in self.n_choices]).astype(np.int8)
        features: Floats = (np.asarray(tokens)[:, position] >= threshold).astype(np.float64)
        return features


@dataclass(frozen=True)
class QuadraticModel:
    """C - exp(-(b + xᵀ Q x)) over the features of `encoding`; Q is symmetric [d, d]."""

    encoding: Encoding
    ceiling: float
    bias: float
    weights: Floats

    def predict(self, tokens: Tokens) -> Floats:
        """[n] values of tokens [n, L]."""
        tokens = np.asarray(tokens)
        u = np.empty(len(tokens))
        for start in range(0, len(tokens), CHUNK_ROWS):
            x = self.encoding.features(tokens[start : start + CHUNK_ROWS])
            u[start : start + CHUNK_ROWS] = np.einsum("ij,ij->i", x @ self.weights, x)
        values: Floats = self.ceiling - np.exp(-self.bias - u)
        return values


@dataclass(frozen=True)
class Prior:
    """γ (`pair_weight`) and the noise variance, both relative to the main effects', and C."""

    pair_weight: float
    noise: float
    ceiling: float

    def covariance(self, s: Floats) -> Floats:
        """[n, n] of u with noise, up to the overall variance."""
        kernel: Floats = CONSTANT + s + self.pair_weight * s**2
        kernel[np.diag_indices_from(kernel)] += self.noise
        return kernel

    def warp(self, values: Floats) -> Floats:
        """u of values."""
        warped: Floats = -np.log(self.ceiling - values)
        return warped


def fit_quadratic(
    encoding: Encoding, tokens: Tokens, values: Floats, rng: np.random.Generator
) -> tuple[QuadraticModel, Prior]:
    """Posterior mean given tokens [n, L], distinct, and their values [n], not all equal."""
    x = encoding.features(tokens)
    centre = x.mean(axis=0)
    z = x - centre
    scale = 1 / np.mean(np.sum(z**2, axis=1))
    chosen = rng.permutation(len(z))[:SELECTION_ROWS]
    ceilings = values.max() + np.array(CEILINGS) * np.ptp(values)
    prior = _most_likely_prior(scale * z[chosen] @ z[chosen].T, values[chosen], ceilings)
    u = prior.warp(values)
    dual = np.linalg.solve(prior.covariance(scale * z @ z.T), u - u.mean())
    linear = scale * z.T @ dual
    pairs = prior.pair_weight * scale**2 * (z.T * dual) @ z
    # From z = x - centre back to x; for binary x, x_i = x_i², so the linear part is the diagonal.
    bias = u.mean() + CONSTANT * dual.sum() - linear @ centre + centre @ pairs @ centre
    weights = (pairs + pairs.T) / 2 + np.diag(linear - 2 * pairs @ centre)
    return QuadraticModel(encoding, prior.ceiling, float(bias), weights), prior


def cross_validate(
    encoding: Encoding,
    tokens: Tokens,
    values: Floats,
    *,
    folds: int,
    rng: np.random.Generator,
) -> Floats:
    """[n] held-out predictions; every fold chooses its own prior from its training rows."""
    order = rng.permutation(len(values))
    predicted = np.empty(len(values))
    for fold in range(folds):
        held_out: NDArray[np.int64] = order[fold::folds]
        train = np.setdiff1d(order, held_out)
        model, _ = fit_quadratic(encoding, tokens[train], values[train], rng)
        predicted[held_out] = model.predict(tokens[held_out])
    return predicted


def _most_likely_prior(s: Floats, values: Floats, ceilings: Floats) -> Prior:
    """Grid maximum of the log marginal likelihood of values [n]; the overall variance is
    maximised exactly."""
    best, best_likelihood = Prior(0.0, 1.0, float(ceilings[-1])), -np.inf
    for pair_weight in PAIR_WEIGHTS:
        spectrum, vectors = np.linalg.eigh(Prior(pair_weight, 0.0, np.inf).covariance(s))
        for ceiling in ceilings:
            u = -np.log(ceiling - values)
            squares = (vectors.T @ (u - u.mean())) ** 2
            for noise in NOISES:
                noisy = np.maximum(spectrum, 0) + noise
                variance = np.mean(squares / noisy)
                # The last term is the Jacobian of the warp: du/dy = 1 / (C - y) = exp(u).
                likelihood = -0.5 * np.sum(np.log(noisy * variance)) + u.sum()
                if likelihood > best_likelihood:
                    best = Prior(pair_weight, float(noise), float(ceiling))
                    best_likelihood = likelihood
    return best
