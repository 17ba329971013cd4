"""What is better under a budget: each reward as a total preorder of architectures.

The evaluator learns any of them with the same pairwise loss; only the ranks differ.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats
from profiler.errors import InvalidInputError

Ranks = NDArray[np.int64]  # 0 is best; equal ranks tie
Reward = Callable[[Floats, Floats, float], Ranks]  # (top1 [M], cost [M], budget) -> ranks [M]

# Exponent of MnasNet (Tan et al. 2019) and weight of TuNAS (Bender et al. 2020), as in the paper.
COST_EXPONENT = -0.07
ABSOLUTE_WEIGHT = -0.07


def pareto_ranks(top1: Floats, cost: Floats, budget: float) -> Ranks:
    """Equation 4: both within the budget, the more accurate wins; otherwise the cheaper wins."""
    within = cost <= budget
    by_accuracy, by_cost = _dense_ranks(-top1), _dense_ranks(cost)
    return np.where(within, by_accuracy, len(top1) + by_cost)


def cheaper_ranks(top1: Floats, cost: Floats, budget: float) -> Ranks:
    """The rule without accuracy: the cheaper always wins."""
    return _dense_ranks(cost)


def mnasnet_ranks(top1: Floats, cost: Floats, budget: float) -> Ranks:
    """MnasNet's soft constraint, top1 · (cost / B)^-0.07."""
    return _dense_ranks(-top1 * (cost / budget) ** COST_EXPONENT)


def tunas_ranks(top1: Floats, cost: Floats, budget: float) -> Ranks:
    """TuNAS's absolute reward, top1 - 0.07 |cost / B - 1|."""
    return _dense_ranks(-(top1 + ABSOLUTE_WEIGHT * np.abs(cost / budget - 1)))


REWARDS: dict[str, Reward] = {
    "pareto": pareto_ranks,
    "pareto-no-accuracy": cheaper_ranks,
    "mnasnet": mnasnet_ranks,
    "tunas": tunas_ranks,
}


def reward_named(name: str) -> Reward:
    """Raises InvalidInputError for an unknown reward."""
    if name not in REWARDS:
        raise InvalidInputError(f"unknown reward {name!r}; known: {', '.join(REWARDS)}")
    return REWARDS[name]


def _dense_ranks(values: Floats) -> Ranks:
    return np.unique(values, return_inverse=True)[1].reshape(-1).astype(np.int64)
