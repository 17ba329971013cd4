"""The whole job on one device: profile, calibrate, train, generate, measure, compare."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pnag.learning.settings import TrainSettings
from pnag.runs.inputs import table_inputs
from pnag.runs.run import Run, train_run
from pnag.search.budget import spread_budgets_ms
from predictors.latency.lookup import calibrated_where_possible
from profiler.devices.registry import backend_of
from profiler.errors import InvalidInputError
from profiler.measuring.campaign import ProfileRequest
from profiler.measuring.journal import journal_path
from profiler.measuring.protocol import protocol_of
from profiler.measuring.session import Session
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.atomic import write_text_atomic
from profiler.system.lock import device_lock
from profiler.system.sqlite_files import remove_database
from profiler.system.user_files import read_json
from profiler.tables.table import LatencyTable, load_table
from profiler.terminal import Terminal

SCHEMA = "pnag.demo/1"
BEGUN, REPORT, TABLE, RUN = "demo.json", "report.json", "table.json", "run"
PLOTS = ("frontier.png", "frontier.svg")
N_NETWORKS = 20


@dataclass(frozen=True)
class DemoRow:
    """One budget: what was promised, and what the device then showed."""

    budget_ms: float
    arch: str
    top1: float
    predicted_ms: float
    interval_ms: tuple[float, float] | None
    measured_ms: float
    measured_ci95_ms: tuple[float, float] | None
    verdict: str

    @property
    def error_pct(self) -> float:
        """Measured against predicted."""
        return 100 * (self.measured_ms / self.predicted_ms - 1)


@dataclass(frozen=True)
class DemoResult:
    rows: tuple[DemoRow, ...]
    reachable_ms: tuple[float, float]
    files: tuple[Path, ...]


def run_demo(
    folder: Path, terminal: Terminal, *, device: str = "cpu", fresh: bool = False, seed: int = 0
) -> DemoResult:
    """Everything in `folder`; what an interrupted demo left there is gone on with.

    A finished demo, or with `fresh` any, is removed first, once the device is there.

    Raises:
        InvalidInputError: `folder` holds files of something else, or a demo of another device
            or seed that is not finished.
        DeviceUnavailableError: the device is absent, locked, or not quiescent.
    """
    with (
        Session.open(device, terminal) as session,
        device_lock(f"demo {folder.resolve()}"),
    ):
        _begin(folder, {"device": device, "seed": seed}, fresh=fresh)
        table = _profiled(folder / TABLE, device, seed, session)
        inputs, settings = table_inputs(folder / TABLE), TrainSettings(seed=seed)
        run = train_run(inputs, settings, folder / RUN, resume=True, terminal=terminal)
        rows = _generated_and_measured(run, table, seed, session)
    files = _write(folder, rows, run, table)
    return DemoResult(tuple(rows), run.reachable_ms, files)


def _begin(folder: Path, settings: dict[str, Any], *, fresh: bool) -> None:
    """Leave in `folder` nothing but an unfinished demo of these settings."""
    begun, journal = folder / BEGUN, journal_path(folder / TABLE)
    made = [folder / name for name in (TABLE, *PLOTS, REPORT)]
    found = next((path for path in (*made, folder / RUN) if path.exists()), None)
    if not begun.exists():
        if found is not None:
            raise InvalidInputError(f"{found} is not of a demo; use another --out")
    elif fresh or (folder / REPORT).exists():
        shutil.rmtree(folder / RUN, ignore_errors=True)
        remove_database(journal)
        for path in made:  # the report last: without it what is left is an unfinished demo
            path.unlink(missing_ok=True)
    elif (found is not None or journal.exists()) and read_json(begun) != settings:
        raise InvalidInputError(
            f"{folder} holds an unfinished demo of another device or seed; --fresh or another --out"
        )
    write_text_atomic(begun, json.dumps(settings) + "\n")


def _profiled(path: Path, device: str, seed: int, session: Session) -> LatencyTable:
    if not path.exists():
        space = MobileNetV3Space()
        session.terminal.note(
            f"Profiling {device}: all ops of {space.name} and {N_NETWORKS} networks"
        )
        request = ProfileRequest(
            device,
            space,
            path,
            protocol_of(backend_of(device), quick=True),
            n_networks=N_NETWORKS,
            seed=seed,
            complete=calibrated_where_possible,
        )
        session.profile(request)
    return load_table(path)


def _generated_and_measured(
    run: Run, table: LatencyTable, seed: int, session: Session
) -> list[DemoRow]:
    budgets_ms = [round(budget_ms, 2) for budget_ms in spread_budgets_ms(*run.reachable_ms)]
    made = run.generate(budgets_ms, pure=True, seed=seed)
    session.terminal.note("Measuring the generated networks")
    entries = session.measure_networks(table, [one.arch for one in made], seed=seed)
    return [
        DemoRow(
            one.budget_ms, one.arch, one.top1, one.latency_ms, one.interval_ms,
            entry.latency_ms, entry.ci95_ms, entry.verdict.value,
        )
        for one, entry in zip(made, entries, strict=True)
    ]  # fmt: skip


def _write(folder: Path, rows: list[DemoRow], run: Run, table: LatencyTable) -> tuple[Path, ...]:
    from pnag.plots import frontier_plot

    frontier = run.frontier()
    measured_ms, top1 = np.array([[row.measured_ms, row.top1] for row in rows]).T
    archive = run.learners[0].archive
    plots = [folder / name for name in PLOTS]
    frontier_plot(
        plots,
        {"generated": frontier},
        cloud=(archive.cost_ms, archive.top1),
        points={"measured": (measured_ms, top1)},
        title=f"{table.space} on {table.device.model}",
    )
    report = folder / REPORT
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "device": asdict(table.device),
        "space": table.space.model_dump(),
        "reachable_ms": list(run.reachable_ms),
        "calibration": table.calibration.model_dump() if table.calibration else None,
        "rows": [asdict(row) | {"error_pct": row.error_pct} for row in rows],
        "frontier": [asdict(point) for point in frontier.points],
    }
    write_text_atomic(report, json.dumps(document, indent=1, default=_plain) + "\n")
    return (*plots, report)


def _plain(value: object) -> object:
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"{type(value).__name__} is not JSON")
