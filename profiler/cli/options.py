"""What commands share: --json and --quiet of all of them, --seed, and how a space is named."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import typer

from profiler.terminal import Terminal

R = TypeVar("R")

SpaceOption = Annotated[str, typer.Option("--space", help="mbv3 or mbv3-cifar.")]
WidthOption = Annotated[float, typer.Option("--width-mult", help="Width multiplier, 1.0 or 1.2.")]
ResolutionOption = Annotated[
    int | None, typer.Option("--resolution", help="Input size in px; by default the space's own.")
]
ArchOption = Annotated[
    str, typer.Option("--arch", help="depths:kernels:expands, or Once-for-All's dict as JSON.")
]
ExportOption = Annotated[str, typer.Option("--export", help="onnx,tflite,torch")]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; logs go to stderr.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of everything random.")
]


def shared_options(command: Callable[..., R]) -> Callable[..., R]:
    """A command with --json and --quiet, which make its `terminal`, and --seed if it takes `seed`.

    `seed` is only for commands in which something is random. What else a command takes by keyword
    only is no option of it.
    """
    signature = inspect.signature(command, eval_str=True)
    shared: dict[str, tuple[Any, Any]] = {
        "json_output": (JsonOption, False),
        "quiet": (QuietOption, False),
    }
    if "seed" in signature.parameters:
        shared["seed"] = (SeedOption, 0)
    own = [p for p in signature.parameters.values() if p.kind is not p.KEYWORD_ONLY]
    parameters = own + [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=option)
        for name, (option, default) in shared.items()
    ]

    @functools.wraps(command)
    def with_terminal(*args: Any, json_output: bool, quiet: bool, **options: Any) -> R:
        return command(*args, terminal=Terminal(json_output, quiet), **options)

    # what inspect.signature, and so Typer, reads
    with_terminal.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_terminal.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_terminal
