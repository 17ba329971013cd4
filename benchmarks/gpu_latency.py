"""Whole-network latency of a GPU from few networks: the launch model, and what noise forbids.

    python -m benchmarks.gpu_latency help_2080ti.csv --seeds 5 --out FILE.json

The CSV is HELP's (Lee et al., NeurIPS 2021; github.com/HayeonLee/HELP): 5,000 random
Once-for-All MobileNetV3 networks at 25 resolutions, measured on a 2080 Ti at batch 1, 32 and 64.
Each seed trains on 400 networks and predicts 1,000 others; compared is the plain additive fit of
blocks, ridge regression on (fixed + per-pixel) costs of every kind of block.

*Few networks* is what `pnag profile` does for a GPU: a table of ops, and its calibration on 30, 60
or 100 networks of one resolution, additive and with launches, judged on the other networks of that
resolution. HELP measured no ops; in their place stands the law of the GPU's compute at batch 64,
fitted to other resolutions' networks.

Every error is MAPE, mean |predicted / measured - 1|. The floors need no model of the noise:

- *replicates*: the smallest feature maps are launch-bound at batch 1 and at batch 32 alike, so
  that both columns measure the launches of one network. Each is divided by the law fitted to it,
  since launches may cost more in one of the sessions. Whatever value s is then predicted for y1
  and y2, |s / y1 - 1| + |s / y2 - 1| >= 1 - min(y1, y2) / max(y1, y2); of all factors between the
  columns the one counts that makes the bound lowest.
- *depths*: the best prediction that any function of the five depths could make, its 243 values
  chosen with all 5,000 latencies in sight. At batch 1 depths decide which kernels are launched;
  whether kernels, expands and resolution add anything is asked of boosted trees on 4,000 networks,
  and of the replicates: what an architecture adds at batch 1 it adds at batch 32 as well, so that
  deviations from the value of their depths would rank alike. How much alike, if that share of the
  deviations was the architecture's which leaves 4 %, is found by adding it to batch 32's in random
  order.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from predictors.latency.launch_terms import compute_terms
from predictors.latency.launches import LaunchModel
from predictors.latency.lookup import calibrated, cost_from_table
from profiler.devices.base import DeviceInfo
from profiler.graph.op import Op
from profiler.graph.op_shape import shape_of
from profiler.spaces.base import Tokens
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.tables.table import Entry, LatencyTable, NetworkEntry, SpaceRef, Verdict

Floats = NDArray[np.float64]
BATCH_SIZES = (1, 32, 64)
N_TRAIN, N_HELD_OUT = 400, 1000
LAUNCH_BOUND_PX = 140  # up to here batch 32 is launch-bound in most networks
TARGET_PCT = 4.0  # at batch 1
N_SHUFFLES = 200
FEW = (30, 60, 100)
FEW_RESOLUTIONS_PX = (128, 160, 192, 224)
RIDGES = np.logspace(-6, 2, 17)


@dataclass(frozen=True)
class Data:
    """Networks [n], their tokens [n, 45], resolutions [n] and latencies in ms by batch size."""

    ops: dict[int, list[tuple[Op, ...]]]
    tokens: Tokens
    resolution_px: NDArray[np.int64]
    latency_ms: dict[int, Floats]

    @property
    def depths(self) -> NDArray[np.int8]:
        return self.tokens[:, ::9]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("csv", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    data = read(arguments.csv)
    document: dict[str, Any] = {"n_train": N_TRAIN, "n_held_out": N_HELD_OUT}
    document["errors"] = {
        batch_size: errors(data, batch_size, arguments.seeds) for batch_size in BATCH_SIZES
    }
    document["few_networks"] = few_networks(data, arguments.seeds)
    document["floors"] = floors(data)
    arguments.out.write_text(json.dumps(document, indent=1) + "\n")
    report(document)


def read(path: Path) -> Data:
    """Networks of HELP's CSV: inactive blocks of its fixed-length lists are dropped."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    ops: dict[int, list[tuple[Op, ...]]] = {batch_size: [] for batch_size in BATCH_SIZES}
    tokens = []
    for row in rows:
        space = MobileNetV3Space(resolution_px=int(row["r"]))
        lists = {name: [int(v) for v in row[name].split(",")] for name in ("d", "ks", "e")}
        arch = space.parse_architecture(json.dumps(lists))
        tokens.append(space.encode([arch])[0])
        for batch_size, networks in ops.items():
            networks.append(tuple(space.ops(arch, batch_size=batch_size)))
    return Data(
        ops,
        np.array(tokens),
        np.array([int(row["r"]) for row in rows]),
        {b: np.array([float(row[f"lat_2080ti_{b}"]) for row in rows]) for b in BATCH_SIZES},
    )


