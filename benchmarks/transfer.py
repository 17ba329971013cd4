"""How far is a device's table from another device's and a few measured numbers?

    python -m benchmarks.transfer --data FOLDER --json figures.json
    python -m benchmarks.transfer --base cpu.json --target tflite.json

FOLDER holds published numbers (docs/transfer.md says which, and where they are from):
luts/nn_meter_{pixel1,pixel4}_blocks.json, luts/ofa_note10_w1.2_*.yaml, nasbench201.csv.gz. The
Snapdragon 821 is judged by what is shipped in tables/. Nothing is measured here; `--base` and
`--target` are tables of `pnag profile` of one space, of which the target holds whole networks.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.landscape import write_json
from predictors.base import Floats
from predictors.intervals import half_width
from predictors.latency.ridge import Choice, Ridge, Term, most_telling
from predictors.latency.transfer import (
    NOISE,
    BaseDevice,
    Measured,
    TransferModel,
    base_sums_ms,
    transfer_ridge,
)
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.networks import network_ops
from profiler.tables.interop import TableFormat, import_table
from profiler.tables.keys import op_of_key
from profiler.tables.measured_numbers import read_measured_numbers
from profiler.tables.table import LatencyTable, load_table

TABLES = Path(__file__).parent.parent / "tables"
Figures = dict[str, Any]


def errors_pct(predicted: Floats, measured: Floats) -> Floats:
    return np.asarray(100 * np.abs(predicted / measured - 1), np.float64)


# --- Phones: blocks from blocks -----------------------------------------------------------


def phones(base: LatencyTable, target: LatencyTable, draws: int = 20, samples: int = 30) -> Figures:
    """Medians over draws of `samples` blocks; beside them one factor that saw all blocks."""
    keys = [key for key in base.ops if key in target.ops]
    ops = [op_of_key(key) for key in keys]
    latency_ms = np.array([target.ops[key].latency_ms for key in keys])
    base_ms = np.array([base.ops[key].latency_ms for key in keys])
    device, rows = BaseDevice(base), []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(keys))
        seen, rest = order[:samples], order[samples:]
        measured = [Measured((ops[i],), float(latency_ms[i]), "phone", False) for i in seen]
        model = TransferModel(device, measured)
        predicted = model.predict_ms([ops[i] for i in rest], measured[0].scale, in_network=False)
        error = errors_pct(predicted, latency_ms[rest])
        half = half_width(model.relative_quantiles(range(samples)), 0.9)
        covered = np.abs(latency_ms[rest] / predicted - 1) <= half
        rows.append((error.mean(), 100 * (error <= 10).mean(), 100 * covered.mean()))
    one_factor = errors_pct(base_ms * np.median(latency_ms / base_ms), latency_ms)
    mape, within, covered_pct = np.median(rows, axis=0)
    return {
        "mape_pct": mape,
        "worst_draw_mape_pct": np.max(rows, axis=0)[0],
        "within_10_pct": within,
        "covered_by_90_pct": covered_pct,
        "one_factor_mape_pct": one_factor.mean(),
        "one_factor_within_10_pct": 100 * (one_factor <= 10).mean(),
    }


# --- NAS-Bench-201: whole cells -----------------------------------------------------------

OPERATIONS = ("skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
EDGES = ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
CELL_NOISE, OPERATION_WIDTH, CELL_INTERCEPT_WIDTH = 0.05, 0.5, 0.3
MIN_CELL = 0.02  # of the mean of the measured
CANDIDATES = TARGETS = 600  # drawn cells that the choice looks at


def live_edges(cell: Sequence[str]) -> list[bool]:
    """Which operations lie on a way from the cell's input to its output."""
    pairs = list(zip(EDGES, cell, strict=True))
    reached, needed = [True, False, False, False], [False, False, False, True]
    for node in (1, 2, 3):
        reached[node] = any(reached[a] and op != "none" for (a, b), op in pairs if b == node)
    for node in (2, 1, 0):
        needed[node] = any(needed[b] and op != "none" for (a, b), op in pairs if a == node)
    return [reached[a] and needed[b] and op != "none" for (a, b), op in pairs]


