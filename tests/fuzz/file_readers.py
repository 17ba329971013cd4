"""Readers of files: tables, rows, journals."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from pnag.report.published import read_published
from pnag.results import read_measured
from predictors.accuracy.tables import AccuracyTable, load_accuracy_table
from predictors.latency.lookup import cost_from_table
from profiler.devices.base import DeviceInfo, epoch_of
from profiler.measuring.journal import Journal
from profiler.measuring.model_files import read_model_report
from profiler.measuring.records import Block, Outcome, SweepTimes
from profiler.measuring.stopping import Decision
from profiler.models.cold_start import ColdStart
from profiler.spaces.architecture_files import read_architectures
from profiler.spaces.mobilenetv3 import MobileNetV3Space
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
from tests.fuzz.mutations import DATABASE, JSON, TEXT, Edit
from tests.fuzz.narrow_space import narrow_space
from tests.pnag.landscapes import grid_space
from tests.predictors.synthetic import make_table
from tests.profiler.measuring.test_journal import read_all

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

CALIBRATION = Calibration(
    intercept_ms=0.1, factors={"all": 1.0}, n_networks=4, residual_mape_pct=1.0,
    relative_quantiles={0.9: 0.02, 0.95: 0.03}, margins={0.9: (0.01, 0.1), 0.95: (0.03, 0.0)},
)  # fmt: skip


@cache
def whole_table() -> LatencyTable:
    return make_table(n_networks=4)


@cache
def narrow_table() -> LatencyTable:
    """Of all ops and some networks, too."""
    with narrow_space() as space:
        return make_table(space, n_networks=4)


@cache
def few_ops() -> LatencyTable:
    """A table with all that a table may hold, of few ops."""
    table = whole_table()
    kept = dict(list(table.ops.items())[::100])
    return table.model_copy(update={"ops": kept, "calibration": CALIBRATION})


def _tables(folder: Path) -> Sequence[bytes]:
    shortened = []
    for name in ("note10", "sd821"):
        document = json.loads((TABLES / f"{name}.json").read_text())
        document["ops"] = dict(list(document["ops"].items())[:2])
        document["networks"] = document["networks"][:1]
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


def _whole_tables(folder: Path) -> Sequence[bytes]:
    """Calibrated, and to be calibrated on their networks."""
    table = narrow_table()
    calibrated = table.model_copy(update={"calibration": CALIBRATION})
    return [calibrated.to_json().encode(), table.to_json().encode()]


def _whole_table(path: Path) -> Any:
    with narrow_space():
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


def _imported_whole(path: Path) -> Any:
    """It has all ops of the space that is known."""
    with narrow_space():
        return _imported(TableFormat.OFA_YAML)(path)


def _published_tables(field: str) -> Callable[[Path], Sequence[bytes]]:
    def seeds(folder: Path) -> Sequence[bytes]:
        keys = list(narrow_table().ops) if field == "std" else [
            op.key
            for part in open_space("proxyless").segments()
            for ops in part.ops.values()
            for op in ops
        ][:2]  # fmt: skip
        document: dict[str, Any] = {key: {"mean": 0.5} for key in keys}
        document[keys[0]] |= {"count": 9, field: 0.01}
        return [yaml.safe_dump(document).encode(), encoded(document)]

    return seeds


def _nn_meter(folder: Path) -> Sequence[bytes]:
    return [encoded({"conv_64_16_24_4_2_hard_swish_5_se": 1.25, "firstconv_224_3_24_2_3": 1.89})]


# --- Rows ------------------------------------------------------------------------------------


def csv_of(header: str, *rows: Sequence[object]) -> bytes:
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
    return [csv_of("a,b,c,top1,latency_ms", *rows), csv_of("a,b,c,top1_pct,latency_ms", *percent)]


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
        ]}), str(ofa).encode(), csv_of("arch,top1", *([arch, 0.7] for arch in archs)),
    ]  # fmt: skip


def _written(path: Path) -> Any:
    for one in read_architectures(path):
        tokens = SPACE.parse(one.text)
        assert np.array_equal(SPACE.parse(SPACE.format(tokens)), tokens)


def _measured_numbers(folder: Path) -> Sequence[bytes]:
    (arch, *_), key = _archs(), next(iter(whole_table().ops))
    return [csv_of("arch,key,latency_ms,source,width_mult,resolution_px",
                 [arch, "", 3.5, "paper", 1.0, 224], ["", key, 0.2, "paper", "", ""])]  # fmt: skip


def _published(folder: Path) -> Sequence[bytes]:
    return [
        csv_of("name,latency_ms,top1_pct,device", ["net", 30.1, 75.2, "a"], ["b", 20, 70, "a"]),
        csv_of("arch,top1", *([arch, 0.75] for arch in _archs())),
    ]


def _accuracies(folder: Path) -> Sequence[bytes]:
    archs, tokens = _archs(), SPACE.sample(4, np.random.default_rng(0))
    top1 = np.linspace(0.6, 0.7, 4)
    own = AccuracyTable(SPACE, tokens, top1, "ImageNet", "test", n_images=1000).to_json()
    published = [{"arch": arch, "w1.0": {"top1_acc": 70.5}, "w1.2": {"top1_acc": 75.5}}
                 for arch in archs]  # fmt: skip
    rows = [[arch, 0.7] for arch in archs]
    return [own.encode(), encoded(published), csv_of("arch,top1", *rows),
            csv_of("arch,top1_pct", *([arch, 70] for arch in archs))]  # fmt: skip


def _accuracy_table(path: Path) -> Any:
    table = load_accuracy_table(path, SPACE)
    assert ((table.top1 >= 0) & (table.top1 <= 1)).all()
    return table


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
    with closing(sqlite3.connect(path)) as db:  # a tenth as large: most of a page is empty
        db.executescript("PRAGMA journal_mode=DELETE; PRAGMA page_size=512; VACUUM")
        db.execute("PRAGMA journal_mode=WAL")
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


def file_readers() -> list[Reader]:
    return [
        of_file("table", "t.json", JSON, _table, _tables),
        of_file("table-whole", "t.json", JSON, _whole_table, _whole_tables),
        of_file("ofa-yaml", "t.yaml", TEXT, _imported_whole, _published_tables("std")),
        of_file("ofa-json", "t.json", JSON, _imported_whole,
                lambda folder: _published_tables("std")(folder)[1:]),
        of_file("proxyless-yaml", "t.yaml", TEXT, _imported(TableFormat.PROXYLESS_YAML),
                _published_tables("var")),
        of_file("nn-meter", "t.json", JSON, _imported(TableFormat.NN_METER_BLOCKS), _nn_meter),
        of_file("tabular-csv", "t.csv", TEXT, _tabular_space, _tabular),
        of_file("architectures", "a.txt", TEXT + JSON, _written, _architectures),
        of_file("measured-numbers", "m.csv", TEXT, read_measured_numbers, _measured_numbers),
        of_file("published", "p.csv", TEXT, lambda path: read_published(path, SPACE), _published),
        of_file("accuracy-table", "a.json", TEXT + JSON, _accuracy_table, _accuracies),
        of_file("journal", "j.sqlite", DATABASE, _journal_read, _journal),
        of_file("model-report", "m.json", JSON, read_model_report, _model_report),
        of_file("measured-networks", "m.json", JSON, lambda path: read_measured(path, INFO),
                _measured),
    ]  # fmt: skip
