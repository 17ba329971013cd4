import itertools
from dataclasses import replace

import numpy as np
import pytest

from predictors.base import CostFunction, Margin
from predictors.cost import (
    AdditiveCost,
    LongestCost,
    Term,
    additive_cost,
    fit_additive,
    madds_cost,
    params_cost,
)
from profiler.errors import InvalidInputError
from profiler.spaces.base import DEAD
from profiler.spaces.decisions import decision_graph
from profiler.spaces.mobilenetv3 import MobileNetV3Space


@pytest.mark.parametrize("width_mult", [1.0, 1.2])
def test_tabulated_madds_and_params_equal_the_sum_over_ops(width_mult):
    space = MobileNetV3Space(width_mult=width_mult)
    tokens = space.sample(200, np.random.default_rng(0))
    archs = [space.decode(row) for row in tokens]
    assert madds_cost(space)(tokens).tolist() == [space.madds(a) for a in archs]
    assert params_cost(space)(tokens).tolist() == [space.params(a) for a in archs]


def test_costs_are_cost_functions_with_a_unit():
    space = MobileNetV3Space()
    assert isinstance(madds_cost(space), CostFunction)
    assert (madds_cost(space).unit, params_cost(space).unit) == ("madds", "params")


def test_intercept_is_paid_once():
    space = MobileNetV3Space()
    tokens = space.sample(5, np.random.default_rng(0))
    cost = additive_cost(space, lambda op: 1.0, intercept=0.5)
    n_ops = [len(space.ops(space.decode(row))) for row in tokens]
    assert cost(tokens).tolist() == [n + 0.5 for n in n_ops]


def test_intervals_take_the_next_known_coverage_and_refuse_more_than_was_calibrated():
    cost = AdditiveCost(1.0, (), relative_quantiles={0.9: 0.02, 0.95: 0.03})
    assert [cost.relative_interval(c) for c in (0.5, 0.9, 0.93, 0.95)] == [0.02, 0.02, 0.03, 0.03]
    with pytest.raises(InvalidInputError, match="not calibrated"):
        cost.relative_interval(0.99)


def test_bounds_are_of_one_side_where_they_are_known():
    symmetric = AdditiveCost(1.0, (), relative_quantiles={0.95: 0.03})
    one_sided = replace(symmetric, margins={0.95: Margin(0.01, 0.2)})
    longest = LongestCost((symmetric,), {0.95: 0.03}, {0.95: Margin(0.01, 0.2)})
    assert [cost.margin(0.95) for cost in (symmetric, one_sided, longest)] == [
        Margin(0.03), Margin(0.01, 0.2), Margin(0.01, 0.2),
    ]  # fmt: skip
    with pytest.raises(InvalidInputError, match="not calibrated"):
        one_sided.margin(0.99)


def test_costs_that_add_to_no_number_are_refused():
    large = Term((0,), np.array([1.0, 1e308]))
    assert AdditiveCost(0.0, (large,))(np.array([[1]], np.int8)).tolist() == [1e308]
    with pytest.raises(InvalidInputError, match="add to no number"):
        AdditiveCost(0.0, (large, large))


def test_a_term_is_nothing_where_one_of_its_positions_is_dead():
    values = np.arange(1.0, 25).reshape(2, 3, 4)
    cost = AdditiveCost(0.5, (Term((0, 2, 3), values),))
    axes = [range(DEAD, n) for n in values.shape]
    every = np.array([[a, 0, b, c] for a, b, c in itertools.product(*axes)], np.int8)
    alive = (every[:, [0, 2, 3]] != DEAD).all(axis=1)
    expected = np.full(len(every), 0.5)
    expected[alive] += values[tuple(every[alive][:, [0, 2, 3]].T)]
    assert cost(every).tolist() == expected.tolist()


def test_a_term_of_many_choices_is_read_in_full():
    values = np.random.default_rng(0).random((100, 120))
    tokens = np.array([[99, 119], [0, 0], [57, 3], [DEAD, 4]], np.int8)
    assert Term((0, 1), values).of(tokens.T).tolist() == [
        values[99, 119], values[0, 0], values[57, 3], 0.0,
    ]  # fmt: skip


def test_an_additive_cost_is_recovered_as_a_function():
    space, rng = MobileNetV3Space(), np.random.default_rng(0)
    cost, graph = madds_cost(space), decision_graph(space)
    tokens, fresh = space.sample(3000, rng), space.sample(500, rng)
    n_choices = [len(position.choices) for position in space.positions]
    fitted = fit_additive(graph.joint, n_choices, tokens, cost(tokens))
    np.testing.assert_allclose(fitted(fresh), cost(fresh), rtol=1e-9)
