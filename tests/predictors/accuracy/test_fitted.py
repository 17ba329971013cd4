from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest

from predictors.accuracy.fitted import (
    EMBEDDED,
    FittedAccuracy,
    embedded_accuracy,
    load_accuracy_model,
    save_accuracy_model,
)
from predictors.base import AccuracyModel
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space

SPACE = MobileNetV3Space("mbv3", 1.0, 224)
SMALLEST = "2,2,2,2,2:" + ",".join(["3,3,0,0"] * 5) + ":" + ",".join(["3,3,0,0"] * 5)
LARGEST = "4,4,4,4,4:" + ",".join(["7"] * 20) + ":" + ",".join(["6"] * 20)


@pytest.fixture(scope="module")
def embedded() -> FittedAccuracy:
    return embedded_accuracy(SPACE)


def test_embedded_model_states_its_source_and_meets_its_target(embedded: FittedAccuracy) -> None:
    assert isinstance(embedded, AccuracyModel)
    assert embedded.provenance.licence == "Apache-2.0"
    assert "DyNAS-T" in embedded.provenance.source
    assert embedded.provenance.n == 2162
    assert embedded.held_out.spearman >= 0.97
    assert embedded.held_out.mae_points <= 0.20


@pytest.mark.parametrize(
    ("text", "published_pct"),
    [
        # rows of IntelLabs/DyNAS-T's table
        (
            '{"ks": [5,7,5,5,3,3,3,7,5,5,3,7,7,3,3,3,5,5,5,5], '
            '"e": [4,3,4,4,4,6,3,4,4,3,4,3,3,6,6,6,4,3,4,4], "d": [2,3,2,4,3], "r": 224}',
            75.448,
        ),
        (
            '{"ks": [5,5,5,5,3,7,7,7,7,5,7,3,3,3,5,5,5,7,5,5], '
            '"e": [4,3,6,3,6,6,3,3,6,4,4,6,3,4,3,6,4,4,3,4], "d": [3,3,3,4,3], "r": 224}',
            76.042,
        ),
    ],
)
def test_published_accuracies(embedded: FittedAccuracy, text: str, published_pct: float) -> None:
    predicted = embedded.top1(SPACE.parse(text)[None])[0]
    assert 100 * predicted == pytest.approx(published_pct, abs=0.1)


def test_extremes_stay_near_the_observed_range(embedded: FittedAccuracy) -> None:
    """Observed: 71.0% at 123 M MAdds to 77.47%; both ends lie just outside the sample."""
    smallest, largest = embedded.top1(np.stack([SPACE.parse(SMALLEST), SPACE.parse(LARGEST)]))
    assert 0.703 < smallest < 0.710
    assert 0.770 < largest < 0.778


