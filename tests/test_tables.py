"""What is shipped under tables/ is what its recipe says it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from pnag.supernet.accuracy_table import architectures_to_evaluate, exported_settings
from pnag.supernet.checkpoint import (
    COMPRESSED_FROM,
    checkpoint_digests,
    load_supernet,
    read_supernet_file,
)
from predictors.accuracy.tables import load_accuracy_table
from profiler.spaces.mobilenetv3 import open_space

TABLES = Path(__file__).parent.parent / "tables"
PATH = TABLES / "mbv3-cifar.accuracy.json"
SUPERNET = TABLES / "mbv3-cifar.supernet.safetensors"
README = TABLES / "README.md"


@pytest.fixture(scope="module")
def space():
    return open_space("mbv3-cifar")


@pytest.fixture(scope="module")
def table(space):
    return load_accuracy_table(PATH, space)


@pytest.fixture(scope="module")
def recipe():
    return json.loads(PATH.with_suffix(".recipe.json").read_text())


def test_the_table_holds_the_architectures_of_its_seed(table, space, recipe):
    drawn = architectures_to_evaluate(space, 2002, seed=recipe["settings"]["seed"])
    assert {space.format(tokens) for tokens in table.tokens} == set(map(str, drawn))


def test_its_accuracies_are_counts_of_its_test_images(table, recipe):
    right = table.top1 * recipe["settings"]["test_images"]
    np.testing.assert_allclose(right, right.round(), atol=1e-9)
    np.testing.assert_allclose((right.min(), right.max()), (741, 805))


def test_the_extremes_have_the_accuracies_of_the_readme(table, space):
    rows = {
        space.format(tokens): top1 for tokens, top1 in zip(table.tokens, table.top1, strict=True)
    }
    smallest, largest = (100 * rows[str(arch)] for arch in space.extremes())
    assert f"Largest {largest:.1f} %, smallest {smallest:.1f} %" in README.read_text()


def test_table_training_weights_and_readme_tell_of_the_same_supernet(table, recipe):
    readme = README.read_text()
    training = json.loads((TABLES / "mbv3-cifar.training.json").read_text())
    weights = read_supernet_file(SUPERNET)
    own, original = checkpoint_digests(SUPERNET)
    assert own in readme
    assert original == recipe["checkpoint_sha256"]
    assert original in readme
    assert original[:12] in table.source
    assert weights.facts.items() <= (training | {COMPRESSED_FROM: original}).items()
    assert training["data"] == recipe["data"] == table.dataset
    assert training["data_fingerprint"] == recipe["data_fingerprint"]
    assert recipe["space"] == weights.space.facts


def test_the_weights_are_small_and_export_with_the_recipe_of_the_table(space, monkeypatch):
    assert SUPERNET.stat().st_size < 8e6
    assert load_supernet(SUPERNET).space == space
    recipe = PATH.with_suffix(".recipe.json")
    own = json.loads(recipe.read_text())["data_fingerprint"]
    monkeypatch.setattr("pnag.supernet.accuracy_table.fingerprint", lambda data: data)
    settings = exported_settings(recipe, SUPERNET, space, own)
    assert (settings.recalibration_images, settings.test_images) == (600, 1000)
