from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from predictors.accuracy.fitted import (
    FittedAccuracy,
    embedded_accuracy,
    load_accuracy_model,
    save_accuracy_model,
)
from predictors.accuracy.tables import (
    AccuracyFile,
    AccuracyTable,
    accuracy_from_table,
    load_accuracy_table,
)
from profiler.errors import InvalidInputError
from profiler.spaces.mobilenetv3 import MobileNetV3Space

SPACE = MobileNetV3Space("mbv3", 1.0, 224)
SCHEMA_FILE = Path(__file__).parents[3] / "docs" / "schemas" / "accuracy-table-1.json"
TOKENS = np.unique(SPACE.sample(200, np.random.default_rng(0)), axis=0)
TOP1 = embedded_accuracy(SPACE).top1(TOKENS)
ARCHS = [SPACE.format(row) for row in TOKENS]


@pytest.fixture
def table() -> AccuracyTable:
    return AccuracyTable.of(SPACE, zip(TOKENS, TOP1, strict=True), dataset="d", source="s")


def write_csv(path: Path, header: list[str], rows: list[list[Any]]) -> Path:
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    path.write_text(text.getvalue())
    return path


def write_json(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document))
    return path


def published(values: list[Any], width: str = "w1.0") -> list[dict[str, Any]]:
    return [
        {"arch": arch, width: {"top1_acc": value, "mobile_latency": 0.08}}
        for arch, value in zip(ARCHS, values, strict=False)
    ]


def test_json_round_trip(tmp_path: Path, table: AccuracyTable) -> None:
    table.save(tmp_path / "t.json")
    loaded = load_accuracy_table(tmp_path / "t.json", SPACE)
    assert loaded.tokens.tolist() == table.tokens.tolist()
    assert loaded.top1.tolist() == table.top1.tolist()
    assert (loaded.dataset, loaded.source) == ("d", "s")


def test_schema_document_is_published() -> None:
    assert json.loads(SCHEMA_FILE.read_text()) == AccuracyFile.model_json_schema()


def test_saved_tables_satisfy_the_published_schema(table: AccuracyTable) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    jsonschema.validate(json.loads(table.to_json()), json.loads(SCHEMA_FILE.read_text()))


@pytest.mark.parametrize(("column", "factor"), [("top1", 1.0), ("top1_pct", 100.0)])
def test_csv_declares_its_unit(tmp_path: Path, column: str, factor: float) -> None:
    rows = [[arch, factor * top1] for arch, top1 in zip(ARCHS, TOP1, strict=True)]
    loaded = load_accuracy_table(write_csv(tmp_path / "t.csv", ["arch", column], rows), SPACE)
    np.testing.assert_allclose(loaded.top1, TOP1, rtol=1e-14)
    assert loaded.tokens.tolist() == TOKENS.tolist()


def test_csv_may_begin_with_a_spreadsheets_byte_order_mark(tmp_path: Path) -> None:
    path = write_csv(tmp_path / "t.csv", ["arch", "top1"], [[ARCHS[0], 0.75]])
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert load_accuracy_table(path, SPACE).top1.tolist() == [0.75]


def test_csv_takes_ofa_dicts(tmp_path: Path) -> None:
    rows = [[json.dumps(SPACE.decode(row).to_ofa()), 0.75] for row in TOKENS[:5]]
    loaded = load_accuracy_table(write_csv(tmp_path / "t.csv", ["arch", "top1"], rows), SPACE)
    assert loaded.tokens.tolist() == TOKENS[:5].tolist()


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_published_layout_as_fraction_or_percent(tmp_path: Path, scale: float) -> None:
    document = published((scale * TOP1).tolist())
    loaded = load_accuracy_table(write_json(tmp_path / "architectures.json", document), SPACE)
    np.testing.assert_allclose(loaded.top1, TOP1, rtol=1e-14)


