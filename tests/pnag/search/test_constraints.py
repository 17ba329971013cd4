"""Bounds on several costs against all architectures of spaces that are small enough to list."""

import itertools

import numpy as np
import pytest

from pnag.search.constraints import MOST_KEPT, Constraints
from predictors.cost import AdditiveCost, Term
from profiler.spaces.base import TokenPosition
from profiler.spaces.decisions import conditional_graph

RNG = np.random.default_rng(0)


def constrained(sizes, prices):
    """Constraints on a space of free decisions, its rows, and their costs [rows, n_costs].

    Args:
        prices: by cost and position, what each choice adds.
    """
    positions = tuple(TokenPosition(f"p{i}", tuple(range(n))) for i, n in enumerate(sizes))
    graph = conditional_graph(positions, tuple((at,) for at in range(len(sizes))))
    costs = [
        AdditiveCost(1.0, tuple(Term((at,), np.asarray(p)) for at, p in enumerate(of_cost)))
        for of_cost in prices
    ]
    rows = np.array(list(itertools.product(*map(range, sizes))), np.int8)
    edges = [cost.edge_costs(graph) for cost in costs]
    return Constraints.of(graph, edges), rows, np.stack([cost(rows) for cost in costs], axis=1)


def opposed(sizes):
    first = [np.sort(RNG.uniform(1, 3, n)) for n in sizes]
    return [first, [4 - p + RNG.uniform(0, 0.5, len(p)) for p in first]]


@pytest.fixture(scope="module")
def small():
    return constrained((3, 2, 3), opposed((3, 2, 3)))


def test_costs_ends_and_the_lowest_bound_are_those_of_the_listed_rows(small):
    constraints, rows, spent = small
    np.testing.assert_allclose(constraints.path_costs(rows), spent, rtol=1e-12)
    ends = np.stack([spent.min(axis=0), spent.max(axis=0)], axis=1)
    np.testing.assert_allclose(constraints.reachable, ends, rtol=1e-12)
    assert constraints.lowest_bound == pytest.approx(spent.max(axis=1).min())
    assert constraints.dearest().tolist() == rows[spent.argmax(axis=0)].tolist()


def test_the_least_first_cost_beside_a_bound_is_that_of_a_row_within_it(small):
    constraints, _, spent = small
    for bound in spent[:, 1]:  # which a row spends to the last bit
        within = spent[:, 1] <= bound
        found = constraints.least(np.array([np.nan, bound]), 1)
        assert found == pytest.approx(spent[within, 0].min())
    assert constraints.least(np.array([np.nan, spent[:, 1].min() * 0.999]), 1) is None


def kept_after(constraints, choice):
    kept = constraints.completion[0, choice]
    return kept[np.isfinite(kept).all(axis=1)]


def test_what_another_row_undercuts_is_not_kept_and_of_equals_one_is():
    prices = [[[1, 2], [1, 1, 2, 3]], [[2, 1], [3, 3, 1, 2]]]  # one of four undercut, two equal
    constraints, _, _ = constrained((2, 4), prices)
    assert kept_after(constraints, 0).tolist() == [[3, 6], [4, 4]]
    assert kept_after(constraints, 1).tolist() == [[4, 5], [5, 3]]


def test_of_many_the_cheapest_are_kept_and_then_always_the_farthest():
    """Twice as many as are kept come together where two choices meet."""
    n = MOST_KEPT
    x, y = np.sort(RNG.uniform(0, 5, n)), 9 - np.sort(RNG.uniform(0, 7, n))
    constraints, _, spent = constrained((1, 2, n), [[[0.5], [0, 10], x], [[0.5], [10, 0], y]])
    place = (spent - spent.min(axis=0)) / np.ptp(spent, axis=0)
    taken = [0, 2 * n - 1]
    while len(taken) < MOST_KEPT:
        nearest = [min(np.abs(one - place[at]).max() for at in taken) for one in place]
        taken.append(int(np.argmax(nearest)))
    np.testing.assert_allclose(kept_after(constraints, 0), spent[sorted(taken)])
