"""A search space given row by row: any tabular benchmark in a CSV file."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiler.cost_columns import cost_of_column
from profiler.errors import InvalidInputError
from profiler.spaces.base import MAX_CHOICES, TokenPosition, Tokens
from profiler.spaces.decisions import DecisionGraph, trie
from profiler.system.row_files import Row, fractions, parse_rows, share_columns
from profiler.system.user_files import read_text

ACCURACY = "top1"
LATENCY_COLUMN = "latency_ms"


@dataclass(frozen=True)
class TabularSpace:
    """Architectures are the rows of a table, and only those.

    Attributes:
        rows: [R, L] tokens, distinct, in the order of the file.
        top1: [R] accuracies as fractions. latency_ms: [R].
        costs: further measured ones [R] by column, whose name ends in the unit.
    """

    name: str
    positions: tuple[TokenPosition, ...]
    rows: Tokens = field(repr=False)
    top1: NDArray[np.float64] = field(repr=False)
    latency_ms: NDArray[np.float64] = field(repr=False)
    costs: Mapping[str, NDArray[np.float64]] = field(repr=False, default_factory=dict)

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
        """In order; the same ones in that of the file."""
        keys = _row_keys(self.rows)
        order = np.argsort(keys, kind="stable")
        return keys[order], order

    def repeated(self) -> tuple[int, int] | None:
        """The first row that is listed again, and where it is again; None if all are distinct."""
        keys, order = self._sorted_keys
        again = np.flatnonzero(keys[1:] == keys[:-1])
        if not len(again):
            return None
        second = int(order[again + 1].min())
        first = int(order[np.searchsorted(keys, _row_keys(self.rows[second : second + 1]))[0]])
        return first, second


def _row_keys(tokens: Tokens) -> NDArray[np.void]:
    """Rows as opaque byte strings, which sort and compare at once."""
    rows = np.ascontiguousarray(tokens)
    return rows.view(np.dtype((np.void, rows.shape[1]))).ravel()


def load_tabular_space(path: Path) -> TabularSpace:
    """Read one column per token, then `top1` or `top1_pct`, and `latency_ms`.

    Further costs come after the accuracy, in columns like `energy_mj` and `phone_ms`.

    Raises:
        InvalidInputError: unreadable, malformed, duplicate rows, or values out of range.
    """
    table = parse_rows(read_text(path), path)
    if not table.rows:
        raise InvalidInputError(f"{path} has no rows")
    accuracy = share_columns(table.header, ACCURACY)
    if len(accuracy) != 1 or LATENCY_COLUMN not in table.header:
        raise InvalidInputError(
            f"{path}: the header needs token columns, then {ACCURACY} (a fraction) or "
            f"{ACCURACY}_pct, and {LATENCY_COLUMN}"
        )
    after = table.header[table.header.index(accuracy[0]) + 1 :]
    costs = [name for name in after if cost_of_column(name) and name != LATENCY_COLUMN]
    others = (accuracy[0], LATENCY_COLUMN, *costs)
    names = [name for name in table.header if name not in others]
    if not names:
        raise InvalidInputError(f"{path} has no token columns")
    positions, columns = zip(*(_tokenised(table.rows, name) for name in names), strict=True)
    space = TabularSpace(
        f"tabular:{path}",
        positions,
        np.stack(columns, axis=1),
        np.array(fractions(table.rows, accuracy[0])),
        _measured(table.rows, LATENCY_COLUMN),
        {name: _measured(table.rows, name) for name in costs},
    )
    if repeated := space.repeated():
        first, second = (table.rows[at] for at in repeated)
        arch = space.format(space.rows[repeated[1]])
        raise second.refused(f"{arch} is listed twice, first in line {first.line}")
    return space


def _measured(rows: Sequence[Row], column: str) -> NDArray[np.float64]:
    return np.array([row.positive(column) for row in rows])


def _tokenised(rows: Sequence[Row], name: str) -> tuple[TokenPosition, Tokens]:
    """A column as a position and [R] tokens; where all values are numbers, these are in order."""
    column = [row.text(name) for row in rows]
    first = dict(zip(reversed(column), reversed(rows), strict=True))
    if len(first) > MAX_CHOICES:
        raise InvalidInputError(
            f"{rows[0].source}: column {name} has {len(first)} values (> {MAX_CHOICES})"
        )
    numbers = {value: _number(value) for value in first}
    if not all(map(math.isfinite, numbers.values())):
        choices = tuple(sorted(first))
    else:
        choices = tuple(sorted(sorted(first), key=numbers.__getitem__))
        for one, other in itertools.pairwise(choices):
            if numbers[one] == numbers[other]:
                row = max(first[one], first[other], key=lambda row: row.line)
                raise row.refused(f"{name} is both {one} and {other}; write a value in one way")
    index = {choice: number for number, choice in enumerate(choices)}
    return TokenPosition(name, choices), np.array([index[value] for value in column], np.int8)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
