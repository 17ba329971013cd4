"""What brings the generator to the frontier? Each part taken away, with 2,000 evaluations."""

from __future__ import annotations

import time
from typing import Any

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

CHANGES: dict[str, dict[str, Any]] = {
    "all": {},
    "no proposals: random evaluations": {"active": False},
    "one round of proposals": {
        "rounds": 2, "evaluator_steps": 120, "evaluator_full_steps": 16, "generator_steps": 80,
    },
    "no local search": {"refine_steps": 0},
    "no imitation": {"imitation": 0.0},
    "no policy gradient": {"policy_gradient": 0.0},
    "rewards not normalised": {"normalise_reward": False},
    "population of 2": {"samples_per_budget": 2, "budgets_per_step": 32},
    "no entropy bonus": {"entropy": 0.0},
    "remaining budget unseen": {"sees_tightness": False},
    "TuNAS's reward": {"reward": "tunas"},
    "MnasNet's reward": {"reward": "mnasnet"},
    "evaluator: batches only": {"evaluator_steps": 68, "evaluator_full_steps": 0},
}  # fmt: skip


def main() -> None:
    arguments = arguments_of(__doc__, "ablation.json").parse_args()
    torch.set_num_threads(1)
    landscape = open_landscape(arguments.latency_table)
    best_known = best_known_of(landscape, arguments.reference)
    run_study(
        {
            name: variant_of(landscape, best_known, changes, quick=arguments.quick)
            for name, changes in CHANGES.items()
        },
        arguments,
    )


def variant_of(
    landscape: Landscape, best_known: BestKnown, changes: dict[str, Any], *, quick: bool
) -> Variant:
    def figures(seed: int) -> Figures:
        base: dict[str, Any] = {
            "n_evaluations": 2000, "rounds": 4, "evaluator_steps": 60, "generator_steps": 40,
            "budgets_per_step": 8, "seed": seed,
        }  # fmt: skip
        base |= changes
        if quick:
            base |= {"n_evaluations": 400, "rounds": 2, "evaluator_steps": 10}
            base |= {"generator_steps": 5}
        begun = time.perf_counter()
        run = train_run(landscape.problem, TrainSettings(**base))
        seconds = time.perf_counter() - begun
        figures = generated_quality(landscape, run, best_known)
        return figures | {"lowest_tau": min(run.evaluator_taus()), "seconds": seconds}

    return figures


if __name__ == "__main__":
    main()
