import numpy as np

from predictors.cost import madds_cost
from predictors.latency.additive_fit import fit_additive
from profiler.spaces.mobilenetv3 import MobileNetV3Space


def test_an_additive_cost_is_recovered_as_a_function():
    space = MobileNetV3Space()
    cost, rng = madds_cost(space), np.random.default_rng(0)
    tokens, fresh = space.sample(3000, rng), space.sample(500, rng)
    fitted = fit_additive(tokens, cost(tokens), "madds")
    assert fitted.unit == "madds"
    np.testing.assert_allclose(fitted(fresh), cost(fresh), rtol=1e-9)
