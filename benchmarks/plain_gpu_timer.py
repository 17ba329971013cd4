"""Networks timed on an NVIDIA GPU by torch alone, beside what a table predicts of them.

    python -m benchmarks.plain_gpu_timer TABLE NETWORKS OUT.json

NETWORKS is a table whose networks are timed (of benchmarks.held_out), or a text file of one
architecture a line. It shares how a network is built with the profiler, and nothing of how it is
timed: each network is a CUDA graph of one run, replayed RUNS times between two events, all networks
taking turns; the latency is the median of the rounds.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.landscape import write_json
from predictors.latency.lookup import cost_from_table
from profiler.devices.base import network_workload
from profiler.tables.table import LatencyTable, load_table

RUNS, ROUNDS, WARM_RUNS = 20, 30, 3


def architectures(path: Path) -> list[str]:
    if path.suffix == ".json":
        return [network.arch for network in load_table(path).networks]
    return path.read_text().split()


def plain_latencies_ms(
    table: LatencyTable, archs: Sequence[str], seed: int = 0
) -> dict[str, float]:
    """Of float32 networks without TF32, at the table's batch size."""
    replays = {arch: captured(table, arch) for arch in archs}
    rng = np.random.default_rng(seed)
    samples: dict[str, list[float]] = {arch: [] for arch in archs}
    for _ in range(ROUNDS):
        for place in rng.permutation(len(archs)):
            samples[archs[place]].append(timed_ms(replays[archs[place]]))
    return {arch: float(np.median(own)) for arch, own in samples.items()}


def captured(table: LatencyTable, arch: str) -> Callable[[], Any]:
    import torch

    from profiler.devices.cuda.queue import build

    space = table.search_space
    workload = network_workload(space, space.parse(arch), batch_size=table.device.batch_size)
    module, image = build(workload)
    module, image = module.cuda(), image.cuda()
    with torch.inference_mode():
        side = torch.cuda.Stream()
        with torch.cuda.stream(side):
            for _ in range(WARM_RUNS):
                module(image)
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            module(image)

    def replay(kept: Any = (module, image)) -> None:  # a graph holds neither weights nor input
        graph.replay()

    return replay


def timed_ms(replay: Callable[[], Any]) -> float:
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    replay()  # so that what is timed finds the GPU at work
    start.record()
    for _ in range(RUNS):
        replay()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / RUNS


def figures(table: LatencyTable, latency_ms: Mapping[str, float]) -> dict[str, Any]:
    """How predictions, and what the profiler measured of the same networks, are off in percent."""
    space, archs = table.search_space, list(latency_ms)
    plain_ms = np.array([latency_ms[arch] for arch in archs])
    predicted_ms = cost_from_table(table)(np.stack([space.parse(arch) for arch in archs]))
    off_pct = 100 * (predicted_ms / plain_ms - 1)
    return {
        "n_networks": len(archs),
        "mean_abs_error_pct": float(np.abs(off_pct).mean()),
        "bias_pct": float(off_pct.mean()),
        "worst_pct": float(off_pct[np.abs(off_pct).argmax()]),
        "plain_ms": dict(latency_ms),
        "predicted_ms": dict(zip(archs, predicted_ms.tolist(), strict=True)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    table = load_table(arguments.table)
    found = figures(table, plain_latencies_ms(table, architectures(arguments.networks)))
    write_json(arguments.out, found)
    print(
        f"{found['n_networks']} networks: predictions off by {found['mean_abs_error_pct']:.2f} %, "
        f"bias {found['bias_pct']:+.2f} %, worst {found['worst_pct']:+.2f} %"
    )


if __name__ == "__main__":
    main()