def errors(data: Data, batch_size: int, n_seeds: int) -> dict[str, list[dict[str, float]]]:
    """Errors on held-out networks by method, one row per seed."""
    networks, latency_ms = data.ops[batch_size], data.latency_ms[batch_size]
    counts = block_counts(networks)
    rows: dict[str, list[dict[str, float]]] = {"launch model": [], "additive blocks": []}
    for seed in range(n_seeds):
        order = np.random.default_rng(seed).permutation(len(networks))
        held_out, train = order[:N_HELD_OUT], order[N_HELD_OUT : N_HELD_OUT + N_TRAIN]
        model = LaunchModel.fit([networks[i] for i in train], latency_ms[train], seed=seed)
        unseen = [networks[i] for i in held_out]
        predicted = model.predict_ms(unseen)
        row = score(predicted, latency_ms[held_out])
        row["launch_bound"] = float((model.launch_ms(unseen) > model.compute_ms(unseen)).mean())
        row["cross_validated_mape_pct"] = model.cross_validated_mape_pct
        rows["launch model"].append(row)
        additive = additive_blocks(counts[train], latency_ms[train], counts[held_out])
        rows["additive blocks"].append(score(additive, latency_ms[held_out]))
    return rows


def few_networks(data: Data, n_seeds: int) -> list[dict[str, float]]:
    """Errors of a table's calibration, a row by batch size, resolution, seed and networks."""
    rng = np.random.default_rng(0)
    elsewhere = np.flatnonzero(~np.isin(data.resolution_px, FEW_RESOLUTIONS_PX))
    chosen = rng.permutation(elsewhere)[:N_TRAIN]
    law = LaunchModel.fit([data.ops[64][i] for i in chosen], data.latency_ms[64][chosen])
    rows = []
    for batch_size, resolution_px in product((1, 64), FEW_RESOLUTIONS_PX):
        here = np.flatnonzero(data.resolution_px == resolution_px)
        for seed, n in product(range(n_seeds), FEW):
            order = np.random.default_rng(seed).permutation(here)
            unseen = order[max(FEW) :]
            row: dict[str, float]
            row = {"batch_size": batch_size, "resolution_px": resolution_px, "seed": seed, "n": n}
            for name, platform in (("additive", "cpu"), ("with launches", "cuda")):
                table = calibrated(as_table(data, order[:n], law, batch_size, platform))
                assert table.calibration is not None
                predicted = cost_from_table(table)(data.tokens[unseen])
                row[name] = score(predicted, data.latency_ms[batch_size][unseen])["mape_pct"]
                row["selected"] = float(table.calibration.launch is not None)
            rows.append(row)
    return rows


