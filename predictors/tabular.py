"""Cost and accuracy of a tabular space: looked up in its own rows."""

from __future__ import annotations

from dataclasses import dataclass

from predictors.base import Floats
from profiler.cost_columns import costs_of_columns
from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens
from profiler.spaces.tabular import TabularSpace


@dataclass(frozen=True)
class TabularCost:
    """The table's `latency_ms` as a cost function, or another measured column."""

    space: TabularSpace
    unit: str = "ms"
    column: str | None = None

    def __call__(self, tokens: Tokens) -> Floats:
        column = self.space.latency_ms if self.column is None else self.space.costs[self.column]
        costs: Floats = column[self.space.row_index(tokens)]
        return costs

    def relative_interval(self, confidence: float) -> float:
        raise InvalidInputError(
            f"no interval for confidence {confidence:g}: a tabular space states no uncertainty"
        )


def further_costs(space: TabularSpace) -> dict[str, TabularCost]:
    """The costs beside the latency, by name.

    Raises:
        InvalidInputError: two columns of one name.
    """
    costs = costs_of_columns(space.costs, space.name)
    return {name: TabularCost(space, unit, column) for name, (column, unit) in costs.items()}


@dataclass(frozen=True)
class TabularAccuracy:
    """The table's accuracies."""

    space: TabularSpace

    def top1(self, tokens: Tokens) -> Floats:
        accuracies: Floats = self.space.top1[self.space.row_index(tokens)]
        return accuracies
