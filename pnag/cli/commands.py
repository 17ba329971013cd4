"""The commands of all three packages; each is imported when it is asked for, so that the start of
one does not wait for the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import import_module
from typing import Any, cast

import typer
from typer.core import TyperGroup
from typer.main import get_group

from pnag.cli.help_examples import add_examples

COMMANDS = {  # name: its module, and the line of `pnag --help`
    "devices": ("pnag.cli.profile", "What can be measured, and what disturbs it."),
    "profile": ("pnag.cli.profile", "Measure a space on a device: a latency table."),
    "predict": ("predictors.cli.predict", "Latency of architectures and ONNX networks."),
    "train": ("pnag.cli.train", "Train evaluator and generator on a table."),
    "generate": ("pnag.cli.generate", "The best architecture within each budget."),
    "demo": ("pnag.cli.demo", "The whole job on this machine's CPU."),
    "report": ("pnag.cli.report", "One HTML page of runs or model files; figures for papers."),
    "serve": ("pnag.cli.serve", "Answer budgets over HTTP."),
    "help": ("pnag.cli.show_help", "Pages of the documentation, offline."),
    "space": ("profiler.cli.space", "Describe a search space, inspect an architecture."),
    "table": ("predictors.cli.table", "Show, convert, transfer, compare and check latency tables."),
    "supernet": ("pnag.cli.supernet", "Train a supernet; evaluate and extract subnets."),
}


@cache
def command(name: str) -> Any:
    """One command, or a group of them.

    Raises:
        KeyError: there is none of that name.
    """
    module, summary = COMMANDS[name]
    part = typer.Typer(rich_markup_mode=None)
    import_module(module).register(part)
    add_examples(part)
    found = get_group(part).commands[name]
    found.short_help = summary
    if isinstance(found, TyperGroup):
        found.help = summary
    return found


class _Imported(Mapping[str, Any]):
    """All commands by name, each imported as it is read."""

    def __getitem__(self, name: str) -> Any:
        return command(name)

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class ImportedGroup(TyperGroup):
    """`pnag` itself: its help imports no command."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = cast(Any, _Imported())

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in COMMANDS.items()])
