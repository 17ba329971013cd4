"""How well are ImageNet accuracies of unseen Once-for-All subnets predicted, and can a search
exploit the errors? Trains the accuracy model that pnag ships.

    python -m benchmarks.accuracy_model ofa_mbv3_dynast_accuracy.csv --json figures.json

The CSV is that of IntelLabs/DyNAS-T (notebooks/data): columns `ks`, `e`, `d`, `r`, `top1` (%).
`--write FILE` also writes the safetensors.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.accuracy.fitted import FittedAccuracy, save_accuracy_model
from predictors.accuracy.quadratic import Encoding, fit_quadratic
from predictors.accuracy.tables import AccuracyTable, accuracy_from_table
from predictors.base import Floats
from predictors.cost import madds_cost
from profiler.spaces.base import Tokens
from profiler.spaces.decisions import decision_graph
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.networks import NetworkSpace
from profiler.system.stamp import today

SPACE = MobileNetV3Space("mbv3", 1.0, 224)
GRAPH = decision_graph(SPACE)
ENCODING = Encoding(tuple(len(position.choices) for position in SPACE.positions))
FOLDS, REPEATS = 10, 3
BUDGETS_MADDS = (150e6, 200e6, 250e6, 300e6, 350e6, 400e6, 450e6)
Predict = Callable[[Tokens], Floats]


def read_dynast(path: Path) -> AccuracyTable:
    """The published CSV as an accuracy table."""
    rows = []
    with path.open(newline="", encoding="utf-8") as file:
        for record in csv.DictReader(file):
            lists = {name: [int(v) for v in record[name].split(",")] for name in ("ks", "e", "d")}
            tokens = SPACE.parse(json.dumps(lists | {"r": int(record["r"])}))
            rows.append((tokens, float(record["top1"]) / 100))
    return AccuracyTable.of(
        SPACE,
        rows,
        dataset="ImageNet-1k validation, Once-for-All w1.0 subnets without fine-tuning",
        source="IntelLabs/DyNAS-T, notebooks/data (search-biased sample)",
        licence="Apache-2.0",
    )


def search(
    space: NetworkSpace, predict: Predict, budget_madds: float, rng: np.random.Generator
) -> Tokens:
    """[45] the best predicted architecture within the budget: a plain evolutionary search."""
    cost, graph = madds_cost(space), decision_graph(space)
    genes = rng.integers(0, 3, (2000, len(space.positions)), dtype=np.int8)
    genes[:1000] //= 2  # small ones, so that low budgets start with feasible parents
    genes[0] = 0
    for _ in range(120):
        parents = genes[rng.integers(0, len(genes), (2, 2000))]
        children = np.where(rng.random(parents[0].shape) < 0.5, parents[0], parents[1])
        fresh = rng.integers(0, 3, children.shape, dtype=np.int8)
        children = np.where(rng.random(children.shape) < 0.04, fresh, children)
        pool = np.unique(np.concatenate([genes, children]), axis=0)
        pool = pool[cost(graph.without_dead(pool)) <= budget_madds]
        genes = pool[np.argsort(-predict(graph.without_dead(pool)))[:300]]
    best: Tokens = graph.without_dead(genes[:1])[0]
    return best


def adversarial_gap(model: FittedAccuracy, table: AccuracyTable, seed: int) -> list[dict[str, Any]]:
    """Per MAdds budget: best predicted, best observed, and what the other half says.

    `self_points` is what a model fitted to one half of the data predicts for the optimum that
    was searched on it; `judge_points` what the model of the other half says about it.
    """
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(table.top1))
    halves = [
        fit_quadratic(ENCODING, table.tokens[half], table.top1[half], rng)[0].predict
        for half in (order[::2], order[1::2])
    ]
    madds = madds_cost(SPACE)(table.tokens)
    rows = []
    for budget in BUDGETS_MADDS:
        predicted = model.top1(search(SPACE, model.top1, budget, rng)[None])[0]
        found = [search(SPACE, half, budget, rng)[None] for half in halves]
        own = np.mean([half(best)[0] for half, best in zip(halves, found, strict=True)])
        judge = np.mean([half(best)[0] for half, best in zip(halves[::-1], found, strict=True)])
        rows.append(
            {
                "budget_madds": budget,
                "observed_points": float(100 * table.top1[madds <= budget].max()),
                "predicted_points": float(100 * predicted),
                "self_points": float(100 * own),
                "judge_points": float(100 * judge),
            }
        )
    return rows


def extrapolation(table: AccuracyTable, seed: int) -> list[dict[str, Any]]:
    """Errors where the test architectures lie beyond the training ones."""
    madds = madds_cost(SPACE)(table.tokens)
    efficiency = table.top1 - np.poly1d(np.polyfit(np.log(madds), table.top1, 3))(np.log(madds))
    splits: list[tuple[str, Floats, float]] = [
        ("less accurate half -> more accurate half", table.top1, 0.5),
        ("less accurate 90% -> top 10%", table.top1, 0.9),
        ("smaller half -> larger half", madds, 0.5),
        ("less efficient half -> more efficient half", efficiency, 0.5),
        ("less efficient 90% -> top 10%", efficiency, 0.9),
        ("larger half -> smaller half", -madds, 0.5),
        ("more accurate 90% -> bottom 10%", -table.top1, 0.9),
    ]
    rows = []
    for name, by, share in splits:
        order = np.argsort(by, kind="stable")
        cut = int(share * len(order))
        train, test = order[:cut], order[cut:]
        rng = np.random.default_rng(seed)
        model, _ = fit_quadratic(ENCODING, table.tokens[train], table.top1[train], rng)
        errors = 100 * (model.predict(table.tokens[test]) - table.top1[test])
        rows.append(
            {
                "split": name,
                "bias_points": float(errors.mean()),
                "mae_points": float(np.abs(errors).mean()),
            }
        )
    return rows


def learning_curve(table: AccuracyTable) -> list[dict[str, Any]]:
    """Errors on the other rows when only n random ones are known; one draw each."""
    rows = []
    for n in (50, 100, 200, 400, 800):
        rng = np.random.default_rng(n)
        order = rng.permutation(len(table.top1))
        train, test = order[:n], order[n:]
        model, _ = fit_quadratic(ENCODING, table.tokens[train], table.top1[train], rng)
        errors = 100 * np.abs(model.predict(table.tokens[test]) - table.top1[test])
        rows.append({"n": n, "mae_points": float(errors.mean())})
    return rows


def single_steps(tokens: Tokens) -> dict[str, tuple[Tokens, Tokens]]:
    """By kind of token: architectures and the same with one token a choice up.

    A deeper stage gets its new block with expand 3 and kernel 3.
    """
    pairs: dict[str, tuple[list[Tokens], list[Tokens]]] = {}
    for column, position in enumerate(SPACE.positions):
        kind = position.name.rsplit(".", 1)[1]
        usable = tokens[(tokens[:, column] >= 0) & (tokens[:, column] < 2)]
        stepped = usable.copy()
        stepped[:, column] += 1
        if kind == "depth":
            new_slot = column + 1 + 2 * (usable[:, column].astype(int) + 2)
            for offset in (0, 1):
                stepped[np.arange(len(stepped)), new_slot + offset] = 0
        before, after = pairs.setdefault(kind, ([], []))
        before.append(usable)
        after.append(stepped)
    return {kind: (np.concatenate(a), np.concatenate(b)) for kind, (a, b) in pairs.items()}


def plausibility(model: FittedAccuracy, seed: int) -> dict[str, Any]:
    """Extremes, random architectures, and what one step up does to random architectures."""
    sample = SPACE.sample(2000, np.random.default_rng(seed))
    smallest, largest = (
        GRAPH.without_dead(np.full((1, len(SPACE.positions)), c, np.int8)) for c in (0, 2)
    )
    quantiles: NDArray[np.float64] = np.quantile(model.top1(sample), [0, 0.05, 0.5, 0.95, 1])
    steps = {}
    for kind, (before, after) in single_steps(sample).items():
        change = 100 * (model.top1(after) - model.top1(before))
        steps[kind] = {
            "median_points": float(np.median(change)),
            "worst_points": float(change.min()),
            "share_below_minus_0.1": float((change < -0.1).mean()),
        }
    return {
        "smallest_points": float(100 * model.top1(smallest)[0]),
        "largest_points": float(100 * model.top1(largest)[0]),
        "random_points_quantiles": (100 * quantiles).tolist(),
        "one_step_up": steps,
    }


def show(figures: dict[str, Any]) -> None:
    held_out, sane = figures["held_out"], figures["plausibility"]
    print(f"{figures['n']} distinct architectures; {FOLDS}-fold cross-validation, {REPEATS} times")
    for name in ("mae_points", "rmse_points", "spearman", "kendall"):
        print(f"  {name:<12} {held_out[name]:.4f}")
    print(f"smallest {sane['smallest_points']:.2f}, largest {sane['largest_points']:.2f} points")
    print("random   " + " ".join(f"{q:.2f}" for q in sane["random_points_quantiles"]))
    for kind, step in sane["one_step_up"].items():
        print(f"one step up in {kind:<7}" + "".join(f"  {k} {v:+.3f}" for k, v in step.items()))
    curve = (f"{row['n']}: {row['mae_points']:.3f}" for row in figures["learning_curve"])
    print("MAE by known architectures  " + "  ".join(curve))
    print(f"{'extrapolation':<44}{'bias':>8}{'MAE':>8}")
    for row in figures["extrapolation"]:
        print(f"  {row['split']:<42}{row['bias_points']:>+8.3f}{row['mae_points']:>8.3f}")
    print(f"{'MAdds':>8}{'observed':>10}{'predicted':>11}{'half, self':>12}{'half, judge':>12}")
    for row in figures["adversarial_gap"]:
        print(
            f"{row['budget_madds'] / 1e6:>7.0f}M{row['observed_points']:>10.2f}"
            f"{row['predicted_points']:>11.2f}{row['self_points']:>12.2f}"
            f"{row['judge_points']:>12.2f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Trains and evaluates the accuracy model.")
    parser.add_argument("csv", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="the safetensors file to write")
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    table = read_dynast(arguments.csv)
    model = accuracy_from_table(
        table, SPACE, seed=arguments.seed, folds=FOLDS, repeats=REPEATS, keep_rows=False,
        trained=today(),
    )  # fmt: skip
    figures = {
        "n": len(table.top1),
        "held_out": asdict(model.held_out),
        "plausibility": plausibility(model, arguments.seed),
        "learning_curve": learning_curve(table),
        "extrapolation": extrapolation(table, arguments.seed),
        "adversarial_gap": adversarial_gap(model, table, arguments.seed),
    }
    show(figures)
    if arguments.write:
        save_accuracy_model(arguments.write, model)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
