"""What is shipped under tables/ is what its recipe says it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from pnag.runs.inputs import open_inputs
from pnag.supernet.accuracy_table import architectures_to_evaluate, exported_settings
from pnag.supernet.checkpoint import (
    COMPRESSED_FROM,
    checkpoint_digests,
    load_supernet,
    read_supernet_file,
)
from predictors.accuracy.checks import corrected
from predictors.accuracy.tables import accuracy_from_table, load_accuracy_table
from predictors.latency.transferred import TransferTarget, transferred_table
from profiler.spaces.mobilenetv3 import open_space
from profiler.tables.checks import check_table
from profiler.tables.measured_numbers import read_measured_numbers
from profiler.tables.table import Verdict, load_table

TABLES = Path(__file__).parent.parent / "tables"
PATH = TABLES / "mbv3-cifar.accuracy.json"
CHECKS = TABLES / "mbv3-cifar.checks.json"
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


def test_the_checks_are_of_all_test_images_and_otherwise_of_the_tables_recipe(space, recipe):
    checks = load_accuracy_table(CHECKS, space)
    own = json.loads(CHECKS.with_suffix(".recipe.json").read_text())
    assert own["settings"] == recipe["settings"] | {"test_images": None}
    assert own["data_fingerprint"] == recipe["data_fingerprint"]
    digests = checkpoint_digests(SUPERNET)
    assert own["checkpoint_sha256"] == digests[0]
    assert recipe["checkpoint_sha256"] in digests
    right = checks.top1 * 5000
    np.testing.assert_allclose(right, right.round(), atol=1e-9)
    assert checks.n_images is None and len(right) == 27


def test_what_a_search_picks_from_the_table_is_overestimated_unless_it_is_checked(space, table):
    """Of 20 networks that a search picked, by the other 7: within 0.2 points in the mean."""
    checks = load_accuracy_table(CHECKS, space)
    alone = accuracy_from_table(table, space)
    assert round(100 * (alone.top1(checks.tokens) - checks.top1).mean(), 1) == 1.0
    for first in range(4):
        others = np.arange(27) % 4 != first
        few = corrected(alone.model, checks.tokens[~others], checks.top1[~others]).model
        assert abs(100 * (few.predict(checks.tokens[others]) - checks.top1[others]).mean()) < 0.2
    checked = accuracy_from_table(table, space, checks=checks)
    assert checked.correction is not None
    assert checked.correction.confirmed == pytest.approx(0.905, abs=0.005)
    assert 100 * checked.half_width(0.95) == pytest.approx(0.46, abs=0.01)
    assert 100 * alone.half_width(0.95) == pytest.approx(2.8, abs=0.05)


PAPER_BUDGETS_MS = (80, 110, 140, 170, 200)


@pytest.mark.parametrize(
    ("name", "verdict"), [("note10", Verdict.IMPORTED), ("sd821", Verdict.TRANSFERRED)]
)
def test_latency_tables_of_others_devices_never_pass_for_measured(name, verdict):
    table = load_table(TABLES / f"{name}.json")
    assert str(table.space) == "mbv3 width 1.2 at 224 px"
    assert {entry.verdict for entry in table.ops.values()} == {verdict}
    assert table.networks == ()
    found = check_table(table)
    assert found.faults == ()
    assert found.warnings == (f"96 of 96 ops are {verdict}",)


def test_the_snapdragon_is_what_its_command_makes_of_the_shipped_files():
    shipped = load_table(TABLES / "sd821.json")
    samples = read_measured_numbers(TABLES / "sd821.measured.csv")
    target = TransferTarget(shipped.device, source="PNAG")
    made = transferred_table([load_table(TABLES / "note10.json")], samples, target)
    for key, entry in made.ops.items():
        assert shipped.ops[key].latency_ms == pytest.approx(entry.latency_ms, rel=1e-6)
    assert shipped.transfer is not None and made.transfer is not None
    assert shipped.transfer.mape_pct == pytest.approx(made.transfer.mape_pct, rel=1e-6)
    assert shipped.transfer.mape_pct <= 5 and shipped.transfer.worst_pct <= 12
    assert len(samples) == 12


def test_a_fresh_clone_can_train_for_the_papers_budgets():
    problem = open_inputs({"latency": TABLES / "sd821.json"}).problem
    low, high = problem.reachable_ms
    assert low < PAPER_BUDGETS_MS[0] and PAPER_BUDGETS_MS[-1] < high
    samples = read_measured_numbers(TABLES / "sd821.measured.csv")
    paper = [sample for sample in samples if sample.source == "PNAG"]
    tokens = np.stack([problem.space.parse(sample.arch or "") for sample in paper])
    measured_ms = [sample.latency_ms for sample in paper]
    np.testing.assert_allclose(problem.cost(tokens), measured_ms, rtol=0.05)
    np.testing.assert_allclose(
        100 * problem.accuracy.top1(tokens), (78.3, 79.4, 79.8, 80.3, 80.5), atol=0.5
    )