def test_published_layout_as_a_dict_keyed_by_architecture(tmp_path: Path) -> None:
    document = {arch: {"w1.0": {"top1_acc": 0.75}} for arch in ARCHS[:4]}
    loaded = load_accuracy_table(write_json(tmp_path / "a.json", document), SPACE)
    assert loaded.tokens.tolist() == TOKENS[:4].tolist()


def test_published_layout_may_write_choices_into_inactive_blocks(tmp_path: Path) -> None:
    entry = {"arch": ARCHS[0].replace("0", "3"), "w1.0": {"top1_acc": 0.75}}
    loaded = load_accuracy_table(write_json(tmp_path / "a.json", [entry]), SPACE)
    assert loaded.tokens.tolist() == TOKENS[:1].tolist()


def test_published_layout_of_the_other_width_is_refused(tmp_path: Path) -> None:
    path = write_json(tmp_path / "a.json", published([0.7, 0.8], "w1.2"))
    with pytest.raises(InvalidInputError, match=r"no accuracies of width 1\.0"):
        load_accuracy_table(path, SPACE)
    wide = MobileNetV3Space("mbv3", 1.2, 224)
    assert load_accuracy_table(path, wide).top1.tolist() == [0.7, 0.8]
    with pytest.raises(InvalidInputError, match="at 224 px, not of mbv3 width 1 at 192 px"):
        load_accuracy_table(path, MobileNetV3Space("mbv3", 1.0, 192))


def test_repeated_evaluations_are_averaged(tmp_path: Path) -> None:
    rows = [[ARCHS[0], 0.70], [ARCHS[1], 0.60], [ARCHS[0], 0.72]]
    loaded = load_accuracy_table(write_csv(tmp_path / "t.csv", ["arch", "top1"], rows), SPACE)
    assert loaded.tokens.tolist() == TOKENS[:2].tolist()
    assert loaded.top1 == pytest.approx([0.71, 0.60])


def our_table(**changes: Any) -> dict[str, Any]:
    return {
        "schema": "pnag.accuracy-table/1",
        "space": {"name": "mbv3", "width_mult": 1.0, "resolution_px": 224},
        "dataset": "d",
        "source": "s",
        "rows": [{"arch": ARCHS[0], "top1": 0.7}],
    } | changes


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (our_table(schema="pnag.accuracy-table/2"), "expected 'pnag.accuracy-table/1'"),
        (our_table(rows=[{"arch": ARCHS[0], "top1": 75.0}]), r"rows\.0\.top1"),
        (our_table(rows=[{"arch": "2,2:3", "top1": 0.7}]), "row 1: malformed architecture"),
        (our_table(extra=1), "extra"),
        (
            our_table(space={"name": "mbv3", "width_mult": 1.2, "resolution_px": 224}),
            r"table of mbv3 width 1\.2 at 224 px, not of mbv3 width 1 at 224 px",
        ),
        (published([0.75, 76.0]), "neither all fractions nor all percentages"),
        (published([0.75, -0.1]), "neither all fractions nor all percentages"),
        (published([0.75, "x"]), "row 2: 'x' is not a number"),
        (published([0.75, "0.75"]), "row 2: '0.75' is not a number"),
        (published([0.75, True]), "row 2: True is not a number"),
        (published([0.75, 10**400]), "a number of 401 digits"),
        ([{"arch": ARCHS[0], "w1.0": {"acc": 1}}], "expected entries"),
        ([1, 2], "expected entries"),
        ({"a": 1}, "expected entries"),
        (
            [{"arch": json.loads(json.dumps(SPACE.decode(TOKENS[0]).to_ofa())) | {"r": 160},
              "w1.0": {"top1_acc": 0.7}}],
            "160 px",
        ),
    ],
)  # fmt: skip
def test_malformed_json_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    path = write_json(tmp_path / "t.json", document)
    with pytest.raises(InvalidInputError, match=message):
        load_accuracy_table(path, SPACE)


