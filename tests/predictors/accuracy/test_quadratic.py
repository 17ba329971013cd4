from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import multivariate_normal
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, DotProduct

from predictors.accuracy import quadratic
from predictors.accuracy.quadratic import (
    Encoding,
    Evaluations,
    Prior,
    QuadraticModel,
    fit_quadratic,
)
from profiler.spaces.base import Tokens
from profiler.spaces.mobilenetv3 import MobileNetV3Space

SPACE = MobileNetV3Space()
ENCODING = Encoding((3,) * 45)
CEILING = 0.8


def truth(rng: np.random.Generator, pair_sd: float) -> QuadraticModel:
    """0.8 - exp(-u): accuracies from about 0.66 to 0.77, with main effects and pairs."""
    pairs = rng.normal(0, pair_sd, (90, 90))
    weights = (pairs + pairs.T) / 2 + np.diag(rng.uniform(0, 0.05, 90))
    return QuadraticModel(ENCODING, CEILING, 2.0, weights)


def test_features_say_whether_a_token_reaches_each_choice() -> None:
    tokens = np.array([[0, 1, 2, -1]], np.int8)
    assert Encoding((3, 3, 3, 3)).features(tokens).tolist() == [[0, 0, 1, 0, 1, 1, 0, 0]]


def test_features_distinguish_all_architectures() -> None:
    tokens = np.unique(SPACE.sample(3000, np.random.default_rng(0)), axis=0)
    assert len(np.unique(ENCODING.features(tokens), axis=0)) == len(tokens)


def test_fit_is_the_posterior_mean_of_the_gaussian_process() -> None:
    """scikit-learn's exact GP with the same kernel on the warped values is the oracle."""
    rng = np.random.default_rng(1)
    tokens = SPACE.sample(120, rng)
    values = truth(rng, 0.002).predict(tokens) - rng.uniform(0, 1e-3, 120)
    model, prior = fit_quadratic(ENCODING, tokens, values, rng)
    x = ENCODING.features(tokens)
    z = x - x.mean(axis=0)
    z *= np.mean(np.sum(z**2, axis=1)) ** -0.5
    linear = DotProduct(0.0, "fixed")
    kernel = (
        ConstantKernel(quadratic.CONSTANT, "fixed")
        + linear
        + ConstantKernel(max(prior.pair_weight, 1e-12), "fixed") * linear**2
    )
    u = -np.log(prior.ceiling - values)
    oracle = GaussianProcessRegressor(kernel, alpha=prior.noise, optimizer=None)
    oracle.fit(z, u - u.mean())
    expected = prior.ceiling - np.exp(-u.mean() - oracle.predict(z))
    np.testing.assert_allclose(model.predict(tokens), expected, rtol=0, atol=1e-9)


def test_prior_maximises_the_marginal_likelihood() -> None:
    """The density of the values themselves (with the warp's Jacobian), from scipy."""
    rng = np.random.default_rng(2)
    s = rng.normal(size=(80, 12))
    s = s @ s.T / 12
    u = 3 + 0.2 * rng.multivariate_normal(np.zeros(80), Prior(0.1, 0.01, np.inf).covariance(s))
    values = CEILING - np.exp(-u)
    ceilings = values.max() + np.array([0.1, 0.4, 1.6]) * np.ptp(values)

    def log_likelihood(prior: Prior) -> float:
        warped = prior.warp(values)
        residual = warped - warped.mean()
        covariance = prior.covariance(s)
        variance = residual @ np.linalg.solve(covariance, residual) / 80
        gaussian = multivariate_normal(np.zeros(80), variance * covariance)
        return float(gaussian.logpdf(residual)) + float(np.log(1 / (prior.ceiling - values)).sum())

    chosen = quadratic._most_likely_prior(s, values, ceilings)
    grid = [
        Prior(pair_weight, noise, ceiling)
        for pair_weight in quadratic.PAIR_WEIGHTS
        for noise in quadratic.NOISES[::5]
        for ceiling in ceilings
    ]
    assert log_likelihood(chosen) >= max(map(log_likelihood, grid)) - 1e-6


SMALL = Encoding((3,) * 6)  # 91 functions of 12 features


def few_functions(n: int) -> Evaluations:
    """More rows than functions, with noise."""
    rng = np.random.default_rng(9)
    tokens = np.unique(rng.integers(0, 3, (n, 6), dtype=np.int8), axis=0)
    u = 2 + 0.1 * tokens.sum(axis=1) - 0.05 * tokens[:, 0] * tokens[:, 3]
    return Evaluations(SMALL, tokens, 0.8 - np.exp(-u) + rng.normal(0, 1e-3, len(tokens)))


