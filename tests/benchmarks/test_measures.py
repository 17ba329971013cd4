import numpy as np
import pytest

from benchmarks.measures import best_within, budget_use, regret, violation_rate


def test_best_within():
    best = best_within(np.array([3.0, 1.0, 2.0]), np.array([0.7, 0.5, 0.4]), np.array([0, 2, 9.0]))
    assert best.tolist() == [-np.inf, 0.5, 0.7]


def test_use_of_budgets_and_regret():
    budgets = np.array([10.0, 20.0, 40.0, 40.0])
    costs = np.array([10.0, 19.0, 41.0, 20.0])  # exactly the budget is within it
    assert budget_use(costs, budgets) == pytest.approx((1 + 0.95 + 1.025 + 0.5) / 4)
    assert violation_rate(costs, budgets) == 0.25
    assert regret(np.array([0.7, 0.8]), np.array([0.7, 0.82])) == pytest.approx(0.01)
