"""The ridge regression against its closed form, and the choice of what to measure."""

import numpy as np
import pytest

from predictors.latency.ridge import Choice, Ridge, Term, most_telling

RNG = np.random.default_rng(0)
AMOUNTS = RNG.uniform(1, 3, (12, 3))


def ridge(latency_ms, *, width=0.3, supported_width=0.2, noise_ms=0.05):
    n = len(latency_ms)
    always = {"a": Term(AMOUNTS[:n, 0], width)}
    supported = {f"b{i}": Term(AMOUNTS[:n, i], supported_width) for i in (1, 2)}
    return Ridge(np.array(latency_ms), np.ones(n), np.full(n, noise_ms), always, supported)


def test_weights_are_the_mean_of_the_posterior():
    truth = np.array([0.5, -0.3, 0.4])
    fitted = ridge(1 + AMOUNTS @ truth)
    rows = np.arange(12)
    scale = fitted.best_choice(rows).scale
    assert scale > 0
    prior = np.diag(1 / np.array([0.3, scale * 0.2, scale * 0.2]) ** 2)
    posterior = np.linalg.inv(prior + AMOUNTS.T @ AMOUNTS / 0.05**2)
    expected = posterior @ AMOUNTS.T @ (AMOUNTS @ truth) / 0.05**2
    assert list(fitted.weights(rows).values()) == pytest.approx(expected.tolist())


def test_terms_that_nothing_supports_are_left_out():
    fitted = ridge(1 + 0.5 * AMOUNTS[:, 0], noise_ms=1e-6)
    weights = fitted.weights(np.arange(12))
    assert weights["a"] == pytest.approx(0.5, abs=1e-5)
    assert weights.keys() == {"a"} or max(abs(weights[f"b{i}"]) for i in (1, 2)) < 1e-5


def test_an_optional_term_takes_part_where_it_tells():
    rows, wide = np.arange(12), {"path": Term(AMOUNTS[:, 2], 10.0)}
    with_path, without = 1 + AMOUNTS @ [0.5, 0, 7.0], 1 + AMOUNTS @ [0.5, 0, 0]
    noise_ms = RNG.normal(0, 0.05, 12)
    for latency_ms, takes_part in ((with_path, True), (without + noise_ms, False)):
        always = {"a": Term(AMOUNTS[:, 0], 0.3)}
        fitted = Ridge(latency_ms, np.ones(12), np.full(12, 0.05), always, {}, wide)
        assert fitted.best_choice(rows) == Choice(0.0, takes_part)
        weights = fitted.weights(rows)
        assert ("path" in weights) == takes_part
        if takes_part:
            assert weights["path"] == pytest.approx(7.0, rel=0.01)


def test_left_out_predictions_are_those_of_fits_without():
    latency_ms = 1 + AMOUNTS @ [0.5, -0.3, 0.4] + RNG.normal(0, 0.05, 12)
    fitted = ridge(latency_ms)
    others = np.delete(np.arange(12), 4)
    assert fitted.left_out_predictions_ms()[4] == fitted.predict_ms(others, np.array([4]))[0]
    weights = fitted.weights(others)
    by_weights = 1 + sum(
        weights.get(name, 0.0) * AMOUNTS[4, i] for i, name in enumerate(("a", "b1", "b2"))
    )
    assert fitted.left_out_predictions_ms()[4] == pytest.approx(by_weights)


def test_most_telling_is_the_best_single_choice_and_goes_for_what_is_unknown():
    """Against the posterior variance of every choice, computed anew."""
    deviations = RNG.normal(size=(40, 3)) * [1.0, 0.3, 0.05]
    covariance, noise = deviations @ deviations.T, 0.1
    candidates, targets = np.arange(20), np.arange(20, 40)

    def left_variance(chosen):
        known = covariance[np.ix_(chosen, chosen)] + noise**2 * np.eye(len(chosen))
        seen = covariance[np.ix_(targets, chosen)]
        explained = np.einsum("ij,ji->i", seen, np.linalg.solve(known, seen.T))
        return float(np.mean(np.diag(covariance)[targets] - explained))

    chosen = most_telling(covariance, noise, candidates, targets, 4)
    assert left_variance(chosen[:1]) == pytest.approx(min(left_variance([c]) for c in candidates))
    second = [[chosen[0], c] for c in candidates if c != chosen[0]]
    assert left_variance(chosen[:2]) == pytest.approx(min(map(left_variance, second)))
    drawn = [left_variance(RNG.permutation(candidates)[:4].tolist()) for _ in range(200)]
    assert left_variance(chosen) < np.quantile(drawn, 0.05)
    assert len(set(chosen)) == 4
