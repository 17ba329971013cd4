"""NSGA-II (Deb et al. 2002) by pymoo: the whole frontier in one search."""

from __future__ import annotations

from typing import Any

import numpy as np

from pnag.search.archive import Archive
from pnag.search.problem import Problem


def nsga2(
    problem: Problem, n_evaluations: int, seed: int, *, population_size: int = 100
) -> Archive:
    """Needs pymoo. Uniform crossover and random token changes; genes hold every position."""
    from pymoo.algorithms.moo.nsga2 import NSGA2
    from pymoo.core.mutation import Mutation
    from pymoo.core.problem import Problem as PymooProblem
    from pymoo.operators.crossover.ux import UniformCrossover
    from pymoo.operators.sampling.rnd import IntegerRandomSampling
    from pymoo.optimize import minimize

    n_positions = len(problem.space.positions)
    n_choices = np.array([len(position.choices) for position in problem.space.positions])
    archives: list[Archive] = []

    class TwoObjectives(PymooProblem):  # type: ignore[misc] # pymoo carries no types
        def __init__(self) -> None:
            super().__init__(n_var=n_positions, n_obj=2, xl=0, xu=n_choices - 1, vtype=int)

        def _evaluate(self, x: Any, out: dict[str, Any], *args: Any, **kwargs: Any) -> None:
            tokens = problem.graph.without_dead(np.asarray(x).astype(np.int8))
            archive = Archive.empty(n_positions).extended(tokens, problem)
            archives.append(archive)
            out["F"] = np.column_stack([archive.cost_ms, -archive.top1])

    class Redraw(Mutation):  # type: ignore[misc] # pymoo carries no types
        """Every token redrawn with probability 1 / L."""

        def _do(self, problem: Any, genes: Any, *, random_state: Any, **kwargs: Any) -> Any:
            redraw = random_state.random(genes.shape) < 1 / n_positions
            return np.where(redraw, random_state.integers(0, n_choices, genes.shape), genes)

    algorithm = NSGA2(
        pop_size=population_size,
        sampling=IntegerRandomSampling(),
        crossover=UniformCrossover(prob=0.9),
        mutation=Redraw(),
    )
    minimize(TwoObjectives(), algorithm, ("n_eval", n_evaluations), seed=seed)
    return Archive(
        np.concatenate([archive.tokens for archive in archives]),
        np.concatenate([archive.top1 for archive in archives]),
        np.concatenate([archive.cost_ms for archive in archives]),
    )
