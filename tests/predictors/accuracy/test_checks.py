"""Models corrected by checks: the line, its held-out values, and the winner's curse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from predictors.accuracy.checks import corrected
from predictors.accuracy.fitted import FittedAccuracy, load_accuracy_model, save_accuracy_model
from predictors.accuracy.quadratic import Encoding, QuadraticModel
from predictors.accuracy.tables import AccuracyTable, accuracy_from_table
from predictors.base import Floats
from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens
from profiler.spaces.mobilenetv3 import MobileNetV3Space

SPACE = MobileNetV3Space("mbv3", 1.0, 224)
ENCODING = Encoding((3,) * 45)
CEILING = 0.9


def additive(rng: np.random.Generator, sd: float) -> QuadraticModel:
    """Accuracies around 0.77, with main effects alone."""
    return QuadraticModel(ENCODING, CEILING, 2.0, np.diag(rng.normal(0, sd, 90)))


def problem() -> tuple[QuadraticModel, Tokens, Floats]:
    """A model, and checks that confirm half of it, with differences and noise."""
    rng = np.random.default_rng(3)
    model = additive(rng, 0.03)
    tokens = np.unique(SPACE.sample(60, rng), axis=0)
    other = additive(rng, 0.02).predict(tokens)
    return model, tokens, (model.predict(tokens) + other) / 2 + rng.normal(0, 1e-3, len(tokens))


def test_the_correction_is_the_line_of_least_squares() -> None:
    model, tokens, values = problem()
    made = corrected(model, tokens, values)
    fitted, u = (-np.log(CEILING - v) for v in (model.predict(tokens), values))
    slope, level = np.polyfit(fitted, u, 1)
    assert made.confirmed == pytest.approx(slope)
    unseen = SPACE.sample(200, np.random.default_rng(5))
    expected = level - slope * np.log(CEILING - model.predict(unseen))
    np.testing.assert_allclose(made.model.predict(unseen), CEILING - np.exp(-expected), atol=1e-12)


def test_held_out_values_are_those_of_models_that_did_not_see_the_check() -> None:
    model, tokens, values = problem()
    made = corrected(model, tokens, values)
    for row in range(0, len(tokens), 9):
        others = np.delete(np.arange(len(tokens)), row)
        without = corrected(model, tokens[others], values[others]).model
        assert made.held_out[row] == pytest.approx(without.predict(tokens[row : row + 1])[0])


def test_checks_that_confirm_the_model_leave_it_as_it_is() -> None:
    model, tokens, _ = problem()
    made = corrected(model, tokens, model.predict(tokens))
    assert made.confirmed == pytest.approx(1.0)
    unseen = SPACE.sample(200, np.random.default_rng(5))
    np.testing.assert_allclose(made.model.predict(unseen), model.predict(unseen), atol=1e-12)


def test_checks_above_all_predictions_move_the_ceiling() -> None:
    model, tokens, values = problem()
    made = corrected(model, tokens, values + 0.15)
    assert values.max() + 0.15 > CEILING
    np.testing.assert_allclose(made.model.predict(tokens), values + 0.15, atol=0.02)


def test_what_a_search_picks_stays_what_it_was() -> None:
    model, tokens, values = problem()
    unseen = SPACE.sample(500, np.random.default_rng(6))
    order = corrected(model, tokens, values).model.predict(unseen).argsort()
    assert order.tolist() == model.predict(unseen).argsort().tolist()


@pytest.fixture(scope="module")
def favoured() -> tuple[AccuracyTable, QuadraticModel, QuadraticModel]:
    """A table whose images favour architectures: its rows are not of the truth, but of the truth
    and of what the images add; and both."""
    rng = np.random.default_rng(0)
    truth, images = additive(rng, 0.02), additive(rng, 0.02)
    tokens = np.unique(SPACE.sample(800, rng), axis=0)
    seen = truth.predict(tokens) + images.predict(tokens) - images.predict(tokens).mean()
    rows = seen + rng.normal(0, 0.002, len(tokens))
    return AccuracyTable(SPACE, tokens, rows, "d", "s", n_images=1000), truth, images


def best(model: FittedAccuracy, n: int, seed: int) -> Tokens:
    """[n, L] what a search would pick: the best of many, in n draws."""
    rng = np.random.default_rng(seed)
    drawn = [SPACE.sample(400, rng) for _ in range(n)]
    return np.stack([tokens[model.top1(tokens).argmax()] for tokens in drawn])


def test_a_checked_model_does_not_overestimate_what_a_search_picks(
    favoured: tuple[AccuracyTable, QuadraticModel, QuadraticModel], tmp_path: Path
) -> None:
    table, truth, _ = favoured
    alone = accuracy_from_table(table, SPACE)
    picks = best(alone, 60, seed=1)
    assert 100 * np.mean(alone.top1(picks) - truth.predict(picks)) > 1.0
    tokens = np.unique(np.concatenate([best(alone, 30, seed=2), table.tokens[:30]]), axis=0)
    few = AccuracyTable(SPACE, tokens, truth.predict(tokens), "d", "more images")
    checked = accuracy_from_table(table, SPACE, checks=few)
    picks = best(checked, 60, seed=3)
    errors = 100 * (checked.top1(picks) - truth.predict(picks))
    assert abs(errors.mean()) < 0.2
    assert np.abs(errors).mean() < 100 * np.mean(alone.top1(picks) - truth.predict(picks))
    correction = checked.correction
    assert correction is not None and correction.n == len(tokens)
    assert 0.3 < correction.confirmed < 0.7  # half of the variance is the truth's
    assert str(checked).startswith(f"{len(tokens)} checks confirm ")
    assert "which --accuracy-checks would tell" in str(alone)
    assert checked.held_out.rmse_points == pytest.approx(errors.std(), rel=0.5)
    assert checked.top1(tokens).tolist() == few.top1.tolist()  # what was checked is kept
    save_accuracy_model(tmp_path / "m.safetensors", checked)
    loaded = load_accuracy_model(tmp_path / "m.safetensors", SPACE)
    assert isinstance(loaded, FittedAccuracy)
    assert loaded.correction == correction
    assert loaded.top1(picks).tolist() == checked.top1(picks).tolist()


def test_checks_of_some_images_are_not_kept_and_state_their_own_error(
    favoured: tuple[AccuracyTable, QuadraticModel, QuadraticModel],
) -> None:
    table, truth, _ = favoured
    tokens = table.tokens[:40]
    few = AccuracyTable(SPACE, tokens, truth.predict(tokens), "d", "s", n_images=4000)
    checked = accuracy_from_table(table, SPACE, checks=few)
    assert len(checked.rows) == 0
    mean = few.top1.mean()
    assert checked.image_sd_points == pytest.approx(100 * np.sqrt(mean * (1 - mean) / 4000))


def test_checks_that_correct_nothing_are_refused(
    favoured: tuple[AccuracyTable, QuadraticModel, QuadraticModel],
) -> None:
    table, _, _ = favoured
    few = AccuracyTable(SPACE, table.tokens[:19], table.top1[:19], "d", "few.json")
    with pytest.raises(InvalidInputError, match=r"few.json: 19 distinct .* at least 20 are needed"):
        accuracy_from_table(table, SPACE, checks=few)
    other = replace(few, space=MobileNetV3Space("mbv3", 1.0, 192))
    with pytest.raises(InvalidInputError, match="accuracies of mbv3 width 1 at 192 px, not of"):
        accuracy_from_table(table, SPACE, checks=other)
    flat = replace(problem()[0], weights=np.zeros((90, 90)))
    with pytest.raises(InvalidInputError, match="the table's model tells none of the checks apart"):
        corrected(flat, table.tokens[:30], table.top1[:30])
    equal = AccuracyTable(SPACE, table.tokens[:30], np.full(30, 0.7), "d", "s")
    with pytest.raises(InvalidInputError, match="all accuracies are equal"):
        accuracy_from_table(table, SPACE, checks=equal)
