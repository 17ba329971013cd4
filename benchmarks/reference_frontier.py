"""Which frontier is the best known? Long searches of every kind, then exhaustive local search.

Prints the hypervolume after each source, and writes the best known architecture for each of
the evaluation budgets, which benchmarks/frontiers.py measures everything against.

Sources: NSGA-II (several seeds and long runs), regularised evolution, simulated annealing
(many chains per budget), and from the best of them for a budget and for its neighbours the
exhaustive search over all changes of one or two blocks, repeated until nothing improves.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from benchmarks.baselines.annealing import anneal
from benchmarks.baselines.local_search import local_optimum
from benchmarks.baselines.nsga2 import nsga2
from benchmarks.landscape import Landscape, open_landscape, write_json
from pnag.baselines.evolution import regularised_evolution
from pnag.search.archive import Archive
from profiler.spaces.base import Tokens


def best_per_budget(archives: list[Archive], budgets: np.ndarray, n_best: int) -> list[Tokens]:
    """For each budget the [n_best, L] most accurate distinct architectures within it."""
    tokens = np.concatenate([archive.tokens for archive in archives])
    top1 = np.concatenate([archive.top1 for archive in archives])
    cost_ms = np.concatenate([archive.cost_ms for archive in archives])
    order = np.argsort(-top1, kind="stable")
    best = []
    for budget in budgets:
        within = order[cost_ms[order] <= budget][: 20 * n_best]
        _, first = np.unique(tokens[within], axis=0, return_index=True)
        best.append(tokens[within[np.sort(first)[:n_best]]])
    return best


def polished(landscape: Landscape, archives: list[Archive], n_best: int) -> Archive:
    """Local optima from the best of each budget, and again from those of the neighbours."""
    problem, budgets = landscape.problem, landscape.budgets
    found = list(archives)
    for _ in range(2):
        optima = [
            local_optimum(problem, start, float(budget))
            for budget, starts in zip(budgets, best_per_budget(found, budgets, n_best), strict=True)
            for start in starts
        ]
        empty = Archive.empty(len(problem.space.positions))
        found.append(empty.extended(np.unique(np.stack(optima), axis=0), problem))
    return found[-1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency-table", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/reference.json"))
    parser.add_argument("--quick", action="store_true", help="a small run that proves it works")
    arguments = parser.parse_args()
    scale = 0.02 if arguments.quick else 1.0
    landscape = open_landscape(arguments.latency_table)
    problem, budgets = landscape.problem, landscape.budgets
    rng = np.random.default_rng(0)
    archives: list[Archive] = []

    def add(name: str, archive: Archive) -> None:
        archives.append(archive)
        volume = landscape.hypervolume(archive)
        union = landscape.hypervolume(*archives)
        print(f"{name:34} {volume:.6f}  union {union:.6f}  {time.perf_counter() - start:6.1f} s")

    start = time.perf_counter()
    for seed in range(1 if arguments.quick else 4):
        n = int(150_000 * scale)
        add(f"NSGA-II, {n} evaluations", nsga2(problem, n, seed, population_size=200))
    n = int(100_000 * scale)
    add(f"regularised evolution, {n}", regularised_evolution(problem, budgets, n, rng, n_mutated=4))
    chains, steps = max(1, int(30 * scale)), int(2000 * scale)
    annealed = anneal(problem, np.repeat(budgets, chains), steps, rng)
    add(f"annealing, {chains} chains x {steps}", annealed)
    local = polished(landscape, archives, 1 if arguments.quick else 6)
    add("exhaustive local search", local)
    rows = []
    for budget, best in zip(budgets, best_per_budget(archives, budgets, 1), strict=True):
        rows.append(
            {
                "budget_ms": float(budget),
                "arch": problem.space.format(best[0]),
                "latency_ms": float(problem.cost(best)[0]),
                "top1": float(problem.accuracy.top1(best)[0]),
            }
        )
    worst_ms, worst_top1 = problem.reference_point
    write_json(
        arguments.out,
        {
            "latency_table_sha256": landscape.table_sha256,
            "reference_point": {"latency_ms": worst_ms, "top1": worst_top1},
            "hypervolume": landscape.hypervolume(*archives),
            "best_known": rows,
        },
    )


if __name__ == "__main__":
    main()