def as_table(
    data: Data, chosen: NDArray[np.int64], law: LaunchModel, batch_size: int, platform: str
) -> LatencyTable:
    """Ops by a law of compute, and networks as HELP measured them."""
    space = MobileNetV3Space(resolution_px=int(data.resolution_px[chosen[0]]))
    ops = space.distinct_ops(batch_size=batch_size)
    compute_ms = {
        key: law.compute.op_ms(compute_terms(op, per_site=law.per_site)) for key, op in ops.items()
    }
    return LatencyTable(
        space=SpaceRef(name=space.name, width_mult=1.0, resolution_px=space.resolution_px),
        device=DeviceInfo(platform, platform, "2080 Ti", "HELP", "1", 1, "float32", batch_size),
        protocol={},
        ops={
            key: Entry(latency_ms=max(ms, 1e-6), verdict=Verdict.IMPORTED)
            for key, ms in compute_ms.items()
        },
        networks=tuple(
            NetworkEntry(
                arch=space.format(data.tokens[i]),
                latency_ms=data.latency_ms[batch_size][i],
                verdict=Verdict.IMPORTED,
            )
            for i in chosen
        ),
        created="2021-12-06T00:00:00+00:00",
        tool="HELP",
    )


def score(predicted_ms: Floats, latency_ms: Floats) -> dict[str, float]:
    error_pct = 100 * np.abs(predicted_ms / latency_ms - 1)
    return {
        "mape_pct": float(error_pct.mean()),
        "median_error_pct": float(np.median(error_pct)),
        "above_10_pct": float((error_pct > 10).mean()),
    }


def block_counts(networks: Sequence[Sequence[Op]]) -> Floats:
    """[n, kinds of block, and pixels of each]: what a table of blocks would be added up from."""
    rows = []
    for ops in networks:
        fixed: Counter[str] = Counter()
        for op in ops:
            shape, kind = shape_of(op), op.kind
            if shape.is_block:
                channels = f"{shape.in_channels}-{shape.mid_channels}-{shape.out_channels}"
                kind += f" {channels} k{shape.kernel}"
            fixed[kind] += 1
            fixed[f"{kind} pixels"] += prod(shape.out_px)
        rows.append(fixed)
    names = sorted(set().union(*rows))
    return np.array([[row[name] for name in names] for row in rows], dtype=np.float64)


def additive_blocks(train: Floats, train_ms: Floats, test: Floats) -> Floats:
    """Ridge regression on relative errors, its strength by leave-one-out error."""
    from sklearn.linear_model import RidgeCV

    scale = np.maximum(train.max(axis=0), 1)
    ridge = RidgeCV(alphas=RIDGES).fit(train / scale, train_ms, sample_weight=1 / train_ms**2)
    predicted: Floats = ridge.predict(test / scale)
    return predicted


def floors(data: Data) -> dict[str, float]:
    """Lower bounds of the error at batch 1, in percent, and the checks of their assumptions."""
    first, second = data.latency_ms[1], data.latency_ms[32]
    small = np.flatnonzero(data.resolution_px <= LAUNCH_BOUND_PX)
    by_depths = within_depths(data.depths, first)
    depths_pct = score(by_depths, first)["mape_pct"]
    deviation = np.log(first / by_depths)[small]
    deviation_32 = np.log(second[small] / within_depths(data.depths[small], second[small]))
    common = (1 - TARGET_PCT / depths_pct) * deviation
    rng = np.random.default_rng(0)
    if_common = [
        rank_correlation(deviation, common + rng.permutation(deviation_32))
        for _ in range(N_SHUFFLES)
    ]
    return {
        "replicates_n": len(small),
        "replicates_pct": replicate_floor_pct(
            first[small] / fitted_ms(data, 1, small), second[small] / fitted_ms(data, 32, small)
        ),
        "rank_correlation": rank_correlation(deviation, deviation_32),
        "rank_correlation_if_target": float(np.mean(if_common)),
        "rank_correlation_if_target_least": float(np.min(if_common)),
        "depths_pct": depths_pct,
        "trees_on_4000_pct": trees_mape_pct(data, first),
        "above_depths_by_10_pct": float((first > 1.1 * by_depths).mean()),
        "below_depths_by_10_pct": float((first < 0.9 * by_depths).mean()),
    }


def fitted_ms(data: Data, batch_size: int, chosen: NDArray[np.int64]) -> Floats:
    """[n] the launch model's value of networks that it was fitted to."""
    networks = [data.ops[batch_size][i] for i in chosen]
    return LaunchModel.fit(networks, data.latency_ms[batch_size][chosen]).predict_ms(networks)


