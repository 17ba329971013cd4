import numpy as np
import pytest

from predictors.intervals import conformal_quantiles, half_width, missing, networks_needed
from profiler.errors import InvalidInputError


def test_the_kth_smallest_residual_covers_k_of_n_plus_1():
    quantiles = conformal_quantiles(np.array([0.04, -0.01, 0.03, 0.02]))
    assert quantiles == {0.6: 0.03, 0.8: 0.04}


def test_coverage_on_exchangeable_residuals_is_exact_on_average():
    rng = np.random.default_rng(0)
    covered: dict[float, list[bool]] = {0.9: [], 0.95: []}
    for _ in range(4000):
        quantiles = conformal_quantiles(rng.standard_t(3, 30))
        fresh = abs(rng.standard_t(3))
        for confidence, hits in covered.items():
            hits.append(fresh <= quantiles[min(c for c in quantiles if c >= confidence)])
    # ceil(31 · 0.9) = 28 and ceil(31 · 0.95) = 30 of 31
    assert np.mean(covered[0.9]) == pytest.approx(28 / 31, abs=0.015)
    assert np.mean(covered[0.95]) == pytest.approx(30 / 31, abs=0.012)


def test_no_coverage_is_claimed_beyond_what_n_supports():
    assert max(conformal_quantiles(np.ones(30))) == 30 / 31
    assert conformal_quantiles(np.array([])) == {}


@pytest.mark.parametrize("confidence", [0.5, 0.7, 0.75, 0.9, 0.95, 0.97, 0.99, 0.999])
def test_no_more_networks_are_asked_for_than_an_interval_takes(confidence):
    needed = networks_needed(confidence)
    assert half_width(conformal_quantiles(np.ones(needed)), confidence) == 1.0
    if needed > 3:  # which a calibration takes anyway
        with pytest.raises(InvalidInputError, match=f"--networks {needed} is$"):
            half_width(conformal_quantiles(np.ones(needed - 1)), confidence)


def test_no_command_is_advised_that_would_be_refused():
    assert missing(1 - 2**-20).endswith("the 1048575 measured networks that it takes")
