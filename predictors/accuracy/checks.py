"""A fitted accuracy model, corrected by a few accuracies that are nearer to the truth.

All rows of a table are of the same images, or of the same shared weights. What these favour among
architectures is learnt with the rest, no fold of the table shows it, and a search looks for it.
Accuracies of a few architectures on other images show it: of the model's û(α) a part ρ is
confirmed,

    u(α) = β + ρ û(α) + ε,

the autoregression of Kennedy & O'Hagan, "Predicting the output from a complex computer code when
fast approximations are available", Biometrika 2000 (eq. 2), without their own process for the rest.
So the order of architectures stays the table's: a search picks what it picked before, of which the
checks tell, and has no new errors to look for.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from predictors.accuracy.quadratic import QuadraticModel
from predictors.base import Floats
from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens

MIN_CHECKS = 20


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


def corrected(model: QuadraticModel, tokens: Tokens, values: Floats) -> Corrected:
    """Least squares on checks [n] of tokens [n, L]: any that the model chose, or drawn.

    The held-out ones are in closed form: a residual over what its own check leaves of itself.

    Raises:
        InvalidInputError: the model says the same of all.
    """
    predicted = model.predict(tokens)
    if np.ptp(predicted) == 0:
        raise InvalidInputError("the table's model tells none of the checks apart; give others")
    # where the checks reach more than the model says, the ceiling is as much higher
    ceiling = model.ceiling + max(0.0, float(values.max() - predicted.max()))
    fitted, u = -np.log(model.ceiling - predicted), -np.log(ceiling - values)
    distance = fitted - fitted.mean()
    confirmed = float(distance @ u / (distance @ distance))
    residual = u - u.mean() - confirmed * distance
    leverage = 1 / len(u) + distance**2 / (distance @ distance)
    return Corrected(
        QuadraticModel(
            model.encoding,
            ceiling,
            float(u.mean() + confirmed * (model.bias - fitted.mean())),
            confirmed * model.weights,
        ),
        confirmed,
        ceiling - np.exp(-u + residual / (1 - leverage)),
    )