@pytest.mark.parametrize("pair_weights", [quadratic.PAIR_WEIGHTS, (0.0,)])
def test_one_unknown_a_row_and_one_a_function_give_the_same_model(
    pair_weights: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quadratic, "PAIR_WEIGHTS", pair_weights)
    evaluations = few_functions(500)
    assert evaluations._many
    by_functions, prior = evaluations.fit(np.random.default_rng(0))
    by_rows, same_prior = quadratic._fit_rows(
        SMALL, evaluations.tokens, evaluations.values, np.random.default_rng(0)
    )
    assert prior == same_prior
    np.testing.assert_allclose(
        by_functions.predict(evaluations.tokens), by_rows.predict(evaluations.tokens),
        rtol=0, atol=1e-13,
    )  # fmt: skip


def test_held_out_rows_are_taken_out_of_the_sums_over_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As if fitted to the other rows from the start, but for the centre of the features."""
    monkeypatch.setattr(quadratic, "HELD_OUT_ROWS", 30)
    evaluations = few_functions(500)
    rows, predicted = evaluations.cross_validate(3, np.random.default_rng(0))
    assert len(rows) == len(set(rows)) == 90
    expected = []
    for fold in range(3):
        others = np.setdiff1d(np.arange(len(evaluations.values)), rows[30 * fold : 30 * fold + 30])
        model, _ = fit_quadratic(
            SMALL, evaluations.tokens[others], evaluations.values[others], np.random.default_rng(0)
        )
        expected.append(model.predict(evaluations.tokens[rows[30 * fold : 30 * fold + 30]]))
    np.testing.assert_allclose(predicted, np.concatenate(expected), rtol=0, atol=5e-5)
    # the error is that of the noise, 0.001, not of a model that has seen these rows
    assert np.abs(predicted - evaluations.values[rows]).mean() == pytest.approx(8e-4, rel=0.3)


def test_an_additive_truth_is_recovered_from_few_rows() -> None:
    rng = np.random.default_rng(3)
    additive = truth(rng, 0.0)
    train, test = SPACE.sample(300, rng), SPACE.sample(500, rng)
    model, prior = fit_quadratic(ENCODING, train, additive.predict(train), rng)
    assert prior.ceiling == pytest.approx(CEILING, abs=0.03)
    assert np.abs(model.predict(test) - additive.predict(test)).max() < 0.002


def test_pairs_are_learned_where_they_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(4)
    paired = truth(rng, 0.01)
    train, test = SPACE.sample(800, rng), SPACE.sample(300, rng)
    values = paired.predict(train)

    def error(model: QuadraticModel) -> float:
        return float(np.abs(model.predict(test) - paired.predict(test)).mean())

    with_pairs, prior = fit_quadratic(ENCODING, train, values, rng)
    assert prior.pair_weight > 0
    monkeypatch.setattr(quadratic, "PAIR_WEIGHTS", (0.0,))
    without, _ = fit_quadratic(ENCODING, train, values, rng)
    assert error(with_pairs) < 0.8 * error(without)


def test_no_prediction_exceeds_the_ceiling() -> None:
    rng = np.random.default_rng(8)
    train = SPACE.sample(60, rng)
    model, prior = fit_quadratic(ENCODING, train, truth(rng, 0.01).predict(train), rng)
    assert model.ceiling == prior.ceiling
    assert model.predict(SPACE.sample(5000, rng)).max() < prior.ceiling


def test_held_out_rows_do_not_leak() -> None:
    """Pure noise cannot be predicted: held-out predictions do not correlate with it."""
    rng = np.random.default_rng(5)
    tokens = SPACE.sample(400, rng)
    noise = rng.normal(size=400)
    rows, predicted = Evaluations(ENCODING, tokens, noise).cross_validate(5, rng)
    assert sorted(rows) == list(range(400))
    assert abs(np.corrcoef(predicted, noise[rows])[0, 1]) < 0.15


def test_predictions_do_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(6)
    model, tokens = truth(rng, 0.002), SPACE.sample(quadratic.CHUNK_ROWS + 7, rng)
    whole = model.predict(tokens)
    rows = np.concatenate([model.predict(row[None]) for row in tokens[-9:]])
    np.testing.assert_allclose(whole[-9:], rows, rtol=0, atol=1e-13)


def brute_force(model: QuadraticModel, tokens: Tokens) -> float:
    on = [2 * position + c for position, token in enumerate(tokens) for c in range(2) if token > c]
    u = model.bias + sum(float(model.weights[i, j]) for i in on for j in on)
    return model.ceiling - math.exp(-u)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_prediction_is_the_sum_over_active_features(seed: int) -> None:
    rng = np.random.default_rng(seed)
    model, tokens = truth(rng, 0.002), SPACE.sample(1, rng)
    assert model.predict(tokens)[0] == pytest.approx(brute_force(model, tokens[0]), abs=1e-12)
