"""`pnag predict`, and `pnag table transfer`."""

from __future__ import annotations

import typer

from predictors.cli import predict
from predictors.cli.transfer import transfer
from profiler.cli.table import app as table_app

table_app.command()(transfer)


def register(app: typer.Typer) -> None:
    predict.register(app)
