from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from profiler.measuring.protocol import FULL
from profiler.measuring.stats import _quantile_of_rows as quantile_of_rows
from profiler.measuring.stats import (
    bootstrap_quantile_ci,
    change_point,
    relative_difference_pct,
    tag_outliers,
    two_modes,
    windows_agree,
)

MODES = asdict(FULL.modes)
LATENCIES = st.floats(0.01, 100, allow_nan=False)


@given(
    hnp.arrays(
        np.float64, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20), elements=LATENCIES
    ),
    st.floats(0, 1),
)
def test_fast_quantile_is_numpys(rows, quantile):
    expected = np.quantile(rows, quantile, axis=1)
    np.testing.assert_allclose(quantile_of_rows(rows, quantile), expected, rtol=1e-9)


def test_interval_covers_the_true_quantile_nearly_as_often_as_it_says():
    """The bootstrap of a low quantile is a little narrow: 93 % instead of 95 at 60 blocks."""
    rng = np.random.default_rng(0)
    true, hits, n = 10 * np.exp(0.05 * -1.2815515), 0, 300  # the 10 % point of a log-normal
    for seed in range(n):
        samples = 10 * np.exp(rng.normal(0, 0.05, (60, 3)))
        low, high = bootstrap_quantile_ci(
            [samples], quantile=0.1, confidence=0.95, resamples=400, rng=np.random.default_rng(seed)
        )
        hits += low <= true <= high
    assert 0.89 <= hits / n <= 0.98


def test_interval_is_wider_when_sweeps_differ():
    rng = np.random.default_rng(1)
    sweeps = [level * np.exp(rng.normal(0, 0.001, (30, 2))) for level in (1.0, 1.02, 1.04)]
    width = {}
    for name, parts in (("sweeps", sweeps), ("pooled", [np.concatenate(sweeps)])):
        low, high = bootstrap_quantile_ci(
            parts, quantile=0.5, confidence=0.95, resamples=500, rng=np.random.default_rng(2)
        )
        width[name] = high - low
    assert width["sweeps"] > 2 * width["pooled"]


@given(hnp.arrays(np.float64, st.integers(5, 60), elements=LATENCIES), st.floats(0.1, 10))
def test_tagging_outliers_knows_no_unit(values, scale):
    spread = np.subtract(*np.quantile(values, [0.75, 0.25]))
    if spread > 1e-3:
        tagged = tag_outliers(values, 3.01)
        assert (tagged <= tag_outliers(values * scale, 3.0)).all()


def test_two_modes_are_found_with_their_places():
    rng = np.random.default_rng(3)
    values = np.concatenate([rng.normal(1.0, 0.01, 60), rng.normal(1.3, 0.01, 40)])
    modes = two_modes(rng.permutation(values), **MODES)
    assert modes == pytest.approx((1.0, 1.3), rel=0.01)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_a_small_second_mode_is_not_one(share):
    rng = np.random.default_rng(4)
    n = int(100 * share)
    values = np.concatenate([rng.normal(1.0, 0.01, n), rng.normal(1.3, 0.01, 100 - n)])
    assert two_modes(values, **MODES) is None


@pytest.mark.parametrize("seed", range(20))
def test_one_wide_mode_is_not_two(seed):
    rng = np.random.default_rng(seed)
    for values in (rng.normal(1, 0.1, 90), rng.uniform(0.8, 1.2, 90)):
        assert two_modes(values, **MODES) is None


def test_change_point_is_where_the_level_changes():
    rng = np.random.default_rng(5)
    values = rng.normal(1, 0.01, 60)
    values[40:] *= 1.1
    assert change_point(values, p_value=0.001) == 40
    # Pettitt's statistic of a clean step after k of n values is k·(n - k), here 40·20 = 800
    assert 2 * np.exp(-6 * 800**2 / (60**3 + 60**2)) < 0.001


@pytest.mark.parametrize("n", [3, 60])
def test_no_change_point_in_steady_values(n):
    assert change_point(np.random.default_rng(6).normal(1, 0.01, n), p_value=0.001) is None


def test_equal_values_have_no_change_point():
    assert change_point(np.ones(200), p_value=0.001) is None
    coarse = np.random.default_rng(7).normal(1, 0.01, 400).round(1)  # a clock of few digits
    assert len(np.unique(coarse)) <= 3
    assert change_point(coarse, p_value=0.001) is None


def test_windows_agree_within_tolerance_only():
    values = [1.0] * 8 + [1.015] * 8 + [1.0] * 8
    assert windows_agree(values, window=8, count=3, tolerance=0.02)
    assert not windows_agree(values, window=8, count=3, tolerance=0.01)
    assert not windows_agree(values[1:], window=8, count=3, tolerance=0.02)


def test_relative_difference_is_of_the_mean_and_symmetric():
    first, second = np.array([1.0, 2.0]), np.array([1.1, 2.0])
    expected = [100 * 0.1 / 1.05, 0.0]
    np.testing.assert_allclose(relative_difference_pct(first, second), expected)
    np.testing.assert_allclose(relative_difference_pct(second, first), expected)
