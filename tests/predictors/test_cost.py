import numpy as np
import pytest

from predictors.base import CostFunction
from predictors.cost import AdditiveCost, additive_cost, madds_cost, params_cost
from profiler.errors import InvalidInputError
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
    cost = AdditiveCost(1.0, np.zeros((20, 3, 3)), relative_quantiles={0.9: 0.02, 0.95: 0.03})
    assert [cost.relative_interval(c) for c in (0.5, 0.9, 0.93, 0.95)] == [0.02, 0.02, 0.03, 0.03]
    with pytest.raises(InvalidInputError, match="not calibrated"):
        cost.relative_interval(0.99)
