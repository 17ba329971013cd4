"""Frontiers of accuracy against cost: non-dominated sets and hypervolume."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from predictors.base import Floats


@dataclass(frozen=True, slots=True)
class FrontierPoint:
    """One architecture, as written, with its cost and accuracy (a fraction), and the intervals
    of both where there are any."""

    arch: str
    latency_ms: float
    top1: float
    interval_ms: tuple[float, float] | None = field(default=None, repr=False)
    top1_interval: tuple[float, float] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Frontier:
    """Points that no other point dominates, by rising latency (so by rising accuracy too)."""

    points: tuple[FrontierPoint, ...]

    @classmethod
    def of(cls, points: Iterable[FrontierPoint]) -> Frontier:
        """The non-dominated ones of any points; of equals, the first.

        >>> Frontier.of([FrontierPoint("a", 2, 0.7), FrontierPoint("b", 3, 0.6)]).points
        (FrontierPoint(arch='a', latency_ms=2, top1=0.7),)
        """
        every = list(points)
        latencies = np.array([point.latency_ms for point in every], dtype=np.float64)
        accuracies = np.array([point.top1 for point in every], dtype=np.float64)
        return cls(tuple(every[i] for i in non_dominated(latencies, accuracies)))

    def __iter__(self) -> Iterator[FrontierPoint]:
        return iter(self.points)

    def __len__(self) -> int:
        return len(self.points)

    def hypervolume(self, *, worst_latency_ms: float, worst_top1: float) -> float:
        """Area in ms · accuracy that the points dominate within the reference point."""
        return hypervolume(
            np.array([point.latency_ms for point in self.points]),
            np.array([point.top1 for point in self.points]),
            worst_latency_ms,
            worst_top1,
        )


def non_dominated(costs: Floats, accuracies: Floats) -> NDArray[np.int64]:
    """Indices of points that none beats in one and matches in the other, by rising cost."""
    order = np.lexsort((np.arange(len(costs)), -accuracies, costs))
    best = np.concatenate([[-np.inf], np.maximum.accumulate(accuracies[order])[:-1]])
    kept: NDArray[np.int64] = order[accuracies[order] > best]
    return kept


def hypervolume(
    costs: Floats, accuracies: Floats, worst_cost: float, worst_accuracy: float
) -> float:
    """Exact 2-D hypervolume: cost is minimised, accuracy maximised.

    The union of the rectangles between each point and the reference point; points beyond
    the reference add nothing.

    >>> hypervolume(np.array([1.0, 2.0]), np.array([0.5, 0.8]), 3.0, 0.0)
    1.3
    """
    inside = (costs < worst_cost) & (accuracies > worst_accuracy)
    costs, accuracies = costs[inside], accuracies[inside]
    kept = non_dominated(costs, accuracies)
    right = np.append(costs[kept][1:], worst_cost)
    return float(np.sum((right - costs[kept]) * (accuracies[kept] - worst_accuracy)))
