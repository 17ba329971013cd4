import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pnag.learning.rewards import REWARDS, mnasnet_ranks, pareto_ranks, reward_named, tunas_ranks
from profiler.errors import InvalidInputError

TOP1 = np.array([0.70, 0.75, 0.75, 0.80, 0.60])
COST = np.array([10.0, 20.0, 30.0, 40.0, 50.0])


def test_pareto_ranks_accuracy_within_the_budget_and_cost_beyond():
    assert pareto_ranks(TOP1, COST, 30.0).tolist()[:3] == [2, 1, 1]
    order = np.argsort(pareto_ranks(TOP1, COST, 30.0), kind="stable")
    assert order.tolist() == [1, 2, 0, 3, 4]


def test_without_accuracy_the_cheaper_wins():
    assert REWARDS["pareto-no-accuracy"](TOP1, COST, 30.0).tolist() == [0, 1, 2, 3, 4]


def test_mnasnet_and_tunas_rank_by_their_formulas():
    rng = np.random.default_rng(0)
    top1, cost = rng.uniform(0.6, 0.8, 200), rng.uniform(10, 90, 200)
    for budget in (12.0, 30.0, 80.0):
        mnasnet = top1 * (cost / budget) ** -0.07
        tunas = top1 - 0.07 * np.abs(cost / budget - 1)
        assert mnasnet_ranks(top1, cost, budget).tolist() == places(-mnasnet).tolist()
        assert tunas_ranks(top1, cost, budget).tolist() == places(-tunas).tolist()


def places(values):
    """From 0, of values of which no two are equal."""
    return np.argsort(np.argsort(values))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 6)), min_size=2, max_size=20),
       st.integers(0, 7))  # fmt: skip
def test_pareto_ranks_are_the_dominance_rule(pairs, budget):
    top1 = np.array([accuracy for accuracy, _ in pairs]) / 10
    cost = np.array([c for _, c in pairs], dtype=float)
    ranks = pareto_ranks(top1, cost, budget)
    for i in range(len(pairs)):
        for j in range(len(pairs)):
            if cost[i] <= budget and cost[j] <= budget:
                dominates = top1[i] >= top1[j]
            else:
                dominates = cost[i] <= cost[j]
            assert dominates == (ranks[i] <= ranks[j])


def test_unknown_rewards_are_refused():
    with pytest.raises(InvalidInputError, match="unknown reward 'speed'; known: pareto"):
        reward_named("speed")
