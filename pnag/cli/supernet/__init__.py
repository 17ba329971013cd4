"""`pnag supernet`: train the weight-sharing network, measure its subnets, take one out."""

from __future__ import annotations

import typer

from pnag.cli.supernet.compress import compress
from pnag.cli.supernet.evaluate import evaluate
from pnag.cli.supernet.extract import extract
from pnag.cli.supernet.train import train

app = typer.Typer(no_args_is_help=True)
for command in (train, evaluate, extract, compress):
    app.command()(command)


def register(parent: typer.Typer) -> None:
    parent.add_typer(app, name="supernet")