def test_no_architecture_found_by_climbing_exceeds_the_observed_best_by_much(
    embedded: FittedAccuracy,
) -> None:
    """A generator searches the optimum: steepest ascent from 20 random architectures."""
    rng = np.random.default_rng(0)
    for genes in rng.integers(0, 3, (20, 45), dtype=np.int8):
        genes.reshape(5, 9)[:, 0] = 2  # all slots active: depth never lowers accuracy here
        value = -np.inf
        while True:
            neighbours = np.repeat(genes[None], 90, axis=0)
            for i in range(90):
                neighbours[i, i // 2] = (neighbours[i, i // 2] + 1 + i % 2) % 3
            live = neighbours[(neighbours.reshape(90, 5, 9)[:, :, 0] == 2).all(axis=1)]
            values = embedded.top1(live)
            if values.max() <= value:
                break
            value, genes = values.max(), live[values.argmax()]  # noqa: PLW2901 - uphill from it
        assert value < 0.778


def test_a_step_up_hardly_ever_costs_accuracy(embedded: FittedAccuracy) -> None:
    tokens = SPACE.sample(500, np.random.default_rng(1))
    for column in range(45):
        below = tokens[(tokens[:, column] >= 0) & (tokens[:, column] < 2)]
        if column % 9 == 0:
            continue
        above = below.copy()
        above[:, column] += 1
        change = embedded.top1(above) - embedded.top1(below)
        assert change.min() > -0.0015


@pytest.fixture(scope="module")
def wide() -> dict[int, FittedAccuracy]:
    """By resolution in px, the models of the paper's width."""
    resolutions_px = (160, 176, 192, 208, 224)
    return {px: embedded_accuracy(MobileNetV3Space("mbv3", 1.2, px)) for px in resolutions_px}


@pytest.mark.parametrize(
    ("text", "published_pct"),
    [
        # PNAG-mobile-80, PNAG-cpu-35 and PNAG-gpu-190 as their authors publish them
        (
            "2,3,3,3,3:3,3,0,0,3,5,3,0,3,3,5,0,3,3,5,0,5,5,7,0:"
            "3,3,0,0,4,3,3,0,4,4,4,0,4,6,6,0,6,6,3,0",
            78.3,
        ),
        (
            "2,3,3,3,3:5,3,0,0,5,5,7,0,5,7,7,0,5,5,7,0,7,5,7,0:"
            "3,4,0,0,4,6,3,0,6,4,6,0,6,6,6,0,6,6,6,0",
            79.4,
        ),
        (
            "3,4,4,4,4:3,3,5,0,7,3,5,7,7,7,5,3,7,5,7,5,7,3,7,3:"
            "4,4,6,0,6,4,6,6,6,6,6,6,6,6,6,6,6,6,6,6",
            80.4,
        ),
    ],
)
def test_accuracies_of_the_papers_networks(
    wide: dict[int, FittedAccuracy], text: str, published_pct: float
) -> None:
    predicted = wide[224].top1(wide[224].space.parse(text)[None])[0]
    assert 100 * predicted == pytest.approx(published_pct, abs=0.4)


def test_the_wide_models_say_how_far_each_published_network_was_off(
    wide: dict[int, FittedAccuracy],
) -> None:
    for model in wide.values():
        assert len(model.networks) == 17
        errors = np.array([n.held_out_pct - n.top1_pct for n in model.networks])
        assert model.held_out.mae_points == pytest.approx(np.abs(errors).mean(), abs=1e-3)
        assert np.abs(errors).max() < 0.5
        # each is shifted by the mean of the others, so the errors of all cancel
        assert errors.mean() == pytest.approx(0, abs=1e-3)
    assert "no network is published" not in wide[224].provenance.source
    assert "no network is published at 160 px" in wide[160].provenance.source


def test_a_larger_image_hardly_ever_costs_accuracy(wide: dict[int, FittedAccuracy]) -> None:
    tokens = SPACE.sample(2000, np.random.default_rng(4))
    gain = np.diff(np.stack([model.top1(tokens) for model in wide.values()]), axis=0)
    assert gain.min() > -0.0015
    assert gain.mean(axis=1).min() > 0.002


@pytest.mark.parametrize(
    "space",
    [
        MobileNetV3Space("mbv3", 1.0, 192),
        MobileNetV3Space("mbv3", 1.2, 180),
        MobileNetV3Space("mbv3-cifar", 1.0, 32),
    ],
)
def test_other_spaces_have_no_embedded_model(space: MobileNetV3Space) -> None:
    with pytest.raises(InvalidInputError, match="--accuracy-table or --accuracy-model") as caught:
        embedded_accuracy(space)
    assert caught.value.exit_code == 2


def test_saved_models_keep_the_networks_that_calibrate_them(
    tmp_path: Path, wide: dict[int, FittedAccuracy]
) -> None:
    save_accuracy_model(tmp_path / "m.safetensors", wide[192])
    loaded = load_accuracy_model(tmp_path / "m.safetensors", wide[192].space)
    assert isinstance(loaded, FittedAccuracy)
    assert loaded.networks == wide[192].networks


def test_saved_models_predict_the_same(tmp_path: Path, embedded: FittedAccuracy) -> None:
    tokens = SPACE.sample(100, np.random.default_rng(2))
    measured = replace(embedded, rows=tokens[:3], rows_top1=np.array([0.1, 0.2, 0.3]))
    save_accuracy_model(tmp_path / "m.safetensors", measured)
    loaded = load_accuracy_model(tmp_path / "m.safetensors", SPACE)
    assert isinstance(loaded, FittedAccuracy)
    assert loaded.top1(tokens).tolist() == measured.top1(tokens).tolist()
    assert (loaded.provenance, loaded.held_out) == (embedded.provenance, embedded.held_out)


def test_measured_architectures_keep_their_accuracy(embedded: FittedAccuracy) -> None:
    tokens = np.unique(SPACE.sample(50, np.random.default_rng(3)), axis=0)
    measured = np.linspace(0.5, 0.6, 10)
    fitted = replace(embedded, rows=tokens[:10], rows_top1=measured)
    assert fitted.top1(tokens)[:10].tolist() == measured.tolist()
    assert fitted.top1(tokens)[10:].tolist() == embedded.top1(tokens)[10:].tolist()
    beyond = replace(fitted, rows_top1=np.array([-0.1, *measured[1:-1], 1.1]))
    assert beyond.top1(tokens)[:10].tolist() == [0.0, *measured[1:-1].tolist(), 1.0]


def test_a_model_of_another_space_is_refused(tmp_path: Path, embedded: FittedAccuracy) -> None:
    save_accuracy_model(tmp_path / "m.safetensors", embedded)
    wide = MobileNetV3Space("mbv3", 1.2, 224)
    with pytest.raises(InvalidInputError, match=r"mbv3 width 1 at 224 px, not of mbv3 width 1\.2"):
        load_accuracy_model(tmp_path / "m.safetensors", wide)


def test_damaged_models_are_refused(tmp_path: Path, embedded: FittedAccuracy) -> None:
    path = tmp_path / "m.safetensors"
    with pytest.raises(InvalidInputError, match="cannot read"):
        load_accuracy_model(path, SPACE)
    save_accuracy_model(path, embedded)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(InvalidInputError, match="truncated"):
        load_accuracy_model(path, SPACE)
    path.write_bytes(whole.replace(b"accuracy-model/1", b"accuracy-model/9"))
    with pytest.raises(InvalidInputError, match=r"expected 'pnag\.accuracy-model/1'"):
        load_accuracy_model(path, SPACE)
    nan = np.full_like(embedded.model.weights, np.nan)
    save_accuracy_model(path, replace(embedded, model=replace(embedded.model, weights=nan)))
    with pytest.raises(InvalidInputError, match="not finite"):
        load_accuracy_model(path, SPACE)
    short = replace(embedded, rows=np.zeros((2, 44), np.int8), rows_top1=np.zeros(2))
    save_accuracy_model(path, short)
    with pytest.raises(InvalidInputError, match=r"malformed: .*\(2, 44\) architectures"):
        load_accuracy_model(path, SPACE)
    for wrong in (7.0, -0.1, np.nan):
        rows = replace(
            embedded, rows=SPACE.sample(1, np.random.default_rng(0)), rows_top1=np.array([wrong])
        )
        save_accuracy_model(path, rows)
        with pytest.raises(InvalidInputError, match=r"no fractions|not finite"):
            load_accuracy_model(path, SPACE)
    for token in (-2, 3):
        rows = replace(embedded, rows=np.full((1, 45), token, np.int8), rows_top1=np.ones(1))
        save_accuracy_model(path, rows)
        with pytest.raises(InvalidInputError, match="choices that its space does not have"):
            load_accuracy_model(path, SPACE)
    huge = np.full_like(embedded.model.weights, 1e308)
    save_accuracy_model(path, replace(embedded, model=replace(embedded.model, weights=huge)))
    with pytest.raises(InvalidInputError, match="too large to be added up"):
        load_accuracy_model(path, SPACE)
    for rmse_points in (np.nan, -0.1, cast(Any, "0.1")):
        held_out = replace(embedded.held_out, rmse_points=rmse_points)
        save_accuracy_model(path, replace(embedded, held_out=held_out))
        with pytest.raises(InvalidInputError, match=r"are no points|rmse_points"):
            load_accuracy_model(path, SPACE)
    for sd_points in (-0.1, 1e308, 10**400):
        save_accuracy_model(path, replace(embedded, image_sd_points=sd_points))
        with pytest.raises(InvalidInputError, match=r"are no points|too large"):
            load_accuracy_model(path, SPACE)
    header = json.dumps({"__metadata__": {}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header)
    with pytest.raises(InvalidInputError, match="schema None"):
        load_accuracy_model(path, SPACE)


def test_what_is_infinitely_far_below_the_ceiling_has_no_accuracy(
    tmp_path: Path, embedded: FittedAccuracy
) -> None:
    far = replace(embedded, model=replace(embedded.model, bias=-1e4))
    save_accuracy_model(tmp_path / "m.safetensors", far)
    loaded = load_accuracy_model(tmp_path / "m.safetensors", SPACE)
    assert loaded.top1(SPACE.sample(3, np.random.default_rng(0))).tolist() == [0, 0, 0]


def test_the_same_model_gives_the_same_bytes(tmp_path: Path, embedded: FittedAccuracy) -> None:
    """An interrupted training knows its inputs again by their hashes."""
    shipped = files("predictors").joinpath("data", EMBEDDED[0]).read_bytes()
    for _ in range(5):
        save_accuracy_model(tmp_path / "model.safetensors", embedded)
        assert (tmp_path / "model.safetensors").read_bytes() == shipped
