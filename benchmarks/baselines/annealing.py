"""Simulated annealing under a budget: many chains at once."""

from __future__ import annotations

import numpy as np

from pnag.search.archive import Archive
from pnag.search.decoding import decode
from pnag.search.policies import MutationPolicy
from pnag.search.problem import Problem
from predictors.base import Floats


def anneal(
    problem: Problem,
    budgets_ms: Floats,
    n_steps: int,
    rng: np.random.Generator,
    *,
    hottest: float = 2e-3,
    coldest: float = 2e-5,
    n_mutated: float = 2.0,
) -> Archive:
    """The best architecture that each of [n] chains saw within its budget, [n] rows in all.

    Metropolis acceptance of mutations at temperatures (in accuracy, as a fraction) that fall
    geometrically from `hottest` to `coldest`.
    """
    n_chains, n_positions = len(budgets_ms), len(problem.space.positions)
    current = problem.sample_within(budgets_ms, rng)
    top1 = problem.accuracy.top1(current)
    best, best_top1 = current.copy(), top1.copy()
    for step in range(n_steps):
        temperature = hottest * (coldest / hottest) ** (step / max(1, n_steps - 1))
        redraw = rng.random(current.shape) < n_mutated / n_positions
        policy = MutationPolicy(current, redraw, problem.graph.n_choices)
        child = decode(problem.constraints, budgets_ms[:, None], policy, rng)
        child_top1 = problem.accuracy.top1(child)
        accepted = child_top1 - top1 > temperature * np.log(rng.random(n_chains))
        current[accepted], top1[accepted] = child[accepted], child_top1[accepted]
        better = top1 > best_top1
        best[better], best_top1[better] = current[better], top1[better]
    return Archive(best, best_top1, problem.cost(best))
