"""A search space given row by row: any tabular benchmark in a CSV file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiler.errors import InvalidInputError
from profiler.spaces.base import TokenPosition, Tokens
from profiler.spaces.decisions import DecisionGraph, trie
from profiler.system.user_files import parse_csv, read_text

ACCURACY_COLUMNS = {"top1": 1.0, "top1_pct": 100.0}  # header -> what stands for all correct
LATENCY_COLUMN = "latency_ms"
MAX_CHOICES = 127  # tokens are int8


@dataclass(frozen=True)
class TabularSpace:
    """Architectures are the rows of a table, and only those.

    Attributes:
        rows: [R, L] tokens, distinct, in the order of the file.
        top1: [R] accuracies as fractions. latency_ms: [R].
    """

    name: str
    positions: tuple[TokenPosition, ...]
    rows: Tokens = field(repr=False)
    top1: NDArray[np.float64] = field(repr=False)
    latency_ms: NDArray[np.float64] = field(repr=False)

    def sample(self, n: int, rng: np.random.Generator) -> Tokens:
        """[n, L] rows, uniform with replacement."""
        drawn: Tokens = self.rows[rng.integers(len(self.rows), size=n)]
        return drawn

    def parse(self, text: str) -> Tokens:
        """[L] tokens of comma-separated values.

        Raises:
            InvalidInputError: wrong length, unknown value, or not a row of the file.
        """
        values = [value.strip() for value in text.split(",")]
        if len(values) != len(self.positions):
            raise InvalidInputError(
                f"malformed architecture {text!r}: {len(values)} values, "
                f"expected {len(self.positions)}"
            )
        row = []
        for value, position in zip(values, self.positions, strict=True):
            if value not in position.choices:
                raise InvalidInputError(f"{position.name} has no choice {value!r}")
            row.append(position.choices.index(value))
        tokens = np.array(row, dtype=np.int8)
        self.row_index(tokens[None])
        return tokens

    def format(self, tokens: Tokens) -> str:
        return ",".join(self.values(tokens))

    def values(self, tokens: Tokens) -> list[str]:
        """The token values of one row [L], as written in the file."""
        pairs = zip(self.positions, np.asarray(tokens), strict=True)
        return [str(position.choices[token]) for position, token in pairs]

    def other_forms(self, tokens: Tokens) -> dict[str, object]:
        return {"tokens": self.values(tokens)}

    @cached_property
    def decisions(self) -> DecisionGraph:
        """The trie of the rows: only these can be decided."""
        return trie(self.rows, max(len(position.choices) for position in self.positions))

    def row_index(self, tokens: Tokens) -> NDArray[np.int64]:
        """[n] rows of the file that [n, L] tokens are.

        Raises:
            InvalidInputError: tokens that are no row.
        """
        keys, order = self._sorted_keys
        wanted = _row_keys(np.asarray(tokens))
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        if (keys[found] != wanted).any():
            missing = np.asarray(tokens)[np.argmax(keys[found] != wanted)]
            raise InvalidInputError(f"{self.format(missing)} is not a row of {self.name}")
        index: NDArray[np.int64] = order[found]
        return index

    @cached_property
    def _sorted_keys(self) -> tuple[NDArray[np.void], NDArray[np.int64]]:
        keys = _row_keys(self.rows)
        order = np.argsort(keys)
        return keys[order], order


def _row_keys(tokens: Tokens) -> NDArray[np.void]:
    """Rows as opaque byte strings, which sort and compare at once."""
    rows = np.ascontiguousarray(tokens)
    return rows.view(np.dtype((np.void, rows.shape[1]))).ravel()


def load_tabular_space(path: Path) -> TabularSpace:
    """Read one column per token, then `top1` or `top1_pct`, and `latency_ms`.

    Raises:
        InvalidInputError: unreadable, malformed, duplicate rows, or values out of range.
    """
    header, records = parse_csv(read_text(path), path)
    if not records:
        raise InvalidInputError(f"{path} has no rows")
    accuracy = [name for name in header if name in ACCURACY_COLUMNS]
    if len(accuracy) != 1 or header.count(LATENCY_COLUMN) != 1 or len(set(header)) < len(header):
        raise InvalidInputError(
            f"{path}: the header needs distinct token columns, then one of "
            f"{' or '.join(ACCURACY_COLUMNS)}, and {LATENCY_COLUMN}"
        )
    names = [name for name in header if name not in (accuracy[0], LATENCY_COLUMN)]
    if not names:
        raise InvalidInputError(f"{path} has no token columns")
    columns = {name: [record[name] for record in records] for name in header}
    positions, tokens = [], []
    for name in names:
        position, column = _tokenise(path, name, columns[name])
        positions.append(position)
        tokens.append(column)
    rows = np.stack(tokens, axis=1)
    if len(np.unique(rows, axis=0)) < len(rows):
        raise InvalidInputError(f"{path} lists an architecture twice")
    top1 = _numbers(path, accuracy[0], columns[accuracy[0]]) / ACCURACY_COLUMNS[accuracy[0]]
    latency_ms = _numbers(path, LATENCY_COLUMN, columns[LATENCY_COLUMN])
    if not ((top1 >= 0) & (top1 <= 1)).all():
        raise InvalidInputError(f"{path}: {accuracy[0]} outside its range (a percentage?)")
    if not (latency_ms > 0).all():
        raise InvalidInputError(f"{path}: {LATENCY_COLUMN} must be positive")
    return TabularSpace(f"tabular:{path}", tuple(positions), rows, top1, latency_ms)


def _tokenise(path: Path, name: str, column: Sequence[str]) -> tuple[TokenPosition, Tokens]:
    choices = tuple(dict.fromkeys(column))
    try:
        choices = tuple(sorted(choices, key=float))
    except ValueError:
        choices = tuple(sorted(choices))
    if len(choices) > MAX_CHOICES:
        raise InvalidInputError(f"{path}: column {name} has {len(choices)} values (> 127)")
    index = {choice: number for number, choice in enumerate(choices)}
    tokens = np.array([index[choice] for choice in column], dtype=np.int8)
    return TokenPosition(name, choices), tokens


def _numbers(path: Path, name: str, column: Sequence[str]) -> NDArray[np.float64]:
    numbers = []
    for line, text in enumerate(column, start=2):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InvalidInputError(f"{path} line {line}: {name} {text!r} is not a number")
        numbers.append(number)
    return np.array(numbers)
