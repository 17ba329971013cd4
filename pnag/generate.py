"""Architectures for any budget from trained learners; none ever exceeds its budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from pnag.generated import DEFAULT_CONFIDENCE, GeneratedArchitecture, UnmetBudget, described
from pnag.learning.threads import one_thread
from pnag.learning.train import Learner
from pnag.search.archive import Archive
from pnag.search.bounds import NO_BOUNDS, NO_MARGIN, BoundedCost, Bounds, bounded_costs
from pnag.search.constraints import ROUNDING, TINY, Bools, Constraints
from pnag.search.decoding import decode
from pnag.search.independence import Streams, occurrences
from pnag.search.problem import Problem
from predictors.base import Floats
from profiler.spaces.base import Tokens
from profiler.spaces.decisions import Ints

DEFAULT_SAMPLES = 32
MAX_ATTEMPTS = 20
ROWS_AT_ONCE = 8192  # that are decoded together: more take memory, and are no faster


@one_thread()
def generate_each(
    problem: Problem,
    learners: Sequence[Learner],
    budgets_ms: Sequence[float],
    *,
    n_samples: int = DEFAULT_SAMPLES,
    confidence: float | None = None,
    bounds: Bounds | Sequence[Bounds] = NO_BOUNDS,
    known: Archive | None = None,
    seed: int = 0,
) -> list[GeneratedArchitecture | UnmetBudget]:
    """One architecture per budget, never beyond it; one that nothing fits leaves the others be.

    Of `n_samples` drawn from the generator the most accurate is taken, or what is `known` where
    that is more accurate. `bounds` on further costs hold as the budget does: for all budgets, or
    one set for each. With `confidence` as the probability, every latency is within its bound. The
    same request and seed give the same architecture whatever others are beside it; a request given
    again draws anew.

    Raises:
        InvalidInputError: no interval for `confidence`, or a bound on a cost that there is not.
    """
    costs = bounded_costs(problem, budgets_ms, bounds, confidence)
    request = _Request(problem, costs, n_samples)
    begun = time.perf_counter()
    n_budgets = len(costs[0].limits)
    repeats = np.array(occurrences(map(tuple, request.limits.tolist())), np.int64)
    tokens = np.empty((n_budgets, len(problem.space.positions)), np.int8)
    met = np.zeros(n_budgets, np.bool_)
    told_ms = request.told_ms(request.limits)
    owner = np.array([_nearest(learners, budget) for budget in told_ms])
    for index, learner in enumerate(learners):
        of_learner = np.flatnonzero(owner == index)
        at_once = max(1, ROWS_AT_ONCE // n_samples)
        for mine in np.split(of_learner, range(at_once, len(of_learner), at_once)):
            tokens[mine], met[mine] = request.best(learner, mine, repeats[mine], seed)
    from_known = np.zeros(n_budgets, np.bool_)
    if known is not None:
        from_known = request.replace_by_known(tokens, met, known)
    elapsed_ms = 1e3 * (time.perf_counter() - begun) / max(1, n_budgets)
    made = iter(
        described(
            problem, tuple(cost.at(met) for cost in costs), tokens[met], elapsed_ms,
            confidence or DEFAULT_CONFIDENCE,
        )
    )  # fmt: skip
    return [
        replace(next(made), origin="evaluated" if evaluated else "generated")
        if fits
        else request.unmet(index)
        for index, (fits, evaluated) in enumerate(zip(met, from_known, strict=True))
    ]


def _nearest(learners: Sequence[Learner], budget_ms: float) -> int:
    """The learner whose range of budgets is nearest."""
    ends = np.array([learner.budgets_ms for learner in learners])
    gap = np.maximum(ends[:, 0] - budget_ms, 0) + np.maximum(budget_ms - ends[:, 1], 0)
    return int(gap.argmin())


@dataclass(frozen=True)
class _Request:
    """What n budgets of one call have in common; k of the costs are bounded, the first of them
    by the budgets."""

    problem: Problem
    costs: tuple[BoundedCost, ...]
    n_samples: int

    @cached_property
    def bounded(self) -> tuple[BoundedCost, ...]:
        first, *further = self.costs
        return (first, *(cost for cost in further if cost.is_bounded))

    @cached_property
    def constraints(self) -> Constraints:
        return self.problem.constraints_with(tuple(cost.name for cost in self.bounded[1:]))

    @cached_property
    def limits(self) -> Floats:
        """[n, k]"""
        return np.stack([cost.limits for cost in self.bounded], axis=1)

    @cached_property
    def _n_sums(self) -> list[int]:
        return [cost.n_sums for cost in self.bounded]

    @cached_property
    def _reachable(self) -> Floats:
        """[k, 2] the least and the most of each cost alone; of the first, what can be decoded."""
        starts = np.cumsum([0, *self._n_sums[:-1]])
        reachable: Floats = np.maximum.reduceat(self.constraints.reachable, starts)
        reachable[0] = self.problem.reachable_ms
        return reachable

    def _aims(self, limits: Floats) -> Floats:
        """[..., k] costs that with their margins are the limits."""
        margins = [cost.margin.within(limits[..., at]) for at, cost in enumerate(self.bounded)]
        return np.stack(margins, axis=-1)

    def told_ms(self, aims: Floats) -> Floats:
        """[n] the budgets that the generator is told: those of [n, k] bounds, or where another
        bound is tighter, as much of the first one's range as that leaves of its own."""
        low, high = self._reachable.T
        share = (aims[:, 1:] - low[1:]) / np.maximum(high - low, TINY)[1:]
        tightest = np.maximum(share.min(axis=1, initial=1.0), 0.0)
        told = np.where(tightest < 1, low[0] + tightest * (high[0] - low[0]), np.inf)
        return np.minimum(aims[:, 0], told)

    def best(self, learner: Learner, rows: Ints, repeats: Ints, seed: int) -> tuple[Tokens, Bools]:
        """The best sample for each of n rows, [n, L], and for which of them there is one."""
        best = np.empty((len(rows), len(self.problem.space.positions)), np.int8)
        met = np.zeros(len(rows), np.bool_)
        missing = np.arange(len(rows))
        high_ms = self.problem.reachable_ms[1]
        aims = self._aims(self.limits[rows])
        # a budget beyond the dearest architecture is no limit; training saw none
        aims[:, 0] = np.minimum(aims[:, 0], high_ms)
        seen = np.minimum(self.limits[rows, 0], high_ms)
        for attempt in range(MAX_ATTEMPTS):
            missing = missing[self._can_be_met(aims[missing])]
            if not len(missing):
                break
            draws = MAX_ATTEMPTS * repeats[missing] + attempt
            streams = Streams.of_budgets(seed, seen[missing], draws.tolist())
            drawn = self._draw(learner, aims[missing], streams)
            chosen, found, overshoot = self._choose(drawn, rows[missing])
            best[missing[found]] = chosen[found]
            met[missing[found]] = True
            # Only rounding or a cost that is not additive brings a sample beyond its bounds.
            aims[missing] /= np.maximum(overshoot, 1.0) * (1 + ROUNDING)
            missing = missing[~found]
        return best, met

    def replace_by_known(self, tokens: Tokens, met: Bools, known: Archive) -> Bools:
        """[n] where something known is more accurate than [n, L] tokens, if there are any; it
        takes their place, and the budget is met."""
        first, *further = self.bounded
        if first.margin != NO_MARGIN:  # as samples are checked, in the same arithmetic
            known = replace(known, cost_ms=first.taken(known.cost_ms))
        spent = [cost.of(known.tokens) for cost in further]
        better = np.zeros(len(tokens), np.bool_)
        top1 = np.full(len(tokens), -np.inf)
        top1[met] = self.problem.accuracy.top1(tokens[met])
        # one look for all budgets under the same further bounds
        alike: dict[tuple[float, ...], list[int]] = {}
        for row, limits in enumerate(self.limits[:, 1:].tolist()):
            alike.setdefault(tuple(limits), []).append(row)
        for limits, rows in alike.items():
            within = known
            if further:
                fits = [of_all <= limit for of_all, limit in zip(spent, limits, strict=True)]
                within = known.kept(np.all(fits, axis=0))
            best = within.best_within(first.limits[rows])
            gain = np.append(within.top1, -np.inf)[best] > top1[rows]
            chosen = np.array(rows)[gain]
            tokens[chosen], better[chosen] = within.tokens[best[gain]], True
        met |= better
        return better

    def _draw(self, learner: Learner, aims: Floats, streams: Streams) -> Tokens:
        told_ms = np.repeat(self.told_ms(aims), self.n_samples)
        start = learner.policy.start(learner.grid.weights(told_ms))
        bounds = np.repeat(self._bounds(aims), self.n_samples, axis=0)
        return decode(self.constraints, bounds, start, streams)

    def _bounds(self, aims: Floats) -> Floats:
        """[n, n_bounds] of [n, k]: the longest of several sums is within if all of them are."""
        return np.repeat(aims, self._n_sums, axis=1)

    def _choose(self, drawn: Tokens, rows: Ints) -> tuple[Tokens, Bools, Floats]:
        """Best of each row's samples [n, L], whether one is within, and the overshoot [n, k] of
        the one that is nearest to its bounds.

        The check in float64 by the cost functions themselves, whatever decoding believed.
        """
        samples = drawn.reshape(len(rows), self.n_samples, -1)
        spent = np.stack([cost.of(drawn) for cost in self.bounded], axis=1)
        spent = spent.reshape(len(rows), self.n_samples, -1)
        limits = self.limits[rows][:, None]
        within = (spent <= limits).all(axis=2)
        # budget by budget: how many rows there are decides how a matrix product rounds
        asked = [self.problem.accuracy.top1(of_one) for of_one in samples]
        top1 = np.where(within, np.array(asked), -np.inf)
        winner, each = top1.argmax(axis=1), np.arange(len(rows))
        overshoot = spent / limits
        nearest = overshoot.max(axis=2).argmin(axis=1)
        return (
            samples[each, winner],
            np.isfinite(top1[each, winner]),
            overshoot[each, nearest],
        )

    def _can_be_met(self, aims: Floats) -> Bools:
        """[n] whether anything can be drawn within [n, k] bounds."""
        bounds = self._bounds(aims) * (1 + ROUNDING)
        root = np.zeros(len(aims), np.int64)
        return np.asarray(self.constraints.open_choices(root, bounds).any(axis=-1))

    def unmet(self, row: int) -> UnmetBudget:
        """Why nothing fits a budget."""
        budget_ms = self.limits[row, 0]
        (low, high), *others = (
            cost.taken(ends).tolist()
            for cost, ends in zip(self.bounded, self._reachable, strict=True)
        )
        asked = [
            (cost, cost.limits[row], (least, most))
            for cost, (least, most) in zip(self.bounded[1:], others, strict=True)
            if np.isfinite(cost.limits[row])
        ]
        reason = f"no architecture fits {budget_ms:.6g} ms; {low:.6g} to {high:.6g} ms is reachable"
        if asked:
            ranges = ", ".join(
                f"{least:.4g} to {most:.4g} {_unit(cost)}" for cost, _, (least, most) in asked
            )
            reason = (
                f"nothing fits {budget_ms:.6g} ms and the other bounds together; alone, "
                f"{low:.6g} to {high:.6g} ms and {ranges} are reachable"
            )
            aims = self._aims(self.limits[row])
            least_ms = self.constraints.least(self._bounds(aims[None])[0], self._n_sums[0])
            if least_ms is not None:
                (least_ms,) = self.bounded[0].taken(np.array([least_ms]))
                reason += f", within the other bounds {least_ms:.6g} ms or more"
        return UnmetBudget(
            float(budget_ms),
            (low, high),
            reason,
            {cost.name: (least, most) for cost, _, (least, most) in asked},
            {cost.name: float(limit) for cost, limit, _ in asked},
        )


def _unit(cost: BoundedCost) -> str:
    """`params`, `mJ of energy`."""
    unit = cost.cost.unit
    return unit if unit == cost.name else f"{unit} of {cost.name}"
