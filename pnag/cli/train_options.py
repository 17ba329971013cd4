"""Options that all trainings have."""

from __future__ import annotations

from typing import Annotated

import typer

from profiler.cli.completion import one_of

TrackOption = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        help="Log to tensorboard, mlflow or wandb, too; repeatable.",
        autocompletion=one_of("tensorboard", "mlflow", "wandb"),
    ),
]
