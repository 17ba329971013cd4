"""How near the exact frontier of a tabular space? Its whole frontier is known.

15,625 rows (6 positions of 5 choices, the size of NAS-Bench-201) in closed form: latencies add
up, accuracies saturate and interact. The generator may ask for an eighth of the rows.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch

from benchmarks.measures import best_within
from benchmarks.study import Figures, Variant, arguments_of, run_study
from pnag.learning.settings import TrainSettings
from pnag.runs.run import train_run
from pnag.search.frontier import hypervolume
from pnag.search.problem import Problem
from predictors.tabular import TabularAccuracy, TabularCost
from profiler.spaces.base import TokenPosition
from profiler.spaces.tabular import TabularSpace

N_POSITIONS, N_CHOICES = 6, 5
N_EVALUATIONS = 2000
BUDGETS = 25


def closed_form_space(seed: int) -> TabularSpace:
    """Costs and values of choices are drawn; the dearer choice tends to be the better one."""
    rng = np.random.default_rng(seed)
    rows = np.array(list(itertools.product(range(N_CHOICES), repeat=N_POSITIONS)), np.int8)
    price_ms = np.cumsum(rng.uniform(0.2, 1.0, (N_POSITIONS, N_CHOICES)), axis=1)
    value = np.cumsum(rng.uniform(0.0, 0.25, (N_POSITIONS, N_CHOICES)), axis=1)
    pair = rng.normal(0, 0.06, (N_POSITIONS, N_POSITIONS, N_CHOICES, N_CHOICES))
    at = np.arange(N_POSITIONS)
    total = value[at, rows].sum(axis=1)
    for i, j in itertools.combinations(range(N_POSITIONS), 2):
        total += pair[i, j, rows[:, i], rows[:, j]]
    top1 = 0.5 + 0.4 * (1 - np.exp(-total / 2))
    choices = tuple(str(choice) for choice in range(N_CHOICES))
    positions = tuple(TokenPosition(f"op{i}", choices) for i in at)
    latency_ms = 1 + price_ms[at, rows].sum(axis=1)
    return TabularSpace(f"tabular:closed-form-{seed}", positions, rows, top1, latency_ms)


def variant_of(*, quick: bool) -> Variant:
    def figures(seed: int) -> Figures:
        space = closed_form_space(seed)
        problem = Problem(space, TabularCost(space), TabularAccuracy(space))
        settings = TrainSettings(
            n_evaluations=300 if quick else N_EVALUATIONS, rounds=2 if quick else 8, seed=seed
        )
        run = train_run(problem, settings)
        low, high = run.reachable_ms
        budgets = low + (high - low) * (np.arange(BUDGETS) + 0.5) / BUDGETS
        made = run.generate(budgets.tolist(), pure=True)
        top1 = np.array([m.top1 for m in made])
        exact = best_within(space.latency_ms, space.top1, budgets)
        (learner,) = run.learners
        asked = best_within(learner.archive.cost_ms, learner.archive.top1, budgets)
        corner = problem.reference_point
        whole = hypervolume(budgets, exact, *corner)
        return {
            "hypervolume_pct": 100 * hypervolume(budgets, top1, *corner) / whole,
            "evaluated_hypervolume_pct": 100 * hypervolume(budgets, asked, *corner) / whole,
            "exactly_optimal_of_25": float((top1 == exact).sum()),
            "violations": float(sum(m.latency_ms > m.budget_ms for m in made)),
            "evaluations": float(len(learner.archive)),
        }

    return figures


def main() -> None:
    arguments = arguments_of(__doc__, "tabular.json", measured=False).parse_args()
    torch.set_num_threads(1)
    run_study({"PNAG": variant_of(quick=arguments.quick)}, arguments)


if __name__ == "__main__":
    main()
