"""Networks that others published, kept apart by what their numbers can be compared with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace
from profiler.spaces.networks import NetworkSpace
from profiler.system.row_files import Rows, fractions, parse_rows, share_columns
from profiler.system.user_files import read_text

NAME_COLUMNS = ("name", "architecture", "model")
NEEDED = "{} needs the columns name, latency_ms and top1_pct (or top1)"


@dataclass(frozen=True)
class PublishedNetwork:
    """One network as published: its latency is of `device`, its accuracy a fraction."""

    name: str
    latency_ms: float
    top1: float
    device: str


@dataclass(frozen=True)
class PublishedArchitecture:
    """An architecture of the run's own space, whose latency is predicted here."""

    arch: str
    top1: float


Published = PublishedNetwork | PublishedArchitecture


def read_published(path: Path, space: SearchSpace) -> list[Published]:
    """Read networks published by others.

    A CSV with `name`, `latency_ms`, `top1_pct` (or `top1`, a fraction) and, where it is known,
    `device`: rows that lack a latency or an accuracy are left out, and without `device` the
    file's name stands for it, so that no other device's latencies are mixed in. Any other
    file is read as accuracies of architectures of `space` (predictors/accuracy/tables.py).

    Raises:
        InvalidInputError: unreadable, neither of the two, or without anything to show.
    """
    text = read_text(path)
    if path.suffix == ".csv":
        networks = parse_rows(text, path)
        of_space = "arch" in networks.header and not _name_columns(networks)  # as frontier.csv
        if "latency_ms" in networks.header and not of_space:
            return _networks(path, networks)
    if not isinstance(space, NetworkSpace):
        raise InvalidInputError(NEEDED.format(path))
    from predictors.accuracy.tables import load_accuracy_table

    table = load_accuracy_table(path, space)
    return [
        PublishedArchitecture(space.format(tokens), float(top1))
        for tokens, top1 in zip(table.tokens, table.top1, strict=True)
    ]


def _networks(path: Path, table: Rows) -> list[Published]:
    names, accuracies = _name_columns(table), share_columns(table.header, "top1")
    if not names or len(accuracies) != 1:
        raise InvalidInputError(NEEDED.format(path))
    rows = [row for row in table.rows if row.cells["latency_ms"] and row.cells[accuracies[0]]]
    if not rows:
        raise InvalidInputError(f"{path} has no row with both a latency and an accuracy")
    return [
        PublishedNetwork(
            row.text(names[0]),
            row.positive("latency_ms"),
            top1,
            row.cells.get("device") or path.stem,
        )
        for row, top1 in zip(rows, fractions(rows, accuracies[0]), strict=True)
    ]


def _name_columns(table: Rows) -> list[str]:
    return [column for column in NAME_COLUMNS if column in table.header]
