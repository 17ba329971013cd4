"""Is what `pnag profile --model` reports what a plain timer of ONNX Runtime sees?

    pip install -e .[benchmark]
    python -m benchmarks.model_files --json figures.json

Networks of pytorchcv, which nobody here wrote, with random weights, exported to ONNX. While each is
measured, a program of its own, a few lines of ONNX Runtime's API (benchmarks/beside.py), takes as
many samples of as many sessions, in turns with the profiler's blocks. One thread; 10th percentiles
of single runs, by the thread's own time: other work on the core is nobody's latency (--wall: by the
wall clock, for an idle machine).
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.beside import Beside
from profiler.devices.base import ModelWorkload, Workload
from profiler.measuring.journal import Journal
from profiler.measuring.model_files import ModelSweep
from profiler.measuring.protocol import FULL, QUICK, MeasuringProtocol
from profiler.models.file import read_model_file, runnable
from profiler.models.fresh_process import in_fresh_process
from profiler.terminal import Terminal

NETWORKS = (
    "resnet10", "resnet18", "resnext14_32x2d", "seresnet10", "vgg11", "mobilenet_w1",
    "mobilenet_wd2", "mobilenetv2_w1", "mobilenetv2_wd2", "mobilenetv3_small_w1",
    "mobilenetv3_large_w1", "efficientnet_b0", "efficientnet_b1", "densenet121", "squeezenet_v1_0",
    "squeezenet_v1_1", "shufflenetv2_wd2", "shufflenetv2_w1", "mnasnet_b1", "mnasnet_a1",
    "nasnet_4a1056", "sqnxt23_w1", "condensenet74_c4_g4", "channelnet", "airnet50_1x64d_r16",
)  # fmt: skip


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


def compared(name: str, folder: Path, protocol: MeasuringProtocol, *, wall: bool) -> dict[str, Any]:
    path = folder / f"{name}.onnx"
    in_fresh_process(export, name, path)
    model = runnable(read_model_file(path), shapes={}, arrays={})
    each_copy = [path] * protocol.comparison.copies
    runs = protocol.sampling.samples_per_block(is_network=True)
    with Beside(each_copy, copy_of, runs, wall=wall) as device, Journal(None) as journal:
        sweep = ModelSweep(device, journal, [(model, 1)], protocol, Terminal(quiet=True))
        (result,) = sweep.run().results
    path.unlink()
    plain_ms = np.concatenate([*device.samples_ms.values()])
    timed_ms = float(np.quantile(plain_ms, 0.1))
    return {
        "network": name,
        "measured_ms": result.latency_ms,
        "plain_ms": timed_ms,
        "difference_pct": 100 * (result.latency_ms / timed_ms - 1),
        "samples": [result.n_samples, len(plain_ms)],
        "verdict": str(result.verdict),
    }


def copy_of(workload: Workload | ModelWorkload) -> int | None:
    return workload.copy if isinstance(workload, ModelWorkload) else None


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
