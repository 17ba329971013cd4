"""Readers of files: tables, journals, models of accuracy and latency, networks, arrays."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pnag.report.published import read_published
from pnag.results import read_measured
from predictors.accuracy.enumerated import shipped_file
from predictors.accuracy.fitted import (
    FittedAccuracy,
    HeldOut,
    Provenance,
    load_accuracy_model,
    save_accuracy_model,
)
from predictors.accuracy.quadratic import Encoding, QuadraticModel
from predictors.accuracy.tables import AccuracyTable, load_accuracy_table
from predictors.latency.launches import LaunchModel, Law
from predictors.latency.lookup import cost_from_table
from predictors.latency.regression import fit_regression
from predictors.latency.regression_file import load_regression, save_regression
from profiler.devices.base import DeviceInfo
from profiler.graph.from_onnx import read_onnx
from profiler.graph.to_onnx import export_onnx
from profiler.graph.to_tflite import export_tflite
from profiler.graph.weights import random_weights
from profiler.measuring.journal import Journal, epoch_of
from profiler.measuring.model_files import read_model_report
from profiler.measuring.records import Block, Outcome, SweepTimes
from profiler.measuring.stopping import Decision
from profiler.models.cold_start import ColdStart
from profiler.models.file import read_model_file
from profiler.models.inputs import read_npz
from profiler.models.tflite_kernels import tflite_kernels
from profiler.spaces.architecture_files import read_architectures
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_reader import read_onnx_ops
from profiler.spaces.networks import network_graph
from profiler.spaces.registry import open_space
from profiler.spaces.tabular import load_tabular_space
from profiler.tables.audit import audit_tables
from profiler.tables.checks import check_table
from profiler.tables.interop import TableFormat, TableOrigin, import_table
from profiler.tables.levels import Statistic
from profiler.tables.measured_numbers import read_measured_numbers
from profiler.tables.rows import rows_as_csv, table_rows
from profiler.tables.statistic import by_statistic
from profiler.tables.table import Calibration, LatencyTable, load_table
from tests.fuzz.campaign import Reader
from tests.fuzz.mutations import (
    ARRAYS,
    BYTES,
    DATABASE,
    JSON,
    ONNX,
    TENSORS,
    TEXT,
    Edit,
)
from tests.pnag.landscapes import grid_space
from tests.predictors.synthetic import make_table
from tests.profiler.measuring.test_journal import read_all
from tests.profiler.models.test_kernels import residual

SPACE = MobileNetV3Space()
TABLES = Path(__file__).parents[2] / "tables"
ORIGIN = TableOrigin("a phone", "tflite", 1, 1)


def of_file(
    name: str,
    file_name: str,
    edits: Sequence[Edit],
    load: Callable[[Path], Any],
    seeds: Callable[[Path], Sequence[bytes]],
) -> Reader:
    """A reader that is given a path."""

    def read(data: bytes, folder: Path) -> Any:
        path = folder / file_name
        path.write_bytes(data)
        return load(path)

    return Reader(name, seeds, edits, read)


def encoded(document: Any) -> bytes:
    return json.dumps(document).encode()


def saved(folder: Path, save: Callable[[Path], Any]) -> bytes:
    path = folder / "seed"
    save(path)
    return path.read_bytes()


# --- Latency tables ------------------------------------------------------------------------


@cache
def whole_table() -> LatencyTable:
    return make_table(n_networks=4)


@cache
def few_ops() -> LatencyTable:
    """A table with all that a table may hold, of few ops."""
    table = whole_table()
    calibration = Calibration(
        intercept_ms=0.1, factors={"all": 1.0}, n_networks=4, residual_mape_pct=1.0,
        relative_quantiles={0.9: 0.02, 0.95: 0.03},
    )  # fmt: skip
    kept = dict(list(table.ops.items())[::20])
    return table.model_copy(update={"ops": kept, "calibration": calibration})


def _tables(folder: Path) -> Sequence[bytes]:
    shortened = []
    for name in ("note10", "sd821"):
        document = json.loads((TABLES / f"{name}.json").read_text())
        document["ops"] = dict(list(document["ops"].items())[:4])
        document["networks"] = document["networks"][:2]
        shortened.append(encoded(document))
    return [few_ops().to_json().encode(), *shortened]


def _table(path: Path) -> Any:
    table = load_table(path, partial=True)
    assert LatencyTable.model_validate_json(table.to_json()) == table
    rows_as_csv(table_rows(table))
    check_table(table)
    audit_tables({"table": table})
    by_statistic(table, Statistic.LATENCY, path)
    return table


def _whole_table(path: Path) -> Any:
    table = load_table(path)
    rows = table.search_space.sample(20, np.random.default_rng(0))
    cost_ms = cost_from_table(table)(rows)
    assert np.isfinite(cost_ms).all()
    return cost_ms


def _imported(table_format: TableFormat) -> Callable[[Path], Any]:
    def load(path: Path) -> Any:
        table = import_table(path, table_format, provenance=ORIGIN)
        assert all(entry.latency_ms > 0 for entry in table.ops.values())
        return table

    return load


def _published_tables(field: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(folder: Path) -> Sequence[bytes]:
        space = SPACE if field == "std" else open_space("proxyless")
        keys = list(whole_table().ops) if field == "std" else [
            op.key for part in space.segments() for ops in part.ops.values() for op in ops
        ][:40]  # fmt: skip
        document = {key: {"count": 9, "mean": 0.5, field: 0.01} for key in keys}
        return [yaml.safe_dump(document).encode(), encoded(document)]

    return seeds


def _nn_meter(folder: Path) -> Sequence[bytes]:
    return [encoded({"conv_64_16_24_4_2_hard_swish_5_se": 1.25, "firstconv_224_3_24_2_3": 1.89})]


# --- Rows ------------------------------------------------------------------------------------


def _csv(header: str, *rows: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text).writerows([header.split(","), *rows])
    return text.getvalue().encode()


def _tabular(folder: Path) -> Sequence[bytes]:
    space = grid_space(n_positions=3, n_choices=3)
    rows = [
        [*space.values(tokens), top1, latency_ms]
        for tokens, top1, latency_ms in zip(space.rows, space.top1, space.latency_ms, strict=True)
    ]
    percent = [[*row[:-2], 100 * float(row[-2]), row[-1]] for row in rows]
    return [_csv("a,b,c,top1,latency_ms", *rows), _csv("a,b,c,top1_pct,latency_ms", *percent)]


def _tabular_space(path: Path) -> Any:
    space = load_tabular_space(path)
    assert ((space.top1 >= 0) & (space.top1 <= 1)).all() and (space.latency_ms > 0).all()
    assert (space.row_index(space.rows) == np.arange(len(space.rows))).all()
    space.decisions.walk(space.rows)
    return space.latency_ms


def _archs(n: int = 4) -> list[str]:
    return [SPACE.format(row) for row in SPACE.sample(n, np.random.default_rng(0))]


def _architectures(folder: Path) -> Sequence[bytes]:
    archs = _archs()
    ofa = [form for row in SPACE.sample(2, np.random.default_rng(0))
           for form in SPACE.other_forms(row).values()]  # fmt: skip
    return [
        "\n".join(["# comment", *archs]).encode(), encoded(ofa), encoded({"points": [
            {"arch": arch, "latency_ms": 3.0} for arch in archs
        ]}), str(ofa).encode(), _csv("arch,top1", *([arch, 0.7] for arch in archs)),
    ]  # fmt: skip


def _written(path: Path) -> Any:
    for one in read_architectures(path):
        tokens = SPACE.parse(one.text)
        assert np.array_equal(SPACE.parse(SPACE.format(tokens)), tokens)


def _measured_numbers(folder: Path) -> Sequence[bytes]:
    (arch, *_), key = _archs(), next(iter(whole_table().ops))
    return [_csv("arch,key,latency_ms,source,width_mult,resolution_px",
                 [arch, "", 3.5, "paper", 1.0, 224], ["", key, 0.2, "paper", "", ""])]  # fmt: skip


def _published(folder: Path) -> Sequence[bytes]:
    return [
        _csv("name,latency_ms,top1_pct,device", ["net", 30.1, 75.2, "a"], ["b", 20, 70, "a"]),
        _csv("arch,top1", *([arch, 0.75] for arch in _archs())),
    ]


def _accuracies(folder: Path) -> Sequence[bytes]:
    archs, tokens = _archs(), SPACE.sample(4, np.random.default_rng(0))
    top1 = np.linspace(0.6, 0.7, 4)
    own = AccuracyTable(SPACE, tokens, top1, "ImageNet", "test", n_images=1000).to_json()
    published = [{"arch": arch, "w1.0": {"top1_acc": 70.5}, "w1.2": {"top1_acc": 75.5}}
                 for arch in archs]  # fmt: skip
    rows = [[arch, 0.7] for arch in archs]
    return [own.encode(), encoded(published), _csv("arch,top1", *rows),
            _csv("arch,top1_pct", *([arch, 70] for arch in archs))]  # fmt: skip


def _accuracy_table(path: Path) -> Any:
    table = load_accuracy_table(path, SPACE)
    assert ((table.top1 >= 0) & (table.top1 <= 1)).all()
    return table


# --- Models of accuracy and latency ------------------------------------------------------


def _fitted(folder: Path) -> Sequence[bytes]:
    encoding = Encoding(tuple(len(position.choices) for position in SPACE.positions))
    d = sum(n - 1 for n in encoding.n_choices)
    model = FittedAccuracy(
        SPACE, QuadraticModel(encoding, 0.8, 0.1, np.eye(d) / d),
        Provenance("ImageNet", "test", "none", 40, 0), HeldOut(0.1, 0.2, 0.9, 0.8, 5, 1),
        SPACE.sample(3, np.random.default_rng(0)), np.array([0.7, 0.71, 0.72]),
    )  # fmt: skip
    return [saved(folder, lambda path: save_accuracy_model(path, model))]


def _once_for_all(folder: Path) -> Sequence[bytes]:
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    sizes = [128, 16, 16, 16, 1]
    for at, (n, m) in enumerate(pairwise(sizes)):
        arrays[f"{2 * at}.weight"] = rng.normal(0, n**-0.5, (m, n)).astype(np.float32)
        arrays[f"{2 * at}.bias"] = np.full(m, 0.5, np.float32)
    out = io.BytesIO()
    np.savez(out, **arrays)
    return [out.getvalue()]


def _accuracy_model(path: Path) -> Any:
    top1 = load_accuracy_model(path, SPACE).top1(SPACE.sample(5, np.random.default_rng(1)))
    assert np.isfinite(top1).all()
    return top1


def _regression(folder: Path) -> Sequence[bytes]:
    regression = fit_regression([whole_table()])
    return [saved(folder, lambda path: save_regression(regression, path))]


def _regressed(path: Path) -> Any:
    ops = list(SPACE.distinct_ops().values())[:3]
    predicted = load_regression(path).predict_ms(ops, however_small=True)
    assert (predicted > 0).all()
    return predicted


def _launch_model(folder: Path) -> Sequence[bytes]:
    law = Law(0.1, {"block": 0.01, "excitation": 0.02})
    model = LaunchModel(1, law, Law(0.2, {"madds": 1e-9}), False, {0.9: 0.02}, 1.5)
    return [saved(folder, model.save)]


def _enumerated(folder: Path) -> Sequence[bytes]:
    shipped = shipped_file(open_space("nasbench201"))
    assert shipped is not None
    return [shipped.read_bytes()]


def _enumeration(path: Path) -> Any:
    space = open_space("nasbench201")
    top1 = load_accuracy_model(path, space).top1(space.sample(5, np.random.default_rng(1)))
    assert ((top1 >= 0) & (top1 <= 1)).all()
    return top1


# --- What was measured -------------------------------------------------------------------

INFO = DeviceInfo("cpu", "cpu", "A CPU", "law", "1", 1, "float32", 1, boot_id="boot")


def _journal(folder: Path) -> Sequence[bytes]:
    path = folder / "seed.sqlite"
    with Journal(path, fresh=True) as journal:
        sweep, epoch = journal.begin_sweep(INFO, {"preset": "full"}, "now"), epoch_of(INFO)
        for at in range(5):
            journal.add_block(
                "key",
                Block("op", float(at), 0.5, 3, (1.0, 1.1, 1.05), "resident", 0.5, (), sweep, epoch),
            )
        journal.add_outcome("key", Outcome(sweep, "op", Decision.CONVERGED))
        journal.set_reference_ms(epoch, "resident", 0.5)
        journal.set_times(sweep, SweepTimes(1.0))
        journal.set_start(epoch, "key", ColdStart(1.0, 2.0, 30.0))
        journal.set_kernels(epoch, "net", (("conv", 0.5), ("add", None)))
    return [path.read_bytes()]


def _journal_read(path: Path) -> Any:
    found, blocks = read_all(path, read_only=True)
    assert all(ms > 0 for block in blocks for ms in block.samples_ms)
    return found


def _model_report(folder: Path) -> Sequence[bytes]:
    result = {
        "model": "net.onnx", "sha256": "0" * 64, "device": "cpu", "threads": 1, "latency_ms": 2.0,
        "interval_ms": [1.9, 2.1], "median_ms": 2.0, "p90_ms": 2.2, "p99_ms": 2.4,
        "verdict": "stable", "flags": [], "n_samples": 30, "load_ms": 5.0, "first_run_ms": 3.0,
        "peak_memory_mb": None, "unavailable": {"peak_memory_mb": "no /proc"}, "copies": ["a"],
        "ops": [{"name": "conv", "kind": "Conv", "latency_ms": 1.0, "share": 0.5}], "levels": {},
    }  # fmt: skip
    return [encoded({"results": [result], "comparisons": [], "device": asdict(INFO),
                     "created": "now", "tool": "pnag", "load": None})]  # fmt: skip


def _measured(folder: Path) -> Sequence[bytes]:
    row = {"budget_ms": 4.0, "arch": _archs()[0], "latency_ms": 3.5, "top1": 0.7,
           "measured_ms": 3.6, "measured_ci95_ms": [3.5, 3.7], "verdict": "stable"}  # fmt: skip
    return [encoded({"results": [row | {"candidates": [row]}]})]


# --- Networks and arrays -----------------------------------------------------------------


def _onnx(folder: Path) -> Sequence[bytes]:
    graph = residual()
    return [export_onnx(graph, random_weights(graph, np.random.default_rng(0)))]


def _mobilenet(folder: Path) -> Sequence[bytes]:
    tokens = SPACE.sample(1, np.random.default_rng(0))[0]
    graph = network_graph(SPACE, tokens)
    weights = {name: np.zeros(shape, np.float32) for name, shape in graph.weight_shapes.items()}
    return [export_onnx(graph, weights)]


def _tflite(folder: Path) -> Sequence[bytes]:
    graph = residual()
    return [export_tflite(graph, random_weights(graph, np.random.default_rng(0)))]


def _graph(path: Path) -> Any:
    graph = read_onnx(path, resolution_px=32, needs_weights=False).graph
    assert graph.madds >= 0 and graph.params >= 0


def _ops(path: Path) -> Any:
    for op in read_onnx_ops(path, batch_size=1, resolution_px=None, precision="float32"):
        assert op.graph.madds >= 0


def _npz(path: Path) -> None:
    read_npz(path)  # a network may be given numbers that are not finite


def _arrays(folder: Path) -> Sequence[bytes]:
    out = io.BytesIO()
    np.savez(out, image=np.zeros((1, 3, 4, 4), np.float32), ids=np.arange(6))
    return [out.getvalue()]


def file_readers() -> list[Reader]:
    return [
        of_file("table", "t.json", JSON, _table, _tables),
        of_file("table-whole", "t.json", JSON, _whole_table,
                lambda folder: [whole_table().to_json().encode()]),
        of_file("ofa-yaml", "t.yaml", TEXT, _imported(TableFormat.OFA_YAML),
                _published_tables("std")),
        of_file("ofa-json", "t.json", JSON, _imported(TableFormat.OFA_YAML),
                lambda folder: _published_tables("std")(folder)[1:]),
        of_file("proxyless-yaml", "t.yaml", TEXT, _imported(TableFormat.PROXYLESS_YAML),
                _published_tables("var")),
        of_file("nn-meter", "t.json", JSON, _imported(TableFormat.NN_METER_BLOCKS), _nn_meter),
        of_file("tabular-csv", "t.csv", TEXT, _tabular_space, _tabular),
        of_file("architectures", "a.txt", TEXT + JSON, _written, _architectures),
        of_file("measured-numbers", "m.csv", TEXT, read_measured_numbers, _measured_numbers),
        of_file("published", "p.csv", TEXT, lambda path: read_published(path, SPACE), _published),
        of_file("accuracy-table", "a.json", TEXT + JSON, _accuracy_table, _accuracies),
        of_file("accuracy-model", "a.safetensors", TENSORS, _accuracy_model, _fitted),
        of_file("accuracy-ofa", "a.npz", ARRAYS, _accuracy_model, _once_for_all),
        of_file("accuracy-enumerated", "a.safetensors", TENSORS, _enumeration, _enumerated),
        of_file("regression", "r.safetensors", TENSORS, _regressed, _regression),
        of_file("launch-model", "l.safetensors", TENSORS, LaunchModel.load, _launch_model),
        of_file("journal", "j.sqlite", DATABASE, _journal_read, _journal),
        of_file("model-report", "m.json", JSON, read_model_report, _model_report),
        of_file("measured-networks", "m.json", JSON, lambda path: read_measured(path, INFO),
                _measured),
        of_file("npz", "i.npz", ARRAYS, _npz, _arrays),
        of_file("onnx", "m.onnx", ONNX, _graph, _onnx),
        of_file("onnx-ops", "m.onnx", ONNX, _ops, _mobilenet),
        of_file("onnx-runtime", "m.onnx", ONNX, read_model_file, _onnx),
        of_file("tflite", "m.tflite", BYTES, tflite_kernels, _tflite),
        of_file("tflite-runtime", "m.tflite", BYTES, read_model_file, _tflite),
    ]  # fmt: skip
