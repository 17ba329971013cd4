"""What is said of an architecture under a budget, however it was found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from pnag.search.bounds import BoundedCost, Bounds
from pnag.search.problem import Problem
from predictors.base import CostFunction, Floats, UncertainAccuracy
from predictors.intervals import interval_ms
from profiler.errors import InfeasibleBudgetError, InvalidInputError
from profiler.spaces.base import Tokens

DEFAULT_CONFIDENCE = 0.95
Origin = Literal["generated", "evaluated"]


@dataclass(frozen=True)
class Spent:
    """What an architecture takes of one cost.

    Attributes:
        value: in `unit`; `interval` is conformal, where the cost has one.
        bound: asked for, if any; `used` is the share of it, with a margin for the confidence
            that was asked for.
    """

    unit: str
    value: float
    interval: tuple[float, float] | None = None
    bound: float | None = None
    used: float | None = None


@dataclass(frozen=True)
class GeneratedArchitecture:
    """One architecture made for one budget.

    Attributes:
        tokens: [L].
        interval_ms: conformal interval of the latency, where the cost has one.
        costs: of the problem by name, the one under the budget first, then what else was bounded.
        top1_interval: of the accuracy, where its model says how far off it may be.
        feasible: every cost is in its bound, with the confidence that was asked for.
        generation_ms: time to generate it; of a batch, its share.
        origin: whether the generator made it, or training had evaluated it and it is better.
    """

    budget_ms: float
    arch: str
    tokens: Tokens
    latency_ms: float
    interval_ms: tuple[float, float] | None
    top1: float
    costs: Mapping[str, Spent]
    feasible: bool
    generation_ms: float
    top1_interval: tuple[float, float] | None = None
    origin: Origin = "generated"

    @property
    def bounds(self) -> Bounds:
        """What was asked for beside the budget."""
        _, *further = self.costs.items()
        return {name: spent.bound for name, spent in further if spent.bound is not None}

    @property
    def nearest_bound(self) -> tuple[str, float]:
        """The cost of whose bound most is used, and the share."""
        used = {name: spent.used for name, spent in self.costs.items() if spent.used is not None}
        name = max(used, key=lambda name: used[name])
        return name, used[name]


@dataclass(frozen=True)
class UnmetBudget:
    """A budget that nothing fits.

    Attributes:
        reachable_ms: what the latency alone allows.
        reachable: the same of what was bounded beside it, in its unit.
        bounds: asked for beside the budget.
    """

    budget_ms: float
    reachable_ms: tuple[float, float]
    reason: str
    reachable: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    bounds: Bounds = field(default_factory=dict)


def refuse_unmet(
    made: Sequence[GeneratedArchitecture | UnmetBudget],
) -> list[GeneratedArchitecture]:
    """All of them.

    Raises:
        InfeasibleBudgetError: there is a budget that nothing fits.
    """
    unmet = [one for one in made if isinstance(one, UnmetBudget)]
    if unmet:
        others = f"; {len(unmet) - 1} other budgets neither" if len(unmet) > 1 else ""
        raise InfeasibleBudgetError(unmet[0].reason + others)
    return [one for one in made if isinstance(one, GeneratedArchitecture)]


def described(
    problem: Problem,
    costs: tuple[BoundedCost, ...],
    tokens: Tokens,
    elapsed_ms: float = 0.0,
    confidence: float = DEFAULT_CONFIDENCE,
) -> list[GeneratedArchitecture]:
    """What a problem says of [n, L] architectures under [n] bounds, however they were found."""
    values = [cost.cost(tokens) for cost in costs]
    spent = [_spent(cost, of_all) for cost, of_all in zip(costs, values, strict=True)]
    within = [c.taken(of_all) <= c.limits for c, of_all in zip(costs, values, strict=True)]
    feasible = np.all(within, axis=0)
    top1 = problem.accuracy.top1(tokens)
    made = []
    for at, (row, accuracy, fits) in enumerate(zip(tokens, top1, feasible, strict=True)):
        by_name = {cost.name: of_cost[at] for cost, of_cost in zip(costs, spent, strict=True)}
        first = spent[0][at]
        made.append(
            GeneratedArchitecture(
                budget_ms=float(costs[0].limits[at]),
                arch=problem.space.format(row),
                tokens=row,
                latency_ms=first.value,
                interval_ms=first.interval,
                top1=float(accuracy),
                costs=by_name,
                feasible=bool(fits),
                generation_ms=elapsed_ms,
                top1_interval=_top1_interval(problem, float(accuracy), confidence),
            )
        )
    return made


def _spent(cost: BoundedCost, values: Floats) -> list[Spent]:
    """[n] what architectures take that cost [n] values."""
    half = cost.half_width or _default_half_width(cost.cost)
    used = (cost.taken(values) / cost.limits).tolist()
    return [
        Spent(
            cost.cost.unit,
            value,
            interval_ms(value, half) if half else None,
            *((limit, share) if np.isfinite(limit) else ()),
        )
        for value, limit, share in zip(values.tolist(), cost.limits.tolist(), used, strict=True)
    ]


def _top1_interval(problem: Problem, top1: float, confidence: float) -> tuple[float, float] | None:
    if not isinstance(problem.accuracy, UncertainAccuracy):
        return None
    half = problem.accuracy.half_width(confidence)
    return max(0.0, top1 - half), min(1.0, top1 + half)


def _default_half_width(cost: CostFunction) -> float:
    """Of the 95 % interval to print where none was asked for; 0 where none exists."""
    try:
        return cost.relative_interval(DEFAULT_CONFIDENCE)
    except InvalidInputError:
        return 0.0
