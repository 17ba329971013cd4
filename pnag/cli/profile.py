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
    from predictors.latency.lookup import calibrate_file

    paths = cli.profile(*args, **options)
    for path in paths:
        calibrate_file(path)
    return paths
