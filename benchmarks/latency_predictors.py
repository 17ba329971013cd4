"""How well is the latency of unseen networks predicted, and how fast is c(α)?

    python -m benchmarks.latency_predictors --pair TABLE.json HELD_OUT.json --out FILE.json

TABLE is a latency table with measured networks (the fit uses 30 at most), HELD_OUT one with
networks of another seed. Networks that are in both are left out. Compared are the sum of mean op
latencies (what tables are usually used as), the sum of our estimates, both calibrated, and the
regression from a third of the entries, over several thirds. Throughput is set against the
per-network table walk of the PyPI package `ofa`.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from predictors.base import Floats
from predictors.cost import AdditiveCost, LongestCost
from predictors.latency.calibration import OpLatency, fit_calibration, usable_networks
from predictors.latency.features import shape_matrix
from predictors.latency.lookup import network_cost, table_latency
from predictors.latency.regression import OpRegression, fit_regression
from profiler.graph.op import Op
from profiler.graph.op_shape import shape_of
from profiler.spaces.networks import distinct_ops, network_ops
from profiler.tables.checks import kind_of
from profiler.tables.table import LatencyTable, NetworkEntry, load_table
from tests.ofa_oracle import import_ofa

N_FIT = 30
N_THIRDS = 10
N_SPLITS = 200
BATCH = 100_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pair", nargs=2, type=Path, action="append", required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    document: dict[str, Any] = {}
    for table_file, held_out_file in arguments.pair:
        table, held_out = load_table(table_file), load_table(held_out_file)
        document[table_file.stem] = figures = benchmark(table, held_out)
        print_figures(table, figures)
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")


def benchmark(table: LatencyTable, held_out: LatencyTable) -> dict[str, Any]:
    """All figures of one table and the networks held out from it."""
    table = table.model_copy(update={"networks": tuple(usable_networks(table)[:N_FIT])})
    fitted = {network.arch for network in table.networks}
    unseen = [network for network in held_out.networks if network.arch not in fitted]
    return {
        "device": table.device.model,
        "space": str(table.space),
        "n_fitted": len(fitted),
        "n_held_out": len(unseen),
        "networks": network_errors(table, unseen),
        "resplit": resplit_coverage(table, unseen),
        "ops": op_errors(table),
        "throughput": throughput(table),
    }


def network_errors(table: LatencyTable, unseen: Sequence[NetworkEntry]) -> dict[str, Any]:
    """Errors on the unseen networks, by method."""
    space, batch_size = table.search_space, table.device.batch_size
    tokens = np.stack([space.parse(network.arch) for network in unseen])
    latency = np.array([network.latency_ms for network in unseen])
    lookup = table_latency(table)

    def additive(op_latency_ms: OpLatency, *, calibrated: bool) -> AdditiveCost | LongestCost:
        calibration = fit_calibration(table, op_latency_ms) if calibrated else None
        return network_cost(op_latency_ms, calibration).over(space, batch_size=batch_size)

    results = {}
    if all(entry.mean_ms for entry in [*table.ops.values(), *unseen]):
        means = table_latency(_with_means(table))
        mean_latency = np.array([network.mean_ms for network in unseen])
        predicted = additive(means, calibrated=False)(tokens)
        results["sum of means, against means"] = _errors(predicted, mean_latency)
        results["sum of means"] = _errors(predicted, latency)
    for name, calibrated in (("sum of estimates", False), ("calibrated", True)):
        cost = additive(lookup, calibrated=calibrated)
        predicted = cost(tokens)
        results[name] = _errors(predicted, latency)
        if calibrated:
            results[name] |= _coverage(cost, predicted, latency)
    thirds = []
    for seed in range(N_THIRDS):
        keys = a_third(table, seed)
        op_latency_ms = _tabulated(fit_regression([table], keys=keys), table)
        cost = additive(op_latency_ms, calibrated=True)
        predicted = cost(tokens)
        thirds.append(_errors(predicted, latency) | _coverage(cost, predicted, latency))
    results[f"regression from {len(keys)} of {len(table.ops)}, mean of {N_THIRDS}"] = {
        name: float(np.mean([third[name] for third in thirds])) for name in thirds[0]
    }
    worst = max(thirds, key=lambda third: third["mape_pct"])
    results[f"regression from {len(keys)} of {len(table.ops)}, worst of {N_THIRDS}"] = worst
    return results


def resplit_coverage(table: LatencyTable, unseen: Sequence[NetworkEntry]) -> dict[str, float]:
    """Error and coverage over random splits of all networks: one split of 50 is a coarse count."""
    space, lookup = table.search_space, table_latency(table)
    everything = [*table.networks, *unseen]
    tokens = np.stack([space.parse(network.arch) for network in everything])
    latency = np.array([network.latency_ms for network in everything])
    rows = []
    for seed in range(N_SPLITS):
        order = np.random.default_rng(seed).permutation(len(everything))
        fit, test = order[:N_FIT], order[N_FIT:]
        part = table.model_copy(update={"networks": tuple(everything[i] for i in fit)})
        calibration = fit_calibration(part, lookup)
        cost = network_cost(lookup, calibration).over(space, batch_size=table.device.batch_size)
        predicted = cost(tokens[test])
        rows.append(_errors(predicted, latency[test]) | _coverage(cost, predicted, latency[test]))
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def op_errors(table: LatencyTable) -> dict[str, float]:
    """Mean error in % on blocks that were not fitted, by regression: what each part is worth."""
    from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor

    ops = distinct_ops(table.search_space, batch_size=table.device.batch_size)
    errors: dict[str, list[float]] = {}
    for seed in range(N_THIRDS):
        keys = set(a_third(table, seed))
        rest = [op for key, op in ops.items() if key not in keys]
        latency = np.array([table.ops[op.key].latency_ms for op in rest])
        regression = fit_regression([table], keys=keys)
        bare = replace(
            regression,
            kinds={kind: replace(m, forest=None) for kind, m in regression.kinds.items()},
        )
        predictions = {
            "law and forest": regression.predict_ms(rest, table.device.threads),
            "law alone": bare.predict_ms(rest, table.device.threads),
        }
        blocks = [op for key, op in ops.items() if key in keys and shape_of(op).is_block]
        shape = _shape(table, blocks, regression.law.channel_block)
        target = np.log([table.ops[op.key].latency_ms for op in blocks])
        for name, model in (
            ("forest alone", ExtraTreesRegressor(200, random_state=0)),
            ("boosted trees alone", GradientBoostingRegressor(random_state=0)),
        ):
            model.fit(shape, target)
            predictions[name] = np.exp(
                model.predict(_shape(table, rest, regression.law.channel_block))
            )
        for name, predicted in predictions.items():
            errors.setdefault(name, []).append(
                float(100 * np.mean(np.abs(predicted / latency - 1)))
            )
    return {name: float(np.mean(values)) for name, values in errors.items()}


def throughput(table: LatencyTable) -> dict[str, float]:
    """Architectures per second of c(α), and of ofa's walk over the same table."""
    space = table.search_space
    cost = network_cost(table_latency(table), None).over(space, batch_size=table.device.batch_size)
    tokens = space.sample(BATCH, np.random.default_rng(0))
    seconds = min(_seconds(lambda: cost(tokens)) for _ in range(5))
    package = import_ofa("ofa.nas.efficiency_predictor.latency_lookup_table")
    walker = package.MBv3LatencyTable.__new__(package.MBv3LatencyTable)  # its loader downloads
    walker.lut = {key: {"mean": entry.latency_ms} for key, entry in table.ops.items()}
    px = table.space.facts["resolution_px"]
    configs = [ofa_config(network_ops(space, row), px) for row in tokens[:2000]]

    def walk() -> list[float]:
        return [walker.predict_network_latency_given_config(config, px) for config in configs]

    np.testing.assert_allclose(walk(), cost(tokens[:2000]), rtol=1e-9)
    ofa_seconds = min(_seconds(walk) for _ in range(3))
    ours, theirs = BATCH / seconds, len(configs) / ofa_seconds
    return {"archs_per_s": ours, "ofa_archs_per_s": theirs, "ratio": ours / theirs}


