"""`pnag profile` with its last step: the calibration that predictors/ fits into the table."""

from __future__ import annotations

from pathlib import Path

import typer

from profiler.cli import profile as cli


def register(app: typer.Typer) -> None:
    cli.register(app, calibrate)


def calibrate(table: Path) -> None:
    from predictors.latency.lookup import calibrate_file

    calibrate_file(table)
