"""EVO: regularised evolution for each budget alone (Real et al. 2019, Algorithm 1)."""

from __future__ import annotations

import numpy as np

from pnag.search.archive import Archive
from pnag.search.decoding import decode
from pnag.search.policies import MutationPolicy
from pnag.search.problem import Problem
from predictors.base import Floats


def regularised_evolution(
    problem: Problem,
    budgets_ms: Floats,
    n_evaluations: int,
    rng: np.random.Generator,
    *,
    population_size: int = 50,
    tournament_size: int = 15,
    n_mutated: float = 2.0,
) -> Archive:
    """The evaluations are shared equally; the searches only run side by side to save time.

    Children are mutated within the budget, so none is wasted on an infeasible one.

    Args:
        n_mutated: mean number of tokens redrawn in a child.
    """
    n_budgets, n_positions = len(budgets_ms), len(problem.space.positions)
    share = n_evaluations // n_budgets
    population_size = min(population_size, share)
    bounds = budgets_ms[:, None]
    rows = np.arange(n_budgets)
    tokens = np.empty((n_budgets, share, n_positions), np.int8)
    top1 = np.empty((n_budgets, share))
    first = problem.sample_within(np.repeat(budgets_ms, population_size), rng)
    tokens[:, :population_size] = first.reshape(n_budgets, population_size, n_positions)
    top1[:, :population_size] = problem.accuracy.top1(first).reshape(n_budgets, population_size)
    for born in range(population_size, share):
        # the oldest dies at every birth, so the living are the last ones born
        living = rng.integers(born - population_size, born, (n_budgets, tournament_size))
        winner = living[rows, top1[rows[:, None], living].argmax(axis=1)]
        parents = tokens[rows, winner]
        redraw = rng.random(parents.shape) < n_mutated / n_positions
        policy = MutationPolicy(parents, redraw, problem.graph.n_choices)
        tokens[:, born] = decode(problem.constraints, bounds, policy, rng)
        top1[:, born] = problem.accuracy.top1(tokens[:, born])
    every = tokens.reshape(-1, n_positions)
    return Archive(every, top1.reshape(-1), problem.cost(every))
