"""How far do estimators of latency move when the machine gets busy?

One process measures the same ops and networks in turn under three conditions: nothing else
running, a busy loop pinned to the same core, and a loop on another core that streams memory.
Every sample is timed by the wall clock and by the CPU time of the thread, so that all
estimators see the same runs. Bias is against the estimator's own quiet value; spread is the
standard deviation over repeats.

    python -m benchmarks.noise --repeats 4 --out noise.json
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from profiler.devices.base import Workload, network_workload
from profiler.devices.host.cpu import CpuDevice, CpuWorkload
from profiler.measuring.canary import PreparedCanary, nearest_canary, prepare_canary
from profiler.measuring.protocol import FULL
from profiler.measuring.sampling import Sampler, without_gc
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.sampling import draw_networks

Floats = NDArray[np.float64]
HOG = "while True: pass"
STREAM = "import numpy as np\na, b = np.ones(30_000_000), np.ones(30_000_000)\nwhile True: a[:] = b"


@dataclass(frozen=True)
class Samples:
    """One configuration in one repeat: target [blocks, samples], canary [blocks]."""

    wall_ms: Floats
    cpu_ms: Floats
    canary_wall_ms: Floats
    canary_cpu_ms: Floats


# The canary columns of `ours` are pooled over all configurations of the same canary.
ESTIMATORS: dict[str, Callable[[Samples], float]] = {
    "mean, wall": lambda s: float(s.wall_ms.mean()),
    "median, wall": lambda s: float(np.median(s.wall_ms)),
    "min, wall": lambda s: float(s.wall_ms.min()),
    "median of ratios to canary, wall": lambda s: float(
        np.median(np.median(s.wall_ms, axis=1) / s.canary_wall_ms)
    ),
    "median, CPU time": lambda s: float(np.median(s.cpu_ms)),
    "low decile, CPU time": lambda s: float(np.quantile(s.cpu_ms, 0.1)),
    "ours: low decile over the canary's": lambda s: float(
        np.quantile(s.cpu_ms, 0.1) / np.quantile(s.canary_cpu_ms, 0.1)
    ),
}


@dataclass
class Target:
    prepared: CpuWorkload
    canary: PreparedCanary
    runs: int
    is_network: bool


def prepare(device: CpuDevice, n_ops: int, n_networks: int) -> dict[str, Target]:
    """Ops spread over the space and networks spread over its range, with their canaries."""
    space = MobileNetV3Space()
    ops = list(space.distinct_ops().items())
    workloads = [Workload(key, (op,)) for key, op in ops[:: max(1, len(ops) // n_ops)][:n_ops]]
    drawn = draw_networks(space, n_networks, seed=0)
    workloads += [network_workload(space, tokens) for tokens in drawn]
    canaries = {}
    targets = {}
    for workload in workloads:
        kind = nearest_canary(workload)
        if kind not in canaries:
            canaries[kind] = prepare_canary(device, kind, FULL.canaries, Sampler(FULL.sampling))
        prepared = device.prepare(workload)
        once_ms = min(prepared.sample_ms(1) for _ in range(5))
        runs = max(1, int(np.ceil(device.min_sample_ms / once_ms)))
        targets[workload.key] = Target(prepared, canaries[kind], runs, len(workload.ops) > 1)
    return targets


def timed(sample_ms: Callable[[], float], runs: int) -> tuple[float, float]:
    """(wall, CPU time) in ms per run of one sample."""
    start_ns = time.perf_counter_ns()
    cpu_ms = sample_ms()
    return (time.perf_counter_ns() - start_ns) / runs / 1e6, cpu_ms


def measure(targets: dict[str, Target], n_blocks: int, seed: int) -> dict[str, Samples]:
    """One repeat: `n_blocks` interleaved blocks of every target."""
    rng = np.random.default_rng(seed)
    names = list(targets)
    rows: dict[str, list[list[tuple[float, float]]]] = {name: [] for name in names}
    with without_gc():
        for _ in range(n_blocks):
            for index in rng.permutation(len(names)):
                one = targets[names[index]]
                copy = one.canary.copies[int(rng.integers(len(one.canary.copies)))]
                copy.sample_ms(1)
                block = [timed(partial(copy.sample_ms, one.canary.runs), one.canary.runs)]
                one.prepared.sample_ms(1)
                n_samples = FULL.sampling.samples_per_block(is_network=one.is_network)
                for _ in range(n_samples):
                    block.append(timed(partial(one.prepared.sample_ms, one.runs), one.runs))
                rows[names[index]].append(block)
    table = {name: np.array(blocks) for name, blocks in rows.items()}
    pooled = {
        id(canary): np.concatenate(
            [table[n][:, 0, 1] for n in names if targets[n].canary is canary]
        )
        for canary in {id(t.canary): t.canary for t in targets.values()}.values()
    }
    return {
        name: Samples(
            wall_ms=blocks[:, 1:, 0],
            cpu_ms=blocks[:, 1:, 1],
            canary_wall_ms=blocks[:, 0, 0],
            canary_cpu_ms=pooled[id(targets[name].canary)],
        )
        for name, blocks in table.items()
    }


@contextmanager
def busy(code: str | None, core: int) -> Iterator[None]:
    """Run Python code on a core for the length of the block."""
    if code is None:
        yield
        return
    process = subprocess.Popen([sys.executable, "-c", code])
    os.sched_setaffinity(process.pid, {core})
    try:
        time.sleep(1.0)
        yield
    finally:
        process.kill()
        process.wait()


def summarise(estimates: dict[str, Floats]) -> list[dict[str, object]]:
    """Rows of the table from estimates[condition] of shape [repeats, targets, estimators]."""
    rows = []
    quiet = estimates["quiet"].mean(axis=0)
    for column, name in enumerate(ESTIMATORS):
        for condition, values in estimates.items():
            one = values[:, :, column]
            bias_pct = 100 * (one.mean(axis=0) / quiet[:, column] - 1)
            worst_pct = 100 * np.abs(one / quiet[None, :, column] - 1)
            spread_pct = 100 * one.std(axis=0, ddof=1) / one.mean(axis=0)
            rows.append(
                {
                    "estimator": name,
                    "condition": condition,
                    "bias_pct": float(np.median(bias_pct)),
                    "largest_error_pct": float(worst_pct.max()),
                    "spread_pct": float(np.median(spread_pct)),
                }
            )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--ops", type=int, default=8)
    parser.add_argument("--networks", type=int, default=3)
    parser.add_argument("--blocks", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=4)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    everywhere = os.sched_getaffinity(0)
    with CpuDevice() as device:
        (core,) = device.info.affinity or (0,)
        others = sorted(set(range(os.cpu_count() or 1)) - {core})
        conditions: dict[str, tuple[str | None, int]] = {
            "quiet": (None, core),
            "hog, same core": (HOG, core),
        }
        if others:
            conditions["memory stream, other core"] = (STREAM, others[0])
        targets = prepare(device, arguments.ops, arguments.networks)
        estimates: dict[str, list[list[list[float]]]] = {name: [] for name in conditions}
        for repeat in range(arguments.repeats):
            for name, (code, where) in conditions.items():
                with busy(code, where):
                    found = measure(targets, arguments.blocks, seed=repeat)
                estimates[name].append(
                    [[estimate(s) for estimate in ESTIMATORS.values()] for s in found.values()]
                )
                print(f"repeat {repeat + 1}: {name}", file=sys.stderr, flush=True)
    rows = summarise({name: np.array(values) for name, values in estimates.items()})
    print(f"{'estimator':36} {'condition':26} {'bias':>8} {'largest':>9} {'spread':>8}")
    for row in rows:
        print(
            f"{row['estimator']:36} {row['condition']:26} {row['bias_pct']:+7.1f}% "
            f"{row['largest_error_pct']:8.1f}% {row['spread_pct']:7.2f}%"
        )
    if arguments.out:
        document = {"settings": vars(arguments) | {"out": None}, "cores": len(everywhere)}
        arguments.out.write_text(json.dumps(document | {"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
