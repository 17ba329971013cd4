"""`pnag profile` with what predictors/ adds to it: where kernels are to be measured more, and the
calibration that is fitted into a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from profiler.cli import profile as cli

if TYPE_CHECKING:
    from profiler.tables.table import LatencyTable


def register(app: typer.Typer) -> None:
    cli.register(app, calibrate, doubts)


def calibrate(table: Path) -> None:
    from predictors.latency.lookup import calibrate_file

    calibrate_file(table)


def doubts(table: LatencyTable, models: Sequence[Sequence[str]]) -> Sequence[float]:
    from predictors.latency import doubt

    return doubt.doubts(table, models)
