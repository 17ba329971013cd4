"""Networks that others published, kept apart by what their numbers can be compared with."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace
from profiler.spaces.networks import NetworkSpace
from profiler.system.user_files import parse_csv, read_text

NAME_COLUMNS = ("name", "architecture", "model")


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
        InvalidInputError: unreadable, or neither of the two.
    """
    text = read_text(path)
    if path.suffix == ".csv":
        columns, records = parse_csv(text, path)
        if "latency_ms" in columns:
            return _networks(path, columns, records)
    if not isinstance(space, NetworkSpace):
        raise InvalidInputError(f"{path} needs the columns name, latency_ms and top1_pct")
    from predictors.accuracy.tables import load_accuracy_table

    table = load_accuracy_table(path, space)
    return [
        PublishedArchitecture(space.format(tokens), float(top1))
        for tokens, top1 in zip(table.tokens, table.top1, strict=True)
    ]


def _networks(
    path: Path, columns: Sequence[str], records: Sequence[Mapping[str, str]]
) -> list[Published]:
    named = [column for column in NAME_COLUMNS if column in columns]
    scales = {c: scale for c, scale in (("top1", 1.0), ("top1_pct", 0.01)) if c in columns}
    if not named or len(scales) != 1:
        raise InvalidInputError(f"{path} needs the columns name, latency_ms and top1_pct (or top1)")
    ((column, scale),) = scales.items()
    networks: list[Published] = []
    for row in records:
        if not (row["latency_ms"] and row[column]):
            continue
        latency_ms, top1 = _number(path, row["latency_ms"]), scale * _number(path, row[column])
        if latency_ms <= 0 or not 0 <= top1 <= 1:
            raise InvalidInputError(f"{path}: {row[named[0]]}: {latency_ms:g} ms, top-1 {top1:g}")
        device = row.get("device") or path.stem
        networks.append(PublishedNetwork(row[named[0]], latency_ms, top1, device))
    return networks


def _number(path: Path, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidInputError(f"{path}: {text!r} is not a number")
    return value
