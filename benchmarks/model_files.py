"""Is what `pnag profile --model` reports what a plain timer of ONNX Runtime sees?

    pip install -e .[benchmark]
    python -m benchmarks.model_files --json figures.json

Networks of pytorchcv, which nobody here wrote, with random weights, exported to ONNX. Each is
timed by a few lines of ONNX Runtime's own API in a process of its own, then measured, then timed
again, so that drift is common to both. One thread; 10th percentiles of single runs in several
sessions that take turns, by the thread's own time: other work on the core is nobody's latency
(--wall: by the wall clock, for an idle machine).
"""

from __future__ import annotations

import argparse
import json
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from profiler.measuring.model_files import ModelRequest, measure_models
from profiler.measuring.protocol import FULL, QUICK, MeasuringProtocol
from profiler.models.fresh_process import in_fresh_process
from profiler.terminal import Terminal

NETWORKS = (
    "resnet10", "resnet18", "resnext14_32x2d", "seresnet10", "vgg11", "mobilenet_w1",
    "mobilenet_wd2", "mobilenetv2_w1", "mobilenetv2_wd2", "mobilenetv3_small_w1",
    "mobilenetv3_large_w1", "efficientnet_b0", "efficientnet_b1", "densenet121", "squeezenet_v1_0",
    "squeezenet_v1_1", "shufflenetv2_wd2", "shufflenetv2_w1", "mnasnet_b1", "mnasnet_a1",
    "nasnet_4a1056", "sqnxt23_w1", "condensenet74_c4_g4", "channelnet", "airnet50_1x64d_r16",
)  # fmt: skip
SESSIONS = 5
SECONDS = 6.0  # of plain timing, before and after


def export(name: str, path: Path) -> None:
    """A network with random weights as ONNX, by torch's own exporter."""
    import torch
    from pytorchcv.model_provider import get_model

    torch.manual_seed(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        network = get_model(name).eval()
        image = torch.zeros(1, 3, *network.in_size)
        torch.onnx.export(network, (image,), str(path), dynamo=False)


def plain_samples_ms(path: Path, core: Sequence[int], wall: bool) -> list[float]:
    """Single runs of several sessions in turns, as anybody would time them."""
    import onnxruntime as ort

    os.sched_setaffinity(0, core)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    sessions = [
        ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        for _ in range(SESSIONS)
    ]
    (image,) = sessions[0].get_inputs()
    rng = np.random.default_rng(0)
    feed = {image.name: rng.standard_normal(image.shape, dtype=np.float32)}
    for session in sessions:
        session.run(None, feed)
    clock = time.perf_counter if wall else time.thread_time
    samples_ms: list[float] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(samples_ms) < 10 * SESSIONS:
        for session in sessions:
            session.run(None, feed)  # brings its weights back into the caches
            start = clock()
            session.run(None, feed)
            samples_ms.append(1e3 * (clock() - start))
    return samples_ms


def compared(name: str, folder: Path, protocol: MeasuringProtocol, *, wall: bool) -> dict[str, Any]:
    path = folder / f"{name}.onnx"
    in_fresh_process(export, name, path)
    core = [max(os.sched_getaffinity(0))]
    plain_ms = in_fresh_process(plain_samples_ms, path, core, wall)
    (result,) = measure_models(
        ModelRequest("cpu", [path], protocol=protocol), Terminal(quiet=True)
    ).results
    plain_ms += in_fresh_process(plain_samples_ms, path, core, wall)
    path.unlink()
    timed_ms = float(np.quantile(plain_ms, 0.1))
    return {
        "network": name,
        "measured_ms": result.latency_ms,
        "plain_ms": timed_ms,
        "difference_pct": 100 * (result.latency_ms / timed_ms - 1),
        "verdict": str(result.verdict),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--wall", action="store_true", help="time by the wall clock")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    protocol = QUICK if arguments.quick else FULL
    rows = []
    with TemporaryDirectory() as folder:
        for name in arguments.networks:
            row = compared(name, Path(folder), protocol, wall=arguments.wall)
            rows.append(row)
            print(
                f"{name:24} {row['measured_ms']:9.3f} ms, plain {row['plain_ms']:9.3f} ms, "
                f"{row['difference_pct']:+6.2f} %  {row['verdict']}",
                flush=True,
            )
    differences = np.abs([row["difference_pct"] for row in rows])
    median, largest = float(np.median(differences)), float(differences.max())
    print(f"{len(rows)} networks: median difference {median:.2f} %, largest {largest:.2f} %")
    if arguments.json:
        summary = {"median_pct": median, "largest_pct": largest, "networks": rows}
        arguments.json.write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
