"""`pnag profile` with what predictors/ adds to it: where kernels are to be measured more, what
tells most beside another device's table, and the calibration or transfer that completes a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from profiler.cli import profile as cli

if TYPE_CHECKING:
    from profiler.measuring.campaign import Chosen
    from profiler.tables.table import LatencyTable


def register(app: typer.Typer) -> None:
    cli.register(app, cli.Predicting(complete, doubts, choose))


def complete(like: LatencyTable | None, measured: LatencyTable) -> LatencyTable:
    from predictors.latency.lookup import calibrated_where_possible
    from predictors.latency.transferred import completed_like

    return calibrated_where_possible(measured) if like is None else completed_like(measured, like)


def choose(base: LatencyTable, count: int, seed: int) -> Chosen:
    from predictors.latency.transferred import worth_measuring

    return worth_measuring(base, count, seed=seed)


def doubts(table: LatencyTable, models: Sequence[Sequence[str]]) -> Sequence[float]:
    from predictors.latency import doubt

    return doubt.doubts(table, models)
