"""Columns that hold a measured cost: what it is, and in which unit, is in their names."""

from __future__ import annotations

from collections.abc import Iterable

from profiler.errors import InvalidInputError

UNITS = {"ms": "ms", "mj": "mJ", "mb": "MB"}  # by how a name ends


def cost_of_column(column: str) -> tuple[str, str] | None:
    """Name and unit of the cost that a column holds; None for other columns.

    >>> cost_of_column("energy_mj"), cost_of_column("pi5_ms"), cost_of_column("width")
    (('energy', 'mJ'), ('pi5', 'ms'), None)
    """
    name, _, ending = column.rpartition("_")
    unit = UNITS.get(ending.lower())
    return (name, unit) if name and unit else None


def costs_of_columns(columns: Iterable[str], source: object) -> dict[str, tuple[str, str]]:
    """Column and unit of each cost that columns hold, by its name; other columns are left alone.

    Raises:
        InvalidInputError: two columns of one name.
    """
    costs: dict[str, tuple[str, str]] = {}
    for column in columns:
        if (cost := cost_of_column(column)) is not None:
            name, unit = cost
            if name in costs:
                raise InvalidInputError(f"{source} has two columns of {name}; rename one")
            costs[name] = column, unit
    return costs


def column_of_cost(name: str, unit: str) -> str:
    """The column of a cost.

    >>> column_of_cost("energy", "mJ"), column_of_cost("params", "params")
    ('energy_mj', 'params')
    """
    return name if name == unit else f"{name}_{unit.lower()}"
