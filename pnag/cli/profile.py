"""`pnag profile` with its last step: the calibration that predictors/ fits into the table."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import typer

from profiler.cli import profile as cli


def register(app: typer.Typer) -> None:
    app.command("devices", short_help="What can be measured, and what disturbs it.")(cli.devices)
    app.command("profile", short_help="Measure a space on a device: a latency table.")(profile)


@functools.wraps(cli.profile)
def profile(*args: Any, **options: Any) -> list[Path]:
    paths = cli.profile(*args, **options)
    for path in paths:
        calibrate_file(path)
    return paths


def calibrate_file(path: Path) -> None:
    """Fit the table's calibration on its networks and store it; too few, and it stays as it is."""
    from predictors.latency.calibration import MIN_NETWORKS, usable_networks
    from predictors.latency.lookup import calibrated
    from profiler.tables.table import read_table

    table = read_table(path)
    complete = table.search_space.distinct_ops().keys() <= table.ops.keys()
    if complete and len(usable_networks(table)) >= MIN_NETWORKS:
        calibrated(table).save(path)
