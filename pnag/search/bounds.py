"""Upper bounds on several costs at once, each in its own unit: latencies, energy, parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pnag.search.budget import parse_amount, parse_budget_ms
from pnag.search.constraints import Bools
from pnag.search.problem import Problem
from predictors.base import BoundedAbove, CostFunction, Floats, Margin
from predictors.cost import LongestCost
from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens
from profiler.spaces.decisions import Ints

Bounds = Mapping[str, float]  # by the name of a further cost, in its unit
NO_BOUNDS: Bounds = {}
LATENCY_UNIT = "ms"
NO_MARGIN = Margin()


@dataclass(frozen=True)
class BoundedCost:
    """One cost with an upper bound in each of n requests.

    Attributes:
        limits: [n] in the cost's unit; inf where there is no bound.
        margin: what counts beyond c(α): how far above it at most.
        half_width: of the interval around c(α) with the same confidence, as a share of it.
    """

    name: str
    cost: CostFunction
    limits: Floats
    margin: Margin = NO_MARGIN
    half_width: float = 0.0

    @property
    def is_bounded(self) -> bool:
        return bool(np.isfinite(self.limits).any())

    @property
    def n_sums(self) -> int:
        """How many additive costs a bound on this one is a bound on."""
        return len(self.cost.parts) if isinstance(self.cost, LongestCost) else 1

    def of(self, tokens: Tokens) -> Floats:
        """[n] what [n, L] tokens take of their bounds, the margin included."""
        return self.taken(self.cost(tokens))

    def taken(self, values: Floats) -> Floats:
        """[n] the same of architectures that cost [n] values."""
        return self.margin.added(values)

    def at(self, requests: Ints | Bools) -> BoundedCost:
        """The same in some of the requests."""
        return replace(self, limits=self.limits[requests])


def bounded_costs(
    problem: Problem,
    budgets_ms: Sequence[float] | Floats,
    bounds: Bounds | Sequence[Bounds] = NO_BOUNDS,
    confidence: float | None = None,
) -> tuple[BoundedCost, ...]:
    """The cost under n budgets, then the further ones and the counts that are bounded.

    Args:
        bounds: for all budgets, or for each.
        confidence: with which each latency is to be within its bound.

    Raises:
        InvalidInputError: a bound on a cost that there is not, or no interval for `confidence`.
    """
    budgets = np.asarray(budgets_ms, np.float64)
    each = bounds_of_each(bounds, len(budgets))
    named = dict.fromkeys([*problem.further, *(name for one in each for name in one)])
    asked = [BoundedCost(problem.cost_name, problem.cost, budgets)]
    for name in named:
        limits = np.array([one.get(name, np.inf) for one in each], np.float64)
        asked.append(BoundedCost(name, problem.further_cost(name), limits))
    first, *further = asked
    return (
        _with_confidence(first, confidence),
        *(_with_confidence(one, confidence) if one.is_bounded else one for one in further),
    )


def bounds_of_each(bounds: Bounds | Sequence[Bounds], n: int) -> list[Bounds]:
    """[n] of bounds for all, or for each."""
    return [bounds] * n if isinstance(bounds, Mapping) else list(bounds)


def _with_confidence(asked: BoundedCost, confidence: float | None) -> BoundedCost:
    cost = asked.cost
    if confidence is None or cost.unit != LATENCY_UNIT:
        return asked
    half_width = cost.relative_interval(confidence)
    margin = cost.margin(confidence) if isinstance(cost, BoundedAbove) else Margin(half_width)
    return replace(asked, margin=margin, half_width=half_width)


def check_unnamed(texts: Sequence[str]) -> None:
    """What can be said of budgets on the command line before the run is opened.

    Raises:
        InvalidInputError: no latency, where no other cost is named.
    """
    for part in (part for text in texts for part in text.split(",")):
        if "=" not in part:
            parse_budget_ms(part)


def parse_budgets(
    texts: Sequence[str], problem: Problem, bounds: Bounds = NO_BOUNDS
) -> tuple[list[float], list[Bounds]]:
    """Budgets in ms, and the further bounds of each, as the command line has them.

    `9ms` is a budget of the cost, `NAME=40ms` of the one that is named, and `9ms,NAME=40ms` of
    both together; one without the cost holds for all, as `bounds` do.

    Raises:
        InvalidInputError: no amount, an unknown cost, two bounds on one, or none on the cost.
    """
    for_all, budgets = dict(bounds), []
    for text in texts:
        amounts = _amounts(text, problem)
        if problem.cost_name in amounts:
            budgets.append(amounts)
            continue
        for name, amount in amounts.items():
            if name in for_all:
                raise InvalidInputError(f"{name} is bounded twice")
            for_all[name] = amount
    if not budgets:
        raise InvalidInputError(
            f"give a budget of the {problem.cost_name} as well, e.g. --budget 9ms"
        )
    for amounts in budgets:
        if twice := amounts.keys() & for_all:
            raise InvalidInputError(f"{min(twice)} is bounded twice")
    budgets_ms = [amounts.pop(problem.cost_name) for amounts in budgets]
    return budgets_ms, [for_all | amounts for amounts in budgets]


def _amounts(text: str, problem: Problem) -> dict[str, float]:
    """`9ms,NAME=40ms` by name."""
    amounts: dict[str, float] = {}
    for part in text.split(","):
        name, named, amount = part.rpartition("=")
        name = name.strip() if named else problem.cost_name
        if name in amounts:
            raise InvalidInputError(f"budget {text!r} bounds {name} twice")
        if name == problem.cost_name:
            amounts[name] = parse_budget_ms(amount)
        else:
            amounts[name] = parse_amount(amount, problem.further_cost(name).unit, what=name)
    return amounts