def ofa_config(ops: Sequence[Op], resolution_px: int) -> dict[str, Any]:
    """A network in the form that ofa's table walks."""
    stem, *blocks, final, _, mix, logits = map(shape_of, ops)
    assert stem.in_px[0] == resolution_px
    return {
        "first_conv": {"out_channels": stem.out_channels},
        "blocks": [
            {
                "conv": {
                    "in_channels": block.in_channels,
                    "out_channels": block.out_channels,
                    "kernel_size": block.kernel,
                    "stride": block.stride,
                    "mid_channels": block.mid_channels,
                    "expand_ratio": block.mid_channels / block.in_channels,
                    "use_se": block.has_gate,
                    "act_func": "h_swish" if block.activation == "hard_swish" else "relu",
                },
                "shortcut": {} if block.has_shortcut else None,
            }
            for block in blocks
        ],
        "final_expand_layer": {
            "in_channels": final.in_channels,
            "out_channels": final.out_channels,
        },
        "feature_mix_layer": {"in_channels": mix.in_channels, "out_channels": mix.out_channels},
        "classifier": {"in_features": logits.in_channels, "out_features": logits.out_channels},
    }


def a_third(table: LatencyTable, seed: int) -> list[str]:
    """A third of the entries: the only ones of their kind, and random blocks."""
    count = Counter(map(kind_of, table.ops))
    blocks = [key for key in table.ops if count[kind_of(key)] > 1]
    alone = [key for key in table.ops if count[kind_of(key)] == 1]
    rng = np.random.default_rng(seed)
    return [*alone, *rng.choice(blocks, len(table.ops) // 3 - len(alone), replace=False).tolist()]


def _tabulated(regression: OpRegression, table: LatencyTable) -> OpLatency:
    """All ops of the space by the regression, also those that were measured."""
    ops = list(distinct_ops(table.search_space, batch_size=table.device.batch_size).values())
    predicted = regression.predict_ms(ops, table.device.threads)
    return dict(zip(ops, predicted.tolist(), strict=True)).__getitem__


def _shape(table: LatencyTable, ops: Sequence[Op], channel_block: int) -> Floats:
    return shape_matrix(ops, np.full(len(ops), float(table.device.threads)), channel_block)


def _with_means(table: LatencyTable) -> LatencyTable:
    ops = {
        key: entry.model_copy(update={"latency_ms": entry.mean_ms})
        for key, entry in table.ops.items()
    }
    return table.model_copy(update={"ops": ops})


def _errors(predicted: Floats, latency: Floats) -> dict[str, float]:
    relative = predicted / latency - 1
    return {
        "mape_pct": float(100 * np.abs(relative).mean()),
        "bias_pct": float(100 * relative.mean()),
        "max_pct": float(100 * np.abs(relative).max()),
        "within_5_pct": float(100 * np.mean(np.abs(relative) <= 0.05)),
    }


def _coverage(
    cost: AdditiveCost | LongestCost, predicted: Floats, latency: Floats
) -> dict[str, float]:
    figures = {}
    for level in (90, 95):
        half = cost.relative_interval(level / 100)
        inside = np.abs(latency - predicted) <= half * predicted
        figures[f"covered_by_{level}_pct"] = float(100 * inside.mean())
        figures[f"half_width_{level}_pct"] = 100 * half
    return figures


def _seconds(run: Callable[[], object]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def print_figures(table: LatencyTable, figures: dict[str, Any]) -> None:
    print(
        f"\n{table.device.model}, {table.space}: {figures['n_fitted']} networks fitted, "
        f"{figures['n_held_out']} held out"
    )
    print(f"{'%':42s}{'MAPE':>7s}{'bias':>7s}{'max':>7s}{'<5':>6s}{'in 90':>7s}{'in 95':>7s}")
    rows = figures["networks"] | {f"calibrated, {N_SPLITS} random splits": figures["resplit"]}
    for name, row in rows.items():
        cells = [row[f"covered_by_{level}_pct"] for level in (90, 95) if "half_width_90_pct" in row]
        print(
            f"{name:42s}{row['mape_pct']:7.2f}{row['bias_pct']:+7.2f}{row['max_pct']:7.2f}"
            f"{row['within_5_pct']:6.0f}" + "".join(f"{cell:7.0f}" for cell in cells)
        )
    print("blocks not fitted, % error: ", end="")
    print(", ".join(f"{name} {error:.1f}" for name, error in figures["ops"].items()))
    speed = figures["throughput"]
    print(
        f"c(α): {speed['archs_per_s'] / 1e6:.1f}M architectures/s, ofa's table walk "
        f"{speed['ofa_archs_per_s'] / 1e3:.1f}k/s, ratio {speed['ratio']:,.0f}"
    )


if __name__ == "__main__":
    main()
