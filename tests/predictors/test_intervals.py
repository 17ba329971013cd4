import numpy as np
import pytest

from predictors.intervals import conformal_quantiles


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
