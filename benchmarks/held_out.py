"""Measure networks that a table has not seen, on the table's scale: what predictors are judged on.

    python -m benchmarks.held_out TABLE.json --networks 50 --seed 1 --out HELD_OUT.json

The file written is the table with these networks in place of its own.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from predictors import cost_from_table
from profiler.measuring.follow_up import measure_networks
from profiler.measuring.protocol import FULL, QUICK
from profiler.spaces.sampling import draw_networks
from profiler.tables.table import LatencyTable, load_table
from profiler.terminal import Terminal


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    table = load_table(arguments.table)
    seen = {network.arch for network in table.networks}
    space = table.search_space
    drawn = draw_networks(space, arguments.networks + 2, seed=arguments.seed)
    fresh = [arch for arch in map(space.format, drawn) if arch not in seen][: arguments.networks]
    protocol = QUICK if arguments.quick else FULL
    entries = measure_networks(table, fresh, Terminal(), protocol=protocol, seed=arguments.seed)
    update = {"networks": tuple(entries), "calibration": None}
    held_out = table.model_copy(update=update)
    held_out.save(arguments.out)
    spread = [entry.latency_ms for entry in entries]
    print(f"{len(entries)} networks, {np.min(spread):.2f} to {np.max(spread):.2f} ms")
    print(f"c(α) of the table: MAPE {mape_pct(table, held_out):.2f} %")


def mape_pct(table: LatencyTable, held_out: LatencyTable) -> float:
    """Mean |c(α) / measured - 1| of the held-out networks, in percent."""
    space = table.search_space
    tokens = np.stack([space.parse(network.arch) for network in held_out.networks])
    measured_ms = np.array([network.latency_ms for network in held_out.networks])
    return float(100 * np.abs(cost_from_table(table)(tokens) / measured_ms - 1).mean())


if __name__ == "__main__":
    main()
