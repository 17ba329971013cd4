"""How good are networks under a latency and an energy at once, and is either ever exceeded?

    python -m benchmarks.two_budgets nasbench201.csv.gz --seeds 3

The CSV: `arch` (the cell as text), test accuracies (`acc_...`, %), latencies (`lat_...`, ms) and
the energy on a Raspberry Pi 5 (mJ, of the networks for CIFAR-100). The optimum of each of 400
pairs, 20 budgets of either over the whole range, is known by enumeration.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.exact_frontiers import read_cells
from benchmarks.study import Figures, Variant, arguments_of, run_study
from pnag.generate import generate_each
from pnag.generated import GeneratedArchitecture
from pnag.learning.settings import TrainSettings
from pnag.runs.run import train_run
from pnag.search.bounds import Bounds
from pnag.search.problem import Problem
from predictors.base import Floats
from predictors.tabular import TabularAccuracy, TabularCost, further_costs
from profiler.spaces.tabular import TabularSpace

DATA_SET, LATENCY, ENERGY = "acc_cifar100", "lat_gold_6240", "energy360_pi5_onnx_c100_mJ"
BUDGETS = 20  # of each cost
SAMPLES = 10_000


def problem_of(path: Path, latency: str) -> Problem:
    cells = read_cells(path)
    one = cells.problem(DATA_SET, latency).space
    assert isinstance(one, TabularSpace)
    space = replace(one, costs={"energy_mj": cells.columns[ENERGY]})
    return Problem(space, TabularCost(space), TabularAccuracy(space), further_costs(space))


def pairs_of(latency_ms: Floats, energy_mj: Floats) -> Floats:
    """[400, 2] pairs, evenly over both ranges."""
    shares = (np.arange(BUDGETS) + 1) / BUDGETS
    spread = [low + (high - low) * shares for low, high in map(_ends, (latency_ms, energy_mj))]
    return np.stack(np.meshgrid(*spread, indexing="ij"), axis=-1).reshape(-1, 2)


def _ends(values: Floats) -> tuple[float, float]:
    return float(values.min()), float(values.max())


def variant_of(problem: Problem, n_evaluations: int | None, *, quick: bool) -> Variant:
    space = problem.space
    assert isinstance(space, TabularSpace)
    latency_ms, energy_mj, top1 = space.latency_ms, space.costs["energy_mj"], space.top1
    pairs = pairs_of(latency_ms, energy_mj)
    exact = np.array([top1[(latency_ms <= ms) & (energy_mj <= mj)].max() for ms, mj in pairs])
    worst = problem.reference_point[1]
    bounds: list[Bounds] = [{"energy": mj} for mj in pairs[:, 1].tolist()]

    def figures(seed: int) -> Figures:
        settings = TrainSettings(seed=seed)
        if n_evaluations is not None:
            settings = replace(settings, n_evaluations=n_evaluations, rounds=8)
        if quick:
            settings = replace(settings, n_evaluations=600, rounds=2)
        run = train_run(problem, settings)
        found: Figures = {"evaluations": float(run.n_evaluated)}
        for name, pure in (("pure", True), ("known", False)):
            made = run.generate(pairs[:, 0].tolist(), bounds=bounds, pure=pure)
            reached = np.array([one.top1 for one in made])
            found[f"{name}_of_optimum_pct"] = float(100 * (reached / exact).mean())
            found[f"{name}_worst_pct"] = float(100 * (reached / exact).min())
            found[f"{name}_above_worst_cell_pct"] = float(
                100 * ((reached - worst) / (exact - worst)).mean()
            )
            found[f"{name}_optimal_of_400"] = float((reached == exact).sum())
        drawn = np.random.default_rng(seed).integers(len(pairs), size=SAMPLES)
        samples = generate_each(
            problem, run.learners, pairs[drawn, 0].tolist(), n_samples=1,
            bounds=[bounds[pair] for pair in drawn],
        )  # fmt: skip
        made_samples = [one for one in samples if isinstance(one, GeneratedArchitecture)]
        tokens = np.stack([one.tokens for one in made_samples])
        spent = np.stack([problem.cost(tokens), problem.further["energy"](tokens)], axis=1)
        found["samples"] = float(len(made_samples))
        found["over_either"] = float((spent > pairs[drawn]).any(axis=1).sum())
        return found

    return figures


def main() -> None:
    parser = arguments_of(__doc__ or "", "two_budgets.json", measured=False)
    parser.add_argument("csv", type=Path, help="nasbench201.csv.gz")
    parser.add_argument("--latency", default=LATENCY, help="column of the latency")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problem = problem_of(arguments.csv, arguments.latency)
    variants = {
        "1,500 evaluations": variant_of(problem, 1500, quick=arguments.quick),
        "16,000 evaluations": variant_of(problem, None, quick=arguments.quick),
    }
    run_study(variants, arguments)


if __name__ == "__main__":
    main()
