"""How near the exact frontier where latency and accuracy are real, and every cell is known?

    python -m benchmarks.nasbench201 --latency-table TABLE.json --held-out HELD_OUT.json --cells CSV

Costs are c(α) of a table of `pnag profile --space nasbench201`, accuracies those that were
published, so that the frontier of all 15,625 cells is exact. Every accuracy that training or
generating asks for is counted, once for each cell. HELD_OUT is of benchmarks/held_out.py, cells
that the table has not seen. `--cells FILE` writes all cells with cost and accuracy, as a tabular
space.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.held_out import mape_pct
from benchmarks.measures import violation_rate
from benchmarks.study import Figures, Variant, arguments_of, run_study
from pnag.learning.settings import TrainSettings
from pnag.runs.run import train_run
from pnag.search.frontier import hypervolume, non_dominated
from pnag.search.problem import Problem
from predictors import cost_from_table, enumerated_accuracy
from predictors.accuracy.enumerated import EnumeratedAccuracy
from predictors.base import Floats
from profiler.errors import InvalidInputError
from profiler.spaces.base import Tokens
from profiler.spaces.nasbench201 import NasBench201Space
from profiler.system.atomic import write_text_atomic
from profiler.tables.table import LatencyTable, load_table

N_EVALUATIONS = 1500
BUDGETS = 200


@dataclass(frozen=True)
class CountedAccuracy:
    """Published accuracies; `asked` holds the cells of which one was asked for."""

    published: EnumeratedAccuracy
    asked: set[bytes] = field(default_factory=set)

    def top1(self, tokens: Tokens) -> Floats:
        self.asked.update(row.tobytes() for row in np.ascontiguousarray(tokens, np.int8))
        return self.published.top1(tokens)


@dataclass(frozen=True)
class Cells:
    """The landscape: [15625, 6] cells, [15625] their c(α) in ms and their accuracies."""

    space: NasBench201Space
    table: LatencyTable
    tokens: Tokens
    cost_ms: Floats
    top1: Floats

    @classmethod
    def of(cls, table: LatencyTable) -> Cells:
        space = table.search_space
        if not isinstance(space, NasBench201Space):
            raise InvalidInputError(f"a table of {table.space}, not of nasbench201")
        every = space.every()
        top1 = enumerated_accuracy(space, space.dataset).top1(every)
        return cls(space, table, every, cost_from_table(table)(every), top1)

    @property
    def optimal(self) -> NDArray[np.int64]:
        """Which cells are the exact frontier."""
        return non_dominated(self.cost_ms, self.top1)

    def as_csv(self) -> str:
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        rows.writerow([*(position.name for position in self.space.positions), "top1", "latency_ms"])
        for row, top1, cost_ms in zip(self.tokens, self.top1, self.cost_ms, strict=True):
            rows.writerow([*self.space.cell(row), round(float(top1), 7), round(float(cost_ms), 6)])
        return text.getvalue()


def variant_of(cells: Cells, *, quick: bool) -> Variant:
    def figures(seed: int) -> Figures:
        accuracy = CountedAccuracy(enumerated_accuracy(cells.space, cells.space.dataset))
        problem = Problem(cells.space, cost_from_table(cells.table), accuracy)
        settings = TrainSettings(
            n_evaluations=300 if quick else N_EVALUATIONS, rounds=2 if quick else 8, seed=seed
        )
        run = train_run(problem, settings)
        low, high = run.reachable_ms
        budgets = np.geomspace(low, high, BUDGETS)
        made = run.generate(budgets.tolist())
        cost_ms = np.array([one.latency_ms for one in made])
        top1 = np.array([one.top1 for one in made])
        corner, best = problem.reference_point, cells.optimal
        whole = hypervolume(cells.cost_ms[best], cells.top1[best], *corner)
        return {
            "hypervolume_pct": 100 * hypervolume(cost_ms, top1, *corner) / whole,
            "over_budget_pct": 100 * violation_rate(cost_ms, budgets),
            "cells_asked": float(len(accuracy.asked)),
            "optimal_cells_found": float(len({one.arch for one in made} & optimal)),
        }

    optimal = {cells.space.format(row) for row in cells.tokens[cells.optimal]}
    return figures


def main() -> None:
    parser = arguments_of(__doc__, "nasbench201.json", measured=False)
    parser.add_argument("--latency-table", type=Path, required=True)
    parser.add_argument("--held-out", type=Path)
    parser.add_argument("--cells", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cells = Cells.of(load_table(arguments.latency_table))
    print(
        f"c(α) of {len(cells.tokens)} cells: {cells.cost_ms.min():.4f} to "
        f"{cells.cost_ms.max():.4f} ms; {len(cells.optimal)} are optimal"
    )
    if arguments.held_out:
        unseen = load_table(arguments.held_out)
        print(f"{len(unseen.networks)} held-out cells: MAPE {mape_pct(cells.table, unseen):.2f} %")
    if arguments.cells:
        write_text_atomic(arguments.cells, cells.as_csv())
    run_study({"PNAG": variant_of(cells, quick=arguments.quick)}, arguments)


if __name__ == "__main__":
    main()
