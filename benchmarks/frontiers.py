"""How near the best known frontier does each search come with 16,000 evaluations?

The generator against NSGA-II, regularised evolution and NAS-MO for each budget, and random
search; 25 budgets that training never used. The paper's Figures 3 to 5 on our landscape.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.baselines.nas_mo import HARD, nas_mo
from benchmarks.baselines.nsga2 import nsga2
from benchmarks.landscape import Landscape, open_landscape
from benchmarks.study import (
    BestKnown,
    Figures,
    Variant,
    arguments_of,
    best_known_of,
    generated_quality,
    quality,
    run_study,
)
from pnag.baselines.evolution import regularised_evolution
from pnag.baselines.random_search import random_search
from pnag.generate import DEFAULT_SAMPLES
from pnag.learning.settings import TrainSettings
from pnag.plots import MARKERS, histogram_plot, new_figure, save_figure
from pnag.runs.run import Run, train_run
from pnag.search.archive import Archive
from predictors.base import Floats

N_EVALUATIONS = 16_000
QUICK: dict[str, Any] = {"rounds": 2, "evaluator_steps": 20, "generator_steps": 10}
HISTOGRAM_SHARES = (0.35, 0.65)  # two budgets, as shares of the reachable range


def main() -> None:
    arguments = arguments_of(__doc__, "frontiers.json").parse_args()
    torch.set_num_threads(1)
    landscape = open_landscape(arguments.latency_table)
    problem, budgets = landscape.problem, landscape.budgets
    best_known = best_known_of(landscape, arguments.reference)
    n = 1200 if arguments.quick else N_EVALUATIONS
    rng = np.random.default_rng
    searches: dict[str, Callable[[int], Archive]] = {
        "NSGA-II": lambda seed: nsga2(problem, n, seed, population_size=50),
        "EVO": lambda seed: regularised_evolution(problem, budgets, n, rng(seed), n_mutated=4),
        "NAS-MO": lambda seed: nas_mo(problem, budgets, n, rng(seed)),
        "NAS-MO, hard": lambda seed: nas_mo(problem, budgets, n, rng(seed), exponents=HARD),
        "random": lambda seed: random_search(problem, n, rng(seed)),
    }
    variants: dict[str, Variant] = {"PNAG": pnag_variant(landscape, best_known, n, arguments)}
    for name, search in searches.items():
        variants[name] = search_variant(landscape, best_known, search)
    rows = run_study(variants, arguments)
    plot(landscape, best_known, rows, arguments.out.parent)


def pnag_variant(
    landscape: Landscape, best_known: BestKnown, n: int, arguments: argparse.Namespace
) -> Variant:
    """Train and generate with `n` evaluations in all: those asked for at generation count too."""
    n_train = n - len(landscape.budgets) * DEFAULT_SAMPLES

    def figures(seed: int) -> Figures:
        settings = TrainSettings(
            n_evaluations=n_train, seed=seed, **(QUICK if arguments.quick else {})
        )
        begun = time.perf_counter()
        run = train_run(landscape.problem, settings)
        train_s = time.perf_counter() - begun
        low, high = run.reachable_ms
        spread = np.repeat(np.linspace(low, high, 100), 100)
        drawn = run.generate(spread.tolist(), n_samples=1, pure=True, seed=seed)
        violations = sum(made.latency_ms > made.budget_ms for made in drawn)
        return generated_quality(landscape, run, best_known) | {
            "violations_of_10000": float(violations),
            "lowest_tau": min(run.evaluator_taus()),
            "seconds": train_s,
            "latencies_ms": latencies_at_two_budgets(run),
        }

    return figures


def latencies_at_two_budgets(run: Run) -> list[float]:
    """500 samples for each of two budgets, one after the other."""
    low, high = run.reachable_ms
    budgets = [low + share * (high - low) for share in HISTOGRAM_SHARES for _ in range(500)]
    return [made.latency_ms for made in run.generate(budgets, n_samples=1, pure=True)]


def search_variant(
    landscape: Landscape, best_known: BestKnown, search: Callable[[int], Archive]
) -> Variant:
    """A search gives the best it evaluated within each budget."""

    def figures(seed: int) -> Figures:
        begun = time.perf_counter()
        archive = search(seed)
        seconds = time.perf_counter() - begun
        top1 = landscape.best_top1(archive)
        kept = {"seconds": seconds, "top1": top1.tolist()}
        return quality(landscape, top1, best_known) | kept

    return figures


def plot(
    landscape: Landscape, best_known: BestKnown, rows: dict[str, list[Figures]], folder: Path
) -> None:
    """Frontiers and regrets, medians over seeds; latencies of samples for two budgets."""
    medians = {
        name: np.median([figures["top1"] for figures in found], axis=0)
        for name, found in rows.items()
        if found
    }
    gaps = {name: 100 * (best_known.top1 - top1) for name, top1 in medians.items()}
    paths = [folder / "frontiers.svg", folder / "frontiers.png"]
    percent = {"best known": 100 * best_known.top1}
    percent |= {name: 100 * top1 for name, top1 in medians.items()}
    _curves(paths, landscape.budgets, percent, "top-1 (%)")
    paths = [folder / "regret.svg", folder / "regret.png"]
    label = "below the best known (points)"
    _curves(paths, landscape.budgets, gaps, label, linear_below=0.01)
    if not rows["PNAG"]:
        return
    latencies = np.array(rows["PNAG"][0]["latencies_ms"]).reshape(2, -1)
    low, high = landscape.problem.reachable_ms
    budgets = [low + share * (high - low) for share in HISTOGRAM_SHARES]
    uniform = landscape.problem.space.sample(2000, np.random.default_rng(0))
    histogram_plot(
        [folder / "latencies.svg", folder / "latencies.png"],
        {f"generated for {b:.1f} ms": values for b, values in zip(budgets, latencies, strict=True)}
        | {"uniform samples": landscape.problem.cost(uniform)},
        budgets,
    )


def _curves(
    paths: Sequence[Path],
    budgets_ms: Floats,
    curves: Mapping[str, Floats],
    label: str,
    *,
    linear_below: float | None = None,
) -> None:
    """Named curves over the same [n] budgets.

    With `linear_below` y is logarithmic down to there, and linear from there to zero.
    """
    figure = new_figure()
    axes = figure.subplots()
    for marker, (name, y) in zip(MARKERS, curves.items(), strict=False):
        axes.plot(budgets_ms, y, marker=marker, markersize=4, linewidth=1, label=name)
    if linear_below is not None:
        axes.set_yscale("symlog", linthresh=linear_below)
        axes.set_ylim(bottom=0)
    axes.set(xlabel="budget (ms)", ylabel=label)
    axes.grid(alpha=0.3)
    axes.legend()
    save_figure(figure, paths)


if __name__ == "__main__":
    main()
