"""Further runs on the page of one: their frontiers, and what differs in the latencies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from pnag.report.changes import Changes, table_changes
from pnag.report.choices import Choice, choices_of, frontier_of
from pnag.runs.inputs import LATENCY_FILE
from pnag.runs.run import Run, load_run
from pnag.search.frontier import Frontier, FrontierPoint
from profiler.tables.table import LatencyTable, load_table

N_COMMON_BUDGETS = 8


@dataclass(frozen=True)
class RunBeside:
    """A finished run, and the choices that its frontier is made of."""

    name: str
    run: Run
    table: LatencyTable | None
    choices: Sequence[Choice]

    @cached_property
    def frontier(self) -> Frontier:
        return frontier_of(self.choices)

    def best_within(self, budget_ms: float) -> FrontierPoint | None:
        """The frontier's pick for a budget, if there is one."""
        within = [point for point in self.frontier if point.latency_ms <= budget_ms]
        return within[-1] if within else None  # a frontier rises

    def changes_to(self, first: RunBeside) -> Changes | None:
        """What differs in the first run's table; None where the two have no space in common."""
        tables = self._tables_with(first)
        return tables and table_changes(*tables)

    def _tables_with(self, other: RunBeside) -> tuple[LatencyTable, LatencyTable] | None:
        """Both, where they are of one space and one statistic."""
        mine, theirs = self.table, other.table
        if mine is None or theirs is None:
            return None
        alike = (mine.space, mine.statistic) == (theirs.space, theirs.statistic)
        return (mine, theirs) if alike else None

    def latency_here_ms(self, other: RunBeside, arch: str) -> float | None:
        """c(α) of this run for an architecture of another; None of another space."""
        if self._tables_with(other) is None:
            return None
        return float(self.run.problem.cost(self.run.problem.space.parse(arch)[None])[0])


def read_beside(folder: Path, name: str, *, n_budgets: int, seed: int) -> RunBeside:
    """Raises InvalidInputError: no finished run."""
    run = load_run(folder, verified=False)
    path = folder / LATENCY_FILE
    table = load_table(path) if path.exists() else None
    return RunBeside(name, run, table, choices_of(run, n_budgets=n_budgets, seed=seed))


def common_budgets_ms(runs: Sequence[RunBeside]) -> list[float]:
    """Evenly spread over what any of the frontiers spans."""
    latencies = [point.latency_ms for one in runs for point in one.frontier]
    low, high = min(latencies), max(latencies)
    spread: list[float] = np.linspace(low, high, N_COMMON_BUDGETS).tolist()
    return spread
