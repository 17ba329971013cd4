"""Saturating quadratic regression over tokens: a closed-form fit, and fast to evaluate.

y(α) = C - exp(-u(α)),  u(α) = b + Σ_i q_ii x_i + Σ_{i≠j} q_ij x_i x_j, where the binary
features x say "this token is at least the c-th choice" (dead tokens are all zero) and no
prediction exceeds the ceiling C. The prior shrinks pairs more than main effects, so that far
from the data u is nearly additive. u is the posterior mean of a Gaussian process with kernel
10 + s + γ s², s = z·z' (Rasmussen & Williams, "Gaussian Processes for Machine Learning", 2006,
sec. 4.2.2, eq. 2.25) on warped values (Snelson et al., "Warped Gaussian Processes", 2003).
γ, the noise and C maximise the marginal likelihood (eq. 5.8), so held-out rows tune nothing.

This kernel is of D = 1 + d + d(d + 1)/2 functions of z: 1, z_i and z_i z_j. So the mean solves the
smaller of two systems, with one unknown a row or one a function (eq. 2.11).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.accuracy.quad_counts import QuadCounts
from predictors.base import Floats
from profiler.spaces.base import Tokens

CONSTANT = 10.0  # prior variance of the constant, relative to that of the main effects
PAIR_WEIGHTS = (0.0, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)  # γ
CEILINGS = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 10.0)  # above the highest value, in ranges of values
NOISES = tuple(np.logspace(-5, 1, 31))  # noise variance over that of the main effects
SELECTION_ROWS = 600  # rows that choose γ and the noise; more do not change the choice
HELD_OUT_ROWS = 4000  # the most of a fold; more would not change its figures
CHUNK_ROWS = 4096  # features of this many rows stay in the cache
COUNTED_ROWS = 1024  # pairs of this many rows stay in the cache


@dataclass(frozen=True)
class Encoding:
    """Binary features of tokens [n, L]: x_i = token[position_i] ≥ threshold_i."""

    n_choices: tuple[int, ...]

    @property
    def n_features(self) -> int:
        """d"""
        return sum(n - 1 for n in self.n_choices)

    def features(self, tokens: Tokens) -> Floats:
        """[n, d] with d = Σ (choices - 1), `n_features`.

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
        with np.errstate(over="ignore"):  # infinitely far below the ceiling
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


@dataclass(frozen=True)
class Centring:
    """Features as the kernel takes them: z = (x - centre) · √scale, with z·z = 1 on average."""

    encoding: Encoding
    centre: Floats
    scale: float

    @classmethod
    def of(cls, encoding: Encoding, tokens: Tokens) -> Centring:
        """On the means of tokens [n, L]; a binary feature with mean c has variance c (1 - c)."""
        chunks = (encoding.features(chunk) for chunk in _chunks(tokens, CHUNK_ROWS))
        centre = np.sum([x.sum(axis=0) for x in chunks], axis=0) / len(tokens)
        return cls(encoding, centre, float(1 / np.sum(centre * (1 - centre))))

    def __call__(self, tokens: Tokens) -> Floats:
        """z [n, d] of tokens [n, L]."""
        z: Floats = np.sqrt(self.scale) * (self.encoding.features(tokens) - self.centre)
        return z

    def gram(self, of_x: Floats) -> Floats:
        """[D, D] sums over rows of the products of two functions of z, from those of x."""
        from scipy.sparse import csr_array

        d, c, s = len(self.centre), self.centre, self.scale
        i, j = np.triu_indices(d)
        one, pair, r = np.zeros(d, np.int64), 1 + d + np.arange(len(i)), np.sqrt(s)
        terms = [  # z_i = r (x_i - c_i), and their products
            ([0], [0], [1.0]),
            (1 + np.arange(d), 1 + np.arange(d), np.full(d, r)),
            (1 + np.arange(d), one, -r * c),
            (pair, pair, np.full(len(i), s)),
            (pair, 1 + i, -s * c[j]),
            (pair, 1 + j, -s * c[i]),
            (pair, np.zeros_like(pair), s * c[i] * c[j]),
        ]
        rows, columns, values = (np.concatenate(part) for part in zip(*terms, strict=True))
        in_x = csr_array((values, (rows, columns)), shape=of_x.shape)
        gram = np.empty(of_x.shape, order="F")
        for rows in _chunks(np.arange(len(of_x)), 256):  # no third matrix of that size
            gram[:, rows] = in_x @ (in_x[rows] @ of_x).T
        return gram

    def model(
        self, ceiling: float, constant: float, linear: Floats, pairs: Floats
    ) -> QuadraticModel:
        """With u = constant + linear · z + zᵀ pairs z, written in x: as x_i = x_i², its linear
        part is the diagonal."""
        linear, pairs = np.sqrt(self.scale) * linear, self.scale * (pairs + pairs.T) / 2
        bias = constant - linear @ self.centre + self.centre @ pairs @ self.centre
        weights = pairs + np.diag(linear - 2 * pairs @ self.centre)
        return QuadraticModel(self.encoding, ceiling, float(bias), weights)


