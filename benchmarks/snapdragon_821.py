"""The paper's headline again: five budgets on a Snapdragon 821, without one.

    pnag train --latency-table tables/sd821.json --out runs/sd821
    python -m benchmarks.snapdragon_821 --run runs/sd821 --published table1.csv \
        --json figures.json --figure figure3.svg

One network of the run for each budget beside the paper's own, judged by the same two models: c(α)
of a transferred table, and the accuracies of w1.2. table1.csv holds Guo et al.'s Table 1
(architecture, latency_ms, top1_pct), whose published figures stand beside. The architectures of EVO
and NAS-MO are not published: of them there are the paper's figures only.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.landscape import write_json
from benchmarks.transfer import TABLES
from pnag.plots import frontier_plot
from pnag.runs.run import Run, load_run
from pnag.search.frontier import Frontier, FrontierPoint
from predictors.accuracy.fitted import embedded_accuracy
from predictors.base import Floats
from predictors.intervals import conformal_quantiles, half_width
from profiler.spaces.base import Tokens
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.system.row_files import parse_rows
from profiler.system.user_files import read_text

BUDGETS_MS = (80.0, 110.0, 140.0, 170.0, 200.0)
CONFIDENCE = 0.9
METHODS = ("PNAG", "EVO", "NAS-MO")


def published(path: Path) -> dict[str, dict[float, tuple[float, float]]]:
    """By method and budget, (latency in ms, top-1 in %) of the paper's Table 1."""
    found: dict[str, dict[float, tuple[float, float]]] = {}
    for row in parse_rows(read_text(path), path).rows:
        method, _, budget = row.text("architecture").rpartition("-")
        if method in METHODS:
            numbers = row.number("latency_ms"), row.number("top1_pct")
            found.setdefault(method, {})[float(budget)] = numbers
    return found


def paper_tokens(space: MobileNetV3Space) -> Tokens:
    """[5, L] the paper's networks, by budget."""
    path = TABLES / "sd821.measured.csv"
    rows = parse_rows(read_text(path), path).rows
    archs = {row.text("name"): row.text("arch") for row in rows}
    return np.stack([space.parse(archs[f"pnag-mobile-{budget:.0f}"]) for budget in BUDGETS_MS])


def top1_half_width(space: MobileNetV3Space) -> float:
    """Of the accuracy model's interval, relative, from published networks held out one by one."""
    networks = embedded_accuracy(space).networks
    errors = [n.top1_pct / n.held_out_pct - 1 for n in networks]
    return half_width(conformal_quantiles(np.array(errors)), CONFIDENCE)


def judged(run: Run, tokens: Tokens) -> tuple[Floats, Floats]:
    """[n] c(α) in ms and top-1 in % by the run's two models."""
    return run.problem.cost(tokens), 100 * run.problem.accuracy.top1(tokens)


def compare(run: Run, table1: dict[str, dict[float, tuple[float, float]]]) -> dict[str, Any]:
    space = run.problem.space
    assert isinstance(space, MobileNetV3Space)
    made = run.generate(list(BUDGETS_MS))
    own_ms, own_pct = judged(run, np.stack([one.tokens for one in made]))
    paper_ms, paper_pct = judged(run, paper_tokens(space))
    rows = []
    for i, budget in enumerate(BUDGETS_MS):
        rows.append(
            {
                "budget_ms": budget,
                "arch": made[i].arch,
                "ours": (float(own_ms[i]), float(own_pct[i])),
                "paper_by_the_models": (float(paper_ms[i]), float(paper_pct[i])),
                "published": {name: table1[name][budget] for name in METHODS},
                "within_budget": bool(own_ms[i] <= budget),
                "not_below": bool(own_pct[i] >= paper_pct[i]),
            }
        )
    return {
        "rows": rows,
        "confidence": CONFIDENCE,
        "latency_half_width_pct": 100 * run.problem.cost.relative_interval(CONFIDENCE),
        "top1_half_width_pct": 100 * top1_half_width(space),
    }


def draw(run: Run, figures: dict[str, Any], path: Path) -> None:
    """Figure 3: the frontier by the models, and the paper's networks as published."""
    rows = figures["rows"]
    ours = [FrontierPoint(r["arch"], r["ours"][0], r["ours"][1] / 100) for r in rows]
    points = {
        "paper's PNAG, by our models": np.array([r["paper_by_the_models"] for r in rows]).T,
        **{
            f"{name}, published": np.array([r["published"][name] for r in rows]).T
            for name in METHODS
        },
    }
    frontier_plot(
        [path, path.with_suffix(".png")],
        {"generated, any budget": run.frontier(), "five budgets": Frontier.of(ours)},
        points={name: (xy[0], xy[1] / 100) for name, xy in points.items()},
        title="Snapdragon 821 (latencies transferred)",
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--published", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    run = load_run(arguments.run)
    figures = compare(run, published(arguments.published))
    print("| budget | ours | paper's PNAG, by the models | PNAG, EVO, NAS-MO as published |")
    print("|---:|---:|---:|---:|")
    for row in figures["rows"]:
        given = ", ".join(f"{ms:.1f} ms {pct:.1f} %" for ms, pct in row["published"].values())
        cells = [
            f"{ms:.1f} ms {pct:.2f} %" for ms, pct in (row["ours"], row["paper_by_the_models"])
        ]
        print(f"| {row['budget_ms']:.0f} ms | {' | '.join(cells)} | {given} |")
    print(
        f"{CONFIDENCE:.0%} intervals: latency ± {figures['latency_half_width_pct']:.1f} %, "
        f"top-1 ± {figures['top1_half_width_pct']:.2f} % of itself"
    )
    if arguments.json:
        write_json(arguments.json, figures)
    if arguments.figure:
        draw(run, figures, arguments.figure)


if __name__ == "__main__":
    main()
