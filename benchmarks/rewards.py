"""Which reward trains the generator best? The paper's Table 2 on our landscape.

Each reward orders architectures under a budget; evaluator and policy gradient are the same.
As in the paper there is no other help: random architectures train the evaluator, nothing is
imitated or refined, and of the samples the evaluator's favourite is taken. Once the reward alone
must keep the budget, once decoding does.
"""

from __future__ import annotations

import numpy as np
import torch

from benchmarks.landscape import Landscape, open_landscape
from benchmarks.measures import budget_use, violation_rate
from benchmarks.study import (
    BestKnown,
    Figures,
    Variant,
    arguments_of,
    best_known_of,
    quality,
    run_study,
)
from pnag.learning.rewards import REWARDS
from pnag.learning.settings import TrainSettings
from pnag.runs.run import Run, train_run
from pnag.search.decoding import decode
from predictors.base import Floats
from profiler.spaces.base import Tokens

SAMPLES = 64


def main() -> None:
    arguments = arguments_of(__doc__, "rewards.json").parse_args()
    torch.set_num_threads(1)
    landscape = open_landscape(arguments.latency_table)
    best_known = best_known_of(landscape, arguments.reference)
    variants = {
        f"{reward}, {'constrained' if constrained else 'free'}": variant_of(
            landscape, best_known, reward, constrained=constrained, quick=arguments.quick
        )
        for reward in REWARDS
        for constrained in (False, True)
    }
    run_study(variants, arguments)


def variant_of(
    landscape: Landscape, best_known: BestKnown, reward: str, *, constrained: bool, quick: bool
) -> Variant:
    def figures(seed: int) -> Figures:
        settings = TrainSettings(
            n_evaluations=400 if quick else 4000, rounds=1, reward=reward, active=False,
            imitation=0.0, constrained=constrained, evaluator_steps=20 if quick else 400,
            generator_steps=10 if quick else 200, budgets_per_step=8, seed=seed,
        )  # fmt: skip
        run = train_run(landscape.problem, settings)
        tokens = favourites(run, landscape.budgets, constrained=constrained)
        cost_ms = landscape.problem.cost(tokens)
        within = cost_ms <= landscape.budgets
        # a network beyond its budget is worth nothing there: the cheapest stands in
        _, cheapest_top1 = landscape.problem.reference_point
        top1 = np.where(within, landscape.problem.accuracy.top1(tokens), cheapest_top1)
        return quality(landscape, top1, best_known) | {
            "violations_pct": 100 * violation_rate(cost_ms, landscape.budgets),
            "budget_use_pct": 100 * budget_use(cost_ms, landscape.budgets),
        }

    return figures


def favourites(run: Run, budgets: Floats, *, constrained: bool) -> Tokens:
    """[n, L] the sample that the evaluator prefers under each of [n] budgets."""
    (learner,) = run.learners
    repeated = np.repeat(budgets, SAMPLES)
    bounds = repeated[:, None] if constrained else np.full((len(repeated), 1), np.inf)
    start = learner.policy.start(learner.grid.weights(repeated))
    drawn = decode(run.problem.constraints, bounds, start, np.random.default_rng(0))
    scores = learner.evaluator.score_pairs(drawn, run.problem.cost(drawn), repeated)
    best = scores.reshape(-1, SAMPLES).argmax(axis=1)
    chosen: Tokens = drawn.reshape(len(budgets), SAMPLES, -1)[np.arange(len(budgets)), best]
    return chosen


if __name__ == "__main__":
    main()
