"""Cost and accuracy of a tabular space: looked up in its own rows."""

from __future__ import annotations

from dataclasses import dataclass

from predictors.base import Floats
from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens
from profiler.spaces.tabular import TabularSpace


@dataclass(frozen=True)
class TabularCost:
    """The table's `latency_ms` as a cost function."""

    space: TabularSpace
    unit: str = "ms"

    def __call__(self, tokens: Tokens) -> Floats:
        latencies: Floats = self.space.latency_ms[self.space.row_index(tokens)]
        return latencies

    def relative_interval(self, confidence: float) -> float:
        raise InvalidInputError(
            f"no interval for confidence {confidence:g}: a tabular space states no uncertainty"
        )


@dataclass(frozen=True)
class TabularAccuracy:
    """The table's accuracies."""

    space: TabularSpace

    def top1(self, tokens: Tokens) -> Floats:
        accuracies: Floats = self.space.top1[self.space.row_index(tokens)]
        return accuracies
