"""How near are generated networks to the exact frontiers of NAS-Bench-201 on real devices?

    python -m benchmarks.exact_frontiers nasbench201.csv.gz --seeds 1 --runs runs/exact

The CSV: `arch` (the cell as text), a test accuracy a data set (`acc_...`, %), a measured latency a
device (`lat_...`, ms). All 15,625 cells may be evaluated, so the exact frontier is known; every
pair of data set and device is trained on, and 20 budgets are asked for. With --runs, a killed
training goes on.
"""

from __future__ import annotations

import csv
import gzip
import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.measures import best_within
from benchmarks.study import Figures, Variant, arguments_of, run_study
from pnag.learning.settings import TrainSettings
from pnag.runs.run import train_run
from pnag.search.frontier import hypervolume
from pnag.search.problem import Problem
from predictors.base import Floats
from predictors.tabular import TabularAccuracy, TabularCost
from profiler.spaces.base import TokenPosition, Tokens
from profiler.spaces.tabular import TabularSpace

BUDGETS = 20
DATA_SETS = ("acc_cifar10", "acc_cifar100", "acc_in16")
DEVICES = (
    "lat_1080ti_1", "lat_silver_4114", "lat_gold_6240", "lat_eyeriss", "lat_fpga",
    "lat_samsung_a50", "lat_pixel2",
)  # fmt: skip
OPERATION = re.compile(r"\|([a-z0-9_]+)~\d")


@dataclass(frozen=True)
class Cells:
    """All cells [n, 6] with their columns [n]."""

    positions: tuple[TokenPosition, ...]
    tokens: Tokens
    columns: dict[str, Floats]

    def problem(self, data_set: str, device: str) -> Problem:
        top1, latency_ms = self.columns[data_set] / 100, self.columns[device]
        space = TabularSpace(
            f"tabular:{data_set}-{device}", self.positions, self.tokens, top1, latency_ms
        )
        return Problem(space, TabularCost(space), TabularAccuracy(space))


def read_cells(path: Path) -> Cells:
    with gzip.open(path, "rt", newline="", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    names = [name for name in records[0] if name.startswith(("acc_", "lat_", "energy"))]
    columns = {name: np.array([float(r[name]) for r in records]) for name in names}
    cells = [OPERATION.findall(record["arch"]) for record in records]
    choices = tuple(sorted({operation for cell in cells for operation in cell}))
    tokens = np.array([[choices.index(operation) for operation in cell] for cell in cells], np.int8)
    positions = tuple(TokenPosition(f"op{i}", choices) for i in range(tokens.shape[1]))
    return Cells(positions, tokens, columns)


def variant_of(
    cells: Cells, data_set: str, device: str, *, quick: bool, runs: Path | None
) -> Variant:
    def figures(seed: int) -> Figures:
        problem = cells.problem(data_set, device)
        settings = TrainSettings(n_evaluations=600, rounds=2) if quick else TrainSettings()
        folder = runs / f"{device}-{data_set}-{seed}" if runs else None
        run = train_run(problem, replace(settings, seed=seed), folder, resume=True)
        low, high = run.reachable_ms
        budgets = low + (high - low) * (np.arange(BUDGETS) + 1) / BUDGETS
        space, corner = problem.space, problem.reference_point
        assert isinstance(space, TabularSpace)
        exact = best_within(space.latency_ms, space.top1, budgets)
        whole = hypervolume(budgets, exact, corner[0] * (1 + 1 / BUDGETS), corner[1])
        found: Figures = {"evaluations": float(run.n_evaluated)}
        over_budget = 0
        for name, pure in (("pure", True), ("known", False)):
            made = run.generate(budgets.tolist(), pure=pure)
            top1 = np.array([m.top1 for m in made])
            volume = hypervolume(budgets, top1, corner[0] * (1 + 1 / BUDGETS), corner[1])
            found[f"{name}_hypervolume_pct"] = 100 * volume / whole
            found[f"{name}_optimal_of_{BUDGETS}"] = float((top1 == exact).sum())
            over_budget += sum(m.latency_ms > m.budget_ms for m in made)
        return found | {"over_budget": float(over_budget)}

    return figures


def main() -> None:
    parser = arguments_of(__doc__ or "", "exact_frontiers.json", measured=False)
    parser.add_argument("csv", type=Path, help="nasbench201.csv.gz")
    parser.add_argument("--data-sets", nargs="+", default=DATA_SETS)
    parser.add_argument("--devices", nargs="+", default=DEVICES)
    parser.add_argument("--runs", type=Path, help="folder that keeps the trained runs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells = read_cells(arguments.csv)
    pairs = [(data_set, device) for data_set in arguments.data_sets for device in arguments.devices]
    variants = {
        f"{device} {data_set}": variant_of(
            cells, data_set, device, quick=arguments.quick, runs=arguments.runs
        )
        for data_set, device in pairs
    }
    run_study(variants, arguments)


if __name__ == "__main__":
    main()