@pytest.mark.parametrize(
    ("header", "rows", "message"),
    [
        (["arch", "top1"], [[ARCHS[0], 75.0]], "name a percentage top1_pct"),
        (["arch", "top1_pct"], [[ARCHS[0], 0.75]], "name a fraction top1"),
        (["arch", "top1_pct"], [[ARCHS[0], 70.1], [ARCHS[1], 0.7]], "line 3: .*name a fraction"),
        (["arch", "top1_pct"], [[ARCHS[0], 175.0]], "line 2: .* outside its range"),
        (["arch", "top1"], [[ARCHS[0], 0.7], ["", 0.7]], "line 3: arch is empty"),
        (["arch", "top1"], [["2,2:3", 0.7]], "line 2: malformed architecture"),
        (["arch", "top1"], [[*ARCHS[0].split(","), 0.7]], "line 2: .*put quotes around"),
        (["arch", "top1"], [[ARCHS[0], -0.1]], "outside its range"),
        (["arch", "top1"], [[ARCHS[0], "nan"]], "line 2: top1 'nan' is not a number"),
        (["arch", "top1"], [[ARCHS[0], 0.7], [ARCHS[1]]], "line 3: 1 of 2 cells"),
        (["arch", "accuracy"], [[ARCHS[0], 0.7]], "header needs arch and one of"),
        (["arch", "top1", "top1_pct"], [[ARCHS[0], 0.7, 70]], "header needs arch and one of"),
    ],
)
def test_malformed_csv_is_refused(
    tmp_path: Path, header: list[str], rows: list[list[Any]], message: str
) -> None:
    path = write_csv(tmp_path / "t.csv", header, rows)
    with pytest.raises(InvalidInputError, match=message):
        load_accuracy_table(path, SPACE)


def test_unreadable_files_are_refused(tmp_path: Path, table: AccuracyTable) -> None:
    with pytest.raises(InvalidInputError, match="cannot read"):
        load_accuracy_table(tmp_path / "absent.json", SPACE)
    path = tmp_path / "t.json"
    path.write_text(table.to_json()[:500])
    with pytest.raises(InvalidInputError, match="truncated"):
        load_accuracy_table(path, SPACE)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidInputError, match="is not text"):
        load_accuracy_table(path, SPACE)


def test_a_model_fitted_to_a_table_predicts_the_rest_and_keeps_the_measured(
    tmp_path: Path, table: AccuracyTable
) -> None:
    fitted = accuracy_from_table(table, SPACE, seed=1)
    assert fitted.top1(TOKENS).tolist() == TOP1.tolist()
    others = SPACE.sample(300, np.random.default_rng(9))
    errors = 100 * np.abs(fitted.top1(others) - embedded_accuracy(SPACE).top1(others))
    assert errors.mean() < 0.15
    # The held-out figure is an honest estimate of that error.
    assert fitted.held_out.mae_points == pytest.approx(errors.mean(), rel=0.4)
    assert fitted.held_out.spearman > 0.95
    assert fitted.provenance.n == len(TOKENS)
    save_accuracy_model(tmp_path / "m.safetensors", fitted)
    loaded = load_accuracy_model(tmp_path / "m.safetensors", SPACE)
    assert loaded.top1(others).tolist() == fitted.top1(others).tolist()


def test_fitting_is_reproducible(table: AccuracyTable) -> None:
    a, b = (accuracy_from_table(table, SPACE, seed=4) for _ in range(2))
    assert a.model.weights.tolist() == b.model.weights.tolist()
    assert a.held_out == b.held_out


def test_too_little_to_fit_is_refused(table: AccuracyTable) -> None:
    few = AccuracyTable.of(SPACE, zip(TOKENS[:29], TOP1[:29], strict=True), dataset="d", source="s")
    with pytest.raises(InvalidInputError, match="29 distinct architectures; at least 30"):
        accuracy_from_table(few, SPACE)
    flat = AccuracyTable.of(SPACE, ((row, 0.5) for row in TOKENS), dataset="d", source="s")
    with pytest.raises(InvalidInputError, match="all accuracies are equal"):
        accuracy_from_table(flat, SPACE)
    with pytest.raises(InvalidInputError, match="not of mbv3 width 1 at 192 px"):
        accuracy_from_table(table, MobileNetV3Space("mbv3", 1.0, 192))


