"""What a law leaves, learned over shapes: a Gaussian process, which returns to the law where
nothing near was measured.

Rasmussen & Williams, Gaussian Processes for Machine Learning, 2006: algorithm 2.1, with their
Matérn kernel of ν = 3/2 (4.17).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictors.base import Floats

LENGTH = 5.0  # octaves of a size over which deviations are alike
VARIANCE = 0.02  # of log deviations: laws are right to about 14 %
NOISE_VARIANCE = 0.03  # of one observation
CONTEXT_VARIANCE = 0.005  # of one shape, however often it was observed: other kernels around it
SCATTER_LENGTH = 1.0  # octaves over which it is alike how far observations lie from the mean
MOST_DEVIATION = 1.0  # larger ones are of disturbed observations
MOST_SHAPES = 3000  # a seeded sample of more: the fit takes their cube


@dataclass(frozen=True)
class Residual:
    """Posterior of log deviations.

    Attributes:
        shapes: [m, sizes] that were observed.
        weights: [m] of their kernels in the mean.
        cholesky: [m, m] lower factor of their covariance.
        scatter: [m] squares of what the mean leaves.
    """

    shapes: Floats
    weights: Floats
    cholesky: Floats
    scatter: Floats

    def predict(self, shapes: Floats) -> Floats:
        """[n] means at [n, sizes]."""
        likeness = _likeness(shapes, self.shapes, LENGTH)
        return np.asarray(VARIANCE * likeness @ self.weights, np.float64)

    def spread(self, shapes: Floats) -> Floats:
        """[n] standard deviations at [n, sizes]: of the mean, for want of observations near, and
        of observations near about it."""
        from scipy.linalg import solve_triangular

        across = VARIANCE * _likeness(self.shapes, shapes, LENGTH)
        explained = (solve_triangular(self.cholesky, across, lower=True) ** 2).sum(axis=0)
        near = _likeness(shapes, self.shapes, SCATTER_LENGTH)
        scatter = near @ self.scatter / np.maximum(near.sum(axis=1), 1e-12)
        return np.asarray(np.sqrt(np.maximum(VARIANCE - explained, 0.0) + scatter), np.float64)


def fit_residual(shapes: Floats, deviations: Floats) -> Residual:
    """Fit [n] log deviations at [n, sizes]; deterministic."""
    from scipy.linalg import cho_solve, cholesky

    distinct, of_which = np.unique(shapes, axis=0, return_inverse=True)
    counts = np.bincount(of_which)
    clipped = np.clip(deviations, -MOST_DEVIATION, MOST_DEVIATION)
    means = np.bincount(of_which, clipped) / counts
    if len(distinct) > MOST_SHAPES:
        kept = np.random.default_rng(0).permutation(len(distinct))[:MOST_SHAPES]
        distinct, counts, means = distinct[kept], counts[kept], means[kept]
    prior = VARIANCE * _likeness(distinct, distinct, LENGTH)
    noise = CONTEXT_VARIANCE + NOISE_VARIANCE / counts
    lower = cholesky(prior + np.diag(noise), lower=True)
    weights = cho_solve((lower, True), means)
    return Residual(distinct, weights, lower, (means - prior @ weights) ** 2)


def _likeness(rows: Floats, columns: Floats, length: float) -> Floats:
    """[n, m] Matérn 3/2, 1 for the same shape."""
    from scipy.spatial.distance import cdist

    distance = np.sqrt(3) / length * cdist(rows, columns)
    return np.asarray((1 + distance) * np.exp(-distance), np.float64)
