"""How well does a table of kernels predict networks that nobody here wrote?

    pip install -e .[benchmark]
    pnag profile --device cpu|tflite --space kernels --minutes 10 --out kernels.json
    python -m benchmarks.kernel_prediction kernels.json --models networks --measured networks.json

Networks of pytorchcv with random weights, exported to ONNX (and for a table of `tflite` converted
from there, where all their layers can be), timed in turns on one core by the thread's own time
(10th percentile), a dozen at a time. Some of the table's own networks take turns
with each dozen: what the machine is faster or slower than when the table was made is taken out by
their median. What was measured, ONNX Runtime's own profile of each network with it, is kept and
gone on with.

Each network is predicted by a fit that has seen no network of its kind of block. Beside it two
baselines from the same table: one factor on multiply-adds, and the sum of the kernels as they were
measured alone. Where the error is, by kind of kernel, follows from the profiles.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from functools import partial
from itertools import islice
from math import prod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from benchmarks.model_files import NETWORKS, export
from predictors.latency.kernel_work import work
from predictors.latency.kernels import (
    KernelModel,
    KernelPredictor,
    fit_kinds,
    kernels_alone,
)
from profiler.devices.registry import backend_of
from profiler.errors import InvalidInputError
from profiler.graph.from_onnx import read_onnx
from profiler.graph.to_tflite import export_tflite
from profiler.measuring.kernels import written_model
from profiler.models.file import ModelFormat, RunnableModel, load, read_model_file, runnable
from profiler.models.fresh_process import in_fresh_process
from profiler.models.kernel import Kernel, parse_kernel
from profiler.models.kernels import kernel_shares
from profiler.spaces.families import family_networks
from profiler.tables.table import LatencyTable, load_table

MORE = (
    "resnet34", "resnet50", "resnext26_32x4d", "seresnet18", "seresnet50", "bn_vgg11",
    "mobilenetv2_w3d4", "shufflenetv2b_w1", "squeezeresnet_v1_1", "airnet50_1x64d_r2",
)  # fmt: skip
# families of ours with the blocks of a network, by the beginning of its name
LEFT_OUT = {
    "resnet": ("residual", "bottleneck"), "airnet": ("residual", "bottleneck"),
    "resnext": ("grouped_bottleneck",), "seresnet": ("excited_residual",),
    "vgg": ("vgg",), "bn_vgg": ("vgg",), "mobilenet_": ("separable",), "channelnet": ("separable",),
    "mobilenetv2": ("inverted",), "mnasnet": ("inverted", "gated_inverted"),
    "mobilenetv3": ("gated_inverted",), "efficientnet": ("gated_inverted",),
    "densenet": ("dense",), "condensenet": ("dense",), "squeeze": ("fire",),
    "shufflenet": ("shuffle",), "nasnet": ("cells",), "sqnxt": ("factored",),
}  # fmt: skip
COSTLIEST = 3
TOGETHER = 12  # networks that take turns
BRIDGE = 6  # networks of the table that take turns with them

Measured = dict[str, dict[str, Any]]


def left_out(name: str) -> tuple[str, ...]:
    """Families of the longest beginning that fits.

    >>> left_out("mobilenetv2_w1")
    ('inverted',)
    """
    return LEFT_OUT[max((key for key in LEFT_OUT if name.startswith(key)), key=len)]


def madds(kernel: Kernel) -> int:
    """Multiply-adds of a kernel; channels that fill a block of ONNX Runtime count, too."""
    if kernel.kind.endswith(("Conv", "CONV_2D")):
        return kernel.output_elements * prod(kernel.weights[0][1:])
    if kernel.kind.endswith(("Gemm", "FULLY_CONNECTED")):
        return kernel.output_elements * kernel.inputs[0][-1]
    return 0


def timed_ms(models: Sequence[RunnableModel], minutes: float) -> list[float]:
    """The 10th percentile of each, all in turns in a new order each time."""
    os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    sessions = [load(model, threads=1) for model in models]
    for session in sessions:
        session.run()
    samples_ms: list[list[float]] = [[] for _ in sessions]
    rng, end = np.random.default_rng(0), time.monotonic() + 60 * minutes
    while time.monotonic() < end:
        for at in rng.permutation(len(sessions)):
            sessions[at].run()  # brings its weights back into the caches
            for _ in range(3):
                start = time.thread_time()
                sessions[at].run()
                samples_ms[at].append(1e3 * (time.thread_time() - start))
    return [float(np.quantile(samples, 0.1)) for samples in samples_ms]


def model_format(table: LatencyTable) -> ModelFormat:
    return ModelFormat(backend_of(table.device.spec).model_formats[0])


def bridge(table: LatencyTable, folder: Path) -> tuple[list[RunnableModel], list[float]]:
    """Networks of the table as models, and their latencies in it."""
    known = {network.arch: network.latency_ms for network in table.networks}
    drawn = islice(family_networks(table.protocol["seed"]), len(known))
    models, latencies_ms = [], []
    for name, graph in islice(((n, g) for n, g in drawn if n in known), BRIDGE):
        models.append(written_model(graph, name, folder / f"{name}{model_format(table)}"))
        latencies_ms.append(known[name])
    return models, latencies_ms


def measure(
    table: LatencyTable, names: Sequence[str], models: Path, path: Path, minutes: float
) -> Measured:
    """Latency on the table's level, and what ran, of each network; kept in `path`. Networks
    that have no file in the format of the table's device are named and left out.

    Args:
        models: folder of the networks' files; those that are missing are exported.
        minutes: of timing, for each dozen.
    """
    measured: Measured = json.loads(path.read_text()) if path.exists() else {}
    todo = [name for name in names if name not in measured]
    files = {}
    for name in todo:
        try:
            files[name] = exported(name, models, model_format(table))
        except InvalidInputError as error:
            print(f"{name} is left out: {error}")
    todo = list(files)
    with TemporaryDirectory() as folder:
        of_table, table_ms = bridge(table, Path(folder))
        for first in range(0, len(todo), TOGETHER):
            some = todo[first : first + TOGETHER]
            dozen = [files[name] for name in some]
            timed = in_fresh_process(timed_ms, [*dozen, *of_table], minutes)
            level = float(np.median(np.array(table_ms) / timed[len(dozen) :]))
            print(f"{len(of_table)} networks of the table took {1 / level:.3f} times as long")
            for name, model, ms in zip(some, dozen, timed, strict=False):
                ran = in_fresh_process(partial(kernel_shares, threads=1), model)
                measured[name] = {
                    "latency_ms": level * ms,
                    "kernels": [(kernel.key, share) for kernel, share in ran],
                }
            path.write_text(json.dumps(measured), encoding="utf-8")
    return measured


def exported(name: str, folder: Path, as_format: ModelFormat) -> RunnableModel:
    """The network's file, which is written if it is missing.

    Raises:
        InvalidInputError: a layer that the format has not.
    """
    path = folder / f"{name}.onnx"
    if not path.exists():
        in_fresh_process(export, name, path)
    if as_format is ModelFormat.TFLITE:
        onnx, path = path, path.with_suffix(as_format)
        if not path.exists():
            in_fresh_process(convert, onnx, path)
    return runnable(read_model_file(path), shapes={}, arrays={})


def convert(onnx: Path, path: Path) -> None:
    path.write_bytes(export_tflite(*read_onnx(onnx)))


def by_kind(
    model: KernelModel, ran: Sequence[tuple[Kernel, float | None]], measured_ms: float
) -> dict[str, float]:
    """Predicted less measured time of each kind, as shares of the network's latency; nothing
    where the runtime tells no shares."""
    if any(share is None for _, share in ran):
        return {}
    works = [work(kernel) for kernel, _ in ran]
    errors: dict[str, float] = {}
    for one, ms, (_, share) in zip(works, model.kernels_ms(works), ran, strict=True):
        error = float(model.line.factor * ms / measured_ms - (share or 0.0))
        errors[one.kind] = errors.get(one.kind, 0.0) + error
    return errors


class Judge:
    """The table's fits, each made once."""

    def __init__(self, table: LatencyTable) -> None:
        self._table = table
        self._fits: dict[tuple[str, ...], KernelPredictor] = {}
        self._alone = KernelModel(fit_kinds(kernels_alone(table)))
        self._ms_per_madd = ms_per_madd(table)

    def row(
        self, name: str, ran: Sequence[tuple[Kernel, float | None]], measured_ms: float
    ) -> dict[str, Any]:
        kernels = [kernel for kernel, _ in ran]
        predictor = self._without(left_out(name))
        found = predictor.predict(kernels)
        errors = by_kind(predictor.model, ran, measured_ms)
        costliest = sorted(errors, key=lambda kind: -abs(errors[kind]))[:COSTLIEST]
        return {
            "network": name,
            "measured_ms": measured_ms,
            "predicted_ms": found.latency_ms,
            "interval_ms": found.interval_ms,
            "outside_share": found.outside_share,
            "unknown": found.unknown,
            "all_families_ms": self._without(()).predict(kernels).latency_ms,
            "by_madds_ms": self._ms_per_madd * sum(map(madds, kernels)),
            "alone_ms": float(self._alone.kernels_ms([*map(work, kernels)]).sum()),
            "error_by_kind": {kind: errors[kind] for kind in costliest},
        }

    def _without(self, families: tuple[str, ...]) -> KernelPredictor:
        if families not in self._fits:
            self._fits[families] = KernelPredictor(self._table, without=families)
        return self._fits[families]


