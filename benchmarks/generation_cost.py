"""What does a budget cost once the generator is trained? The paper's Table 4.

Times the generator for one budget, for five, and in batches, against Once-for-All's own
evolutionary finder (PyPI `ofa`, its defaults: population 100, 500 iterations) with the same
latency table and the same accuracy model, looked up as cheaply as Python allows.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.landscape import Landscape, open_landscape, write_json
from pnag.learning.settings import TrainSettings
from pnag.runs.run import Run, load_run, train_run
from predictors.cost import AdditiveCost
from profiler.spaces.base import Tokens
from profiler.spaces.decisions import decision_graph
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.mobilenetv3_architecture import (
    DEPTHS,
    EXPANDS,
    KERNELS,
    N_SLOTS,
    N_STAGES,
    SLOTS_PER_STAGE,
)

QUICK = TrainSettings(n_evaluations=400, rounds=2, evaluator_steps=10, generator_steps=5)


def to_tokens(samples: list[dict[str, Any]]) -> Tokens:
    """[n, 45] tokens of OFA's architectures."""
    rows = []
    for sample in samples:
        row = []
        for stage, depth in enumerate(sample["d"]):
            row.append(DEPTHS.index(depth))
            for slot in range(stage * SLOTS_PER_STAGE, (stage + 1) * SLOTS_PER_STAGE):
                row += [EXPANDS.index(sample["e"][slot]), KERNELS.index(sample["ks"][slot])]
        rows.append(row)
    graph = decision_graph(MobileNetV3Space())
    return graph.without_dead(np.array(rows, dtype=np.int8))


class Efficiency:
    """OFA's protocol for c(α): a sum over active blocks, in plain Python."""

    def __init__(self, cost: AdditiveCost) -> None:
        self.fixed = cost.fixed
        self.block_ms = [
            {(e, k): float(term.values[i, j])
             for i, e in enumerate(EXPANDS) for j, k in enumerate(KERNELS)}
            for term in cost.terms
        ]  # fmt: skip

    def get_efficiency(self, sample: dict[str, Any]) -> float:
        total = self.fixed
        for stage, depth in enumerate(sample["d"]):
            for slot in range(stage * SLOTS_PER_STAGE, stage * SLOTS_PER_STAGE + depth):
                total += self.block_ms[slot][sample["e"][slot], sample["ks"][slot]]
        return total


class ArchManager:
    """OFA's protocol for sampling and mutating; resolution stays at 224 px."""

    def random_sample_arch(self) -> dict[str, Any]:
        return {
            "d": random.choices(DEPTHS, k=N_STAGES),
            "e": random.choices(EXPANDS, k=N_SLOTS),
            "ks": random.choices(KERNELS, k=N_SLOTS),
            "image_size": 224,
        }

    def mutate_resolution(self, sample: dict[str, Any], probability: float) -> None:
        return None

    def mutate_arch(self, sample: dict[str, Any], probability: float) -> None:
        for slot in range(N_SLOTS):
            if random.random() < probability:
                sample["ks"][slot] = random.choice(KERNELS)
                sample["e"][slot] = random.choice(EXPANDS)
        for stage in range(N_STAGES):
            if random.random() < probability:
                sample["d"][stage] = random.choice(DEPTHS)


class Accuracy:
    """OFA's protocol for accuracies."""

    def __init__(self, landscape: Landscape) -> None:
        self.arch_encoder = ArchManager()
        self._model = landscape.problem.accuracy

    def predict_acc(self, samples: list[dict[str, Any]]) -> torch.Tensor:
        return torch.from_numpy(self._model.top1(to_tokens(samples)))


def finder_class() -> Any:
    """`ofa.nas.search_algorithm.EvolutionFinder`, its one file alone.

    Importing the package would import all of torchvision.
    """
    package = importlib.util.find_spec("ofa")
    if package is None or package.origin is None:
        raise SystemExit("pip install --no-deps ofa tqdm")
    path = Path(package.origin).parent / "nas" / "search_algorithm" / "evolution.py"
    spec = importlib.util.spec_from_file_location("ofa_evolution", path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"cannot load {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.EvolutionFinder


def ofa_finder(landscape: Landscape, budget_ms: float, iterations: int) -> tuple[float, float]:
    """Seconds and accuracy of one search by OFA's finder."""
    cost = landscape.problem.cost
    if not isinstance(cost, AdditiveCost):
        raise SystemExit("the finder's comparison needs an additive cost")
    finder = finder_class()(Efficiency(cost), Accuracy(landscape))
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002 - the finder draws from the global state
    begun = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        _, best = finder.run_evolution_search(budget_ms, max_time_budget=iterations)
    return time.perf_counter() - begun, float(best[0])


def timed(action: Callable[[], object], repeats: int) -> float:
    """Median seconds."""
    seconds = []
    for _ in range(repeats):
        begun = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - begun)
    return float(np.median(seconds))


def generation_figures(run: Run, landscape: Landscape, repeats: int) -> dict[str, float]:
    budgets = landscape.budgets.tolist()
    five = budgets[2::5]
    batch = np.repeat(landscape.budgets, 400).tolist()  # 10,000 budgets, one sample each
    return {
        "one_budget_ms": 1e3 * timed(lambda: run.generate(five[2:3], pure=True), repeats),
        "five_budgets_ms": 1e3 * timed(lambda: run.generate(five, pure=True), repeats),
        "batch_architectures_per_s": len(batch)
        / timed(lambda: run.generate(batch, n_samples=1, pure=True), max(1, repeats // 20)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--latency-table", type=Path, required=True)
    parser.add_argument("--run", type=Path, help="a trained run of this table, or else train one")
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/generation_cost.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    landscape = open_landscape(arguments.latency_table)
    if arguments.run:
        run = load_run(arguments.run)
    else:
        run = train_run(landscape.problem, QUICK if arguments.quick else None)
    document: dict[str, Any] = generation_figures(run, landscape, arguments.repeats)
    rows = []
    made = run.generate(landscape.budgets.tolist(), pure=True)
    for index in range(2, 25, 5):
        budget_ms = float(landscape.budgets[index])
        seconds, top1 = ofa_finder(landscape, budget_ms, 10 if arguments.quick else 500)
        rows.append(
            {"budget_ms": budget_ms, "ofa_s": seconds, "ofa_top1": top1, "top1": made[index].top1}
        )
        print(rows[-1], flush=True)
    document["ofa_finder"] = rows
    ofa_s = float(np.median([row["ofa_s"] for row in rows]))
    document["ratio_to_ofa"] = 1e3 * ofa_s / document["one_budget_ms"]
    write_json(arguments.out, document)
    for name in ("one_budget_ms", "five_budgets_ms", "batch_architectures_per_s", "ratio_to_ofa"):
        print(f"{name:28} {document[name]:.4g}")


if __name__ == "__main__":
    main()
