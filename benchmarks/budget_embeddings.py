"""How many budget embeddings does the generator need? The paper's Table 5 on our landscape.

Once as we train, and once as the paper does: without the remaining budget as an input of the
generator, without imitation and local search.
"""

from __future__ import annotations

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
from pnag.learning.settings import TrainSettings
from pnag.runs.run import train_run

COUNTS = (1, 2, 5, 10, 30)


def main() -> None:
    arguments = arguments_of(__doc__, "budget_embeddings.json").parse_args()
    torch.set_num_threads(1)
    landscape = open_landscape(arguments.latency_table)
    best_known = best_known_of(landscape, arguments.reference)
    variants = {
        f"K = {count}, {'plain' if plain else 'full'}": variant_of(
            landscape, best_known, count, plain=plain, quick=arguments.quick
        )
        for plain in (False, True)
        for count in COUNTS
    }
    run_study(variants, arguments)


def variant_of(
    landscape: Landscape, best_known: BestKnown, count: int, *, plain: bool, quick: bool
) -> Variant:
    def figures(seed: int) -> Figures:
        settings = TrainSettings(
            n_evaluations=400 if quick else 2000, rounds=2, n_budgets=count,
            evaluator_steps=20 if quick else 100, generator_steps=10 if quick else 60,
            budgets_per_step=8, seed=seed, sees_tightness=not plain, active=not plain,
            imitation=0.0 if plain else 1.0,
        )  # fmt: skip
        return generated_quality(landscape, train_run(landscape.problem, settings), best_known)

    return figures


if __name__ == "__main__":
    main()
