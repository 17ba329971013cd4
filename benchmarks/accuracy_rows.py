"""What does `pnag train` take from an accuracy table of M rows? Seconds and memory against M.

    pnag profile --device fake:1 --space mbv3 --width-mult 1.2 --quick --out wide.json
    python -m benchmarks.accuracy_rows --latency-table wide.json --rows 2000 16000 500000

Each M is one `pnag train` of its own, as a user types it; the rows are random architectures with
the embedded accuracies and noise, in a CSV. Figures are of the whole process.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.commands import taken_by
from benchmarks.landscape import write_json
from predictors.accuracy.fitted import embedded_accuracy, load_accuracy_model
from profiler.spaces.networks import NetworkSpace
from profiler.tables.table import load_table

NOISE_POINTS = 0.05


def write_rows(path: Path, space: NetworkSpace, n: int) -> None:
    """A CSV of n distinct architectures."""
    rng = np.random.default_rng(n)
    tokens = np.unique(space.sample(n + n // 50, rng), axis=0)
    tokens = rng.permutation(tokens)[:n]
    top1 = embedded_accuracy(space).top1(tokens) + rng.normal(0, NOISE_POINTS / 100, len(tokens))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["arch", "top1"])
        writer.writerows(
            (space.format(row), f"{value:.5f}") for row, value in zip(tokens, top1, strict=True)
        )


def train(latency_table: Path, rows: Path, folder: Path) -> dict[str, float]:
    """One `pnag train` in a process of its own: seconds and its peak memory."""
    return taken_by(
        "train", "--latency-table", str(latency_table), "--accuracy-table", str(rows),
        "--out", str(folder), "--quiet",
    )  # fmt: skip


def figures(latency_table: Path, n: int) -> dict[str, Any]:
    space = load_table(latency_table).search_space
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rows(folder / "rows.csv", space, n)
        taken = train(latency_table, folder / "rows.csv", folder / "run")
        fitted = load_accuracy_model(folder / "run" / "accuracy.safetensors", space)
        unseen = space.sample(5000, np.random.default_rng(1))
        errors = 100 * (fitted.top1(unseen) - embedded_accuracy(space).top1(unseen))
    return {"rows": n, **taken, "error_points": float(np.abs(errors).mean())}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--latency-table", type=Path, required=True)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 2000, 8000, 16_000])
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/accuracy_rows.json"))
    arguments = parser.parse_args()
    print(f"{'rows':>8}{'s':>8}{'CPU s':>8}{'MB':>8}{'error, points':>15}")
    results = []
    for n in arguments.rows:
        row = figures(arguments.latency_table, n)
        results.append(row)
        print(
            f"{n:>8}{row['seconds']:>8.1f}{row['cpu_seconds']:>8.1f}"
            f"{row['peak_memory_mb']:>8.0f}{row['error_points']:>15.4f}",
            flush=True,
        )
        write_json(arguments.out, {"rows": results})


if __name__ == "__main__":
    main()
