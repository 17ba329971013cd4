"""Measured costs of all architectures of a space that can be listed, looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Final, Protocol, runtime_checkable

import numpy as np

from predictors.base import Floats
from profiler.cost_columns import costs_of_columns
from profiler.errors import InvalidInputError
from profiler.spaces.base import SearchSpace, Tokens
from profiler.spaces.decisions import Ints
from profiler.system.row_files import parse_rows
from profiler.system.tensor_files import described, description_of, read_arrays, write_arrays
from profiler.system.user_files import read_text

METADATA: Final = "costs"
SCHEMA: Final = "pnag.costs/1"
ARCH = "arch"


@runtime_checkable
class Listed(Protocol):
    """A space that lists its architectures."""

    def every(self) -> Tokens:
        """[N, L] all of them."""
        ...


@dataclass(frozen=True)
class EnumeratedCost:
    """A measured cost by number of the architecture.

    Attributes:
        values: [C_1 · C_2 · ...] in `unit`.
    """

    space: SearchSpace
    values: Floats = field(repr=False)
    unit: str

    def __call__(self, tokens: Tokens) -> Floats:
        found: Floats = self.values[numbers_of(self.space, tokens)]
        return found

    def relative_interval(self, confidence: float) -> float:
        raise InvalidInputError(
            f"no interval for confidence {confidence:g}: measured costs of all architectures "
            "state no uncertainty"
        )


def numbers_of(space: SearchSpace, tokens: Tokens) -> Ints:
    """[n] architectures [n, L] as `np.ravel_multi_index` counts their tokens."""
    columns = np.asarray(tokens, np.int64).T
    numbers: Ints = np.ravel_multi_index(tuple(columns), _shape(space))
    return numbers


def n_numbers(space: SearchSpace) -> int:
    """How many `numbers_of` there are."""
    return prod(_shape(space))


def read_costs(path: Path, space: SearchSpace) -> dict[str, EnumeratedCost]:
    """Costs by name from a CSV with a row for each architecture: `arch`, and columns that end in
    a unit, like `energy_mj`; other columns are left alone.

    Raises:
        InvalidInputError: unreadable or malformed; two columns of one cost; architectures that are
            missing, or there twice; a space of more than can be listed.
    """
    if not isinstance(space, Listed):
        raise InvalidInputError(f"{space.name} has too many architectures to give a cost of each")
    table = parse_rows(read_text(path), path)
    costs = costs_of_columns(table.header, path)
    if ARCH not in table.header or not costs:
        raise InvalidInputError(
            f"{path}: the header needs {ARCH} and a column that ends in a unit, like energy_mj"
        )
    values = {column: np.full(n_numbers(space), np.nan) for column, _ in costs.values()}
    lines: dict[int, int] = {}
    for row in table.rows:
        try:
            tokens = space.parse(row.text(ARCH))
        except InvalidInputError as error:
            raise row.refused(str(error)) from None
        number = int(numbers_of(space, tokens[None])[0])
        if number in lines:
            raise row.refused(f"{row.text(ARCH)} is listed twice, first in line {lines[number]}")
        lines[number] = row.line
        for column, of_all in values.items():
            of_all[number] = row.positive(column)
    n_all = len(space.every())
    if len(lines) != n_all:
        raise InvalidInputError(
            f"{path} has costs of {len(lines)} architectures, {space.name} has {n_all}"
        )
    return {
        name: EnumeratedCost(space, values[column], unit) for name, (column, unit) in costs.items()
    }


def save_costs(path: Path, costs: Mapping[str, EnumeratedCost]) -> None:
    """Write a file that `load_costs` reads."""
    description = {"schema": SCHEMA, "units": {name: cost.unit for name, cost in costs.items()}}
    arrays = {name: cost.values for name, cost in costs.items()}
    write_arrays(path, arrays, described(METADATA, description))


def load_costs(path: Path, space: SearchSpace) -> dict[str, EnumeratedCost]:
    """What `save_costs` wrote.

    Raises:
        InvalidInputError: unreadable, damaged, or of another space.
    """
    arrays, metadata = read_arrays(path)
    units = description_of(metadata, METADATA, SCHEMA, path).get("units")
    if not isinstance(units, dict) or units.keys() != arrays.keys():
        raise InvalidInputError(f"{path} is damaged: it does not say the units of its costs")
    for name, values in arrays.items():
        if values.shape != (n_numbers(space),) or values.dtype != np.float64:
            raise InvalidInputError(f"{path}: {name} is not a cost of each of {space.name}")
        if not (values > 0).all():
            raise InvalidInputError(f"{path} is damaged: {name} holds costs that are not above 0")
    return {name: EnumeratedCost(space, arrays[name], str(units[name])) for name in sorted(arrays)}


def _shape(space: SearchSpace) -> tuple[int, ...]:
    return tuple(len(position.choices) for position in space.positions)
