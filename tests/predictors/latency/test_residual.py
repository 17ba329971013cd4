"""The residual of a law: a Gaussian process, against its closed form and its limits."""

import numpy as np
import pytest

from predictors.latency.residual import (
    CONTEXT_VARIANCE,
    MOST_DEVIATION,
    NOISE_VARIANCE,
    VARIANCE,
    fit_residual,
)

FAR = np.array([[500.0, 500.0]])


def test_one_shape_is_believed_the_more_the_oftener_it_was_observed():
    shape = np.array([[3.0, 4.0]])
    for times in (1, 5, 100):
        fit = fit_residual(np.repeat(shape, times, axis=0), np.full(times, 0.3))
        noise = CONTEXT_VARIANCE + NOISE_VARIANCE / times
        assert fit.predict(shape) == pytest.approx([0.3 * VARIANCE / (VARIANCE + noise)])


def test_far_from_what_was_observed_the_law_holds():
    fit = fit_residual(np.random.default_rng(0).uniform(0, 10, (50, 2)), np.full(50, 0.2))
    assert fit.predict(FAR) == pytest.approx([0.0], abs=1e-9)
    assert fit.predict(np.array([[5.0, 5.0]]))[0] == pytest.approx(0.2, abs=0.03)


def test_a_smooth_deviation_is_found_between_shapes():
    rng = np.random.default_rng(0)
    shapes, asked = rng.uniform(0, 10, (400, 2)), rng.uniform(1, 9, (50, 2))

    def deviation(of):
        return 0.2 * np.sin(of[:, 0] / 3) + 0.02 * of[:, 1]

    fit = fit_residual(shapes, deviation(shapes) + rng.normal(0, 0.05, 400))
    error = np.abs(fit.predict(asked) - deviation(asked))
    assert error.mean() < 0.03


def test_disturbed_observations_count_as_far_as_they_can_be_right():
    shape = np.zeros((1, 2))
    wild, most = (fit_residual(shape, np.array([d])) for d in (7.0, MOST_DEVIATION))
    assert wild.predict(shape) == most.predict(shape)


def test_the_spread_is_large_where_nothing_was_observed_or_observations_disagree():
    rng = np.random.default_rng(0)
    shapes = rng.uniform(0, 8, (300, 2))
    deviations = np.where(shapes[:, 0] > 6, rng.choice([-0.5, 0.5], 300), 0.0)
    fit = fit_residual(shapes, deviations)
    agreed, disagreed, never = fit.spread(np.array([[1.0, 4.0], [7.0, 4.0], *FAR]))
    assert disagreed > 4 * agreed
    assert never >= np.sqrt(VARIANCE) * (1 - 1e-9) > 2 * agreed
