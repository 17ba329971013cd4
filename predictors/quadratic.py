"""Bayesian quadratic regression over tokens: a closed-form fit, and fast to evaluate.

y(α) = b + Σ_i q_ii x_i + Σ_{i≠j} q_ij x_i x_j, where the binary features x say "this token is
at least the c-th choice" (dead tokens are all zero). The prior shrinks main effects little and
pairs much, so that far from the data the model is nearly additive. It is the posterior mean of
a Gaussian process with kernel 10 + s + γ s², s = z·z' (polynomial kernel; Rasmussen & Williams,
"Gaussian Processes for Machine Learning", 2006, sec. 4.2.2 and eq. 2.25); γ and the noise
maximise the marginal likelihood (eq. 5.8), so nothing is tuned on held-out rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from profiler.space import Tokens

CONSTANT = 10.0  # prior variance of the constant, relative to that of the main effects
PAIR_WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # γ
NOISES = tuple(np.logspace(-5, 1, 31))  # noise variance over the variance of the main effects
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
    """b + xᵀ Q x over the features of `encoding`; Q is symmetric [d, d]."""

    encoding: Encoding
    bias: float
    weights: Floats

    def predict(self, tokens: Tokens) -> Floats:
        """[n] values of tokens [n, L]."""
        tokens = np.asarray(tokens)
        values = np.empty(len(tokens))
        for start in range(0, len(tokens), CHUNK_ROWS):
            x = self.encoding.features(tokens[start : start + CHUNK_ROWS])
            values[start : start + CHUNK_ROWS] = np.einsum("ij,ij->i", x @ self.weights, x)
        return self.bias + values


@dataclass(frozen=True)
class Prior:
    """γ (`pair_weight`) and the noise variance, relative to the main effects' variance."""

    pair_weight: float
    noise: float

    def kernel(self, s: Floats) -> Floats:
        return CONSTANT + s + self.pair_weight * s**2


def fit_quadratic(
    encoding: Encoding, tokens: Tokens, values: Floats, rng: np.random.Generator
) -> tuple[QuadraticModel, Prior]:
    """Posterior mean given tokens [n, L], distinct, and their values [n], not all equal."""
    x = encoding.features(tokens)
    centre, mean = x.mean(axis=0), values.mean()
    z, residual = x - centre, values - mean
    scale = 1 / np.mean(np.sum(z**2, axis=1))
    chosen = rng.permutation(len(z))[:SELECTION_ROWS]
    prior = _most_likely_prior(scale * z[chosen] @ z[chosen].T, residual[chosen])
    kernel = prior.kernel(scale * z @ z.T)
    kernel[np.diag_indices_from(kernel)] += prior.noise
    dual = np.linalg.solve(kernel, residual)
    linear = scale * z.T @ dual
    pairs = prior.pair_weight * scale**2 * (z.T * dual) @ z
    # From z = x - centre back to x; for binary x, x_i = x_i², so the linear part is the diagonal.
    bias = mean + CONSTANT * dual.sum() - linear @ centre + centre @ pairs @ centre
    weights = (pairs + pairs.T) / 2 + np.diag(linear - 2 * pairs @ centre)
    return QuadraticModel(encoding, float(bias), weights), prior


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


def _most_likely_prior(s: Floats, residual: Floats) -> Prior:
    """Grid maximum of the log marginal likelihood; the overall variance is maximised exactly."""
    best, best_likelihood = Prior(0.0, 1.0), -np.inf
    n = len(residual)
    for pair_weight in PAIR_WEIGHTS:
        eigenvalues, vectors = np.linalg.eigh(Prior(pair_weight, 0.0).kernel(s))
        squares = (vectors.T @ residual) ** 2
        for noise in NOISES:
            spectrum = np.maximum(eigenvalues, 0) + noise
            variance = np.mean(squares / spectrum)
            likelihood = -0.5 * (np.log(spectrum).sum() + n * np.log(variance))
            if likelihood > best_likelihood:
                best, best_likelihood = Prior(pair_weight, float(noise)), likelihood
    return best
