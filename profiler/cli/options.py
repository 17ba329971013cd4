"""What commands share: --json and --quiet of all of them, --seed, and how a space is named."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from profiler.cli.completion import one_of
from profiler.errors import InvalidInputError
from profiler.numerals import whole_number
from profiler.system.atomic import write_text_atomic
from profiler.terminal import Terminal

R = TypeVar("R")

SPACE_NAMES = ("mbv3", "mbv3-cifar", "proxyless", "resnet50", "nasbench201")
SPACES = f"{', '.join(SPACE_NAMES)}, or FILE.py:NAME."
SpaceOption = Annotated[
    str, typer.Option("--space", help=SPACES, autocompletion=one_of(*SPACE_NAMES))
]
WidthOption = Annotated[
    float | None,
    typer.Option("--width-mult", help="Width multiplier, of those that the space has."),
]
ResolutionOption = Annotated[
    int | None, typer.Option("--resolution", help="Input size in px; by default the space's own.")
]
ResolutionsOption = Annotated[
    str | None,
    typer.Option("--resolutions", help="Sizes that networks choose from: 160,192,224."),
]
DatasetOption = Annotated[
    str | None,
    typer.Option(
        "--dataset", help="Of nasbench201: cifar10 (the default), cifar100 or imagenet16-120."
    ),
]
StatisticOption = Annotated[
    str | None,
    typer.Option(
        "--statistic",
        help="latency; p50, p90, p99 of a table of --protocol tail; first_minute, sustained of one "
        "of --protocol sustained.",
    ),
]
ArchOption = Annotated[
    str,
    typer.Option(
        "--arch", help="As the space writes it (depths:kernels:expands), or Once-for-All's dict."
    ),
]
ExportOption = Annotated[str, typer.Option("--export", help="onnx,tflite,torch")]

JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout; logs go to stderr.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.")]
SeedOption = Annotated[
    int, typer.Option("--seed", min=0, max=2**32 - 1, help="Seed of everything random.")
]


STDOUT = Path("-")  # as --out


def shared_options(command: Callable[..., R], *, to_stdout: bool = False) -> Callable[..., R]:
    """A command with --json and --quiet, which make its `terminal`, and --seed if it takes `seed`.

    `seed` is only for commands in which something is random; `to_stdout` for those that write one
    text file, which `write_text` sends to stdout for --out -. What else a command takes by keyword
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
        for name in (name for name in ("out", "figures") if options.get(name) == STDOUT):
            if name != "out" or not to_stdout:
                raise InvalidInputError(f"--{name} - is stdout, which takes one text file only")
            if json_output:
                raise InvalidInputError("--out - and --json both write to stdout; give one")
        return command(*args, terminal=Terminal(json_output, quiet), **options)

    # what inspect.signature, and so Typer, reads
    with_terminal.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    with_terminal.__annotations__ = {p.name: p.annotation for p in parameters}
    return with_terminal


def parse_resolutions(text: str | None) -> tuple[int, ...] | None:
    """Sizes by commas.

    >>> parse_resolutions("160,192,224")
    (160, 192, 224)
    """
    if text is None:
        return None
    sizes_px = tuple(size for size in map(whole_number, text.split(",")) if size is not None)
    if len(sizes_px) <= text.count(","):
        raise InvalidInputError(f"--resolutions are sizes by commas, not {text!r}")
    return sizes_px


def write_text(
    out: Path, text: str, terminal: Terminal, document: dict[str, Any], said: str
) -> None:
    """The one file of a command, and what it says of it; to stdout the file alone."""
    if out == STDOUT:
        print(text, end="", flush=True)
    else:
        write_text_atomic(out, text)
        terminal.result(document, said)


def refuse_given(context: typer.Context, *parameters: str, why: str) -> None:
    """No option is ignored: one that this command line names, and cannot honour, is refused.

    Raises:
        InvalidInputError: one of `parameters` was given, whatever its value.
    """
    for parameter in parameters:
        if getattr(context.get_parameter_source(parameter), "name", "") == "COMMANDLINE":
            raise InvalidInputError(f"--{parameter.replace('_', '-')} {why}")
