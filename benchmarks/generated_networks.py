"""From a table to networks: generated for five budgets of its space, then measured on its device.

    python -m benchmarks.generated_networks TABLE.json [--accuracy-model FILE] --out FIGURES.json

Latency is what is judged here: is c(α) within every budget, and is it what the device then shows?
Accuracies are the space's own, of --accuracy-model, or with --stand-in of a landscape that stands
for them: it rises with the logarithm of MAdds, and has a seeded liking for every choice.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.landscape import write_json
from pnag.learning.settings import TrainSettings
from pnag.runs.inputs import table_inputs
from pnag.runs.run import train_run
from pnag.search.budget import spread_budgets_ms
from pnag.search.problem import Problem
from predictors import cost_from_table, madds_cost
from predictors.base import Floats
from profiler.measuring.follow_up import measure_networks
from profiler.measuring.protocol import FULL, QUICK
from profiler.spaces.base import DEAD, Tokens
from profiler.spaces.networks import NetworkSpace
from profiler.tables.table import load_table
from profiler.terminal import Terminal

LIKING = 0.001  # of one choice, as a fraction of top-1


@dataclass(frozen=True)
class StandIn:
    """No accuracy of anything: a smooth landscape in which budgets are worth spending."""

    space: NetworkSpace

    def top1(self, tokens: Tokens) -> Floats:
        rng = np.random.default_rng(0)
        liking = rng.normal(0, LIKING, (len(self.space.positions), 16))
        chosen = np.take_along_axis(liking, np.maximum(tokens.T.astype(np.int64), 0), axis=1)
        liked = np.where(tokens.T == DEAD, 0, chosen).sum(axis=0)
        found: Floats = -1.1 + 0.2 * np.log10(madds_cost(self.space)(tokens)) + liked
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    accuracies = parser.add_mutually_exclusive_group()
    accuracies.add_argument("--accuracy-model", type=Path)
    accuracies.add_argument("--stand-in", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = load_table(arguments.table)
    space, source = table.search_space, arguments.accuracy_model or "its own"
    if arguments.stand_in:
        source, problem = "a stand-in", Problem(space, cost_from_table(table), StandIn(space))
    else:
        problem = table_inputs(arguments.table, accuracy_model=arguments.accuracy_model).problem
    run = train_run(problem, TrainSettings(seed=arguments.seed))
    low, high = run.reachable_ms
    budgets_ms = spread_budgets_ms(low, high)
    made = run.generate(budgets_ms, pure=True, seed=arguments.seed)
    protocol = QUICK if arguments.quick else FULL
    archs = [one.arch for one in made]
    entries = measure_networks(table, archs, Terminal(), protocol=protocol, seed=arguments.seed)
    rows: list[dict[str, Any]] = []
    print(
        f"{table.space} on {table.device.platform}, {low:.3f} to {high:.3f} ms, top-1 of: {source}"
    )
    for one, entry in zip(made, entries, strict=True):
        error_pct = 100 * (entry.latency_ms / one.latency_ms - 1)
        rows.append(
            {
                "budget_ms": one.budget_ms, "arch": one.arch, "predicted_ms": one.latency_ms,
                "measured_ms": entry.latency_ms, "error_pct": error_pct,
                "verdict": entry.verdict.value,
            }
        )  # fmt: skip
        print(
            f"budget {one.budget_ms:8.3f} ms: c(α) {one.latency_ms:8.3f}, measured "
            f"{entry.latency_ms:8.3f} ({error_pct:+.2f} %), {entry.verdict.value}"
        )
    over = sum(row["predicted_ms"] > row["budget_ms"] for row in rows)
    worst = max(abs(row["error_pct"]) for row in rows)
    print(f"{over} of {len(rows)} budgets exceeded, largest |error| {worst:.2f} %")
    figures = {"space": str(table.space), "accuracies": str(source), "networks": rows}
    write_json(arguments.out, figures)


if __name__ == "__main__":
    main()
