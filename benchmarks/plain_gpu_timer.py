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
from profiler.errors import InvalidInputError
from profiler.tables.table import LatencyTable, load_table

RUNS, ROUNDS, WARM_RUNS = 20, 30, 3


def measured_before(path: Path) -> dict[str, float | None]:
    """The architectures of NETWORKS, with the ms that the profiler measured where it is a table.

    Raises:
        InvalidInputError: there are none.
    """
    found: dict[str, float | None] = dict.fromkeys(path.read_text().split())
    if path.suffix == ".json":
        found = {network.arch: network.latency_ms for network in load_table(path).networks}
    if not found:
        raise InvalidInputError(f"{path} names no architecture")
    return found


def check_comparable(table: LatencyTable) -> None:
    """
    Raises:
        InvalidInputError: a table of other latencies than those that are timed here.
    """
    options = dict(table.device.options)
    asked = {"launch": "graph", "l2": "hot", "memory_format": "contiguous"}
    known = {name: options.get(name) for name in asked}
    if table.device.precision != "float32" or known != asked:
        raise InvalidInputError("the plain timer is for float32, graphs, a hot L2 and NCHW tensors")


def plain_latencies_ms(table: LatencyTable, archs: Sequence[str]) -> dict[str, float]:
    """Of float32 networks without TF32, at the table's batch size."""
    replays = {arch: captured(table, arch) for arch in archs}
    rng = np.random.default_rng(0)
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


def figures(
    table: LatencyTable, plain_ms: Mapping[str, float], measured_ms: Mapping[str, float | None]
) -> dict[str, Any]:
    """How predictions, and what the profiler measured, are off from the plain timer in percent."""
    space, archs = table.search_space, list(plain_ms)
    costs_ms = cost_from_table(table)(np.stack([space.parse(arch) for arch in archs]))
    predicted_ms = dict(zip(archs, costs_ms.tolist(), strict=True))
    measured = {arch: ms for arch in archs if (ms := measured_ms[arch]) is not None}
    return {
        "n_networks": len(archs),
        "predicted": _off_pct(predicted_ms, plain_ms),
        "measured": _off_pct(measured, plain_ms) if measured else None,
        "plain_ms": dict(plain_ms),
        "predicted_ms": predicted_ms,
    }


def _off_pct(latency_ms: Mapping[str, float], plain_ms: Mapping[str, float]) -> dict[str, float]:
    off_pct = np.array([100 * (ms / plain_ms[arch] - 1) for arch, ms in latency_ms.items()])
    return {
        "mean_abs": float(np.abs(off_pct).mean()),
        "bias": float(off_pct.mean()),
        "worst": float(off_pct[np.abs(off_pct).argmax()]),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("networks", type=Path)
    parser.add_argument("out", type=Path)
    arguments = parser.parse_args()
    table, measured_ms = load_table(arguments.table), measured_before(arguments.networks)
    check_comparable(table)
    import torch

    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    found = figures(table, plain_latencies_ms(table, list(measured_ms)), measured_ms)
    write_json(arguments.out, found)
    for what in ("predicted", "measured"):
        if off := found[what]:
            print(
                f"{found['n_networks']} networks, {what}: off by {off['mean_abs']:.2f} %, bias "
                f"{off['bias']:+.2f} %, worst {off['worst']:+.2f} %"
            )


if __name__ == "__main__":
    main()
