"""The architectures that a page's slider chooses among."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from pnag.generated import GeneratedArchitecture, described
from pnag.results import MeasuredNetwork
from pnag.runs.run import Run
from pnag.search.bounds import bounded_costs
from pnag.search.constraints import ROUNDING
from pnag.search.frontier import Frontier, FrontierPoint

N_BUDGETS = 60


@dataclass(frozen=True)
class Choice:
    """The architecture that one budget gets."""

    made: GeneratedArchitecture
    measured: MeasuredNetwork | None


def choices_of(
    run: Run, measured: Sequence[MeasuredNetwork] = (), *, n_budgets: int = N_BUDGETS, seed: int = 0
) -> list[Choice]:
    """Generated for evenly spread budgets, and what was measured for its own budget.

    They end where the frontier does, at the latency of the most accurate of all: what more a
    larger budget buys is nothing.
    """
    known = {network.arch: network for network in measured}
    asked = {n.budget_ms: n for n in measured if n.budget_ms is not None}
    low, high = run.reachable_ms
    generated = run.generate(_spread(low, high, n_budgets), pure=True, seed=seed)
    closer = _spread(low, _most_accurate(generated).latency_ms, n_budgets)
    generated += run.generate(closer, pure=True, seed=seed)
    best = _most_accurate(generated)
    end_ms = best.latency_ms * (1 + ROUNDING)
    made = {m.budget_ms: m.tokens for m in generated[-len(closer) :] if m.budget_ms < end_ms}
    made |= {end_ms: best.tokens}
    made |= {b: run.problem.space.parse(n.arch) for b, n in asked.items()}
    budgets = sorted(made)
    tokens = np.stack([made[budget] for budget in budgets])
    return [
        Choice(one, known.get(one.arch))
        for one in described(run.problem, bounded_costs(run.problem, budgets), tokens)
    ]


def frontier_of(choices: Iterable[Choice]) -> Frontier:
    return Frontier.of(FrontierPoint(c.made.arch, c.made.latency_ms, c.made.top1) for c in choices)


def _most_accurate(made: Sequence[GeneratedArchitecture]) -> GeneratedArchitecture:
    """Of equals, the fastest."""
    return max(made, key=lambda one: (one.top1, -one.latency_ms))


def _spread(low_ms: float, high_ms: float, count: int) -> list[float]:
    """Evenly from end to end; those between are short numbers."""
    if low_ms == high_ms:
        return [low_ms]
    digits = max(0, 1 - int(np.floor(np.log10((high_ms - low_ms) / count))))
    between = np.linspace(low_ms, high_ms, count)[1:-1].round(digits)
    within = between[(between > low_ms) & (between < high_ms)]
    spread: list[float] = np.unique([low_ms, *within, high_ms]).tolist()
    return spread
