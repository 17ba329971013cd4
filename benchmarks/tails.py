"""Do p90 and cold starts agree with a timer that shares nothing with the profiler?

Networks are measured on `cpu` by the tail protocol. After each of its blocks a program of its own
for that network, which times `run` of ONNX Runtime by `time.perf_counter`, takes as many samples:
the same number in the same minutes. How far the p90 of its odd
turns is from that of its even ones, of half as many samples each, says what noise alone does. For
cold starts that program is started anew for each file, in turns with the profiler's own starts.
Nothing else may run.

    python -m benchmarks.tails --networks 20 --out tails.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks.beside import Beside
from benchmarks.plain_timer import Timer
from profiler.devices.base import ModelWorkload, Workload, network_workload
from profiler.devices.host.cpu import CpuDevice
from profiler.devices.registry import backend_of
from profiler.devices.seeded import seeded_onnx
from profiler.measuring.campaign import Campaign, Chosen, ProfileRequest
from profiler.measuring.journal import Journal
from profiler.measuring.protocol import (
    TAIL,
    TAIL_SAMPLES_PER_BLOCK,
    MeasuringProtocol,
    protocol_of,
)
from profiler.models.file import read_model_file, runnable
from profiler.spaces.mobilenetv3 import MobileNetV3Space
from profiler.spaces.sampling import draw_networks
from profiler.tables.levels import Statistic
from profiler.terminal import Terminal

SPACE = MobileNetV3Space()
N_COLD = 5


def tail_protocol(samples: int) -> MeasuringProtocol:
    """In one process, in which the other program can be asked; each network once."""
    whole = protocol_of(backend_of("cpu"), quick=True, kind="tail")
    return replace(
        whole,
        launches=1,
        repeats=replace(whole.repeats, share=0.0, min_count=0),
        tail=replace(TAIL, min_samples=samples),
    )


def p90_errors(
    folder: Path, archs: Sequence[str], samples: int, terminal: Terminal
) -> list[dict[str, Any]]:
    protocol = tail_protocol(samples)
    request = ProfileRequest(
        "cpu", SPACE, folder / "t.json", protocol, chosen=Chosen((), tuple(archs))
    )
    files = [folder / f"{at}.onnx" for at in range(len(archs))]
    order = {arch: at for at, arch in enumerate(archs)}

    def which(workload: Workload | ModelWorkload) -> int | None:
        return order.get(workload.key)

    with (
        Beside(files, which, TAIL_SAMPLES_PER_BLOCK, wall=True) as device,
        Journal(None) as journal,
    ):
        table = Campaign(request, device, journal, terminal).run()
    rows = []
    for network in table.networks:
        ours = network.levels[Statistic.P90].latency_ms
        told = np.array(device.samples_ms[order[network.arch]])
        theirs = float(np.quantile(told, 0.9))
        turns = told.reshape(-1, TAIL_SAMPLES_PER_BLOCK)
        halves = [float(np.quantile(half, 0.9)) for half in (turns[::2], turns[1::2])]
        rows.append(
            {
                "arch": network.arch,
                "p90_ms": ours,
                "timer_p90_ms": theirs,
                "samples": [network.n_samples, len(told)],
                "error_pct": 100 * (ours / theirs - 1),
                "timer_from_itself_pct": 100 * (halves[0] / halves[1] - 1),
            }
        )
    return rows


def cold_errors(folder: Path, count: int) -> list[dict[str, Any]]:
    rows = []
    with CpuDevice() as device:
        for at in range(count):
            path = folder / f"{at}.onnx"
            model = runnable(read_model_file(path), shapes={}, arrays={})
            ours: list[list[float]] = []
            theirs: list[list[float]] = []
            for _ in range(N_COLD):
                start = device.cold_start(ModelWorkload(model, 1, 0))
                ours.append([start.load_ms, start.first_run_ms])
                with Timer(path, wall=True) as timer:
                    pass
                theirs.append([timer.load_ms, timer.first_run_ms])
            cold = [median(map(sum, one)) for one in (ours, theirs)]
            rows.append({"cold_ms": cold[0], "timer_ms": cold[1],
                         "error_pct": 100 * (cold[0] / cold[1] - 1)})  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", type=int, default=20)
    parser.add_argument("--cold", type=int, default=5, help="networks that are started, too")
    parser.add_argument("--samples", type=int, default=TAIL.min_samples, help="of each, at least")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    drawn = draw_networks(SPACE, arguments.networks, seed=0)
    archs = [SPACE.format(tokens) for tokens in drawn]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for at, tokens in enumerate(drawn):
            (folder / f"{at}.onnx").write_bytes(seeded_onnx(network_workload(SPACE, tokens)))
        cold = cold_errors(folder, min(arguments.cold, len(archs)))
        tails = p90_errors(folder, archs, arguments.samples, Terminal())
    for what, rows, key in (
        ("p90", tails, "error_pct"),
        ("p90, the other timer's odd turns from its even ones", tails, "timer_from_itself_pct"),
        ("cold start", cold, "error_pct"),
    ):
        errors = np.abs([row[key] for row in rows])
        print(
            f"{what}: {len(rows)} networks, median {np.median(errors):.2f} %, "
            f"largest {errors.max():.2f} %"
        )
    if arguments.out:
        arguments.out.write_text(json.dumps({"p90": tails, "cold_start": cold}, indent=1) + "\n")


if __name__ == "__main__":
    main()
