"""The landscape that the generator's benchmarks share: its budgets and its reference point."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.measures import best_within
from pnag.runs.inputs import table_inputs
from pnag.search.archive import Archive
from pnag.search.frontier import hypervolume
from pnag.search.problem import Problem
from predictors.base import Floats
from profiler.system.atomic import write_text_atomic

BUDGETS = 25


@dataclass(frozen=True)
class Landscape:
    """`mbv3` w1.0 under a measured latency table, with the embedded accuracy model."""

    problem: Problem
    table_sha256: str

    @cached_property
    def budgets(self) -> Floats:
        """[25] midpoints of equal parts of the reachable range: no embedded budget is among
        them, and training draws its budgets continuously."""
        low, high = self.problem.reachable_ms
        return low + (high - low) * (np.arange(BUDGETS) + 0.5) / BUDGETS

    def best_top1(self, *archives: Archive) -> Floats:
        """[25] best accuracy within each budget, the cheapest architecture's where none is."""
        cost_ms = np.concatenate([archive.cost_ms for archive in archives])
        top1 = np.concatenate([archive.top1 for archive in archives])
        return np.maximum(best_within(cost_ms, top1, self.budgets), self.problem.reference_point[1])

    def volume(self, top1: Floats) -> float:
        """Hypervolume in ms · points of one accuracy per budget, at the budget's latency."""
        return 100 * hypervolume(self.budgets, top1, *self.problem.reference_point)

    def hypervolume(self, *archives: Archive) -> float:
        """Hypervolume of the best architectures that archives hold for the 25 budgets."""
        return self.volume(self.best_top1(*archives))


def open_landscape(latency_table: Path) -> Landscape:
    problem = table_inputs(latency_table).problem
    return Landscape(problem, hashlib.sha256(latency_table.read_bytes()).hexdigest())


def write_json(path: Path, document: dict[str, Any]) -> None:
    write_text_atomic(path, json.dumps(document, indent=1) + "\n")