def test_accuracies_of_few_images_are_not_taken_at_their_word() -> None:
    """The best of many accuracies with errors is too good; what is kept of them is not."""
    rng = np.random.default_rng(0)
    tokens = np.unique(SPACE.sample(600, rng), axis=0)
    truth = embedded_accuracy(SPACE).top1(tokens)
    noisy = truth + rng.normal(0, 0.0095, len(tokens))  # 2,000 images at 76 %
    table = AccuracyTable(SPACE, tokens, noisy, "d", "s", n_images=2000)
    fitted = accuracy_from_table(table, SPACE)
    best = np.argsort(-fitted.top1(tokens))[:20]
    assert fitted.top1(tokens[best]).mean() - truth[best].mean() < 0.006
    believed = accuracy_from_table(replace(table, n_images=None), SPACE)
    best = np.argsort(-believed.top1(tokens))[:20]
    assert believed.top1(tokens[best]).mean() - truth[best].mean() > 0.015
    sd = np.sqrt(noisy.mean() * (1 - noisy.mean()) / 2000)
    assert fitted.image_sd_points == pytest.approx(100 * sd)
    rmse = fitted.held_out.rmse_points / 100
    assert fitted.half_width(0.95) == pytest.approx(1.959964 * np.hypot(rmse, sd), rel=1e-5)


def test_the_part_of_a_difference_that_images_do_not_explain_is_kept() -> None:
    """Accuracies with jumps of 2 points that no model predicts, from so many images that they
    are nearly exact."""
    rng = np.random.default_rng(1)
    tokens = np.unique(SPACE.sample(300, rng), axis=0)
    top1 = embedded_accuracy(SPACE).top1(tokens) + rng.choice([-0.01, 0.01], len(tokens))
    table = AccuracyTable(SPACE, tokens, top1, "d", "s", n_images=50_000)
    kept = accuracy_from_table(table, SPACE).top1(tokens)
    assert np.abs(kept - top1).max() < 0.15 * 0.02


def test_accuracies_near_1_stay_fractions(tmp_path: Path) -> None:
    """A prediction above 1 draws what is kept of a row there: such a file could not be read."""
    rng = np.random.default_rng(0)
    tokens = np.unique(SPACE.sample(60, rng), axis=0)
    size = np.maximum(tokens, 0).sum(axis=1)
    truth = np.clip(0.9 + 0.14 * (size - size.min()) / np.ptp(size), 0, 1)
    top1 = rng.binomial(10_000, truth) / 10_000
    table = AccuracyTable(SPACE, tokens, top1, "d", "s", n_images=10_000)
    fitted = accuracy_from_table(table, SPACE)
    assert fitted.model.predict(tokens).max() > 1
    assert len(fitted.rows) and fitted.rows_top1.max() == 1 == fitted.top1(tokens).max()
    save_accuracy_model(tmp_path / "m.safetensors", fitted)
    loaded = load_accuracy_model(tmp_path / "m.safetensors", SPACE)
    assert loaded.top1(tokens).tolist() == fitted.top1(tokens).tolist()


def test_how_many_images_is_kept_in_files(tmp_path: Path) -> None:
    table = AccuracyTable(SPACE, TOKENS, TOP1, "d", "s", n_images=1000)
    table.save(tmp_path / "t.json")
    loaded = load_accuracy_table(tmp_path / "t.json", SPACE)
    assert loaded.n_images == 1000
    fitted = accuracy_from_table(loaded, SPACE)
    save_accuracy_model(tmp_path / "m.safetensors", fitted)
    again = load_accuracy_model(tmp_path / "m.safetensors", SPACE)
    assert isinstance(again, FittedAccuracy)
    assert again.image_sd_points == fitted.image_sd_points > 0
    table = replace(table, n_images=None)
    table.save(tmp_path / "t.json")
    assert "n_images" not in (tmp_path / "t.json").read_text()
