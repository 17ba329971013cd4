"""Architectures for any budget from trained learners; none ever exceeds its budget."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from pnag.learning.threads import one_thread
from pnag.learning.train import Learner
from pnag.search.archive import Archive
from pnag.search.constraints import ROUNDING, Bools, Constraints
from pnag.search.decoding import decode
from pnag.search.independence import Streams, occurrences
from pnag.search.problem import Problem
from predictors.base import CostFunction, Floats, UncertainAccuracy
from predictors.cost import madds_cost, params_cost
from predictors.intervals import interval_ms
from profiler.errors import InfeasibleBudgetError, InvalidInputError
from profiler.spaces.base import Tokens
from profiler.spaces.decisions import Ints
from profiler.spaces.networks import with_networks

DEFAULT_SAMPLES = 32
DEFAULT_CONFIDENCE = 0.95
MAX_ATTEMPTS = 20
ROWS_AT_ONCE = 8192  # that are decoded together: more take memory, and are no faster


@dataclass(frozen=True)
class Limits:
    """Bounds beside the latency budget; None is no bound."""

    max_madds: float | None = None
    max_params: float | None = None

    def costs(self, problem: Problem) -> list[tuple[CostFunction, float]]:
        """The bounded costs with their bounds.

        Raises:
            InvalidInputError: the space has no MAdds or parameters.
        """
        wanted = [(madds_cost, self.max_madds), (params_cost, self.max_params)]
        bounded = [(cost_of, bound) for cost_of, bound in wanted if bound is not None]
        if not bounded:
            return []
        space = with_networks(problem.space, "to count MAdds or parameters of")
        return [(cost_of(space), bound) for cost_of, bound in bounded]


NO_LIMITS = Limits()
Origin = Literal["generated", "evaluated"]


@dataclass(frozen=True)
class GeneratedArchitecture:
    """One architecture made for one budget.

    Attributes:
        tokens: [L].
        interval_ms: conformal interval of the latency, where the cost has one.
        budget_used: share of the budget that the cost takes, with the interval if asked for.
        top1_interval: of the accuracy, where its model says how far off it may be.
        feasible: its cost, plus the interval if a confidence was asked for, is in the budget.
        generation_ms: time to generate it; of a batch, its share.
        origin: whether the generator made it, or training had evaluated it and it is better.
    """

    budget_ms: float
    arch: str
    tokens: Tokens
    latency_ms: float
    interval_ms: tuple[float, float] | None
    top1: float
    budget_used: float
    feasible: bool
    generation_ms: float
    top1_interval: tuple[float, float] | None = None
    origin: Origin = "generated"


@dataclass(frozen=True)
class UnmetBudget:
    """A budget that nothing fits; `reachable_ms` is what the latency alone allows."""

    budget_ms: float
    reachable_ms: tuple[float, float]
    reason: str


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


@one_thread()
def generate_each(
    problem: Problem,
    learners: Sequence[Learner],
    budgets_ms: Sequence[float],
    *,
    n_samples: int = DEFAULT_SAMPLES,
    confidence: float | None = None,
    limits: Limits = NO_LIMITS,
    known: Archive | None = None,
    seed: int = 0,
) -> list[GeneratedArchitecture | UnmetBudget]:
    """One architecture per budget, never beyond it; one that nothing fits leaves the others be.

    Of `n_samples` drawn from the generator the most accurate is taken, or what is `known` where
    that is more accurate. With `confidence`, c(α) plus its interval is within the budget. The same
    budget and seed give the same architecture whatever other budgets are asked for; a budget given
    again draws anew.

    Raises:
        InvalidInputError: no interval for `confidence`, or limits that the space lacks.
    """
    margin = 0.0 if confidence is None else problem.cost.relative_interval(confidence)
    limited = limits.costs(problem)
    constraints = problem.constraints_with([cost for cost, _ in limited])
    begun = time.perf_counter()
    request = _Request(problem, constraints, margin, limited, n_samples)
    budgets = np.asarray(budgets_ms, dtype=np.float64)
    repeats = np.array(occurrences(budgets))
    tokens = np.empty((len(budgets), len(problem.space.positions)), np.int8)
    met = np.zeros(len(budgets), np.bool_)
    owner = np.array([_nearest(learners, budget) for budget in budgets])
    for index, learner in enumerate(learners):
        of_learner = np.flatnonzero(owner == index)
        at_once = max(1, ROWS_AT_ONCE // n_samples)
        for mine in np.split(of_learner, range(at_once, len(of_learner), at_once)):
            tokens[mine], met[mine] = request.best(learner, budgets[mine], repeats[mine], seed)
    from_known = np.zeros(len(budgets), np.bool_)
    if known is not None:
        from_known = request.replace_by_known(tokens, met, budgets, known)
    elapsed_ms = 1e3 * (time.perf_counter() - begun) / max(1, len(budgets))
    made = iter(
        described(
            problem, budgets[met], tokens[met], margin, elapsed_ms,
            confidence or DEFAULT_CONFIDENCE,
        )
    )  # fmt: skip
    return [
        replace(next(made), origin="evaluated" if evaluated else "generated")
        if fits
        else request.unmet(budget)
        for budget, fits, evaluated in zip(budgets.tolist(), met, from_known, strict=True)
    ]


def _nearest(learners: Sequence[Learner], budget_ms: float) -> int:
    """The learner whose range of budgets is nearest."""
    ends = np.array([learner.budgets_ms for learner in learners])
    gap = np.maximum(ends[:, 0] - budget_ms, 0) + np.maximum(budget_ms - ends[:, 1], 0)
    return int(gap.argmin())


@dataclass(frozen=True)
class _Request:
    """What every budget of one call has in common."""

    problem: Problem
    constraints: Constraints
    margin: float
    limited: list[tuple[CostFunction, float]]
    n_samples: int

    def best(
        self, learner: Learner, budgets: Floats, repeats: Ints, seed: int
    ) -> tuple[Tokens, Bools]:
        """The best sample for each of [n] budgets, [n, L], and for which of them there is one."""
        best = np.empty((len(budgets), len(self.problem.space.positions)), np.int8)
        met = np.zeros(len(budgets), np.bool_)
        missing = np.arange(len(budgets))
        # a budget beyond the dearest architecture is no limit; training saw none
        seen = np.minimum(budgets, self.problem.reachable_ms[1])
        aims = np.minimum(budgets / (1 + self.margin), self.problem.reachable_ms[1])
        for attempt in range(MAX_ATTEMPTS):
            missing = missing[self._reachable(aims[missing])]
            if not len(missing):
                break
            draws = MAX_ATTEMPTS * repeats[missing] + attempt
            streams = Streams.of_budgets(seed, seen[missing], draws.tolist())
            drawn = self._draw(learner, aims[missing], streams)
            chosen, found, overshoot = self._choose(drawn, budgets[missing])
            best[missing[found]] = chosen[found]
            met[missing[found]] = True
            # Only rounding or a cost that is not additive brings a sample beyond its budget.
            aims[missing] /= np.maximum(overshoot, 1.0) * (1 + ROUNDING)
            missing = missing[~found]
        return best, met

    def replace_by_known(
        self, tokens: Tokens, met: Bools, budgets: Floats, known: Archive
    ) -> Bools:
        """[n] where something known is more accurate than [n, L] tokens, if there are any; it
        takes their place, and the budget is met."""
        within = np.ones(len(known), np.bool_)
        for cost, bound in self.limited:
            within &= cost(known.tokens) <= bound
        if not within.all():
            known = known.kept(within)
        if self.margin:  # as samples are checked, in the same arithmetic
            known = Archive(known.tokens, known.top1, known.cost_ms * (1 + self.margin))
        best = known.best_within(budgets)
        top1 = np.full(len(budgets), -np.inf)
        top1[met] = self.problem.accuracy.top1(tokens[met])
        better = np.asarray(np.append(known.top1, -np.inf)[best] > top1)
        tokens[better], met[better] = known.tokens[best[better]], True
        return better

    def _draw(self, learner: Learner, aims: Floats, streams: Streams) -> Tokens:
        repeated = np.repeat(aims, self.n_samples)
        start = learner.policy.start(learner.grid.weights(repeated))
        return decode(self.constraints, self._bounds(repeated), start, streams)

    def _bounds(self, aims: Floats) -> Floats:
        limits = [bound for _, bound in self.limited]
        ends = self.constraints.n_bounds - len(limits)
        return np.column_stack([np.tile(aims[:, None], ends), np.tile(limits, (len(aims), 1))])

    def _choose(self, drawn: Tokens, budgets: Floats) -> tuple[Tokens, Bools, Floats]:
        """Best of each budget's samples [n, L], whether one is within, and the least overshoot.

        The check in float64 by the cost functions themselves, whatever decoding believed.
        """
        shape = (len(budgets), self.n_samples)
        repeated = np.repeat(budgets, self.n_samples)
        cost_ms = self.problem.cost(drawn)
        overshoot = (cost_ms * (1 + self.margin) / repeated).reshape(shape)
        within = cost_ms * (1 + self.margin) <= repeated
        for cost, bound in self.limited:
            within &= cost(drawn) <= bound
        # budget by budget: how many rows there are decides how a matrix product rounds
        asked = [self.problem.accuracy.top1(samples) for samples in drawn.reshape(*shape, -1)]
        top1 = np.where(within.reshape(shape), np.array(asked), -np.inf)
        winner = top1.argmax(axis=1)
        rows = np.arange(len(budgets))
        return (
            drawn.reshape(*shape, -1)[rows, winner],
            np.isfinite(top1[rows, winner]),
            overshoot.min(axis=1),
        )

    def _reachable(self, aims: Floats) -> Bools:
        """[n] whether anything can be drawn within [n] budgets and the other bounds."""
        bounds = self._bounds(aims) * (1 + ROUNDING)
        root = np.zeros(len(aims), np.int64)
        return np.asarray(self.constraints.open_choices(root, bounds).any(axis=-1))

    def unmet(self, budget_ms: float) -> UnmetBudget:
        """Why nothing fits a budget."""
        low, high = self.problem.reachable_ms
        low, high = low * (1 + self.margin), high * (1 + self.margin)
        reason = f"no architecture fits {budget_ms:.6g} ms; {low:.6g} to {high:.6g} ms is reachable"
        if self.limited:
            ranges = ", ".join(
                f"{bottom:.4g} to {top:.4g} {cost.unit}"
                for (cost, _), (bottom, top) in zip(
                    self.limited, self.constraints.reachable[-len(self.limited) :], strict=True
                )
            )
            reason = (
                f"nothing fits {budget_ms:.6g} ms and the other bounds together; alone, "
                f"{low:.6g} to {high:.6g} ms and {ranges} are reachable"
            )
        return UnmetBudget(budget_ms, (low, high), reason)


def described(
    problem: Problem,
    budgets: Floats,
    tokens: Tokens,
    margin: float = 0.0,
    elapsed_ms: float = 0.0,
    confidence: float = DEFAULT_CONFIDENCE,
) -> list[GeneratedArchitecture]:
    """What a problem says of [n, L] architectures for [n] budgets, however they were found."""
    cost_ms, top1 = problem.cost(tokens), problem.accuracy.top1(tokens)
    half = margin or _default_margin(problem)
    return [
        GeneratedArchitecture(
            budget_ms=float(budget),
            arch=problem.space.format(row),
            tokens=row,
            latency_ms=float(cost),
            interval_ms=interval_ms(float(cost), half) if half else None,
            top1=float(accuracy),
            budget_used=float(cost * (1 + margin) / budget),
            feasible=bool(cost * (1 + margin) <= budget),
            generation_ms=elapsed_ms,
            top1_interval=_top1_interval(problem, float(accuracy), confidence),
        )
        for budget, row, cost, accuracy in zip(budgets, tokens, cost_ms, top1, strict=True)
    ]


def _top1_interval(problem: Problem, top1: float, confidence: float) -> tuple[float, float] | None:
    if not isinstance(problem.accuracy, UncertainAccuracy):
        return None
    half = problem.accuracy.half_width(confidence)
    return max(0.0, top1 - half), min(1.0, top1 + half)


def _default_margin(problem: Problem) -> float:
    """Half-width of the 95 % interval to print where none was asked for; 0 where none exists."""
    try:
        return problem.cost.relative_interval(DEFAULT_CONFIDENCE)
    except InvalidInputError:
        return 0.0