@dataclass(frozen=True)
class Evaluations:
    """Distinct tokens [n, L] and their values [n], not all equal, for models to be fitted to."""

    encoding: Encoding
    tokens: Tokens
    values: Floats

    def fit(self, rng: np.random.Generator) -> tuple[QuadraticModel, Prior]:
        """The posterior mean given all rows."""
        if self._many:
            return self._fit_functions(np.empty(0, np.int64), rng)
        return _fit_rows(self.encoding, self.tokens, self.values, rng)

    def cross_validate(
        self, folds: int, rng: np.random.Generator
    ) -> tuple[NDArray[np.int64], Floats]:
        """Rows [m] and their held-out predictions [m]: all rows, or the first of each fold.

        Every fold chooses its own prior from its training rows.
        """
        order: NDArray[np.int64] = rng.permutation(len(self.values))
        held_out = [order[fold::folds][:HELD_OUT_ROWS] for fold in range(folds)]
        predicted = [self._fit_others(rows, rng).predict(self.tokens[rows]) for rows in held_out]
        return np.concatenate(held_out), np.concatenate(predicted)

    def _fit_others(self, held_out: NDArray[np.int64], rng: np.random.Generator) -> QuadraticModel:
        if self._many:
            return self._fit_functions(held_out, rng)[0]
        train = np.setdiff1d(np.arange(len(self.values)), held_out)
        return _fit_rows(self.encoding, self.tokens[train], self.values[train], rng)[0]

    @cached_property
    def _many(self) -> bool:
        """Whether there are more rows than functions."""
        return len(self.values) > _n_functions(self.encoding.n_features)

    @cached_property
    def _centring(self) -> Centring:
        return Centring.of(self.encoding, self.tokens)

    @cached_property
    def _counts(self) -> QuadCounts:
        return self._counted(self.tokens)

    def _counted(self, tokens: Tokens) -> QuadCounts:
        chunks = (self.encoding.features(chunk) for chunk in _chunks(tokens, COUNTED_ROWS))
        return QuadCounts.of(self.encoding.n_features, chunks)

    def _fit_functions(
        self, held_out: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[QuadraticModel, Prior]:
        """Posterior mean given the rows that are not held out; one unknown a function.

        The features are centred on all rows, held-out ones too: their values are not looked at.
        """
        from scipy.linalg import cho_factor, cho_solve

        train = np.setdiff1d(np.arange(len(self.values)), held_out)
        tokens, values = self.tokens[train], self.values[train]
        prior = _choose_prior(self._centring, tokens, values, rng)
        u = prior.warp(values)
        d = len(self._centring.centre)
        sd = _prior_sd(prior, d)
        used = len(sd) if prior.pair_weight else 1 + d
        counts = self._counts.without(self._counted(self.tokens[held_out]))
        system = np.asfortranarray(self._centring.gram(counts.matrix())[:used, :used])
        system *= sd[:used, None]
        system *= sd[:used]
        system[np.diag_indices(used)] += prior.noise
        projected = sd * self._sums(tokens, u - u.mean())
        weights = np.zeros(len(sd))
        factor = cho_factor(system, overwrite_a=True, check_finite=False)
        weights[:used] = sd[:used] * cho_solve(factor, projected[:used], check_finite=False)
        pairs = np.zeros((d, d))
        pairs[np.triu_indices(d)] = weights[1 + d :]
        constant = u.mean() + weights[0]
        return self._centring.model(prior.ceiling, constant, weights[1 : 1 + d], pairs), prior

    def _sums(self, tokens: Tokens, values: Floats) -> Floats:
        """[D] sums over tokens [n, L] of each function times values [n]."""
        d = len(self._centring.centre)
        linear, pairs = np.zeros(d), np.zeros((d, d))
        chunks = zip(_chunks(tokens, CHUNK_ROWS), _chunks(values, CHUNK_ROWS), strict=True)
        for chunk, weight in chunks:
            z = self._centring(chunk)
            linear += weight @ z
            pairs += (z.T * weight) @ z
        return np.concatenate([[values.sum()], linear, pairs[np.triu_indices(d)]])


def fit_quadratic(
    encoding: Encoding, tokens: Tokens, values: Floats, rng: np.random.Generator
) -> tuple[QuadraticModel, Prior]:
    """Posterior mean given tokens [n, L], distinct, and their values [n], not all equal."""
    return Evaluations(encoding, tokens, values).fit(rng)


def _fit_rows(
    encoding: Encoding, tokens: Tokens, values: Floats, rng: np.random.Generator
) -> tuple[QuadraticModel, Prior]:
    """Posterior mean; one unknown a row."""
    centring = Centring.of(encoding, tokens)
    prior = _choose_prior(centring, tokens, values, rng)
    z, u = centring(tokens), prior.warp(values)
    dual = np.linalg.solve(prior.covariance(z @ z.T), u - u.mean())
    constant = u.mean() + CONSTANT * dual.sum()
    pairs = prior.pair_weight * (z.T * dual) @ z
    return centring.model(prior.ceiling, constant, z.T @ dual, pairs), prior


def _n_functions(d: int) -> int:
    return 1 + d + d * (d + 1) // 2


def _prior_sd(prior: Prior, d: int) -> Floats:
    """[D] standard deviations of the functions' weights; s² has z_i z_j twice."""
    i, j = np.triu_indices(d)
    pairs = np.sqrt(prior.pair_weight * np.where(i == j, 1, 2))
    return np.concatenate([[np.sqrt(CONSTANT)], np.ones(d), pairs])


def _chunks(array: NDArray[Any], rows: int) -> Iterator[NDArray[Any]]:
    return (array[start : start + rows] for start in range(0, len(array), rows))


def _choose_prior(
    centring: Centring, tokens: Tokens, values: Floats, rng: np.random.Generator
) -> Prior:
    chosen = rng.permutation(len(values))[:SELECTION_ROWS]
    z = centring(tokens[chosen])
    ceilings = values.max() + np.array(CEILINGS) * np.ptp(values)
    return _most_likely_prior(z @ z.T, values[chosen], ceilings)


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