def ms_per_madd(table: LatencyTable) -> float:
    """Of least relative error over the table's networks."""
    counts = [
        sum(madds(parse_kernel(key)) for key, _ in table.kernels[network.arch])
        for network in table.networks
    ]
    ratios = np.array(counts) / [network.latency_ms for network in table.networks]
    return float(ratios.sum() / (ratios**2).sum())


def summary(rows: Sequence[dict[str, Any]], which: str) -> dict[str, float]:
    errors = np.array([row[which] / row["measured_ms"] - 1 for row in rows])
    return {
        "mape_pct": float(100 * np.abs(errors).mean()),
        "bias_pct": float(100 * np.median(errors)),
        "within_5_pct": float(100 * (np.abs(errors) <= 0.05).mean()),
        "within_10_pct": float(100 * (np.abs(errors) <= 0.10).mean()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", type=Path)
    parser.add_argument("--networks", nargs="+", default=(*NETWORKS, *MORE))
    parser.add_argument("--minutes", type=float, default=1.5, help="of timing a dozen networks")
    parser.add_argument("--models", type=Path, required=True, help="folder of exported networks")
    parser.add_argument("--measured", type=Path, required=True, help="what was measured so far")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table = load_table(arguments.table, partial=True)
    arguments.models.mkdir(parents=True, exist_ok=True)
    measured = measure(
        table, arguments.networks, arguments.models, arguments.measured, arguments.minutes
    )
    judge, rows = Judge(table), []
    for name in filter(measured.__contains__, arguments.networks):
        found = measured[name]
        ran = [(parse_kernel(key), share) for key, share in found["kernels"]]
        row = judge.row(name, ran, found["latency_ms"])
        rows.append(row)
        worst = ", ".join(f"{k} {100 * v:+.1f}" for k, v in row["error_by_kind"].items())
        print(
            f"{name:24} {row['measured_ms']:9.3f} ms, predicted {row['predicted_ms']:9.3f} ms, "
            f"{100 * (row['predicted_ms'] / row['measured_ms'] - 1):+6.1f} %  ({worst})",
            flush=True,
        )
    figures = {
        which: summary(rows, f"{which}_ms")
        for which in ("predicted", "all_families", "by_madds", "alone")
    }
    for which, found in figures.items():
        print(which, ", ".join(f"{name} {value:.1f}" for name, value in found.items()))
    if arguments.json:
        document = {"figures": figures, "networks": rows}
        arguments.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