def replicate_floor_pct(first: Floats, second: Floats) -> float:
    """Least mean error, over both columns, of one value per network, by the best factor."""
    factors = np.quantile(second / first, np.linspace(0.05, 0.95, 181))
    return min(
        50 * float(np.mean(1 - np.minimum(ratio, 1 / ratio)))
        for ratio in (second / first / factor for factor in factors)
    )


def within_depths(depths: NDArray[np.int8], latency_ms: Floats) -> Floats:
    """[n] the value per depths of least mean relative error: a weighted median."""
    best = np.empty_like(latency_ms)
    _, group = np.unique(depths, axis=0, return_inverse=True)
    for index in range(group.max() + 1):
        members = np.sort(latency_ms[group == index])
        share = np.cumsum(1 / members) / np.sum(1 / members)
        best[group == index] = members[np.searchsorted(share, 0.5)]
    return best


def rank_correlation(first: Floats, second: Floats) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(first, second).statistic)


def trees_mape_pct(data: Data, latency_ms: Floats) -> float:
    """Error on 1,000 networks of trees that saw all tokens and resolutions of the other 4,000."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    features = np.c_[data.tokens, data.depths.sum(axis=1), data.resolution_px]
    order = np.random.default_rng(0).permutation(len(latency_ms))
    held_out, train = order[:N_HELD_OUT], order[N_HELD_OUT:]
    trees = HistGradientBoostingRegressor(
        loss="absolute_error", learning_rate=0.05, max_iter=200, min_samples_leaf=30, random_state=0
    ).fit(features[train], np.log(latency_ms[train]))
    predicted = np.exp(trees.predict(features[held_out]))
    return score(predicted, latency_ms[held_out])["mape_pct"]


def report(document: dict[str, Any]) -> None:
    print(f"{'batch':>5}  {'method':16} {'MAPE %: median (range)':>26} {'median error %':>15}")
    for batch_size, methods in document["errors"].items():
        for name, rows in methods.items():
            mape = [row["mape_pct"] for row in rows]
            middle = np.median([row["median_error_pct"] for row in rows])
            spread = f"{np.median(mape):.2f} ({min(mape):.2f} to {max(mape):.2f})"
            print(f"{batch_size:>5}  {name:16} {spread:>26} {middle:>15.2f}")
    print("\na table's calibration, MAPE %: median (range)")
    for batch_size, n in product((1, 64), FEW):
        few = [r for r in document["few_networks"] if (r["batch_size"], r["n"]) == (batch_size, n)]
        texts = [
            f"{name} {np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            for name in ("additive", "with launches")
            for values in [[row[name] for row in few]]
        ]
        selected = f"selected in {sum(row['selected'] for row in few):.0f} of {len(few)}"
        print(f"batch {batch_size:>2}, {n:>3} networks: {'; '.join(texts)}; {selected}")
    floor = document["floors"]
    print(
        f"\nbatch 1, floors in %: any function of depths {floor['depths_pct']:.2f}; replicates "
        f"{floor['replicates_pct']:.2f} (mean of batch 1 and 32, {floor['replicates_n']} "
        "launch-bound networks)\n"
        f"rank correlation of their deviations {floor['rank_correlation']:+.2f}; if architectures "
        f"explained batch 1 down to {TARGET_PCT:g} %: {floor['rank_correlation_if_target']:+.2f} "
        f"(least of {N_SHUFFLES}: {floor['rank_correlation_if_target_least']:+.2f})\n"
        f"trees on 4,000 networks reach {floor['trees_on_4000_pct']:.2f}\n"
        f"more than 10 % above the value of their depths: "
        f"{100 * floor['above_depths_by_10_pct']:.1f} % of the networks, below: "
        f"{100 * floor['below_depths_by_10_pct']:.1f} %"
    )


if __name__ == "__main__":
    main()
