"""What do large inputs take? Seconds and peak memory against their number, for each command.

    pnag profile --device fake:1 --space mbv3 --quick --out table.json
    pnag train --latency-table table.json --out run
    python -m benchmarks.load --latency-table table.json --run run

Each size is one command in a process of its own, as a user types it. `exponent` is the slope of
log(seconds beyond those of the smallest size) against log(n), between the two largest sizes: 1 is
linear.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.accuracy_rows import write_rows
from benchmarks.commands import taken_by
from benchmarks.landscape import write_json
from profiler.tables.table import LatencyTable, load_table

MEMORY_MB = 1024
EVALUATIONS = "1000"  # of training, the same at all sizes: what differs is reading and the tables
Taken = dict[str, float]


@dataclass(frozen=True)
class Given:
    """What the inputs are made of, and where they are written."""

    table: Path
    run: Path
    folder: Path

    @property
    def loaded(self) -> LatencyTable:
        return load_table(self.table)


def tabular(given: Given, n: int) -> Taken:
    """`pnag train` on a tabular space of n rows."""
    path = given.folder / "rows.csv"
    write_rows_of_grid(path, n)
    return taken_by(
        "train", "--space", f"tabular:{path}", "--evaluations", EVALUATIONS, "--quiet",
        "--out", str(given.folder / "trained"),
    )  # fmt: skip


def tabular_generate(given: Given, n: int) -> Taken:
    """`pnag generate` from such a run: nearly all of it is opening it."""
    tabular(given, n)
    budgets = [part for ms in (5, 10, 15, 20) for part in ("--budget", f"{ms}ms")]
    return taken_by(
        "generate", "--run", str(given.folder / "trained"), *budgets, "--json",
        stdout=given.folder / "generated.json",
    )  # fmt: skip


def tabular_report(given: Given, n: int) -> Taken:
    """`pnag report` of such a run."""
    tabular(given, n)
    return taken_by(
        "report", "--run", str(given.folder / "trained"), "--out", str(given.folder / "page.html")
    )


def write_rows_of_grid(path: Path, n: int) -> None:
    """The first n rows of 4^10, or of so many positions as n needs."""
    n_positions = math.ceil(math.log(n, 4) - 1e-9)
    rng = np.random.default_rng(n)
    with path.open("w", encoding="utf-8") as file:
        header = [f"block_{at}" for at in range(n_positions)]
        print(*header, "top1", "latency_ms", sep=",", file=file)
        for row in itertools.islice(itertools.product(range(4), repeat=n_positions), n):
            names = ("skip", "conv_1x1", "conv_3x3", "pool_3x3")
            top1, latency_ms = 0.5 + sum(row) / 100 + rng.normal(0, 1e-3), 1 + sum(row)
            texts = (names[token] for token in row)
            print(*texts, f"{top1:.6f}", f"{latency_ms + rng.random():.6f}", sep=",", file=file)


def accuracies(given: Given, n: int) -> Taken:
    """`pnag train` with n evaluated architectures."""
    path = given.folder / "accuracies.csv"
    write_rows(path, given.loaded.search_space, n)
    return taken_by(
        "train", "--latency-table", str(given.table), "--accuracy-table", str(path),
        "--evaluations", EVALUATIONS, "--quiet", "--out", str(given.folder / "trained"),
    )  # fmt: skip


def predict(given: Given, n: int) -> Taken:
    """`pnag predict --json` of n architectures, a line each."""
    path, space = given.folder / "archs.txt", given.loaded.search_space
    with path.open("w", encoding="utf-8") as file:
        for row in space.sample(n, np.random.default_rng(n)):
            print(space.format(row), file=file)
    return taken_by(
        "predict", "--latency-table", str(given.table), "--arch-file", str(path), "--json",
        stdout=given.folder / "predicted.json",
    )  # fmt: skip


def generate(given: Given, n: int) -> Taken:
    """`pnag generate --json` for n budgets over the reachable range."""
    answer = given.folder / "generated.json"
    taken_by("generate", "--run", str(given.run), "--budget", "1000s", "--json", stdout=answer)
    (dearest,) = json.loads(answer.read_text())["results"]
    budgets = np.linspace(0.5, 1, n) * dearest["latency_ms"]
    options = [part for budget in budgets for part in ("--budget", f"{budget:.9g}ms")]
    return taken_by("generate", "--run", str(given.run), *options, "--json", stdout=answer)


def show(given: Given, n: int) -> Taken:
    """`pnag table show` of n ops: those of the table, with other numbers inside."""
    table, path = given.loaded, given.folder / "large.json"
    keys = [key for key in table.ops if "-expand:" in key]
    ops = {}
    for at in range(n):
        key = keys[at % len(keys)]
        before, _, after = key.partition("-expand:")
        ops[f"{before}-expand:{at}-{after.partition('-')[2]}"] = table.ops[key]
    table.model_copy(update={"ops": ops}).save(path)
    return taken_by("table", "show", str(path), stdout=given.folder / "shown.txt")


JOBS: dict[str, tuple[Callable[[Given, int], Taken], tuple[int, int, int]]] = {
    "tabular": (tabular, (10_000, 100_000, 1_000_000)),
    "tabular-generate": (tabular_generate, (10_000, 100_000, 1_000_000)),
    "tabular-report": (tabular_report, (10_000, 100_000, 1_000_000)),
    "accuracies": (accuracies, (5000, 50_000, 500_000)),
    "predict": (predict, (1000, 10_000, 100_000)),
    "generate": (generate, (100, 1000, 10_000)),
    "show": (show, (1000, 10_000, 100_000)),
}


def exponent(taken: dict[int, Taken]) -> float:
    """How the time grows between the two largest sizes, without that of the smallest."""
    first, second, third = sorted(taken)
    beyond = [taken[n]["cpu_seconds"] - taken[first]["cpu_seconds"] for n in (second, third)]
    return math.log(beyond[1] / beyond[0]) / math.log((third - first) / (second - first))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency-table", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--jobs", nargs="+", choices=JOBS, default=list(JOBS))
    parser.add_argument("--share", type=float, default=1.0, help="of the sizes; below 1 to try it")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/load.json"))
    arguments = parser.parse_args()
    results: dict[str, object] = {}
    print(f"{'':17}{'n':>10}{'s':>8}{'CPU s':>8}{'MB':>7}")
    for name in arguments.jobs:
        job, sizes = JOBS[name]
        taken: dict[int, Taken] = {}
        for size in sizes:
            n = max(1, round(arguments.share * size))
            with tempfile.TemporaryDirectory() as folder:
                taken[n] = job(Given(arguments.latency_table, arguments.run, Path(folder)), n)
            row = taken[n]
            print(
                f"{name:17}{n:>10,}{row['seconds']:>8.1f}{row['cpu_seconds']:>8.1f}"
                f"{row['peak_memory_mb']:>7.0f}",
                flush=True,
            )
        grows = exponent(taken)
        within = all(row["peak_memory_mb"] <= MEMORY_MB for row in taken.values())
        print(f"{'':17}exponent {grows:.2f}, {'within' if within else 'BEYOND'} {MEMORY_MB} MB")
        results[name] = {"taken": taken, "exponent": grows, "within_memory": within}
        write_json(arguments.out, {"jobs": results})


if __name__ == "__main__":
    main()
