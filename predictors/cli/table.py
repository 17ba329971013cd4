"""`pnag table` with what predictors/ adds to it."""

from __future__ import annotations

from predictors.cli.transfer import transfer
from profiler.cli.table import app, register

__all__ = ["register"]

app.command()(transfer)
