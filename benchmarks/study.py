"""Repeated trainings: each variant under each seed once, results kept as they come.

A study can be stopped at any time and goes on where it was: what its JSON holds is not run again.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.landscape import Landscape, write_json
from benchmarks.measures import budget_use, regret, violation_rate
from pnag.runs.run import Run
from pnag.search.frontier import hypervolume
from predictors.base import Floats

Figures = dict[str, float | list[float]]  # lists are kept for plots, and not tabulated
Variant = Callable[[int], Figures]  # seed -> figures


def arguments_of(
    description: str, default_out: str, *, measured: bool = True
) -> argparse.ArgumentParser:
    """Options of a study; on a `measured` landscape also its table and reference."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    if measured:
        parser.add_argument("--latency-table", type=Path, required=True)
        parser.add_argument(
            "--reference", type=Path, required=True, help="JSON of benchmarks/reference_frontier.py"
        )
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="tiny: proves that it works")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results") / default_out)
    parser.add_argument("--limit-s", type=float, default=float("inf"), help="begin nothing later")
    return parser


def run_study(
    variants: Mapping[str, Variant], arguments: argparse.Namespace
) -> dict[str, list[Figures]]:
    """Run what is missing; print and return figures of all seeds by variant."""
    begun = time.perf_counter()
    rows: list[dict[str, Any]] = []
    if arguments.out.exists():
        rows = json.loads(arguments.out.read_text())["rows"]
    done = {(row["variant"], row["seed"]) for row in rows}
    for seed in range(arguments.seeds):
        for name, variant in variants.items():
            late = time.perf_counter() - begun > arguments.limit_s
            if (name, seed) in done or late:
                continue
            rows.append({"variant": name, "seed": seed, **variant(seed)})
            write_json(arguments.out, {"rows": rows})
            print(f"{name}, seed {seed}: {time.perf_counter() - begun:.0f} s", flush=True)
    by_variant: dict[str, list[Figures]] = {name: [] for name in variants}
    for row in rows:
        if row["variant"] in by_variant:
            figures = {k: v for k, v in row.items() if k not in ("variant", "seed")}
            by_variant[row["variant"]].append(figures)
    complete = all(len(found) >= arguments.seeds for found in by_variant.values())
    print("complete" if complete else "unfinished")
    print_table(by_variant)
    return by_variant


def print_table(by_variant: Mapping[str, list[Figures]]) -> None:
    """Median [lowest, highest] over seeds, as Markdown."""
    every = [row for rows in by_variant.values() for row in rows]
    names = list(
        dict.fromkeys(k for row in every for k, v in row.items() if not isinstance(v, list))
    )
    print("| variant | " + " | ".join(names) + " |")
    print("|---|" + "---:|" * len(names))
    for variant, rows in by_variant.items():
        cells = []
        for name in names:
            values = [row[name] for row in rows if name in row]
            if not values:
                cells.append("")
                continue
            cells.append(f"{np.median(values):.4g} [{min(values):.4g}, {max(values):.4g}]")
        print(f"| {variant} | " + " | ".join(cells) + " |")


@dataclass(frozen=True)
class BestKnown:
    """The best known architecture for each of the 25 budgets."""

    top1: Floats
    latency_ms: Floats


def best_known_of(landscape: Landscape, path: Path) -> BestKnown:
    """What benchmarks/reference_frontier.py found for the same latency table."""
    document = json.loads(path.read_text())
    if document["latency_table_sha256"] != landscape.table_sha256:
        raise SystemExit(f"{path} was made with another latency table")
    rows = document["best_known"]
    return BestKnown(
        np.array([row["top1"] for row in rows]), np.array([row["latency_ms"] for row in rows])
    )


def quality(landscape: Landscape, top1: Floats, best_known: BestKnown) -> Figures:
    """Hypervolume and regret of one accuracy for each of the 25 budgets."""
    return {
        "hypervolume_pct": 100 * landscape.volume(top1) / landscape.volume(best_known.top1),
        "regret_points": 100 * regret(top1, best_known.top1),
    }


def generated_quality(landscape: Landscape, run: Run, best_known: BestKnown) -> Figures:
    """Figures of the networks that a run generates for the 25 budgets.

    `own_latency_hypervolume_pct` places networks, and the best known ones, at their own
    latencies; `hypervolume_pct` places both at the budgets.
    """
    made = run.generate(landscape.budgets.tolist(), pure=True)
    top1 = np.array([m.top1 for m in made])
    latency_ms = np.array([m.latency_ms for m in made])
    corner = landscape.problem.reference_point
    own = hypervolume(latency_ms, top1, *corner)
    own_best = hypervolume(best_known.latency_ms, best_known.top1, *corner)
    # the frontier still rises up to the first budget whose best is the best of all
    rising = best_known.top1 < best_known.top1.max()
    return quality(landscape, top1, best_known) | {
        "own_latency_hypervolume_pct": 100 * own / own_best,
        "budget_use_pct": 100 * budget_use(latency_ms[rising], landscape.budgets[rising]),
        "violations_pct": 100 * violation_rate(latency_ms, landscape.budgets),
        "top1": top1.tolist(),
    }
