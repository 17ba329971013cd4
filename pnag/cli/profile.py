"""`pnag profile` with what predictors/ adds to it: where kernels are to be measured more, what
tells most beside another device's table, and the calibration or transfer that completes a table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from profiler.cli import profile as cli

if TYPE_CHECKING:
    from profiler.measuring.campaign import Chosen
    from profiler.tables.table import LatencyTable


def register(app: typer.Typer) -> None:
    cli.register(app, finish, doubts, choose)


def finish(table: Path, like: Path | None) -> None:
    from predictors.latency.lookup import calibrate_file
    from predictors.latency.transferred import transfer_file

    if like is None:
        calibrate_file(table)
    else:
        transfer_file(table, like)


def choose(base: LatencyTable, count: int, seed: int) -> Chosen:
    from predictors.latency.transferred import worth_measuring

    return worth_measuring(base, count, seed=seed)


def doubts(table: LatencyTable, models: Sequence[Sequence[str]]) -> Sequence[float]:
    from predictors.latency import doubt

    return doubt.doubts(table, models)
