"""How well searches use their budgets: the figures that the benchmarks compare."""

from __future__ import annotations

import numpy as np

from predictors.base import Floats


def best_within(costs: Floats, accuracies: Floats, budgets: Floats) -> Floats:
    """[n] best accuracy among points of cost <= each budget; -inf where there is none."""
    order = np.argsort(costs, kind="stable")
    best = np.concatenate([[-np.inf], np.maximum.accumulate(accuracies[order])])
    found: Floats = best[np.searchsorted(costs[order], budgets, side="right")]
    return found


def budget_use(costs: Floats, budgets: Floats) -> float:
    """Mean of c(α) / B over architectures and their budgets [n]."""
    return float(np.mean(costs / budgets))


def violation_rate(costs: Floats, budgets: Floats) -> float:
    """Share of [n] architectures that exceed their budgets."""
    return float(np.mean(costs > budgets))


def regret(accuracies: Floats, best_known: Floats) -> float:
    """Mean shortfall of [n] accuracies, one per budget, from the best known."""
    return float(np.mean(best_known - accuracies))
