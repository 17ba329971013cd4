"""How well does a table of LiteRT on this machine predict networks that it has not seen?

    pnag profile --device tflite --networks 30 --seed 0 --out table.json
    pnag profile --device tflite --networks 42 --seed 1 --out held-out.json
    python -m benchmarks.litert table.json held-out.json --json figures.json

The second sweep is another session on another random set; its networks that the first one has
too (the extremes of the space) are left out. Fewer networks for calibration are drawn from the
table's at random. Works on tables of any device.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from predictors.base import Floats
from predictors.latency.calibration import MIN_NETWORKS
from predictors.latency.lookup import cost_from_table
from profiler.tables.table import LatencyTable, NetworkEntry, load_table

CALIBRATION_SIZES = (0, 5, 10, 20, 30)
TOLERANCE_PCT = 7.0
CONFIDENCE = 0.95


def held_out_networks(table: LatencyTable, other: LatencyTable) -> list[NetworkEntry]:
    """Networks of the other sweep that the table does not hold."""
    known = {network.arch for network in table.networks}
    return [network for network in other.networks if network.arch not in known]


def with_networks(table: LatencyTable, count: int, seed: int) -> LatencyTable:
    """The table with a random `count` of its networks, to be calibrated on them."""
    order = np.random.default_rng(seed).permutation(len(table.networks))[:count]
    networks = tuple(table.networks[i] for i in order)
    return table.model_copy(update={"networks": networks, "calibration": None})


def errors_of(table: LatencyTable, networks: list[NetworkEntry]) -> tuple[Floats, float | None]:
    """Relative errors of c(α) in percent, and the share that the 95 % interval covers."""
    cost = cost_from_table(table)
    tokens = np.stack([table.search_space.parse(network.arch) for network in networks])
    measured = np.array([network.latency_ms for network in networks])
    predicted = cost(tokens)
    if not any(coverage >= CONFIDENCE for coverage in cost.relative_quantiles):
        return 100 * (predicted / measured - 1), None
    half = cost.relative_interval(CONFIDENCE)
    return 100 * (predicted / measured - 1), float(
        (np.abs(measured - predicted) <= half * predicted).mean()
    )


def evaluate(table: LatencyTable, held_out: list[NetworkEntry], seed: int) -> list[dict[str, Any]]:
    rows = []
    for count in CALIBRATION_SIZES:
        if 0 < count < MIN_NETWORKS or count > len(table.networks):
            continue
        errors, covered = errors_of(with_networks(table, count, seed), held_out)
        rows.append(
            {
                "calibration_networks": count,
                "bias_pct": float(errors.mean()),
                "mape_pct": float(np.abs(errors).mean()),
                "max_pct": float(np.abs(errors).max()),
                f"within_{TOLERANCE_PCT:g}_pct": float((np.abs(errors) <= TOLERANCE_PCT).mean()),
                "covered_by_95": covered,
            }
        )
    return rows


def describe(table: LatencyTable) -> dict[str, Any]:
    device, floor = table.device, table.noise_floor
    return {
        "device": f"{device.model}, {device.runtime} {device.runtime_version}",
        "threads": device.threads,
        "precision": device.precision,
        "networks": len(table.networks),
        "noise_floor_median_pct": floor.median_pct if floor else None,
        "noise_floor_p95_pct": floor.p95_pct if floor else None,
        "wall_s": table.protocol.get("wall_s"),
    }


def show(figures: dict[str, Any]) -> None:
    table = figures["table"]
    print(f"{table['device']}, {table['threads']} thread, {table['precision']}")
    low, high = figures["held_out_ms"]
    print(f"{figures['n_held_out']} held-out networks, {low:.1f} to {high:.1f} ms")
    names = ("calibration", "bias %", "MAPE %", "max %", f"within {TOLERANCE_PCT:g} %", "in 95 %")
    print("".join(f"{name:>13}" for name in names))
    for row in figures["rows"]:
        count, bias, mape, largest, within, covered = row.values()
        covered = "-" if covered is None else f"{covered:.3f}"
        print(f"{count:>13}{bias:>+13.2f}{mape:>13.2f}{largest:>13.2f}{within:>13.3f}{covered:>13}")


def main() -> None:
    parser = argparse.ArgumentParser(description="Held-out error of a calibrated latency table.")
    parser.add_argument("table", type=Path)
    parser.add_argument("held_out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="where to write the figures")
    arguments = parser.parse_args()
    table, other = load_table(arguments.table), load_table(arguments.held_out)
    held_out = held_out_networks(table, other)
    latencies = [network.latency_ms for network in held_out]
    figures = {
        "table": describe(table),
        "other": describe(other),
        "n_held_out": len(held_out),
        "held_out_ms": (min(latencies), max(latencies)),
        "rows": evaluate(table, held_out, arguments.seed),
    }
    show(figures)
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
