"""A fitted accuracy model, corrected by a few accuracies that are nearer to the truth.

All rows of a table are of the same images, or of the same shared weights. What these favour among
architectures is learnt with the rest, no fold of the table shows it, and a search looks for it.
Accuracies of a few architectures on other images show it: of the model's û(α) a part ρ is
confirmed, and the rest δ is like the table's own functions:

    u(α) = β + ρ û(α) + δ(α) + ε

Kennedy & O'Hagan, "Predicting the output from a complex computer code when fast approximations are
available", Biometrika 2000 (eq. 2), with β and ρ under a flat prior: Rasmussen & Williams,
"Gaussian Processes for Machine Learning", 2006, sec. 2.7. The noise over the variance of δ
maximises their marginal likelihood (eq. 2.45).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictors.accuracy.quadratic import Centring, QuadraticModel
from predictors.base import Floats
from profiler.spaces.base import Tokens

MIN_CHECKS = 20
NOISES = tuple(np.logspace(-2, 4, 25))  # over the variance of δ; the last ones leave no δ

EXACT = 1e-30  # variance of checks that the model explains but for rounding


@dataclass(frozen=True)
class Correction:
    """What checks say of a model.

    Attributes:
        n: architectures checked.
        confirmed: ρ, the part of the model's differences that the checks confirm.
        overestimate_points: mean of the model's prediction minus the check.
        n_images: that a check is of, where they stand for others.
    """

    n: int
    confirmed: float
    overestimate_points: float
    n_images: int | None = None

    def __str__(self) -> str:
        return f"{self.n} checks confirm {100 * self.confirmed:.0f} % of the table's differences"


@dataclass(frozen=True)
class Corrected:
    """A model that follows the checks, and what it says of each [n] when fitted to the others."""

    model: QuadraticModel
    confirmed: float
    held_out: Floats


def corrected(
    model: QuadraticModel, centring: Centring, pair_weight: float, tokens: Tokens, values: Floats
) -> Corrected:
    """The posterior mean given checks [n] of tokens [n, L]: any that the model chose, or drawn.

    δ has the kernel s + γ s² of the model's own fit: `centring` and γ are that fit's.
    """
    predicted = model.predict(tokens)
    # where the checks reach more than the model says, the ceiling is as much higher
    ceiling = model.ceiling + max(0.0, float(values.max() - predicted.max()))
    fitted = -np.log(model.ceiling - predicted)
    u, z = -np.log(ceiling - values), centring(tokens)
    s = z @ z.T
    basis = np.column_stack([np.ones(len(u)), fitted - fitted.mean()])
    kriging = _most_likely(s + pair_weight * s**2, basis, u)
    (level, confirmed), dual = kriging.coefficients, kriging.dual
    difference = centring.model(ceiling, 0.0, z.T @ dual, pair_weight * (z.T * dual) @ z)
    return Corrected(
        QuadraticModel(
            model.encoding,
            ceiling,
            float(level + confirmed * (model.bias - fitted.mean()) + difference.bias),
            confirmed * model.weights + difference.weights,
        ),
        float(confirmed),
        ceiling - np.exp(-kriging.held_out(u)),
    )


@dataclass(frozen=True)
class _Kriging:
    """One ratio of noise to variance. `precision` [n, n] is P of `dual` = P u: K⁻¹ without what
    the basis explains (C of eq. 2.45 taken from K⁻¹)."""

    precision: Floats
    dual: Floats
    coefficients: Floats
    log_likelihood: float

    def held_out(self, u: Floats) -> Floats:
        """[n] each by all others (Dubrule, "Cross validation of kriging in a unique
        neighborhood", Mathematical Geology 1983)."""
        predicted: Floats = u - self.dual / np.diag(self.precision)
        return predicted


def _most_likely(kernel: Floats, basis: Floats, u: Floats) -> _Kriging:
    """Grid maximum; the overall variance is maximised exactly."""
    spectrum, vectors = np.linalg.eigh(kernel)
    basis, rotated = vectors.T @ basis, vectors.T @ u
    free = len(u) - basis.shape[1]
    found = []
    for noise in NOISES:
        inverse = 1 / (np.maximum(spectrum, 0) + noise)
        weighted = inverse[:, None] * basis
        information = basis.T @ weighted
        coefficients = np.linalg.solve(information, weighted.T @ rotated)
        precision = np.diag(inverse) - weighted @ np.linalg.solve(information, weighted.T)
        dual = precision @ rotated
        variance = max(float(rotated @ dual) / free, EXACT)
        likelihood = 0.5 * (
            np.sum(np.log(inverse)) - np.linalg.slogdet(information)[1] - free * np.log(variance)
        )
        precision = vectors @ precision @ vectors.T
        found.append(_Kriging(precision, vectors @ dual, coefficients, float(likelihood)))
    return max(found, key=lambda kriging: kriging.log_likelihood)