def read_cells(path: Path) -> tuple[Floats, dict[str, Floats]]:
    """[n, 9] counts (one, operations, live operations) and latencies [n] in ms by device."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        records = list(csv.DictReader(file))
    cells = [re.findall(r"(\w+)~", record["arch"]) for record in records]
    counts = np.zeros((len(cells), 9))
    for row, cell in zip(counts, cells, strict=True):
        live = live_edges(cell)
        row[0] = 1
        for i, operation in enumerate(OPERATIONS):
            row[1 + i] = cell.count(operation)
            row[5 + i] = sum(on and op == operation for on, op in zip(live, cell, strict=True))
    names = [name for name in records[0] if name.startswith("lat")]
    return counts, {name: np.array([float(r[name]) for r in records]) for name in names}


class CellBase:
    """A base device of which whole cells are known, split into operations by least squares."""

    def __init__(self, counts: Floats, latency_ms: Floats) -> None:
        from scipy.optimize import nnls

        costs, _ = nnls(counts / latency_ms[:, None], np.ones(len(latency_ms)))
        parts = counts * costs
        self.latency_ms = latency_ms
        self._parts = np.column_stack([parts, latency_ms - parts.sum(axis=1)])

    def ridge(self, rows: np.ndarray, latency_ms: Floats, factor: float) -> Ridge:
        expected = factor * self.latency_ms[rows]
        always = {
            "common": Term(expected, 1.0),
            "intercept": Term(
                np.full(len(rows), factor * self.latency_ms.mean()), CELL_INTERCEPT_WIDTH
            ),
        }
        supported = {
            str(i): Term(factor * column, OPERATION_WIDTH)
            for i, column in enumerate(self._parts[rows].T)
        }
        return Ridge(latency_ms, expected, CELL_NOISE * latency_ms, always, supported)

    def chosen(self, count: int, seed: int) -> list[int]:
        """The cells that tell most of others, knowing the base only."""
        drawn = np.random.default_rng(seed).permutation(len(self.latency_ms))
        rows = drawn[: CANDIDATES + TARGETS]
        prior = self.ridge(rows, self.latency_ms[rows], 1.0).covariances[Choice(1.0)]
        relative = prior / np.outer(self.latency_ms[rows], self.latency_ms[rows])
        at = np.arange(len(rows))
        return [
            int(rows[i])
            for i in most_telling(relative, CELL_NOISE, at[:CANDIDATES], at[CANDIDATES:], count)
        ]

    def predict_ms(self, seen: Sequence[int], target_ms: Floats) -> Floats:
        """[n] all cells on a device of which `seen` were measured."""
        rows = np.asarray(seen)
        measured = target_ms[rows]
        factor = float(np.median(measured / self.latency_ms[rows]))
        weights = self.ridge(rows, measured, factor).weights(np.arange(len(rows)))
        predicted = factor * (1 + weights["common"]) * self.latency_ms
        predicted += weights["intercept"] * factor * self.latency_ms.mean()
        for i in range(self._parts.shape[1]):
            predicted += weights.get(str(i), 0.0) * factor * self._parts[:, i]
        return np.asarray(np.maximum(predicted, MIN_CELL * measured.mean()), np.float64)


def cells(path: Path, count: int = 10, seeds: int = 2) -> Figures:
    """Every device from every other one: means over bases, by target device."""
    from scipy.stats import spearmanr

    counts, by_device = read_cells(path)
    bases = {name: CellBase(counts, ms) for name, ms in by_device.items()}
    chosen = {name: [base.chosen(count, s) for s in range(seeds)] for name, base in bases.items()}
    drawn = [np.random.default_rng(s).permutation(len(counts))[:count] for s in range(seeds)]
    devices = {}
    for target, target_ms in by_device.items():
        found: dict[str, list[tuple[float, float]]] = {"chosen": [], "random": []}
        for name, base in bases.items():
            if name == target:
                continue
            for how, cell_sets in (("chosen", chosen[name]), ("random", drawn)):
                for seen in cell_sets:
                    rest = np.delete(np.arange(len(counts)), seen)
                    predicted = base.predict_ms(list(seen), target_ms)[rest]
                    rank = float(spearmanr(predicted, target_ms[rest]).statistic)
                    found[how].append((rank, float(errors_pct(predicted, target_ms[rest]).mean())))
        devices[target] = {how: np.mean(rows, axis=0).tolist() for how, rows in found.items()}
    mean = {
        how: np.mean([device[how] for device in devices.values()], axis=0).tolist()
        for how in ("chosen", "random")
    }
    return {"spearman_and_mape_pct": mean, "by_device": devices}


# --- Note10: other resolutions of the base ------------------------------------------------


def resolutions(folder: Path, networks: int = 200) -> Figures:
    """Ops and networks at 176 and 208 px from the tables at 160, 192 and 224 px."""
    tables = {
        px: import_table(folder / f"ofa_note10_w1.2_{px}.yaml", TableFormat.OFA_YAML)
        for px in (160, 176, 192, 208, 224)
    }
    base = BaseDevice(*(tables[px] for px in (224, 192, 160)))
    figures = {}
    for px in (176, 208):
        space = MobileNetV3Space("mbv3", 1.2, px)
        ops = space.distinct_ops()
        predicted = {key: base.latency_ms(op, in_network=False) for key, op in ops.items()}
        known = {key: tables[px].ops[key].latency_ms for key in ops}
        sums = [
            [sum(ms[op.key] for op in space.ops(space.decode(tokens))) for ms in (predicted, known)]
            for tokens in space.sample(networks, np.random.default_rng(0))
        ]
        of_ops = errors_pct(np.array([*predicted.values()]), np.array([*known.values()]))
        of_networks = errors_pct(*np.array(sums).T)
        figures[str(px)] = {
            "ops_mape_pct": of_ops.mean(),
            "ops_median_pct": np.median(of_ops),
            "ops_worst_pct": of_ops.max(),
            "networks_mape_pct": of_networks.mean(),
        }
    return figures


# --- Snapdragon 821 -----------------------------------------------------------------------


def snapdragon(bases: Sequence[LatencyTable], measured_file: Path) -> Figures:
    """Leave-one-out over the published networks, by a fit that knows their sources or does not."""
    base, figures = BaseDevice(*bases), {}
    for knows in (True, False):
        measured = []
        for sample in read_measured_numbers(measured_file):
            space = MobileNetV3Space("mbv3", sample.width_mult or 1.2, sample.resolution_px or 224)
            ops = tuple(space.ops(space.parse_architecture(sample.arch or "")))
            source = sample.source if knows else "any"
            measured.append(Measured(ops, sample.latency_ms, source, True))
        model = TransferModel(base, measured)
        figures["knows sources" if knows else "does not"] = {
            "mape_pct": model.mape_pct,
            "worst_pct": model.errors_pct.max(),
            "errors_pct": (100 * (model.left_out_ms / model.latency_ms - 1)).tolist(),
        }
    return figures


# --- Two runtimes of one host -------------------------------------------------------------


def runtimes(
    base: LatencyTable, target: LatencyTable, draws: int = 20, samples: int = 15
) -> Figures:
    """The target's networks from `samples` of them and the base; its ops are not looked at.

    `chosen` are those that tell most of the others, knowing the base only, as --like chooses.
    """
    device, space = BaseDevice(base), target.search_space
    networks = [
        Measured(tuple(network_ops(space, space.parse(n.arch))), n.latency_ms, "host", True)
        for n in target.networks
    ]
    at = np.arange(len(networks))
    base_ms = base_sums_ms(device, networks)
    prior = transfer_ridge(device, networks, {networks[0].scale: 1.0}, base_ms)
    relative = prior.covariances[Choice(1.0, optional=True)] / np.outer(base_ms, base_ms)
    chosen = np.array(most_telling(relative, NOISE, at, at, samples))

    def mape_pct(seen: np.ndarray) -> float:
        rest = [networks[i] for i in np.setdiff1d(at, seen)]
        model = TransferModel(device, [networks[i] for i in seen])
        predicted = [
            model.intercept_ms + model.predict_ms(n.ops, n.scale, in_network=True).sum()
            for n in rest
        ]
        return float(errors_pct(np.array(predicted), np.array([n.latency_ms for n in rest])).mean())

    drawn = [np.random.default_rng(draw).permutation(at)[:samples] for draw in range(draws)]
    random = [mape_pct(seen) for seen in drawn]
    latency_ms = np.array([n.latency_ms for n in networks])
    one_factor = errors_pct(np.median(latency_ms / base_ms) * base_ms, latency_ms)
    return {
        "networks": len(networks) - samples,
        "chosen_mape_pct": mape_pct(chosen),
        "random_mape_pct": float(np.median(random)),
        "worst_random_mape_pct": max(random),
        "one_factor_mape_pct": float(one_factor.mean()),
    }


def rounded(value: Any) -> Any:
    """Figures to three decimals, as they are printed."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(float(value), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--target", type=Path)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    figures: Figures = {}

    def found(name: str, value: Figures) -> None:
        figures[name] = value
        print(f"{name}: {json.dumps(rounded(value))}", flush=True)

    measured = TABLES / "sd821.measured.csv"
    found("Snapdragon 821", snapdragon([load_table(TABLES / "note10.json")], measured))
    if arguments.base and arguments.target:
        tables = (load_table(arguments.base), load_table(arguments.target))
        found("runtimes of one host", runtimes(*tables))
    if arguments.data:
        luts = arguments.data / "luts"
        found("Note10 at other resolutions", resolutions(luts))
        one, other = (
            import_table(luts / f"nn_meter_{name}_blocks.json", TableFormat.NN_METER_BLOCKS)
            for name in ("pixel1", "pixel4")
        )
        found("Pixel 1 to Pixel 4", phones(one, other))
        found("Pixel 4 to Pixel 1", phones(other, one))
        found("NAS-Bench-201", cells(arguments.data / "nasbench201.csv.gz"))
    if arguments.json:
        write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
