"""One generator for all budgets, or a search for each? The paper's Table 3 on our landscape.

Both spend the same evaluations in all. Judged at the K budgets that the independent searches
are made for, and at the 25 that neither knows.
"""

from __future__ import annotations

import time

import numpy as np
import torch

from benchmarks.landscape import Landscape, open_landscape
from benchmarks.study import (
    BestKnown,
    Figures,
    Variant,
    arguments_of,
    best_known_of,
    generated_quality,
    run_study,
)
from pnag.learning.settings import STRATEGIES, TrainSettings
from pnag.runs.run import train_run


def main() -> None:
    arguments = arguments_of(__doc__, "strategies.json").parse_args()
    torch.set_num_threads(1)
    landscape = open_landscape(arguments.latency_table)
    best_known = best_known_of(landscape, arguments.reference)
    run_study(
        {
            strategy: variant_of(landscape, best_known, strategy, quick=arguments.quick)
            for strategy in STRATEGIES
        },
        arguments,
    )


def variant_of(
    landscape: Landscape, best_known: BestKnown, strategy: str, *, quick: bool
) -> Variant:
    def figures(seed: int) -> Figures:
        # an independent search makes a tenth of the joint one's steps, ten times
        part = 10 if strategy == "independent" else 1
        settings = TrainSettings(
            n_evaluations=400 if quick else 4000, rounds=2 if quick else 4, strategy=strategy,
            evaluator_steps=(50 if quick else 100) // part,
            evaluator_full_steps=0,
            generator_steps=(20 if quick else 50) // part, budgets_per_step=8, seed=seed,
        )  # fmt: skip
        begun = time.perf_counter()
        run = train_run(landscape.problem, settings)
        seconds = time.perf_counter() - begun
        own = np.linspace(*run.reachable_ms, settings.n_budgets)[1:-1]
        made = run.generate(own.tolist(), pure=True)
        return generated_quality(landscape, run, best_known) | {
            "mean_top1_at_own_budgets_pct": float(100 * np.mean([m.top1 for m in made])),
            "seconds": seconds,
        }

    return figures


if __name__ == "__main__":
    main()
